"""`delm-run team`: coding agents of any vendor as one team on a board.

How a team goes: `prepare` checks the repository, opens the run and makes worktrees; `supervise` starts an
agent in each (`harness` says how), hears what they tell, follows the board, starts again what stops early,
and ends it all; `record` keeps what happened; `live` and `report` show it.
"""
