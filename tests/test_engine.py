"""The engine in one process: group commit, cancellation, snapshots, waiting, closing."""

import asyncio
import math
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from delm_mcp.errors import StoreError, StoreUnavailable
from delm_mcp.store.connection import Synchronous, connect, has_wal_reset_bug
from delm_mcp.store.engine import Engine
from delm_mcp.store.lock import FileLock
from tests.engine_worker import MIGRATIONS, ids, insert

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    async with Engine.open(path, migrations=MIGRATIONS) as opened:
        yield opened


class Gate:
    """An operation that stops in the connection's thread until it is let through."""

    def __init__(self, then: Callable[[sqlite3.Connection], int] = lambda connection: 0) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._then = then

    def __call__(self, connection: sqlite3.Connection) -> int:
        self.reached.set()
        assert self.open.wait(10)
        return self._then(connection)

    async def wait_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 10)


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


async def test_a_reader_sees_one_snapshot_while_writers_go_on(engine: Engine) -> None:
    await engine.write(insert("first"))
    reached, go_on = threading.Event(), threading.Event()

    def long_read(connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
        before = ids(connection)
        reached.set()
        assert go_on.wait(10)
        return before, ids(connection)

    reading = asyncio.create_task(engine.read(long_read))
    assert await asyncio.to_thread(reached.wait, 10)
    with anyio.fail_after(5):
        assert await engine.write(insert("second")) == 2
        assert await engine.read(ids) == [1, 2]
    go_on.set()
    assert await reading == ([1], [1])


async def test_a_reader_never_waits_for_a_writer(engine: Engine) -> None:
    gate = Gate(insert("slow"))
    writing = asyncio.create_task(engine.write(gate))
    await gate.wait_reached()
    with anyio.fail_after(5):
        assert await engine.read(ids) == []
    gate.open.set()
    await writing


async def test_more_reads_than_readers_take_turns(engine: Engine) -> None:
    await engine.write(insert("first"))
    assert await asyncio.gather(*(engine.read(ids) for _ in range(50))) == [[1]] * 50


async def test_a_reader_that_is_told_to_write_is_refused(engine: Engine) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await engine.read(insert("sneaky"))
    assert await engine.read(ids) == []


async def test_cancelling_a_read_stops_its_query_and_frees_the_reader(path: Path) -> None:
    running = threading.Event()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

    def read(connection: sqlite3.Connection) -> None:
        running.set()
        connection.execute(endless).fetchall()

    async with Engine.open(path, migrations=MIGRATIONS, readers=1) as engine:
        async with anyio.create_task_group() as callers:
            callers.start_soon(engine.read, read)
            assert await asyncio.to_thread(running.wait, 10)
            await engine.write(insert("by now the query runs"))
            callers.cancel_scope.cancel()
        with anyio.fail_after(10):
            assert await engine.read(ids) == [1]


async def test_a_commit_wakes_those_who_wait_for_it_within_10_ms(engine: Engine) -> None:
    late_s = []
    for _ in range(15):
        since = engine.committed()
        waiting = asyncio.create_task(engine.wait_for_commit(since, 5))
        await asyncio.sleep(0)
        await engine.write(insert("news"))
        answered = time.monotonic()
        assert await waiting
        late_s.append(time.monotonic() - answered)
    assert sorted(late_s)[7] < 0.010


async def test_a_wait_for_what_has_already_happened_returns_at_once(engine: Engine) -> None:
    since = engine.committed()
    await engine.write(insert("news"))
    with anyio.fail_after(1):
        assert await engine.wait_for_commit(since, 25)


async def test_an_expired_wait_says_so(engine: Engine) -> None:
    assert not await engine.wait_for_commit(engine.committed(), 0.12)
    assert not await engine.wait_for_commit(engine.committed(), 0)


async def test_a_write_that_changes_no_row_wakes_nobody(engine: Engine) -> None:
    since = engine.committed()
    await engine.write(lambda db: db.execute("UPDATE note SET text = '' WHERE id = 99"))
    assert engine.committed() == since


async def test_nobody_probes_the_file_while_nobody_waits(engine: Engine) -> None:
    await engine.wait_for_commit(engine.committed(), 1)
    with anyio.fail_after(5):
        while engine._commits._watch is not None:
            await asyncio.wait([engine._commits._watch])


class Counted:
    """Opens connections and counts them; each checkpoint opens one."""

    def __init__(self) -> None:
        self.opened = 0

    def __call__(self, path: Path) -> sqlite3.Connection:
        self.opened += 1
        return connect(path)


async def test_a_grown_log_is_checkpointed_and_starts_again_from_the_front(path: Path) -> None:
    connector = Counted()
    async with Engine.open(path, migrations=MIGRATIONS, connector=connector) as engine:
        before = connector.opened
        for _ in range(60):
            await engine.write(insert("x" * 200_000))  # 51 frames
        assert connector.opened - before == 2
        assert path.with_name("board.db-wal").stat().st_size < 1100 * 4120
        assert len(await engine.read(ids)) == 60


async def test_a_checkpoint_leaves_what_a_reader_needs_and_is_not_tried_after_every_write(path: Path) -> None:
    connector = Counted()

    def pinned(connection: sqlite3.Connection) -> int:
        ids(connection)
        return gate(connection)

    gate = Gate(lambda connection: len(ids(connection)))
    async with Engine.open(path, migrations=MIGRATIONS, connector=connector) as engine:
        reading = asyncio.create_task(engine.read(pinned))
        await gate.wait_reached()
        before = connector.opened
        for _ in range(44):
            await engine.write(insert("x" * 200_000))
        assert connector.opened - before == 2
        result = await engine.checkpoint()
        assert result.moved < result.frames
        gate.open.set()
        assert await reading == 0
        result = await engine.checkpoint()
        assert result.moved == result.frames


async def test_a_backup_is_a_whole_board_of_its_own(engine: Engine, path: Path, tmp_path: Path) -> None:
    await engine.write(insert("kept"))
    target = tmp_path / "copy.db"
    await engine.backup(target)
    await engine.write(insert("later"))
    async with Engine.open(target, migrations=MIGRATIONS) as copy:
        assert await copy.read(ids) == [1]
    with pytest.raises(StoreUnavailable, match="exists already"):
        await engine.backup(target)
    with pytest.raises(StoreUnavailable):
        await engine.backup(tmp_path / "no folder" / "copy.db")
    assert not target.with_name("copy.db.part").exists()


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL", "OFF"])
async def test_every_connection_is_set_up(path: Path, synchronous: Synchronous) -> None:
    names = ["synchronous", "wal_autocheckpoint", "foreign_keys", "mmap_size", "query_only", "journal_mode"]

    def settings(connection: sqlite3.Connection) -> list[object]:
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    async with Engine.open(path, migrations=MIGRATIONS, synchronous=synchronous) as engine:
        level = {"OFF": 0, "NORMAL": 1, "FULL": 2}[synchronous]
        assert await engine.write(settings) == [level, 0, 1, 0, 0, "wal"]
        assert await engine.read(settings) == [level, 0, 1, 0, 1, "wal"]


async def test_closing_answers_what_was_asked_and_ends_every_thread(path: Path) -> None:
    before = set(threading.enumerate())
    async with Engine.open(path, migrations=MIGRATIONS) as engine:
        writes = [asyncio.create_task(engine.write(insert(str(n)))) for n in range(300)]
        waiting = asyncio.create_task(engine.wait_for_commit(engine.committed(), 25))
        await asyncio.sleep(0)
    assert sorted(await asyncio.gather(*writes)) == list(range(1, 301))
    assert await waiting
    for use in (
        engine.write(ids),
        engine.read(ids),
        engine.checkpoint(),
        engine.wait_for_commit(engine.committed(), 1),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            await use
    for thread in set(threading.enumerate()) - before:
        if "AnyIO" not in thread.name and "asyncio" not in thread.name:
            thread.join(5)
            assert not thread.is_alive()
    assert not path.with_name("board.db-wal").exists()


async def test_closing_stops_a_read_that_would_not_end(path: Path) -> None:
    running = threading.Event()

    def endless(connection: sqlite3.Connection) -> None:
        running.set()
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        ).fetchall()

    with anyio.fail_after(10):
        async with Engine.open(path, migrations=MIGRATIONS) as engine:
            reading = asyncio.create_task(engine.read(endless))
            assert await asyncio.to_thread(running.wait, 10)
            await engine.write(insert("by now the query runs"))
    with pytest.raises(StoreUnavailable, match="closing"):
        await reading


async def test_closing_ends_while_somebody_else_holds_the_lock(path: Path) -> None:
    other: FileLock | None = None
    with anyio.fail_after(10):
        async with Engine.open(path, migrations=MIGRATIONS, lock_timeout_s=0.2) as engine:
            other = FileLock(path, 1)
            other.acquire()
            writes = [asyncio.create_task(engine.write(insert(str(n)))) for n in range(600)]
            await asyncio.sleep(0)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    other.release()
    other.close()
    async with Engine.open(path, migrations=MIGRATIONS) as again:
        assert await again.read(ids) == []


async def test_an_engine_that_is_closed_while_its_task_is_cancelled_keeps_what_was_acknowledged(
    path: Path,
) -> None:
    acknowledged = []

    async def serve() -> None:
        async with Engine.open(path, migrations=MIGRATIONS) as engine:
            while True:
                acknowledged.append(await engine.write(insert("kept")))
                if len(acknowledged) == 5:
                    server.cancel_scope.cancel()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as server:
            server.start_soon(serve)
    async with Engine.open(path, migrations=MIGRATIONS) as again:
        assert set(acknowledged) <= set(await again.read(ids))


async def test_what_is_raised_inside_the_block_leaves_it_unwrapped(path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Engine.open(path, migrations=MIGRATIONS):
            raise LookupError("mine")


async def test_two_engines_in_one_process_share_a_file(path: Path) -> None:
    async with (
        Engine.open(path, migrations=MIGRATIONS) as one,
        Engine.open(path, migrations=MIGRATIONS) as two,
    ):
        since = two.committed()
        await asyncio.gather(*(engine.write(insert("x")) for engine in (one, two) for _ in range(50)))
        assert await two.wait_for_commit(since, 1)
        assert len(await one.read(ids)) == len(await two.read(ids)) == 100


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
