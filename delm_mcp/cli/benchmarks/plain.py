"""SQLite without the board, for comparison: one thread, no event loop, no rules, no log.

Two yardsticks. `small` does the least that a claim or a proposal could be: a read and an update, or
an insert and an update, on tables of a few columns. `replayed` runs the very statements that the
board's writer ran, with the values that it bound, on a copy of the file taken before.
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from delm_mcp.cli.benchmarks.timing import Timing
from delm_mcp.cli.benchmarks.watched import Statement, slowed
from delm_mcp.store.connection import configure

_CHECKPOINT_FRAMES = 1000

_SCHEMA = """
CREATE TABLE task (id INTEGER PRIMARY KEY, state TEXT NOT NULL, rank INTEGER NOT NULL, agent TEXT NOT NULL,
    token TEXT NOT NULL, lease_until REAL NOT NULL);
CREATE INDEX task_ready ON task (rank DESC, id) WHERE state = 'ready';
CREATE TABLE entry (id INTEGER PRIMARY KEY, gist TEXT NOT NULL, agent TEXT NOT NULL, task INTEGER NOT NULL);
"""
_GIST = "Component reads its settings once when it starts, and keeps them until it is restarted"


def _open(path: Path, flush_s: float) -> sqlite3.Connection:
    connection: sqlite3.Connection = slowed(flush_s)(path)
    connection.execute("PRAGMA journal_mode = WAL")
    configure(connection, "FULL", 10.0)
    # SQLite's own checkpoints are safe here, where there is one connection.
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_FRAMES}")
    return connection


def grow_log(db: sqlite3.Connection) -> None:
    """Let the write-ahead log reach the size at which it is used again from the front.

    Until then each commit makes the file longer, and syncing that costs several times what syncing an
    overwritten page does. A board that lives for more than a minute is past it.
    """
    db.execute("CREATE TABLE padding (block BLOB)")
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO padding VALUES (randomblob(?))", (_CHECKPOINT_FRAMES * 4096 * 2,))
    db.execute("COMMIT")
    db.execute("DROP TABLE padding")
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _claim(db: sqlite3.Connection, number: int) -> None:
    found = db.execute("SELECT id FROM task WHERE state = 'ready' ORDER BY rank DESC, id LIMIT 1").fetchone()
    db.execute(
        "UPDATE task SET state = 'leased', agent = ?, token = ?, lease_until = ? WHERE id = ?",
        (f"a{number}", f"token-{number}", time.time() + 300, found[0]),
    )


def _propose(db: sqlite3.Connection, number: int) -> None:
    db.execute("INSERT INTO entry (gist, agent, task) VALUES (?, ?, ?)", (_GIST, f"a{number}", number))
    db.execute("UPDATE task SET state = 'done' WHERE id = ?", (number,))


def small(
    path: Path, name: str, sizes: Iterable[int], limit_s: float, flush_s: float, tasks: int = 50_000
) -> Timing:
    """The least that a `claim` or a `propose` could be, in transactions of these sizes.

    Args:
        path: A file that does not exist yet.
        sizes: Operations in each transaction, until they or the time are used up.
        tasks: Ready tasks in the table.
    """
    operation = _claim if name == "claim" else _propose
    db = _open(path, flush_s)
    try:
        db.executescript(_SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO task VALUES (?, 'ready', 0, '', '', 0)", ((n + 1,) for n in range(tasks)))
        db.execute("COMMIT")
        grow_log(db)
        timing = Timing()
        began = time.perf_counter()
        for size in sizes:
            start = time.perf_counter()
            if start - began > limit_s or timing.count + size > tasks:
                break
            db.execute("BEGIN IMMEDIATE")
            for number in range(timing.count + 1, timing.count + size + 1):
                operation(db, number)
            db.execute("COMMIT")
            timing.calls_s.append(time.perf_counter() - start)
            timing.count += size
        timing.elapsed_s = time.perf_counter() - began
        return timing
    finally:
        db.close()


def replayed(
    copy: Path, phases: Sequence[Sequence[Statement]], limit_s: float, flush_s: float
) -> list[Timing]:
    """The recorded phases, each run again on a copy of the board's file; stops at a transaction's end."""
    db = _open(copy, flush_s)
    try:
        grow_log(db)
        return [_replay(db, statements, limit_s) for statements in phases]
    finally:
        db.close()


def _replay(db: sqlite3.Connection, statements: Sequence[Statement], limit_s: float) -> Timing:
    timing = Timing()
    began = start = time.perf_counter()
    operations = 0  # in the current transaction
    for sql, bound, many in statements:
        if many:
            db.executemany(sql, bound)
        else:
            db.execute(sql, bound).fetchall()
        if sql.startswith("SAVEPOINT"):
            operations += 1
        elif sql == "COMMIT":
            now = time.perf_counter()
            timing.calls_s.append(now - start)
            timing.count, operations, start = timing.count + operations, 0, now
            if now - began > limit_s:
                break
    timing.elapsed_s = time.perf_counter() - began
    return timing
