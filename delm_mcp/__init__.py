"""delm-mcp: a task queue and a verified shared context that any coding agent joins over MCP."""

__version__ = "0.1.0"
