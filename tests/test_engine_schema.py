"""The schema of a board: how migrations get there, and what is refused."""

import sqlite3
from pathlib import Path

import pytest

from delm_mcp.errors import StoreCorrupt, StoreFromTheFuture
from delm_mcp.store.engine import Engine, Migration, load_migrations
from delm_mcp.store.migrate import _statements
from tests.engine_worker import MIGRATIONS, insert

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
