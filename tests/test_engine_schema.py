"""The schema of a board: how migrations get there, and what is refused."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.domain.model import (
    Agent,
    Change,
    Check,
    CheckId,
    CheckState,
    Command,
    ContextChange,
    EntryId,
    EntryState,
    Evidence,
    Principal,
    Receipt,
    Role,
    Run,
    Source,
    TaskState,
    Token,
    Verdict,
)
from delm_mcp.errors import StoreCorrupt, StoreFromTheFuture
from delm_mcp.store.base import Tx
from delm_mcp.store.engine import Engine, Migration, load_migrations
from delm_mcp.store.migrate import _statements
from delm_mcp.store.sqlite import open_sqlite
from tests.boards import ADA, BOB, CYD, START, desk_in, fact
from tests.engine_worker import MIGRATIONS, insert
from tests.engines import RUN, entry, task

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.db"


TAGS = Migration(2, "tag", "CREATE TABLE tag (name TEXT); -- a comment; with a semicolon\nDROP TABLE tag;")
COLUMN_NEXT = Migration(2, "author", "ALTER TABLE note ADD COLUMN author TEXT")
COLUMN = Migration(3, "author", "ALTER TABLE note ADD COLUMN author TEXT NOT NULL DEFAULT ''")


async def schema(path: Path, migrations: list[Migration]) -> tuple[int, list[tuple[int, str]]]:
    def read(connection: sqlite3.Connection) -> tuple[int, list[tuple[int, str]]]:
        version = connection.execute("PRAGMA user_version").fetchall()[0][0]
        return version, connection.execute("SELECT number, name FROM migration ORDER BY number").fetchall()

    async with Engine.open(path, migrations=migrations) as engine:
        return await engine.read(read)


async def test_migrations_are_applied_once_in_order_and_keep_the_rows(path: Path) -> None:
    async with Engine.open(path, migrations=MIGRATIONS) as engine:
        await engine.write(insert("old"))
    history = [*MIGRATIONS, TAGS, COLUMN]
    expected = (3, [(1, "note"), (2, "tag"), (3, "author")])
    assert await schema(path, history) == expected
    assert await schema(path, history) == expected
    async with Engine.open(path, migrations=history) as engine:
        rows = await engine.read(lambda db: db.execute("SELECT text, author FROM note").fetchall())
    assert rows == [("old", "")]


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(path: Path) -> None:
    await schema(path, MIGRATIONS)
    broken = Migration(3, "broken", "CREATE TABLE half (v); CREATE TABLE note (v);")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        await schema(path, [*MIGRATIONS, TAGS, broken])
    assert await schema(path, MIGRATIONS) == (1, [(1, "note")])


async def test_a_board_from_the_future_is_refused_naming_both_versions(path: Path) -> None:
    await schema(path, [*MIGRATIONS, TAGS, COLUMN])
    with pytest.raises(StoreFromTheFuture, match=r"schema 3.* up to 1") as caught:
        await schema(path, MIGRATIONS)
    assert "pip install -U" in caught.value.hint
    assert await schema(path, [*MIGRATIONS, TAGS, COLUMN])


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(path: Path) -> None:
    await schema(path, MIGRATIONS)
    changed = Migration(1, "note", MIGRATIONS[0].sql + " -- improved")
    with pytest.raises(StoreCorrupt, match="another text of migration 0001"):
        await schema(path, [changed])


async def test_a_migration_must_not_end_the_transaction(path: Path) -> None:
    with pytest.raises(ValueError, match="0002 ends the transaction"):
        await schema(path, [*MIGRATIONS, Migration(2, "ends", "COMMIT; BEGIN")])
    assert await schema(path, MIGRATIONS) == (1, [(1, "note")])


def test_a_script_is_split_where_its_statements_end() -> None:
    script = """
    CREATE TABLE a (v DEFAULT ';');  -- one; two
    /* a comment; here */
    CREATE TRIGGER b AFTER INSERT ON a BEGIN DELETE FROM a; SELECT 1; END;
    INSERT INTO a VALUES ('it''s; fine')
    -- the end"""
    statements = list(_statements(script))
    assert len(statements) == 3
    connection = sqlite3.connect(":memory:")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def package(folder: Path, *names: str) -> str:
    name = f"migrations_{abs(hash(folder))}"
    (folder / name).mkdir()
    for file in ("__init__.py", *names):
        (folder / name / file).write_text("SELECT 1;" if file.endswith(".sql") else "")
    return name


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["1_first.sql"], "not named like"),
        (["0001_a.sql", "0003_c.sql"], "without a gap"),
        (["0001_a.sql", "0001_b.sql"], "without a gap"),
    ],
)
def test_misnumbered_migrations_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], problem: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=problem):
        load_migrations(package(tmp_path, *names))


def test_migrations_are_read_from_a_package_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load_migrations(package(tmp_path, "0002_b.sql", "0001_a.sql"))
    assert [(migration.number, migration.name, migration.sql) for migration in found] == [
        (1, "a", "SELECT 1;"), (2, "b", "SELECT 1;"),
    ]  # fmt: skip


# -- a board of the first release ------------------------------------------------------------------

OURS = load_migrations("delm_mcp.store.migrations")
# What a policy said before there were peers, a judge, and inputs of commands.
OLD_POLICY = json.dumps(
    {
        "preset": "standard",
        "fact": {"checks": ["novel", "quotes"]},
        "fail": {"checks": ["novel", "scoped", "quotes"]},
        "patch": {"checks": ["novel", "quotes", "command"]},
        "answer": {"checks": ["parents", "quotes", "command"]},
        "peers": {"no_peers": "attest"},
        "command": {"fail_at_base": "require", "unavailable_s": 600.0, "max_tries": 5},
        "limits": {"lease_s": 300.0, "lease_max_s": 14400.0, "max_attempts": 3, "max_rejections": 20},
        "protect": [],
    }
)


def old_rows(tx: Tx) -> None:
    """A run in the middle of its work, with rows in every table."""
    quoted = (Evidence("quote", "notes", "drops a comma", {"offset": 11}),)
    judged = (Receipt("quotes", Verdict.PASS, "1 found", START, 0.1),)
    admitted = {"state": EntryState.ADMITTED, "evidence": quoted, "receipts": judged, "version": 1}
    by = {"agent": "ada-1", "principal": Principal("ada"), "proposed_at": START, "decided_at": START}
    told = {"state": TaskState.DONE, "agent": "ada-1", "result": 1, "ended_at": START}
    tx.insert(
        Run(RUN, "Mend the parser", policy=OLD_POLICY, commands=(Command("test", ("true",)),), version=1)
    )
    tx.insert(Agent(0, RUN, "ada-1", Principal("ada"), ("gpu",), START, START, 1, 1))
    done, ready = tx.insert(task("one", **told)), tx.insert(task("two", needs=("gpu",), favours="ada-1"))
    lease = {"state": TaskState.LEASED, "agent": "ada-1", "token": "tttttt", "claimed_at": START}
    held = tx.insert(task("three", lease_until=START + 60, **lease))
    tx.depend(ready, done)
    one = tx.insert(
        entry("The parser drops a comma", key="k", task=done.id, completes=True, **admitted, **by)
    )
    two = tx.insert(entry("So the printer does", derived_from=(one.id,), **admitted, **by))
    tx.insert(entry("A doubtful one", supersedes=(one.id,), task=held.id, **by))
    for row in (one, two):
        tx.insert(ContextChange(0, RUN, 1, row.id, Change.ADMITTED))
    tx.insert(Check(CheckId(0), RUN, one.id, "quotes", CheckState.DONE, "pass", ended_at=START))
    tx.insert(Check(CheckId(0), RUN, EntryId(3), "quotes", created_at=START))
    tx.insert(Source(0, RUN, "notes", "ab" * 32, "The parser drops a comma.", START))
    tx.insert(Token(0, "laptop", "cd" * 32, Role.AGENT, (RUN,)))
    tx.observe(RUN, "test@tree", "passed")
    tx.remember("lease/T3.tttttt", "r1", "print", "3")


def old_changes(tx: Tx) -> None:
    """The next operation: an entry is superseded."""
    run, one = tx.run(RUN), tx.entry(EntryId(1))
    assert run is not None
    assert one is not None
    tx.update(run, replace(run, version=2))
    live = {"state": EntryState.ADMITTED, "supersedes": (1,), "version": 2}
    heir = tx.insert(entry("The parser drops every comma", **live))
    tx.insert(ContextChange(0, RUN, 2, heir.id, Change.ADMITTED))
    tx.insert(ContextChange(0, RUN, 2, one.id, Change.SUPERSEDED, f"by {heir.label}"))
    tx.update(one, replace(one, state=EntryState.SUPERSEDED, reason=f"by {heir.label}"))


def stored(db: sqlite3.Connection, name: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {columns} FROM {name}").fetchall()  # noqa: S608 - a table of ours


async def old_board(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Make the file `board.db` as the first release left it.

    Its log is written as it was then: a row says only what differs from the defaults, so columns that
    did not exist yet are not in it.

    Returns:
        The rows of each table.
    """
    now, then = folder / "now.db", folder / "board.db"
    async with open_sqlite(now, synchronous="OFF") as store:
        await store.write("test", "suite", START, old_rows)
        await store.write("test", "suite", START, old_changes)
    async with Engine.open(then, migrations=OURS[:1]):
        pass
    kept: dict[str, list[tuple[Any, ...]]] = {}
    with closing(sqlite3.connect(then)) as db:
        db.execute("ATTACH ? AS now", (str(now),))
        for name, kind in stored(db, "main.sqlite_schema", "name, type"):
            if kind != "table" or name.startswith(("sqlite_", "entry_words", "migration")):
                continue
            columns = ", ".join(f'"{row[1]}"' for row in db.execute(f"PRAGMA main.table_info({name})"))
            copied = f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM now.{name}"  # noqa: S608
            db.execute(copied)
            kept[name] = stored(db, f"main.{name}")
        db.execute("INSERT INTO main.entry_words (rowid, gist) SELECT id, gist FROM now.entry")
        db.commit()
    assert [name for name, rows in kept.items() if not rows] == []
    return kept


async def test_a_board_of_the_first_release_is_migrated_and_keeps_every_row(tmp_path: Path) -> None:
    kept = await old_board(tmp_path)
    async with desk_in(tmp_path) as desk:
        assert (await desk.store.status()).schema == len(OURS)
        assert await desk.store.check_integrity() == "ok"
        await desk.audit()
    with closing(sqlite3.connect(tmp_path / "board.db")) as db:
        for name, rows in kept.items():
            assert [row[: len(rows[0])] for row in stored(db, name)] == rows, name


async def test_work_goes_on_where_the_first_release_left_it(tmp_path: Path) -> None:
    await old_board(tmp_path)
    async with desk_in(tmp_path) as desk:
        desk.run = RUN
        held = await desk.hold(ADA, agent="ada-1")
        assert held.task is not None
        assert held.task.id == "T3"
        new = await desk.admit(held, fact("The lexer does too", derived_from=(2,)))
        assert await desk.look(lambda tx: tx.matching(RUN, ["printer"], 9)) == [2]
        cyd, bob = await desk.claim(CYD), await desk.claim(BOB)
        await desk.dispute("E2", "drift", by=cyd)
        assert {(await desk.entry(label)).state for label in ("E2", new.entry)} == {EntryState.SUSPECT}
        judged = await desk.vote(await desk.hold(BOB, agent=bob.agent), "pass")
        assert judged.state == "admitted"
        two, last = await desk.entry("E2"), await desk.entry(new.entry)
        assert (two.doubts, two.round, last.state) == ((), 1, EntryState.ADMITTED)
        assert await desk.board.checker.run_next()  # the check that was waiting
        await desk.audit()


async def test_the_first_release_refuses_a_board_of_this_one(tmp_path: Path) -> None:
    async with desk_in(tmp_path):
        pass
    with pytest.raises(StoreFromTheFuture, match=rf"schema {len(OURS)}.* up to 1"):
        await schema(tmp_path / "board.db", OURS[:1])


async def test_a_migration_of_ours_that_fails_half_way_leaves_the_old_board(tmp_path: Path) -> None:
    kept = await old_board(tmp_path)
    broken = Migration(2, OURS[1].name, OURS[1].sql + "\nCREATE TABLE vote (id);")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        await schema(tmp_path / "board.db", [OURS[0], broken])
    with closing(sqlite3.connect(tmp_path / "board.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert {name: stored(db, name) for name in kept} == kept
