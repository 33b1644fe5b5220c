"""The board's use cases. `Board` has one method for each; the other modules are its parts."""

from delm_mcp.board.board import Board
from delm_mcp.board.waiting import Settings

__all__ = ["Board", "Settings"]
