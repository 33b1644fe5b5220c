"""The SQLite machinery below the row operations: one writer, a few readers, one lock file.

    write ──> group commit ──> the writer's thread: lock file, BEGIN IMMEDIATE, a savepoint each, COMMIT
    read ───> readers ───────> a reader's thread: BEGIN DEFERRED, one snapshot
    wait ───> commits <─────── the commits of this process, and a probe for those of others

An operation is a plain function that gets a `sqlite3.Connection` and runs in that connection's
thread from its beginning to its end. It must fetch all its rows and leave the transaction open.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from delm_mcp.errors import StoreCorrupt, StoreError, StoreUnavailable
from delm_mcp.store.base import Cursor
from delm_mcp.store.boardfile import BoardFile, back_up
from delm_mcp.store.commits import Commits
from delm_mcp.store.connection import (
    Conn,
    Connect,
    Synchronous,
    connect,
    has_wal_reset_bug,
)
from delm_mcp.store.faults import translated, translating
from delm_mcp.store.files import Mount, mounted
from delm_mcp.store.group_commit import Failed, GroupCommit, Operation, Outcome
from delm_mcp.store.migrate import Migration, load_migrations
from delm_mcp.store.readers import Readers
from delm_mcp.store.wal import Checkpoint

__all__ = ["Checkpoint", "Cursor", "Engine", "Migration", "Mount", "load_migrations"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Engine:
    """An open board file. Its methods may be called from any number of tasks of one event loop.

    Made by `Engine.open`. It starts its tasks itself instead of in a task group, so that what its
    user raises inside `async with` leaves it as it is and not as an exception group.
    """

    def __init__(self, file: BoardFile, writer: Conn, readers: Readers, commits: Commits) -> None:
        self.sqlite_version = ""
        self._file = file
        self._writer = writer
        self._readers = readers
        self._commits = commits
        self._group = GroupCommit(self._commit, self._checkpoint_when_due)
        self._checkpoint_due = False
        self._closing = False
        self._damage: StoreCorrupt | None = None

    @property
    def wal_reset_bug(self) -> bool:
        """Whether this SQLite can corrupt the file when other programs checkpoint it."""
        return has_wal_reset_bug(self.sqlite_version)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        migrations: Sequence[Migration],
        synchronous: Synchronous = "FULL",
        readers: int = 2,
        create: bool = True,
        connector: Connect | None = None,
        lock_timeout_s: float = 10.0,
        mounts: Callable[[], Sequence[Mount]] = mounted,
    ) -> AbstractAsyncContextManager["Engine"]:
        """Open (and, if wished, create) a board file and bring its schema up to date.

        Args:
            path: The database file. Its folder must exist and be on a local disk.
            migrations: The schema's whole history, oldest first.
            synchronous: Only FULL keeps every acknowledged write through a power loss.
            readers: Connections that read beside the one that writes.
            create: Whether a missing file is made.
            connector: Opens a connection in autocommit mode; by default the newest SQLite installed.
            lock_timeout_s: How long to wait for other processes, each time.
            mounts: Lists the machine's file systems.

        Raises:
            StoreError: It cannot be opened; says why and what would work.
        """
        file = BoardFile(path, connector or connect, synchronous, lock_timeout_s)
        writer = Conn(partial(file.open_writer, migrations, create=create, mounts=mounts))
        return _opened(file, writer, readers)

    async def write(self, op: Callable[[sqlite3.Connection], T]) -> T:
        """Run `op` in a savepoint and return its result once it is committed and synced.

        Raises:
            StoreError: The batch could not be committed, or the engine is closed.
            sqlite3.IntegrityError: `op` broke a constraint; only its own work is undone. (Inside `op`
                itself it is `connection.IntegrityError`, which another SQLite library brings along.)
            Exception: Whatever else `op` raised; only its own work is undone.
        """
        self._check_open()
        return await self._group.submit(op)

    async def read(self, op: Callable[[sqlite3.Connection], T]) -> T:
        """Run `op` on one consistent snapshot, beside whatever is being written.

        Raises:
            StoreError: The file cannot be read, or the engine is closed.
            Exception: Whatever `op` raised.
        """
        self._check_open()
        try:
            with translating(self._file.path, reading=True):
                return await self._readers.run(op)
        except StoreCorrupt as error:
            self._told(error)
            raise

    def committed(self) -> Cursor:
        """The cursor of now. Take it before you read what you will wait for a change of."""
        return self._commits.cursor()

    async def wait_for_commit(self, since: Cursor, timeout_s: float) -> bool:
        """Return True once rows were changed after `since`, by any process; False after `timeout_s`.

        A commit of this process wakes at once, one of another within some 60 ms. It may wake for
        nothing, so look again.

        Raises:
            StoreUnavailable: The engine is closed.
        """
        self._check_open()
        return await self._commits.wait(since, timeout_s)

    async def checkpoint(self) -> Checkpoint:
        """Move the log's pages into the database file, as also happens by itself when the log grows.

        Raises:
            StoreError: Another process holds the lock, or the disk refused.
        """
        self._check_open()
        with translating(self._file.path):
            return await self._writer.run(self._file.checkpoint)

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target`, while others read and write.

        Raises:
            StoreError: `target` exists or cannot be written; nothing is left of the attempt.
        """
        self._check_open()
        try:
            with translating(target):
                await self._readers.run(partial(back_up, target=target, connect=self._file.connect))
        except OSError as error:
            raise StoreUnavailable(
                f"{target} cannot be written: {error.strerror}.",
                "Name a file in a folder that this user may write in.",
            ) from error

    async def _start(self) -> None:
        """Start the threads; on an error those that have started end."""
        async with AsyncExitStack() as ending:
            await self._writer.start()
            ending.push_async_callback(self._close_writer)
            with translating(self._file.path):
                ending.push_async_callback(self._readers.close)
                await self._readers.start()
                ending.push_async_callback(self._commits.close)
                await self._commits.start()
            self.sqlite_version = await self._writer.run(_sqlite_version)
            ending.pop_all()

    async def _close(self) -> None:
        """Answer what was asked, then end every thread. Bounded by the time-outs of the locks."""
        self._closing = True
        async with AsyncExitStack() as ending:  # runs all of these, the last one first
            ending.push_async_callback(self._close_writer)
            ending.push_async_callback(self._readers.close)
            ending.push_async_callback(self._group.finish)
            ending.push_async_callback(self._commits.close)

    async def _close_writer(self) -> None:
        async with AsyncExitStack() as ending:
            ending.callback(self._file.closed)
            ending.push_async_callback(self._writer.close)
            await self._writer.run(self._file.lock_to_close)

    async def _commit(self, operations: list[Operation]) -> list[Outcome]:
        """Commit a batch and wake those who wait for one; its errors become everybody's outcome."""
        try:
            done = await self._writer.run(self._file.commit, operations)
        except Exception as error:
            if self._closing:
                self._group.fail_waiting(self._closed)
            return [Failed(self._of_batch(error)) for _ in operations]
        self._checkpoint_due = done.checkpoint_due
        if done.changed:
            self._commits.moved()
        return [self._translated(outcome) for outcome in done.outcomes]

    def _translated(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failed):
            return Failed(self._told(translated(outcome.error, self._file.path)))
        return outcome

    def _told(self, error: Exception) -> Exception:
        """Remember damage: a file that was damaged once is not trusted again until it is opened anew."""
        if isinstance(error, StoreCorrupt):
            self._damage = error
        return error

    def _of_batch(self, error: Exception) -> Exception:
        """Why a whole batch failed, as an exception of its own for each of its callers."""
        if isinstance(error, StoreError):
            meant: Exception = type(error)(error.problem, error.hint)
        else:
            meant = translated(error, self._file.path)
        if meant is error:
            meant = StoreError(
                f"This write shared a transaction with one that broke it: {error!r}.",
                "Nothing of it was kept; send the same call again.",
            )
        meant.__cause__ = error
        return self._told(meant)

    async def _checkpoint_when_due(self) -> None:
        if not self._checkpoint_due:
            return
        try:
            await self._writer.run(self._file.checkpoint)
        except Exception as error:
            # Every commit is safe in the log, so nobody's call has failed.
            reason = translated(error, self._file.path)
            _log.warning("The write-ahead log of %s goes on growing: %s", self._file.path, reason)

    def _check_open(self) -> None:
        if self._closing:
            raise self._closed()
        if self._damage is not None:
            raise StoreCorrupt(self._damage.problem, self._damage.hint)

    def _closed(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._file.path} is closed.", "Open it again.")


def _sqlite_version(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT sqlite_version()").fetchone()[0])


@asynccontextmanager
async def _opened(file: BoardFile, writer: Conn, readers: int) -> AsyncIterator[Engine]:
    def reader() -> Conn:
        return Conn(partial(file.open, query_only=True))

    pool, probe = [reader() for _ in range(readers)], reader()
    engine = Engine(file, writer, Readers(pool), Commits(probe))
    # Half-opened connections would leave threads behind; both ends are bounded by time-outs.
    with anyio.CancelScope(shield=True):
        await engine._start()
    try:
        yield engine
    finally:
        with anyio.CancelScope(shield=True):
            await engine._close()
