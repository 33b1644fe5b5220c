"""Several processes on one board: fairness, checkpoints, waking each other, opening and dying at once."""

import asyncio
import json
import random
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from delm_mcp.store.connection import connect
from delm_mcp.store.engine import Engine
from tests.engine_worker import MIGRATIONS, ids, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.db"


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def everything_said(processes: "list[subprocess.Popen[str]]", within_s: float) -> list[str]:
    """Let every process go on at once, and return what each says until it ends."""
    for process in processes:
        assert said(process) == "ready"
    for process in processes:
        tell(process)
    try:
        return [process.communicate(timeout=within_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def rows(path: Path) -> list[int]:
    """What a fresh connection finds, after an integrity check."""
    connection = connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return ids(connection)
    finally:
        connection.close()


def run_hot(
    path: Path, processes: int, seconds: float, checkpoint_every: int
) -> list[list[tuple[int, float]]]:
    """Write from many processes without a pause; return what was acknowledged to each, and when."""
    workers = [start("hot", path, seconds, checkpoint_every) for _ in range(processes)]
    return [json.loads(output) for output in everything_said(workers, within_s=seconds + 60)]


def test_sixteen_busy_processes_get_fair_shares_and_lose_nothing(path: Path) -> None:
    seen: list[list[int]] = []
    for number in range(3):  # a machine that is busy otherwise may starve a process once
        board = path.with_name(f"{number}-{path.name}")
        acknowledged = run_hot(board, 16, seconds=2, checkpoint_every=0)
        assert sorted(row for share in acknowledged for row, _ in share) == rows(board)
        # Only while all of them write: who is started late has the board for itself in the end.
        begin = max(share[0][1] for share in acknowledged)
        end = min(share[-1][1] for share in acknowledged)
        shares = [sum(begin <= when <= end for _, when in share) for share in acknowledged]
        if min(shares) >= 0.5 * max(shares):
            return
        seen.append(shares)
    raise AssertionError(seen)


def survive_writers_and_checkpoints(path: Path, seconds: float) -> None:
    acknowledged = run_hot(path, 8, seconds, checkpoint_every=3)
    assert sorted(row for share in acknowledged for row, _ in share) == rows(path)


def test_writers_and_checkpoints_from_eight_processes_keep_the_file_whole(path: Path) -> None:
    survive_writers_and_checkpoints(path, seconds=3)


@pytest.mark.long
def test_a_minute_of_writers_and_checkpoints_from_eight_processes_keeps_the_file_whole(path: Path) -> None:
    survive_writers_and_checkpoints(path, seconds=60)


def test_eight_processes_that_open_a_new_board_at_once_all_succeed(path: Path) -> None:
    outputs = everything_said([start("open_at_once", path) for _ in range(8)], within_s=60)
    assert outputs == ["opened\n"] * 8
    assert rows(path) == list(range(1, 9))


@pytest.mark.anyio
async def test_a_commit_of_another_process_wakes_within_250_ms(path: Path) -> None:
    async with Engine.open(path, migrations=MIGRATIONS) as engine:
        process = start("commit", path)
        assert await asyncio.to_thread(said, process) == "ready"
        late_s = []
        for number in range(1, 8):
            # What opening the board wrote, or the last round, may wake once for nothing.
            while await engine.wait_for_commit(engine.committed(), 0.12):
                pass
            waiting = asyncio.create_task(engine.wait_for_commit(engine.committed(), 10))
            tell(process)
            assert await waiting
            woken = time.monotonic()
            late_s.append(woken - float(await asyncio.to_thread(said, process)))
            assert len(await engine.read(ids)) == number
        process.communicate(timeout=30)
        assert statistics.median(late_s) < 0.25, late_s


@pytest.mark.anyio
async def test_a_commit_made_before_the_wait_but_after_the_cursor_is_not_slept_through(path: Path) -> None:
    async with Engine.open(path, migrations=MIGRATIONS) as engine:
        process = start("commit", path)
        assert await asyncio.to_thread(said, process) == "ready"
        since = engine.committed()
        tell(process)
        await asyncio.to_thread(said, process)
        assert await engine.wait_for_commit(since, 10)
        process.communicate(timeout=30)


def survive_kill(path: Path, seed: int) -> None:
    """Kill a process that writes, somewhere between two acknowledgements; nothing said is lost."""
    chance = random.Random(seed)  # noqa: S311
    process = start("acknowledge", path)
    heard = [int(said(process)) for _ in range(chance.randrange(1, 60))]
    for _ in range(chance.randrange(2000)):
        pass  # a little later, not at the same point of every round
    process.kill()
    assert process.stdout is not None
    # What it said before it died and nobody had read yet; the last line may be cut off.
    heard += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.communicate(timeout=30)
    kept = rows(path)
    assert set(heard) <= set(kept), f"seed {seed}"
    assert kept == list(range(1, len(kept) + 1))


def test_nothing_acknowledged_is_lost_when_a_process_is_killed(path: Path) -> None:
    for seed in range(10):
        survive_kill(path, seed)


@pytest.mark.long
def test_nothing_acknowledged_is_lost_in_a_hundred_kills(path: Path) -> None:
    for seed in range(100):
        survive_kill(path, 1000 + seed)


def test_a_process_that_dies_with_the_lock_leaves_it_free(path: Path) -> None:
    holder = start("hold", path)
    assert said(holder) == "held"
    holder.kill()
    holder.communicate(timeout=30)
    assert everything_said([start("open_at_once", path)], within_s=30) == ["opened\n"]


def test_the_log_that_a_killed_process_left_is_read_again(path: Path) -> None:
    process = start("acknowledge", path)
    heard = int(said(process))
    process.kill()
    process.communicate(timeout=30)
    assert path.with_name("board.db-wal").stat().st_size > 0
    assert heard in rows(path)
