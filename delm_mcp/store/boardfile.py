"""One board file as the writer's thread sees it: opened, written in batches, checkpointed, closed.

Everything here blocks, and runs in the writer's thread. What touches the write-ahead log runs under
the lock file.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from delm_mcp.errors import StoreFromTheFuture, StoreUnavailable
from delm_mcp.store import wal
from delm_mcp.store.connection import Connect, SqlConnection, Synchronous, configure
from delm_mcp.store.faults import translating
from delm_mcp.store.files import Mount, check_place
from delm_mcp.store.group_commit import Operation, Outcome, run_batch
from delm_mcp.store.lock import FileLock
from delm_mcp.store.migrate import Migration, migrate

# How long closing waits for its turn. Without it the close is still safe as long as whoever has the
# lock also has the board open, because only the last connection's close touches the log.
_CLOSE_LOCK_S = 2.0


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is durable.

    Args:
        outcomes: What each operation returned, or a `Failed`, in order.
        changed: Whether any row changed.
        checkpoint_due: Whether the log has grown enough to be worth a checkpoint.
    """

    outcomes: list[Outcome]
    changed: bool
    checkpoint_due: bool


class BoardFile:
    """A board file, its lock file, and how its connections are made."""

    def __init__(self, path: Path, connect: Connect, synchronous: Synchronous, lock_timeout_s: float) -> None:
        self.path = path.resolve()
        self.connect = connect
        self._synchronous = synchronous
        self._lock_timeout_s = lock_timeout_s
        self._gauge = wal.WalGauge(self.path)
        self._locked_to_close = False
        self._schema = 0
        self._identity = (0, 0)

    def open_writer(
        self, migrations: Sequence[Migration], *, create: bool, mounts: Callable[[], Sequence[Mount]]
    ) -> sqlite3.Connection:
        """Check the place, take the lock, open the file and migrate it.

        Raises:
            StoreError: Says why it cannot be opened.
        """
        try:
            check_place(self.path, create=create, mounts=mounts)
            self._lock = FileLock(self.path, self._lock_timeout_s)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.path} cannot be opened: {error.strerror}.",
                "Make its folder readable and writable for this user, or put the board elsewhere.",
            ) from error
        try:
            with self._lock:
                return self._open_migrated(migrations)
        except BaseException:
            self._lock.close()
            raise

    def _open_migrated(self, migrations: Sequence[Migration]) -> sqlite3.Connection:
        with translating(self.path):
            connection = self.open()
            try:
                migrate(connection, self.path, migrations)
            except BaseException:
                connection.close()
                raise
        self._schema = len(migrations)
        made = os.stat(self.path)
        self._identity = (made.st_dev, made.st_ino)
        return connection

    def open(self, *, query_only: bool = False) -> sqlite3.Connection:
        """Open one more connection."""
        connection = self.connect(self.path)
        try:
            configure(connection, self._synchronous, self._lock_timeout_s, query_only=query_only)
        except BaseException:
            connection.close()
            raise
        return connection

    def commit(self, connection: sqlite3.Connection, operations: Sequence[Operation]) -> Committed:
        """Run a batch and commit it.

        Raises:
            Exception: Nothing of the batch was kept.
        """
        with self._lock:
            self._check_present()
            self._check_schema(connection)
            before = _total_changes(connection)
            outcomes = run_batch(connection, operations)
            return Committed(outcomes, _total_changes(connection) != before, self._gauge.due())

    def _check_present(self) -> None:
        """Stop writing once the file is gone or another one: what went into it would be lost unseen."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StoreUnavailable(
                f"{self.path} was removed or replaced while it was open.",
                "Put it back and restart this delm-mcp, or open a new board.",
            )

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        """Stop writing once a newer delm-mcp has migrated the file under us."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > self._schema:
            raise StoreFromTheFuture(
                f"{self.path} was upgraded to schema {version} while this delm-mcp, which knows "
                f"{self._schema}, had it open.",
                "Restart this delm-mcp with the version that upgraded it.",
            )

    def checkpoint(self, connection: sqlite3.Connection) -> wal.Checkpoint:
        """Do the one kind of checkpoint that is safe; see `wal`."""
        self._gauge.postpone()
        with self._lock:
            result = wal.checkpoint(connection, self.open)
        self._gauge.checked(result)
        return result

    def lock_to_close(self, connection: sqlite3.Connection) -> None:
        """Take the lock for closing: the last connection to a file checkpoints it and removes its log."""
        with suppress(StoreUnavailable):
            self._lock.acquire(min(_CLOSE_LOCK_S, self._lock_timeout_s))
            self._locked_to_close = True

    def closed(self) -> None:
        """Let go of the files that are not SQLite's, once the writer is closed."""
        if self._locked_to_close:
            self._lock.release()
        self._lock.close()
        self._gauge.close()


def back_up(connection: sqlite3.Connection, target: Path, connect: Connect) -> None:
    """Copy the board that `connection` reads to `target`, whole or not at all.

    Raises:
        StoreUnavailable: `target` exists.
    """
    if target.exists():
        raise StoreUnavailable(f"{target} exists already.", "Move it away, or name another file.")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        copy = connect(part)
        try:
            connection.backup(copy)
        finally:
            copy.close()
        part.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


def _total_changes(connection: SqlConnection) -> int:
    return int(connection.execute("SELECT total_changes()").fetchone()[0])
