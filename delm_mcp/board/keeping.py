"""Leases of agents that this process knows to be alive.

Over stdio the server lives exactly as long as its client, so it renews the client's leases (up to
their ceiling, which the board enforces) and hands them on at once when the client is gone.
"""

import logging
from collections.abc import Callable

import anyio

from delm_mcp.board.board import Board
from delm_mcp.domain.model import Caller
from delm_mcp.errors import Conflict, DelmError, Refused, RunClosed

_log = logging.getLogger(__name__)
EVERY_S = 20.0
RELEASE_S = 5.0


class Keeper:
    """Keeps the leases that went out to one client."""

    def __init__(self, board: Board, caller: Callable[[], Caller]) -> None:
        self._board = board
        self._caller = caller
        self._every_s = EVERY_S
        self._leases: dict[str, None] = {}
        self._added = anyio.Event()

    def add(self, lease: str, expires_s: float) -> None:
        """Keep this lease from now on, renewing it well before it ends."""
        self._leases[lease] = None
        self._every_s = min(self._every_s, expires_s / 3)
        self._added.set()

    async def work(self) -> None:
        """Renew until cancelled; a lease that cannot be renewed any more is forgotten."""
        due = anyio.current_time() + self._every_s
        while True:
            self._added = anyio.Event()
            # A new lease may be shorter than those before, so it can bring the next time forward.
            due = min(due, anyio.current_time() + self._every_s)
            with anyio.move_on_after(max(0.0, due - anyio.current_time())):
                await self._added.wait()
                continue
            for lease in list(self._leases):
                await self._update(lease, "renew")
            due = anyio.current_time() + self._every_s

    async def release_all(self) -> None:
        """Hand everything on, because the client is gone."""
        with anyio.move_on_after(RELEASE_S, shield=True):
            for lease in list(self._leases):
                await self._update(lease, "release", "its client went away")

    async def _update(self, lease: str, action: str, note: str = "") -> None:
        try:
            # That the server shows a lease does not mean that its agent has read what came with it.
            await self._board.update_task(
                self._caller(), lease=lease, action=action, note=note, acknowledges=False
            )
        except RunClosed:
            self._leases.pop(lease, None)
        except Conflict:
            pass  # its result is being checked: if that is refused, the agent goes on with this lease
        except Refused:
            self._leases.pop(lease, None)
        except DelmError as error:
            _log.warning("A lease could not be kept: %s", error)
