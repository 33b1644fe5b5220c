"""The SQLite engine: transactions, the log, and what holds it all together.

The queries of the queue are in `sqlite_queue`, those of the context in `sqlite_context`.

`SELECT ... FOR UPDATE SKIP LOCKED` has no place here: a write transaction is the only one there is
(BEGIN IMMEDIATE under a lock file), so the next ready task is simply read and then updated.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from delm_mcp.domain.model import (
    Agent,
    Entry,
    LogRow,
    Run,
    RunId,
    RunState,
    Source,
    Task,
    Token,
)
from delm_mcp.errors import StoreError
from delm_mcp.store import journal
from delm_mcp.store.base import Cursor, Row, StoreStatus, Tx
from delm_mcp.store.engine import Engine, load_migrations
from delm_mcp.store.rows import (
    AGENT,
    RUN,
    SOURCE,
    TABLES,
    TOKEN,
    Table,
)
from delm_mcp.store.sqlite_context import ContextQueries
from delm_mcp.store.sqlite_queue import QueueQueries

T = TypeVar("T")
R = TypeVar("R")
Synchronous = Literal["FULL", "NORMAL", "OFF"]

_LOG_COLUMNS = [item.name for item in fields(LogRow)]
_LOG_SELECT = f"SELECT {', '.join(_LOG_COLUMNS)} FROM log"


class SqliteTx(QueueQueries, ContextQueries):
    """One transaction on one connection; collects what it changes for the log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.deltas: dict[str, list[journal.Delta]] = {}

    # -- writing ---------------------------------------------------------------------------------

    def insert(self, row: Row) -> Row:
        table: Table[Any] = TABLES[type(row)]
        cursor = self._db.execute(table.insert, table.values(row))
        stored: Any = replace(cast(Any, row), id=cursor.lastrowid) if table.autonumber else row
        if isinstance(stored, Entry):
            self._index_entry(stored)
        self._note(table.name, stored, journal.logged_fields(table.name, stored, defaults=False))
        return cast(Row, stored)

    def _index_entry(self, entry: Entry) -> None:
        self._db.execute("INSERT INTO entry_words (rowid, gist) VALUES (?, ?)", (entry.id, entry.gist))
        # A label that means nothing in this run has been refused, but the refused entry is kept.
        self._db.executemany(
            "INSERT OR IGNORE INTO lineage (parent, child) SELECT id, ? FROM entry WHERE id = ? AND run = ?",
            [(entry.id, parent, entry.run) for parent in entry.derived_from],
        )

    def update(self, old: Row, new: Row) -> Row:
        table: Table[Any] = TABLES[type(old)]
        names = table.changed(old, new)
        if names:
            self._db.execute(*table.update(names, new))
            hidden = journal.UNLOGGED.get(table.name, frozenset())
            values = {name: journal.plain(getattr(new, name)) for name in names if name not in hidden}
            if values:
                self._note(table.name, new, values)
        return new

    def _note(self, table: str, row: Any, values: dict[str, Any]) -> None:
        if table in journal.LOGGED:
            run = row.id if table == "run" else row.run
            self.deltas.setdefault(run, []).append((table, str(row.id), values))

    def depend(self, task: Task, needs: Task) -> bool:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO dep (needs, task) VALUES (?, ?)", (needs.id, task.id)
        )
        if cursor.rowcount:
            self.deltas.setdefault(task.run, []).append(("dep", f"{needs.id}>{task.id}", {}))
        return bool(cursor.rowcount)

    def remember(self, scope: str, request_id: str, fingerprint: str, answer: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?)", (scope, request_id, fingerprint, answer)
        )

    def observe(self, run: RunId, key: str, outcome: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO observation VALUES (?, ?, ?)", (run, key, outcome))

    def close_log(self, op: str, actor: str, now: float) -> None:
        """Write the rows of the log for what this operation changed."""
        for run, deltas in self.deltas.items():
            version = self._db.execute("SELECT version FROM run WHERE id = ?", (run,)).fetchone()[0]
            changes = journal.encode(deltas)
            row = LogRow(RunId(run), 0, version, now, op, actor, changes, "", "")
            row = journal.chained(self.log_head(RunId(run)), row)
            marks = ", ".join("?" * len(_LOG_COLUMNS))
            values = [getattr(row, name) for name in _LOG_COLUMNS]
            self._db.execute(f"INSERT INTO log VALUES ({marks})", values)

    # -- finding ---------------------------------------------------------------------------------

    def run(self, run: RunId) -> Run | None:
        return self._one(RUN, "WHERE id = ?", run)

    def runs(self, state: RunState | None = None, limit: int = -1) -> list[Run]:
        newest = "ORDER BY opened_at DESC, id DESC LIMIT ?"
        if state is None:
            return self._all(RUN, newest, limit)[::-1]
        return self._all(RUN, f"WHERE state = ? {newest}", state, limit)[::-1]

    def homes(self, principal: str, agent: str) -> list[Run]:
        where = (
            "JOIN agent ON agent.run = run.id WHERE agent.principal = ? AND agent.name = ? ORDER BY agent.id"
        )
        return self._all(RUN, where, principal, agent)

    def agent(self, run: RunId, name: str) -> Agent | None:
        return self._one(AGENT, "WHERE run = ? AND name = ?", run, name)

    def agents(self, run: RunId) -> list[Agent]:
        return self._all(AGENT, "WHERE run = ? ORDER BY id", run)

    def sources(self, run: RunId) -> list[Source]:
        return self._all(SOURCE, "WHERE run = ? ORDER BY id", run)

    def observed(self, run: RunId, key: str) -> str | None:
        row = self._db.execute(
            "SELECT outcome FROM observation WHERE run = ? AND key = ?", (run, key)
        ).fetchone()
        return str(row[0]) if row else None

    def remembered(self, scope: str, request_id: str) -> tuple[str, str] | None:
        row = self._db.execute(
            "SELECT fingerprint, answer FROM request WHERE scope = ? AND id = ?", (scope, request_id)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def tokens(self) -> list[Token]:
        return self._all(TOKEN, "ORDER BY id")

    def token_with(self, sha256: str) -> Token | None:
        return self._one(TOKEN, "WHERE sha256 = ?", sha256)

    def log(self, run: RunId, after: int = 0, limit: int = -1) -> list[LogRow]:
        rows = self._db.execute(
            f"{_LOG_SELECT} WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?", (run, after, limit)
        )
        return [LogRow(*row) for row in rows.fetchall()]

    def log_head(self, run: RunId) -> LogRow | None:
        row = self._db.execute(f"{_LOG_SELECT} WHERE run = ? ORDER BY seq DESC LIMIT 1", (run,)).fetchone()
        return LogRow(*row) if row else None

    def dump(self, run: RunId) -> journal.Tables:
        tables: journal.Tables = {}
        for name, cls in journal.LOGGED.items():
            column = "id" if name == "run" else "run"
            rows: Iterable[Any] = self._all(TABLES[cls], f'WHERE "{column}" = ? ORDER BY id', run)
            found = {str(row.id): journal.logged_fields(name, row) for row in rows}
            if found:
                tables[name] = found
        deps = self._db.execute(
            "SELECT dep.needs, dep.task FROM dep JOIN task ON task.id = dep.task WHERE task.run = ?", (run,)
        ).fetchall()
        if deps:
            tables["dep"] = {f"{needs}>{task}": {} for needs, task in deps}
        return tables


@contextmanager
def _translated() -> Iterator[None]:
    """A broken constraint is a rule of ours that failed to see it coming."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(
            f"The board refused a row: {error}.", "Nothing was kept. Please report this as a bug."
        ) from error


class SqliteStore:
    """A board in one SQLite file; see `engine` for how it commits, waits and checkpoints."""

    def __init__(self, engine: Engine, path: Path, synchronous: Synchronous) -> None:
        self._engine = engine
        self._path = path
        self._synchronous = synchronous

    async def write(self, op: str, actor: str, now: float, action: Callable[[Tx], T]) -> T:
        def transaction(connection: sqlite3.Connection) -> T:
            tx = SqliteTx(connection)
            result = action(tx)
            tx.close_log(op, actor, now)
            return result

        with _translated():
            return await self._engine.write(transaction)

    async def read(self, action: Callable[[Tx], T]) -> T:
        with _translated():
            return await self._engine.read(lambda connection: action(SqliteTx(connection)))

    def committed(self) -> Cursor:
        return self._engine.committed()

    async def wait(self, since: Cursor, timeout_s: float) -> bool:
        return await self._engine.wait_for_commit(since, timeout_s)

    async def backup(self, target: Path) -> None:
        await self._engine.backup(target)

    async def check_integrity(self) -> str:
        rows = await self._engine.read(lambda db: db.execute("PRAGMA integrity_check(10)").fetchall())
        return "; ".join(str(row[0]) for row in rows)

    async def status(self) -> StoreStatus:
        schema = await self._engine.read(lambda db: int(db.execute("PRAGMA user_version").fetchone()[0]))
        warnings: tuple[str, ...] = ()
        if self._engine.wal_reset_bug:
            warnings = (
                f"SQLite {self._engine.sqlite_version} has the WAL-reset bug (fixed in 3.51.3). delm-mcp "
                "works around it; other programs that write to this file do not. "
                "`pip install 'delm-mcp[sqlite]'` brings a newer SQLite.",
            )
        return StoreStatus(
            engine="SQLite",
            engine_version=self._engine.sqlite_version,
            durability=f"WAL, synchronous={self._synchronous}, group commit",
            location=str(self._path),
            schema=schema,
            warnings=warnings,
        )


@asynccontextmanager
async def open_sqlite(
    path: Path, *, synchronous: Synchronous = "FULL", readers: int = 2, create: bool = True
) -> AsyncIterator[SqliteStore]:
    """Open (and, if wished, create) a board file, with its schema brought up to date.

    Args:
        path: The database file. Its folder must exist and be on a local disk.
        synchronous: SQLite's durability; only FULL keeps every acknowledged write through a power loss.
        readers: Connections that read beside the one that writes.
        create: Whether a missing file is made.

    Raises:
        StoreError: It cannot be opened; says why and what would work.
    """
    migrations = load_migrations("delm_mcp.store.migrations")
    async with Engine.open(
        path, migrations=migrations, synchronous=synchronous, readers=readers, create=create
    ) as engine:
        yield SqliteStore(engine, path, synchronous)
