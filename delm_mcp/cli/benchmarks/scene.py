"""A temporary board with as many tasks, agents and entries as a measurement needs."""

import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delm_mcp.board import Board
from delm_mcp.board.adding import NewTask
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.reading import Wanted
from delm_mcp.board.runs import Opening
from delm_mcp.cli.benchmarks.watched import Watch
from delm_mcp.domain.model import (
    Agent,
    Caller,
    Change,
    ContextChange,
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Principal,
    Role,
    RunId,
)
from delm_mcp.domain.policy import build
from delm_mcp.domain.proposal import Proposal
from delm_mcp.store.engine import Engine, load_migrations
from delm_mcp.store.rows import AGENT, CHANGE, ENTRY, TASK, Table
from delm_mcp.store.sqlite import SqliteStore
from delm_mcp.surfaces.web import ANYBODY

WORKER = ANYBODY
"""Who claims and proposes: whoever calls a server on loopback, so that both surfaces share a board."""
OWNER = Caller(Principal("bench:owner"), Role.OWNER)
NEEDS = ((), ("docs",), ("tests",))
DURABILITY = "WAL, synchronous=FULL, group commit"


@dataclass
class Scene:
    """An open board for measuring."""

    board: Board
    engine: Engine
    watch: Watch
    path: Path
    run: str = ""

    async def open_run(self) -> str:
        """Open a run with one task, under the policy that asks for no more than form and freshness."""
        await self._warm_up(await self._opened())
        self.run = await self._opened()
        return self.run

    async def _opened(self) -> str:
        opening = Opening(goal="Measure the board", policy=build({"preset": "open"}))
        run, _ = await self.board.open_run(OWNER, opening, [NewTask("Template")])
        return run

    async def _warm_up(self, run: str) -> None:
        """Do everything once, in a run of its own: what is loaded on first use is no part of a rate."""
        claim = await self.board.claim_task(WORKER, run=run)
        await self.board.propose_update(WORKER, finding(0), lease=claim.lease)
        await self.board.read_context(WORKER, Wanted(), run=run)

    async def fill(self, *, tasks: int = 0, agents: int = 0, entries: int = 0, kinds: int = 1) -> None:
        """Put rows in by SQL, without a history: agents `a1`, `a2` ..., tasks with `kinds` sets of needs."""
        run = RunId(self.run)

        def filling(db: sqlite3.Connection) -> None:
            _clone_tasks(db, run, tasks, kinds)
            _clone_agents(db, run, agents, tuple(sorted({tag for needs in NEEDS[:kinds] for tag in needs})))
            _clone_entries(db, run, entries)

        await self.engine.write(filling)
        await self.engine.checkpoint()


@asynccontextmanager
async def scene(path: Path, watch: Watch, examiner: Examiner | None = None) -> AsyncIterator[Scene]:
    """Open an empty board at `path` as a server does, on watched connections."""
    migrations = load_migrations("delm_mcp.store.migrations")
    async with Engine.open(path, migrations=migrations, connector=watch.connect) as engine:
        store = SqliteStore(engine, path, "FULL")
        ids = RandomIds()
        checker = Checker(examiner or Examiner(), store, time.time, ids)
        yield Scene(Board(store, clock=time.time, ids=ids, checker=checker), engine, watch, path)


def finding(number: int, known_version: int = 0, *, completes: bool = True) -> Proposal:
    """A fact as agents propose them: a sentence, and what it rests on."""
    return Proposal(
        Kind.FACT,
        f"Component {number} reads its settings once when it starts, and keeps them until it is restarted",
        evidence=(Evidence("artifact", "log", f"component {number}: settings loaded (1 time)"),),
        base_version=known_version,
        completes=completes,
    )


def _clone(db: sqlite3.Connection, table: Table[Any], row: Any, count: int, varied: Mapping[str, str]) -> int:
    """Insert a row once, and copies of it in which `varied` columns are SQL expressions of `n` (1, 2 ...).

    Returns:
        The first row's id, which is the template and stays.
    """
    template = db.execute(table.insert, table.values(row)).lastrowid or 0
    names = table.columns[1:]
    values = ", ".join(varied.get(name, f'"{name}"') for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    series = "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < ?)"
    copies = f"SELECT {values} FROM {table.name}, series WHERE id = ?"  # noqa: S608 - names of our own
    db.execute(f"{series} INSERT INTO {table.name} ({listed}) {copies}", (count, template))
    return template


def _clone_tasks(db: sqlite3.Connection, run: RunId, count: int, kinds: int) -> None:
    if not count:
        return
    needs = "CASE n % 3 WHEN 0 THEN '[]' WHEN 1 THEN '[\"docs\"]' ELSE '[\"tests\"]' END"
    varied = {"subject": "'Look at component ' || n", "subject_key": "'component ' || n"}
    if kinds > 1:
        varied["needs"] = needs
    first = TASK.decode(db.execute(f"{TASK.select} WHERE run = ? LIMIT 1", (run,)).fetchone())
    _clone(db, TASK, first, count - 2, varied)


def _clone_agents(db: sqlite3.Connection, run: RunId, count: int, tags: tuple[str, ...]) -> None:
    if count:
        now = time.time()
        agent = Agent(0, run, "a0", WORKER.principal, tags=tags, joined_at=now, seen_at=now)
        _clone(db, AGENT, agent, count, {"name": "'a' || n"})


def _clone_entries(db: sqlite3.Connection, run: RunId, count: int) -> None:
    """Admitted facts at versions 1, 2 ... of the context."""
    if not count:
        return
    idea = finding(0)
    template = Entry(
        EntryId(0),
        run,
        idea.kind,
        idea.gist,
        state=EntryState.ADMITTED,
        agent="a0",
        principal=WORKER.principal,
        evidence=idea.evidence,
        version=1,
        proposed_at=time.time(),
    )
    gist = "replace(gist, 'Component 0', 'Component ' || n)"
    first = _clone(
        db, ENTRY, template, count - 1, {"gist": gist, "gist_key": "'component ' || n", "version": "n + 1"}
    )
    change = ContextChange(0, run, 1, EntryId(first), Change.ADMITTED)
    _clone(db, CHANGE, change, count - 1, {"version": "n + 1", "entry": "entry + n"})
    db.execute(
        "INSERT INTO entry_words (rowid, gist) SELECT id, gist FROM entry WHERE run = ? AND id >= ?",
        (run, first),
    )
    db.execute("UPDATE run SET version = ? WHERE id = ?", (count, run))
