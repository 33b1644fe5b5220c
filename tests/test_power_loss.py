"""Power loss: the engine runs on a disk that forgets what was not synced."""

import asyncio
import random
import sqlite3
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import cast

import apsw
import pytest

from delm_mcp.errors import StoreError
from delm_mcp.store.connection import Synchronous
from delm_mcp.store.engine import Engine, Migration
from tests.power_loss_vfs import Disk, plugged_in

pytestmark = pytest.mark.anyio

MIGRATIONS = [
    Migration(1, "log", "CREATE TABLE log (seq INTEGER PRIMARY KEY, before INTEGER, text TEXT NOT NULL);")
]


@dataclass
class Tally:
    """What many power losses did, together."""

    acknowledged: int = 0
    lost: int = 0
    damaged: int = 0
    seeds: list[int] = field(default_factory=list)
    """The rounds in which something was lost or damaged."""


def append(connection: sqlite3.Connection) -> int:
    """Add a row that names the one before it."""
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM log").fetchall()[0][0]
    text = "x" * random.Random(last).randrange(2000)  # noqa: S311
    connection.execute("INSERT INTO log VALUES (?, ?, ?)", (last + 1, last, text))
    return int(last) + 1


async def write_until_the_power_goes(
    path: Path, vfs: str, disk: Disk, synchronous: Synchronous, chance: random.Random
) -> list[int]:
    """Write from several callers, checkpoint and close and open again now and then.

    Returns what was acknowledged while there was power.
    """
    acknowledged: list[int] = []

    def connect(path: Path) -> sqlite3.Connection:
        return cast(sqlite3.Connection, apsw.Connection(str(path), vfs=vfs))

    async def caller(engine: Engine, writes: int, checkpoint_every: int) -> None:
        for _ in range(writes):
            row = await engine.write(append)
            if disk.dead:
                return
            acknowledged.append(row)
            if checkpoint_every and row % checkpoint_every == 0:
                await engine.checkpoint()

    while not disk.dead:
        async with Engine.open(
            path, migrations=MIGRATIONS, synchronous=synchronous, readers=1, connector=connect, mounts=list
        ) as engine:
            writes = chance.randrange(40)
            await asyncio.gather(*(caller(engine, writes, every) for every in (0, 0, 7)))
    return acknowledged


async def what_is_left(path: Path) -> list[tuple[int, int]]:
    """Open the image as a user would, and return its rows."""

    def read(connection: sqlite3.Connection) -> list[tuple[int, int]]:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT seq, before FROM log ORDER BY seq").fetchall()

    async with Engine.open(path, migrations=MIGRATIONS, readers=1, mounts=list) as engine:
        return await engine.read(read)


async def lose_power(folder: Path, synchronous: Synchronous, seed: int, tally: Tally) -> None:
    """Lose power twice, the second time on what the first left, and see what is there in the end."""
    chance = random.Random(f"{synchronous} {seed}")  # noqa: S311
    acknowledged: list[int] = []
    lives = [folder / f"{seed}-{life}" for life in range(3)]
    for life in lives:
        life.mkdir()
    for before, after in pairwise(lives):
        disk = Disk(before, accesses=chance.randrange(1, 120))
        with plugged_in(f"disk-{before.name}", disk) as vfs:
            path = before / "board.db"
            try:
                acknowledged += await write_until_the_power_goes(path, vfs, disk, synchronous, chance)
            except StoreError:
                break  # the first power loss damaged it
        disk.write_image(chance, after)
    tally.acknowledged += len(acknowledged)
    try:
        rows = await what_is_left(after / "board.db")
    except (StoreError, AssertionError):
        rows = []
        tally.damaged += 1
        tally.seeds.append(seed)
    # Commits are in order, so what is left is a beginning of the log and never has a hole.
    assert rows == [(seq, seq - 1) for seq in range(1, len(rows) + 1)], f"seed {seed}"
    lost = set(acknowledged) - {seq for seq, _ in rows}
    if lost:
        tally.lost += len(lost)
        tally.seeds.append(seed)


async def lose_power_often(folder: Path, synchronous: Synchronous, rounds: range) -> Tally:
    tally = Tally()
    for seed in rounds:
        await lose_power(folder, synchronous, seed, tally)
    return tally


async def test_full_loses_nothing_acknowledged_in_a_hundred_power_losses(tmp_path: Path) -> None:
    tally = await lose_power_often(tmp_path, "FULL", range(100))
    assert tally.acknowledged > 1000
    assert (tally.lost, tally.damaged) == (0, 0), tally


async def test_the_control_with_normal_loses_acknowledged_writes(tmp_path: Path) -> None:
    tally = await lose_power_often(tmp_path, "NORMAL", range(30))
    assert tally.lost > 0


async def test_the_control_with_off_loses_acknowledged_writes(tmp_path: Path) -> None:
    tally = await lose_power_often(tmp_path, "OFF", range(30))
    assert tally.lost > 0


@pytest.mark.long
async def test_full_loses_nothing_acknowledged_in_a_thousand_power_losses(tmp_path: Path) -> None:
    tally = await lose_power_often(tmp_path, "FULL", range(1000, 2000))
    assert (tally.lost, tally.damaged) == (0, 0), tally
