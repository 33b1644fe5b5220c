"""A SQLite connection that can be slowed down, timed and recorded, for the board and for SQLite alone.

`Engine.open` takes the function that opens its connections, so the code that is measured is the
production code; only the connection underneath it is a subclass.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from delm_mcp.store.connection import connect

Statement = tuple[str, Any, bool]
"""SQL, what it binds, and whether it binds many rows."""

_BEGINS = ("SAVEPOINT", "BEGIN DEFERRED")
_ENDS = ("RELEASE", "ROLLBACK")


@dataclass
class Watch:
    """What the connections of one engine are asked to do, and what they saw.

    Attributes:
        flush_s: How long each COMMIT sleeps, under its locks, on top of what the disk takes.
        recording: Whether the writer's statements are kept.
        timing: Whether operations are timed.
        statements: The writer's statements, in order.
        spans_s: How long each operation was inside its savepoint (a write) or snapshot (a read).
        sqlite_s: How much of each span was spent in SQLite's `execute`.
    """

    flush_s: float = 0.0
    recording: bool = False
    timing: bool = False
    statements: list[Statement] = field(default_factory=list)
    spans_s: list[float] = field(default_factory=list)
    sqlite_s: list[float] = field(default_factory=list)
    opened: int = 0

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open a connection as the store does; the first one that an engine opens is its writer."""
        self.opened += 1
        connection = _watched_class()(str(path), isolation_level=None, cached_statements=512)
        connection.watch, connection.writes = self, self.opened == 1
        return connection  # type: ignore[no-any-return]

    def take(self) -> list[Statement]:
        """The statements recorded so far, which are then forgotten."""
        taken, self.statements = self.statements, []
        return taken

    def take_spans(self) -> tuple[list[float], list[float]]:
        """The spans so far and SQLite's share of them, which are then forgotten."""
        taken = self.spans_s, self.sqlite_s
        self.spans_s, self.sqlite_s = [], []
        return taken


def _execute(connection: Any, plain: Any, many: bool, sql: str, bound: Any = ()) -> Any:
    watch: Watch = connection.watch
    if watch.recording and connection.writes:
        watch.statements.append((sql, bound, many))
    if watch.flush_s and sql == "COMMIT":
        time.sleep(watch.flush_s)
    if not watch.timing:
        return plain(connection, sql, bound)
    began = time.perf_counter()
    if sql.startswith(_BEGINS):
        connection.span_began, connection.span_sqlite = began, 0.0
    result = plain(connection, sql, bound)
    ended = time.perf_counter()
    connection.span_sqlite += ended - began
    if sql.startswith(_ENDS) and connection.span_began:
        watch.spans_s.append(ended - connection.span_began)
        watch.sqlite_s.append(connection.span_sqlite)
        connection.span_began = 0.0
    return result


_made: list[type[Any]] = []


def _watched_class() -> type[Any]:
    """A subclass of the connection of whichever SQLite library the store uses."""
    if not _made:
        sample = connect(Path(":memory:"))
        base: Any = type(sample)
        sample.close()
        members: dict[str, Any] = {
            "watch": Watch(),
            "writes": False,
            "span_began": 0.0,
            "span_sqlite": 0.0,
            "execute": lambda self, sql, bound=(): _execute(self, base.execute, False, sql, bound),
            "executemany": lambda self, sql, rows: _execute(self, base.executemany, True, sql, list(rows)),
        }
        _made.append(type("WatchedConnection", (base,), members))
    return _made[0]


def slowed(flush_s: float) -> Any:
    """A connector whose connections only have the slow COMMIT, for SQLite without the board."""
    return partial(Watch.connect, Watch(flush_s=flush_s))


def batch_sizes(statements: Sequence[Statement]) -> list[int]:
    """How many operations each recorded transaction had."""
    sizes: list[int] = []
    current = 0
    for sql, _, _ in statements:
        if sql.startswith("SAVEPOINT"):
            current += 1
        elif sql == "COMMIT" and current:
            sizes.append(current)
            current = 0
    return sizes
