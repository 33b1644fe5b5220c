"""Translations between the board and the outside: `mcp` and its parts, and `web`."""
