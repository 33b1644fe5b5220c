"""Waiting: for work, and for the verdict of a slow check, without keeping anybody else waiting."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import anyio

from delm_mcp.board import proposals, queue
from delm_mcp.board.answers import Claim
from delm_mcp.board.operation import Operation
from delm_mcp.domain.model import EntryId, RunState
from delm_mcp.store.base import Cursor, Store

MAX_WAIT_S = 25.0
"""Under every client's limit for a silent call (two of them give up at 60 s)."""
EMPTY_WAITS = 2
EMPTY_WAITS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How one process serves a board.

    Attributes:
        answer_wait_s: How long a proposal waits for the verdict of a slow check before it is
            answered `pending`.
        poll_s: The longest a waiting call sleeps without looking at the clock.
    """

    answer_wait_s: float = 10.0
    poll_s: float = 1.0


class Waiter:
    """Waits by reading only; a commit of any process ends a sleep.

    Args:
        read: Runs an action on a snapshot of the board.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        read: Callable[[Callable[[Operation], Any]], Awaitable[Any]],
        settings: Settings,
    ) -> None:
        self.closing = False
        self._store = store
        self._clock = clock
        self._read = read
        self._settings = settings
        self._empty_waits: dict[tuple[str, str], int] = {}

    async def until_claimable(
        self, answer: Claim, cursor: Cursor, deadline: float, gone: Callable[[], bool]
    ) -> None:
        """Sleep until a claim would do something, or until the deadline."""

        def peek(op: Operation) -> tuple[bool, float]:
            home = op.run(answer.run)
            row = op.tx.agent(home.id, answer.agent)
            return row is None or queue.could_claim(op, home, row), op.tx.next_expiry(home.id)

        retry_at = answer.retry_at
        while True:
            now = self._clock()
            pause = min(deadline - now, retry_at - now if retry_at > now else inf, self._settings.poll_s)
            await self._store.wait(cursor, max(0.0, pause))
            cursor = self._store.committed()
            possible, retry_at = await self._read(peek)
            if possible or self.closing or gone() or self._clock() >= deadline:
                return

    def counted(self, answer: Claim, *, waited: bool) -> Claim:
        """After two empty waits, say to do something else: every wait costs its agent a turn."""
        seat = (answer.run, answer.agent)
        if answer.task or not waited or answer.patient or answer.run_state != RunState.OPEN:
            self._empty_waits.pop(seat, None)
            return answer
        if len(self._empty_waits) > EMPTY_WAITS_KEPT:
            self._empty_waits.clear()
        self._empty_waits[seat] = count = self._empty_waits.get(seat, 0) + 1
        if count < EMPTY_WAITS:
            return answer
        return replace(
            answer,
            next=f"Waited {count} times for nothing: peers hold the rest. Stop here unless you can "
            f"add_tasks or improve something; claim_task(agent={answer.agent}) later still works.",
        )

    async def until_decided(self, entry: EntryId) -> None:
        """Wait a little for slow checks, so that most proposals are answered in one call.

        Not for peers, who need minutes: their verdict comes as news.
        """
        deadline = self._clock() + self._settings.answer_wait_s
        with anyio.move_on_after(self._settings.answer_wait_s):
            while True:
                cursor = self._store.committed()
                decided = await self._read(lambda op: proposals.is_decided(op, entry))
                if decided or self.closing or self._clock() >= deadline:
                    return
                await self._store.wait(cursor, self._settings.poll_s)
