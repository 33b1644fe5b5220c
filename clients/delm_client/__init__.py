"""The bundled client: launches teams of agents on a delm-mcp board, and speaks to it over MCP only."""
