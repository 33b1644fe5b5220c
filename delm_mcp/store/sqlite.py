"""The SQLite engine: every query of the board, in the order of `base.Tx`.

`SELECT ... FOR UPDATE SKIP LOCKED` has no place here: a write transaction is the only one there is
(BEGIN IMMEDIATE under a lock file), so the next ready task is simply read and then updated.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields, replace
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from delm_mcp.domain.model import (
    UNFINISHED,
    Agent,
    Check,
    CheckId,
    ContextChange,
    Entry,
    EntryId,
    EntryState,
    LogRow,
    Run,
    RunId,
    RunState,
    Source,
    Task,
    TaskId,
    TaskState,
    Token,
    Vote,
)
from delm_mcp.errors import StoreError
from delm_mcp.store import journal
from delm_mcp.store.base import Cursor, Row, StoreStatus, Tx
from delm_mcp.store.engine import Engine, load_migrations
from delm_mcp.store.rows import (
    AGENT,
    CHANGE,
    CHECKS,
    ENTRY,
    HEADLINE,
    RUN,
    SOURCE,
    TABLES,
    TASK,
    TOKEN,
    VOTE,
    Table,
)

T = TypeVar("T")
R = TypeVar("R")
Synchronous = Literal["FULL", "NORMAL", "OFF"]

IDS_A_QUERY = 500
_TEXTS = {"summary", "raw", "evidence"}
_OUTLINE = Table("entry", Entry, only=tuple(f.name for f in fields(Entry) if f.name not in _TEXTS))
_LOG_COLUMNS = [item.name for item in fields(LogRow)]
_LOG_SELECT = f"SELECT {', '.join(_LOG_COLUMNS)} FROM log"
_UNFINISHED = ", ".join(f"'{state}'" for state in UNFINISHED)

# Each step seeks the next distinct set of needs in the index, so a million ready tasks with three
# sets of needs cost three seeks.
_READY_NEEDS = """
WITH RECURSIVE distinct_needs (needs) AS (
    SELECT min(needs) FROM task WHERE run = :run AND state = 'ready' AND kind = 'work'
    UNION ALL
    SELECT (SELECT min(needs) FROM task
            WHERE run = :run AND state = 'ready' AND kind = 'work' AND needs > distinct_needs.needs)
    FROM distinct_needs WHERE distinct_needs.needs IS NOT NULL
)
SELECT needs FROM distinct_needs WHERE needs IS NOT NULL
"""

# Independence is counted per principal: not the author, nobody who disputed the entry, nobody who has
# judged it in this round or is judging it now.
_MAY_JUDGE = """
NOT EXISTS (SELECT 1 FROM entry WHERE entry.id = task.about AND entry.principal = :principal)
AND NOT EXISTS (
    SELECT 1 FROM vote JOIN entry ON entry.id = vote.entry WHERE vote.entry = task.about
    AND vote.principal = :principal AND (vote.task = 0 OR vote.round = entry.round))
AND NOT EXISTS (
    SELECT 1 FROM task AS held INDEXED BY task_about
    JOIN agent ON agent.run = held.run AND agent.name = held.agent
    WHERE held.about = task.about AND held.kind = 'verify' AND held.state = 'leased'
    AND held.state IN ('blocked', 'ready', 'leased', 'submitted') AND agent.principal = :principal)
"""

_LINEAGE = """
WITH RECURSIVE reached (id) AS (
    SELECT {to} FROM lineage WHERE {start} = ?
    UNION
    SELECT lineage.{to} FROM lineage JOIN reached ON lineage.{start} = reached.id
)
"""


class SqliteTx:
    """One transaction on one connection; collects what it changes for the log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
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

    def _one(self, table: Table[R], where: str, *values: Any) -> R | None:
        row = self._db.execute(f"{table.select} {where}", values).fetchone()
        return table.decode(row) if row else None

    def _all(self, table: Table[R], where: str, *values: Any) -> list[R]:
        return table.decode_all(self._db.execute(f"{table.select} {where}", values).fetchall())

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

    def task(self, task: TaskId) -> Task | None:
        return self._one(TASK, "WHERE id = ?", task)

    def tasks(self, run: RunId, states: Sequence[TaskState] = (), limit: int = -1) -> list[Task]:
        # A query a state, because each is then a range of one index, read no further than the limit.
        listed = states or tuple(TaskState)
        where = "INDEXED BY task_state WHERE run = ? AND state = ? ORDER BY id LIMIT ?"
        found = [task for state in listed for task in self._all(TASK, where, run, state, limit)]
        found.sort(key=lambda task: task.id)
        return found if limit < 0 else found[:limit]

    def task_counts(self, run: RunId) -> dict[TaskState, int]:
        rows = self._db.execute("SELECT state, count(*) FROM task WHERE run = ? GROUP BY state", (run,))
        return {TaskState(state): count for state, count in rows.fetchall()}

    def same_subject(self, run: RunId, subject_key: str, copy_of: int) -> Task | None:
        where = f"WHERE run = ? AND subject_key = ? AND copy_of = ? AND state IN ({_UNFINISHED}) LIMIT 1"
        return self._one(TASK, where, run, subject_key, copy_of)

    def leased_to(self, run: RunId, agent: str) -> Task | None:
        where = "INDEXED BY task_agent WHERE run = ? AND agent = ? AND state = 'leased' LIMIT 1"
        return self._one(TASK, where, run, agent)

    def favoured(self, run: RunId, agent: str) -> Task | None:
        where = (
            "INDEXED BY task_favours WHERE run = ? AND favours = ? "
            "AND state = 'ready' AND favours <> '' AND kind <> 'decide' "
            "ORDER BY id LIMIT 1"
        )
        return self._one(TASK, where, run, agent)

    def next_ready(
        self, run: RunId, tags: frozenset[str], agent: str, now: float, latest: float
    ) -> Task | None:
        best: Task | None = None
        for needs in self.ready_needs(run):
            if not tags.issuperset(needs):
                continue
            head = self._one(
                TASK,
                "INDEXED BY task_ready WHERE run = ? AND state = 'ready' AND kind = 'work' AND needs = ? "
                "AND ((favours = '' AND shuns <> ?) OR favours_until <= ? OR favours_until > ?) "
                "ORDER BY rank DESC, id LIMIT 1",
                run,
                json.dumps(list(needs), separators=(",", ":"), ensure_ascii=False),
                agent,
                now,
                latest,
            )
            if head and (best is None or (-head.rank, head.id) < (-best.rank, best.id)):
                best = head
        return best

    def next_verify(self, run: RunId, principal: str) -> Task | None:
        where = (
            "INDEXED BY task_verify WHERE run = :run AND state = 'ready' AND kind = 'verify' "
            f"AND {_MAY_JUDGE} ORDER BY rank DESC, id LIMIT 1"
        )
        row = self._db.execute(f"{TASK.select} {where}", {"run": run, "principal": principal}).fetchone()
        return TASK.decode(row) if row else None

    def verifications(self, entry: EntryId) -> list[Task]:
        open_about = f"INDEXED BY task_about WHERE about = ? AND kind = 'verify' AND state IN ({_UNFINISHED})"
        return self._all(TASK, f"{open_about} ORDER BY id", entry)

    def decision(self, run: RunId) -> Task | None:
        return self._one(
            TASK, "WHERE run = ? AND state = 'ready' AND kind = 'decide' ORDER BY id LIMIT 1", run
        )

    def expired(self, run: RunId, now: float, latest: float, limit: int) -> list[Task]:
        # Two ranges of one index; as one condition with OR it would read every leased task.
        leased = "INDEXED BY task_lease WHERE run = ? AND state = 'leased' AND lease_until"
        ended = self._all(TASK, f"{leased} < ? ORDER BY lease_until LIMIT ?", run, now, limit)
        return ended + self._all(
            TASK, f"{leased} > ? ORDER BY lease_until LIMIT ?", run, latest, limit - len(ended)
        )

    def next_expiry(self, run: RunId) -> float:
        ends = self._db.execute(
            "SELECT (SELECT min(lease_until) FROM task WHERE run = :run AND state = 'leased'), "
            "(SELECT min(favours_until) FROM task "
            "WHERE run = :run AND state = 'ready' AND favours_until > 0)",
            {"run": run},
        ).fetchone()
        return min((end for end in ends if end is not None), default=inf)

    def ready_needs(self, run: RunId) -> list[tuple[str, ...]]:
        rows = self._db.execute(_READY_NEEDS, {"run": run}).fetchall()
        return [tuple(json.loads(needs)) for (needs,) in rows]

    def needed_by(self, task: TaskId) -> list[Task]:
        return self._all(TASK, "JOIN dep ON dep.task = task.id WHERE dep.needs = ? ORDER BY dep.task", task)

    def waits_for(self, task: TaskId) -> list[Task]:
        return self._all(TASK, "JOIN dep ON dep.needs = task.id WHERE dep.task = ? ORDER BY dep.needs", task)

    def entry(self, entry: EntryId) -> Entry | None:
        return self._one(ENTRY, "WHERE id = ?", entry)

    def entries(
        self, run: RunId, states: Sequence[EntryState] = (), limit: int = -1, *, newest: bool = False
    ) -> list[Entry]:
        only = f"AND state IN ({_marks(states)})" if states else ""
        order = "DESC" if newest else ""
        found = self._all(ENTRY, f"WHERE run = ? {only} ORDER BY id {order} LIMIT ?", run, *states, limit)
        return found[::-1] if newest else found

    def headlines(self, entries: Collection[EntryId]) -> dict[EntryId, Entry]:
        found: dict[EntryId, Entry] = {}
        wanted = list(entries)
        for start in range(0, len(wanted), IDS_A_QUERY):
            some = wanted[start : start + IDS_A_QUERY]
            where = f"WHERE id IN ({_marks(some)})"
            found |= {entry.id: entry for entry in self._all(HEADLINE, where, *some)}
        return found

    def outlines(self, run: RunId, states: Sequence[EntryState] = ()) -> list[Entry]:
        only = f"AND state IN ({_marks(states)})" if states else ""
        return self._all(_OUTLINE, f"WHERE run = ? {only} ORDER BY id", run, *states)

    def entry_counts(self, run: RunId) -> dict[tuple[str, EntryState], int]:
        counted = "SELECT agent, state, count(*) FROM entry WHERE run = ? GROUP BY agent, state"
        rows = self._db.execute(counted, (run,)).fetchall()
        return {(agent, EntryState(state)): count for agent, state, count in rows}

    def entries_of(self, task: TaskId) -> list[Entry]:
        return self._all(ENTRY, "WHERE task = ? ORDER BY id", task)

    def live_with_key(self, run: RunId, key: str) -> Entry | None:
        where = "WHERE run = ? AND key = ? AND key <> '' AND state IN ('admitted', 'suspect')"
        return self._one(ENTRY, where, run, key)

    def live_with_gist(self, run: RunId, gist_key: str) -> Entry | None:
        where = "WHERE run = ? AND gist_key = ? AND state IN ('admitted', 'suspect') ORDER BY id LIMIT 1"
        return self._one(ENTRY, where, run, gist_key)

    def derived_from(self, entry: EntryId) -> list[Entry]:
        where = "JOIN lineage ON lineage.child = entry.id WHERE lineage.parent = ? ORDER BY entry.id"
        return self._all(ENTRY, where, entry)

    def descendants(self, entry: EntryId) -> list[Entry]:
        return self._related(_LINEAGE.format(start="parent", to="child"), entry)

    def ancestors(self, entry: EntryId) -> list[Entry]:
        return self._related(_LINEAGE.format(start="child", to="parent"), entry)

    def suspect_ancestors(self, entry: EntryId) -> int:
        reached = _LINEAGE.format(start="child", to="parent")
        row = self._db.execute(
            f"{reached} SELECT count(*) FROM reached JOIN entry ON entry.id = reached.id "
            "WHERE entry.state = 'suspect'",
            (entry,),
        ).fetchone()
        return int(row[0])

    def _related(self, reached: str, entry: EntryId) -> list[Entry]:
        # A parent exists before its child, so the order of ids is the order of derivation.
        rows = self._db.execute(
            f"{reached} {ENTRY.select} JOIN reached ON reached.id = entry.id ORDER BY entry.id", (entry,)
        )
        return ENTRY.decode_all(rows.fetchall())

    def executed(self, run: RunId) -> list[Entry]:
        where = (
            "INDEXED BY entry_executed WHERE run = ? AND strength = 'executed' AND state = 'admitted' "
            "AND kind IN ('fact', 'fail') ORDER BY id"
        )
        return self._all(ENTRY, where, run)

    def votes(self, entry: EntryId) -> list[Vote]:
        return self._all(VOTE, "WHERE entry = ? ORDER BY id", entry)

    def votes_in(self, run: RunId) -> list[Vote]:
        return self._all(VOTE, "WHERE run = ? ORDER BY id", run)

    def matching(self, run: RunId, words: Sequence[str], limit: int) -> list[EntryId]:
        terms = " ".join('"' + word.replace('"', '""') + '"' for word in words)
        rows = self._db.execute(
            "SELECT entry_words.rowid FROM entry_words JOIN entry ON entry.id = entry_words.rowid "
            "WHERE entry_words MATCH ? AND entry.run = ? ORDER BY entry_words.rowid DESC LIMIT ?",
            (terms, run, limit),
        )
        return [EntryId(row[0]) for row in rows.fetchall()]

    def changes(
        self, run: RunId, after: int, upto: int, limit: int = -1, reader: str = ""
    ) -> list[ContextChange]:
        where = (
            "WHERE run = ? AND version > ? AND version <= ? AND audience IN ('', ?) "
            "ORDER BY version, id LIMIT ?"
        )
        return self._all(CHANGE, where, run, after, upto, reader, limit)

    def changes_of(self, entry: EntryId) -> list[ContextChange]:
        return self._all(CHANGE, "WHERE entry = ? ORDER BY id", entry)

    def check(self, check: CheckId) -> Check | None:
        return self._one(CHECKS, "WHERE id = ?", check)

    def checks_of(self, entry: EntryId) -> list[Check]:
        return self._all(CHECKS, "WHERE entry = ? ORDER BY id", entry)

    def next_check(self, names: Sequence[str], repo: str, now: float, latest: float) -> Check | None:
        busy = self._db.execute(
            "SELECT run FROM checks INDEXED BY checks_running "
            "WHERE name = 'command' AND state = 'running' AND lease_until BETWEEN ? AND ?",
            (now, latest),
        ).fetchall()
        runs = [run for (run,) in busy]
        free = "state <> 'done' AND (lease_until < ? OR lease_until > ?)"
        here = "('*' = ? OR (SELECT repo FROM run WHERE run.id = checks.run) = ?)"
        mine = f"run NOT IN ({_marks(runs)}) AND {here}"
        found: list[Check | None] = []
        for name in names:
            # Patience with peers may be longer than any lease, so there no pause is too long to be true.
            until = inf if name == "peers" else latest
            where, bound = f"INDEXED BY checks_open WHERE name = ? AND {free}", [name, now, until]
            if name == "command":
                where, bound = f"{where} AND {mine}", [*bound, *runs, repo, repo]
            found.append(self._one(CHECKS, f"{where} ORDER BY id LIMIT 1", *bound))
        return min((check for check in found if check), key=lambda check: check.id, default=None)

    def checks_moved_at(self, run: RunId, name: str) -> float:
        row = self._db.execute(
            "SELECT max(ended_at) FROM checks WHERE run = ? AND name = ?", (run, name)
        ).fetchone()
        return float(row[0] or 0.0)

    def open_checks(self, run: RunId) -> int:
        row = self._db.execute(
            "SELECT count(*) FROM checks WHERE run = ? AND state <> 'done'", (run,)
        ).fetchone()
        return int(row[0])

    def checks_open(self, run: RunId, name: str) -> list[Check]:
        where = "INDEXED BY checks_run WHERE run = ? AND state <> 'done' AND name = ? ORDER BY id"
        return self._all(CHECKS, where, run, name)

    def checks_in(self, run: RunId, name: str) -> list[Check]:
        return self._all(CHECKS, "WHERE run = ? AND name = ? ORDER BY id", run, name)

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


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


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
