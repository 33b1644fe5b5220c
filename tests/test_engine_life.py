"""The rest of the engine in one process: snapshots, waiting, checkpoints, backups, closing."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from delm_mcp.errors import StoreUnavailable
from delm_mcp.store.connection import Synchronous, connect
from delm_mcp.store.engine import Engine
from delm_mcp.store.lock import FileLock
from tests.engine_worker import MIGRATIONS, Gate, ids, insert

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    async with Engine.open(path, migrations=MIGRATIONS) as opened:
        yield opened


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
        for _ in range(50):
            await engine.write(insert("x" * 200_000))  # some 51 frames, so twice 1,000 and a bit
        assert connector.opened - before == 2
        assert path.with_name("board.db-wal").stat().st_size < 1100 * 4120
        assert len(await engine.read(ids)) == 50


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
