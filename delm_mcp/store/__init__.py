"""Engines. `base` says what one is; each engine has a module with its own visible SQL."""
