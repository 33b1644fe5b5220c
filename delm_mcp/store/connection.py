"""Which SQLite, how every connection is set up, and the thread that each runs in."""

import asyncio
import importlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import aiosqlite

T = TypeVar("T")
Synchronous = Literal["FULL", "NORMAL", "OFF"]
Connect = Callable[[Path], sqlite3.Connection]
"""Opens one connection in autocommit mode; anything with `sqlite3.Connection`'s methods will do."""

# The write-ahead log keeps at most this much disk once a long reader that made it grow is gone.
_WAL_KEPT_BYTES = 32 * 1024 * 1024


class SqlConnection(Protocol):
    """What a transaction needs of a connection; `sqlite3`, `pysqlite3` and `apsw` all have it."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, /) -> Any: ...


def _library() -> Any:
    """Python's `sqlite3`, or the optional `pysqlite3` where that brings a newer SQLite.

    One process must use one library for a file: two copies of SQLite drop each other's POSIX locks.
    """
    try:
        other = importlib.import_module("pysqlite3")
    except ImportError:
        return sqlite3
    return max(sqlite3, other, key=lambda library: library.sqlite_version_info)


_LIBRARY = _library()


def connect(path: Path) -> sqlite3.Connection:
    """Open `path` with the newest SQLite that is installed, in autocommit mode.

    Transactions are begun and ended in SQL: Python's own handling of them differs between versions.
    """
    return cast(sqlite3.Connection, _LIBRARY.connect(str(path), isolation_level=None, cached_statements=512))


def configure(
    connection: SqlConnection, synchronous: Synchronous, busy_timeout_s: float, *, query_only: bool = False
) -> None:
    """Set what SQLite keeps per connection and not in the file.

    The time-out is a backstop, for programs that write without our lock file.
    """
    connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # Checkpoints are ours alone to start (see `wal`).
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -8192")
    if query_only:
        connection.execute("PRAGMA query_only = ON")


def roll_back(connection: SqlConnection) -> None:
    """End a transaction if SQLite has not already ended it because of an error."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def has_wal_reset_bug(version: str) -> bool:
    """Whether this SQLite corrupts a WAL file when a commit that resets it meets a second checkpoint.

    3.7.0 to 3.51.2 do, except the patch releases 3.44.6 and 3.50.7 (https://sqlite.org/wal.html#walresetbug).
    """
    numbers = tuple(int(part) for part in version.split("."))
    if numbers[:2] in ((3, 44), (3, 50)):
        return numbers < ((3, 44, 6) if numbers[1] == 44 else (3, 50, 7))
    return (3, 7, 0) <= numbers < (3, 51, 3)


class Conn(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in its thread.

    A transaction as one function cannot be torn by a cancellation between two awaits, and costs one
    hop between threads instead of one a statement. `_execute` is the one private name used here.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._ended: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Open the connection; when that fails its thread has ended before the error leaves."""
        try:
            await self
        except BaseException:
            if self._ended is not None:
                await self._ended
            raise

    def stop(self) -> "asyncio.Future[None] | None":
        self._ended = super().stop()
        return self._ended

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return `function(connection, *args)`, called in the connection's thread."""
        return cast(T, await self._execute(function, self._conn, *args))  # type: ignore[no-untyped-call]
