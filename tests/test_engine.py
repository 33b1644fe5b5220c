"""Writing in one process: group commit, savepoints, cancellation, and what each error does to whom."""

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from delm_mcp.errors import StoreError, StoreUnavailable
from delm_mcp.store.connection import connect, has_wal_reset_bug
from delm_mcp.store.engine import Engine
from tests.engine_worker import MIGRATIONS, Gate, ids, insert

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    async with Engine.open(path, migrations=MIGRATIONS) as opened:
        yield opened


def transactions(connection: sqlite3.Connection, log: list[str]) -> int:
    """Write down every statement that this connection runs from now on."""
    connection.set_trace_callback(log.append)
    return 0


async def test_a_write_is_answered_with_what_the_operation_returned(engine: Engine) -> None:
    assert await engine.write(insert("first")) == 1
    assert await engine.read(ids) == [1]


async def test_waiting_writes_share_one_commit_and_each_has_its_own_savepoint(engine: Engine) -> None:
    log: list[str] = []
    await engine.write(lambda connection: transactions(connection, log))
    log.clear()
    results = await asyncio.gather(*(engine.write(insert(str(n))) for n in range(64)))
    assert sorted(results) == list(range(1, 65))
    assert log.count("BEGIN IMMEDIATE") == log.count("COMMIT") == 1
    assert log.count("SAVEPOINT operation") == log.count("RELEASE operation") == 64


async def test_a_batch_has_a_bound_and_the_rest_follows_in_order(engine: Engine) -> None:
    log: list[str] = []
    await engine.write(lambda connection: transactions(connection, log))
    log.clear()
    results = await asyncio.gather(*(engine.write(insert(str(n))) for n in range(600)))
    assert results == list(range(1, 601))
    assert log.count("COMMIT") == math.ceil(600 / 256)


async def test_a_failing_operation_undoes_only_its_own_work(engine: Engine) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        insert("half")(connection)
        raise LookupError("changed its mind")

    before, failed, after = await asyncio.gather(
        engine.write(insert("before")),
        engine.write(fails),
        engine.write(insert("after")),
        return_exceptions=True,
    )
    assert isinstance(failed, LookupError)
    texts = "SELECT text FROM note ORDER BY id"
    assert await engine.read(lambda db: db.execute(texts).fetchall()) == [("before",), ("after",)]
    assert (before, after) == (1, 2)


async def test_a_broken_constraint_reaches_the_caller_as_itself(engine: Engine) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        await engine.write(lambda db: db.execute("INSERT INTO note (text) VALUES (NULL)"))
    assert await engine.write(insert("next")) == 1


async def test_an_operation_that_raises_stop_iteration_is_answered(engine: Engine) -> None:
    with anyio.fail_after(5), pytest.raises(RuntimeError):
        await engine.write(lambda db: next(iter(())))
    assert await engine.write(insert("next")) == 1


@pytest.mark.parametrize("leaving", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
async def test_an_operation_cannot_leave_the_shared_transaction(engine: Engine, leaving: str) -> None:
    def leaves(connection: sqlite3.Connection) -> None:
        for statement in leaving.split(";"):
            connection.execute(statement)

    with pytest.raises(StoreError):
        await engine.write(leaves)
    assert await engine.write(insert("the connection is clean again")) == 1


async def test_who_shares_a_transaction_that_is_broken_is_told_that_nothing_was_kept(engine: Engine) -> None:
    def breaks(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise LookupError("and raises")

    shared, broken = await asyncio.gather(
        engine.write(insert("innocent")), engine.write(breaks), return_exceptions=True
    )
    assert isinstance(shared, StoreError)
    assert isinstance(broken, StoreError)
    assert shared is not broken
    assert await engine.read(ids) == []


async def test_a_full_database_fails_the_write_and_takes_the_next_one_that_fits(engine: Engine) -> None:
    await engine.write(lambda db: db.execute("PRAGMA max_page_count = 20").fetchall())
    results = await asyncio.gather(
        engine.write(insert("x" * 500_000)), engine.write(insert("small")), return_exceptions=True
    )
    assert isinstance(results[0], StoreUnavailable)
    assert "full" in str(results[0])
    await engine.write(lambda db: db.execute("PRAGMA max_page_count = 10000").fetchall())
    kept = await engine.read(ids)
    assert len(kept) == (0 if isinstance(results[1], StoreUnavailable) else 1)
    await engine.write(insert("x" * 500_000))
    assert len(await engine.read(ids)) == len(kept) + 1


async def test_a_cancelled_caller_leaves_no_half_write(engine: Engine) -> None:
    gate = Gate()

    def two_rows(connection: sqlite3.Connection) -> int:
        insert("one")(connection)
        gate(connection)
        return insert("two")(connection)

    async with anyio.create_task_group() as callers:
        callers.start_soon(engine.write, two_rows)
        await gate.wait_reached()
        callers.cancel_scope.cancel()
    gate.open.set()
    assert await engine.write(insert("three")) == 3
    assert await engine.read(ids) == [1, 2, 3]


async def test_a_caller_cancelled_before_its_batch_begins_writes_nothing(engine: Engine) -> None:
    gate = Gate()
    blocker = asyncio.create_task(engine.write(gate))
    await gate.wait_reached()
    waiting = asyncio.create_task(engine.write(insert("never")))
    await asyncio.sleep(0)
    waiting.cancel()
    gate.open.set()
    await blocker
    assert waiting.cancelled() or await asyncio.wait([waiting])
    assert await engine.write(insert("first")) == 1


async def test_cancelling_the_caller_that_began_a_batch_does_not_cancel_the_others(engine: Engine) -> None:
    gate = Gate(insert("began"))
    first = asyncio.create_task(engine.write(gate))
    await gate.wait_reached()
    others = [asyncio.create_task(engine.write(insert(str(n)))) for n in range(10)]
    first.cancel()
    gate.open.set()
    assert await asyncio.gather(*others) == list(range(2, 12))
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_writes_survive_random_cancellations(engine: Engine) -> None:
    acknowledged: set[int] = set()

    async def caller(cancel_after: int) -> None:
        with anyio.CancelScope() as scope:
            for n in range(20):
                if n == cancel_after:
                    asyncio.get_running_loop().call_soon(scope.cancel)
                acknowledged.add(await engine.write(insert("kept")))

    async with anyio.create_task_group() as callers:
        for n in range(40):
            callers.start_soon(caller, n)
    assert acknowledged <= set(await engine.read(ids))
    assert await engine.write(lambda db: db.in_transaction)


async def test_the_engine_names_its_sqlite(engine: Engine) -> None:
    with suppress(ImportError):
        assert engine.sqlite_version in (sqlite3.sqlite_version, __import__("pysqlite3").sqlite_version)
    assert engine.wal_reset_bug == has_wal_reset_bug(engine.sqlite_version)


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.0", True),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.53.4", False),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_known(version: str, affected: bool) -> None:
    assert has_wal_reset_bug(version) is affected


def test_a_connection_begins_no_transaction_by_itself(tmp_path: Path) -> None:
    connection = connect(tmp_path / "plain.db")
    connection.execute("CREATE TABLE t (v)")
    connection.execute("INSERT INTO t VALUES (1)")
    assert not connection.in_transaction
    connection.close()
