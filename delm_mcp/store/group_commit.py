"""Group commit: all waiting writes in one transaction, each in a savepoint of its own.

Syncing the disk costs a hundred times what a small write does, so 64 callers that share one sync are
served some forty times faster than 64 that queue for their own.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, cast

from delm_mcp.errors import StoreError
from delm_mcp.store.connection import SqlConnection, roll_back

T = TypeVar("T")
Operation = Callable[[Any], Any]
"""A write: called with the connection, inside a transaction that it must leave open."""

BATCH_MAX = 256


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of an operation that raised; its own effect is undone, nothing else is."""

    error: Exception


Outcome = Any | Failed


def run_batch(connection: SqlConnection, operations: Sequence[Operation]) -> list[Outcome]:
    """Run every operation in a savepoint of one transaction, commit, and return what each returned.

    Raises:
        Exception: The transaction as a whole failed; it is rolled back and nothing was kept.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [_run_one(connection, operation) for operation in operations]
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return outcomes


def _run_one(connection: SqlConnection, operation: Operation) -> Outcome:
    connection.execute("SAVEPOINT operation")
    try:
        value = operation(connection)
    except Exception as error:
        if not connection.in_transaction:
            # SQLite itself gives up the whole transaction on a full disk or a failed read or write.
            raise
        connection.execute("ROLLBACK TO operation")
        connection.execute("RELEASE operation")
        return Failed(error)
    if not connection.in_transaction:
        raise _left_transaction()
    try:
        connection.execute("RELEASE operation")
    except Exception as error:
        # It ended the transaction and began another, in which there is no such savepoint.
        raise _left_transaction() from error
    return value


def _left_transaction() -> StoreError:
    return StoreError(
        "A write ended the transaction that it shares with others.",
        "This is a bug: an operation must not commit, roll back or run a script.",
    )


class GroupCommit:
    """Collects operations and hands them over in batches, one batch at a time.

    There is no timer: while one batch is being synced the next one gathers, so a lone caller waits
    for nobody and a crowd shares.

    Args:
        commit: Runs a batch and returns the outcomes in order once they are durable; called from a
            task of its own, so that the cancellation of a caller never reaches it.
        after: Called after each batch, once its callers have been answered.
    """

    def __init__(
        self,
        commit: Callable[[list[Operation]], Awaitable[list[Outcome]]],
        after: Callable[[], Awaitable[None]],
    ) -> None:
        self._commit = commit
        self._after = after
        self._waiting: deque[tuple[Operation, asyncio.Future[Any]]] = deque()
        self._drain: asyncio.Task[None] | None = None

    async def submit(self, operation: Callable[[Any], T]) -> T:
        """Return what `operation` returned, once it is committed; raise what it raised.

        A caller that is cancelled while it waits leaves its operation whole: not run at all if its
        batch has not begun, committed with its batch otherwise.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, answer))
        if self._drain is None:
            self._drain = asyncio.create_task(self._drain_waiting())
        return await answer

    async def finish(self) -> None:
        """Wait until everything that was submitted has been answered."""
        while self._drain is not None:
            await asyncio.wait([self._drain])

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """Answer everything that is not in a batch yet with an error."""
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error())

    async def _drain_waiting(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    outcomes = await self._commit([operation for operation, _ in batch])
                    _answer(batch, outcomes)
                    await self._after()
        finally:
            # No await between the loop's last test and this line, or a submission in between would
            # see a drain that has already stopped looking.
            self._drain = None

    def _next_batch(self) -> list[tuple[Operation, asyncio.Future[Any]]]:
        taken = list(islice(self._waiting, BATCH_MAX))
        for _ in taken:
            self._waiting.popleft()
        return [(operation, answer) for operation, answer in taken if not answer.done()]


def _answer(batch: list[tuple[Operation, asyncio.Future[Any]]], outcomes: list[Outcome]) -> None:
    for (_, answer), outcome in zip(batch, outcomes, strict=True):
        if answer.done():  # its caller was cancelled
            continue
        if isinstance(outcome, Failed):
            answer.set_exception(_raisable(outcome.error))
        else:
            answer.set_result(cast(Any, outcome))


def _raisable(error: Exception) -> Exception:
    """A future refuses StopIteration, and would then never be answered."""
    if isinstance(error, StopIteration):
        wrapped = RuntimeError("an operation raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error
