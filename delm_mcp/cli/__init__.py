"""The command line. Wires everything, and with `config` is the only reader of the environment."""

from delm_mcp.cli.app import app, main

__all__ = ["app", "main"]
