"""What the tests of the engine share: a tiny schema, operations on it, and processes.

`python -m tests.engine_worker MODE DATABASE [ARGUMENT ...]` is such a process. It talks in lines: what
it has to say goes to stdout, and a line on stdin lets it go on.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from delm_mcp.errors import StoreError
from delm_mcp.store.engine import Engine, Migration
from delm_mcp.store.lock import FileLock

MIGRATIONS = [Migration(1, "note", "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL);")]


def insert(text: str) -> Callable[[sqlite3.Connection], int]:
    """An operation that adds a row and returns its id."""

    def operation(connection: sqlite3.Connection) -> int:
        rows = connection.execute("INSERT INTO note (text) VALUES (?) RETURNING id", (text,)).fetchall()
        return int(rows[0][0])

    return operation


def ids(connection: sqlite3.Connection) -> list[int]:
    """An operation that returns every row's id."""
    return [int(row[0]) for row in connection.execute("SELECT id FROM note ORDER BY id").fetchall()]


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


def start(mode: str, database: Path, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.engine_worker", mode, str(database), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def _say(line: object) -> None:
    print(line, flush=True)  # noqa: T201 - this is how workers speak


async def acknowledge(database: Path) -> None:
    """Write with four callers until killed, and say each id once it is acknowledged."""
    async with Engine.open(database, migrations=MIGRATIONS) as engine:

        async def caller() -> None:
            while True:
                _say(await engine.write(insert(str(os.getpid()))))

        await asyncio.gather(*(caller() for _ in range(4)))


async def hot(database: Path, seconds: str, checkpoint_every: str) -> None:
    """Wait for a line, write without a pause, then say which ids were acknowledged, and when."""
    acknowledged: list[tuple[int, float]] = []
    async with Engine.open(database, migrations=MIGRATIONS) as engine:
        _say("ready")
        sys.stdin.readline()
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            row = await engine.write(insert(str(os.getpid())))
            acknowledged.append((row, time.monotonic()))
            if int(checkpoint_every) and len(acknowledged) % int(checkpoint_every) == 0:
                await engine.checkpoint()
        # Closing is part of the race: some of the others go on.
    _say(json.dumps(acknowledged))


async def commit(database: Path) -> None:
    """Commit a row for each line, and say when."""
    async with Engine.open(database, migrations=MIGRATIONS) as engine:
        _say("ready")
        while await asyncio.to_thread(sys.stdin.readline):
            await engine.write(insert("from another process"))
            _say(time.monotonic())


async def open_at_once(database: Path) -> None:
    """Wait for a line, open the board and say how it went."""
    _say("ready")
    sys.stdin.readline()
    try:
        async with Engine.open(database, migrations=MIGRATIONS) as engine:
            await engine.write(insert("opened"))
        _say("opened")
    except StoreError as error:
        _say(error)


async def hold(database: Path) -> None:
    """Hold the lock file until a line comes."""
    lock = FileLock(database, timeout_s=1)
    with lock:
        _say("held")
        sys.stdin.readline()
    lock.close()


async def unprivileged(database: Path) -> None:
    """Try the board as a user who may not write, and say what happened."""
    warm_up = database.parent.with_name("warm-up.db")
    async with Engine.open(warm_up, migrations=MIGRATIONS) as engine:
        await engine.write(insert("imports what is imported late"))
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        async with Engine.open(database, migrations=MIGRATIONS):
            _say("opened")
    except StoreError as error:
        _say(f"{type(error).__name__}: {error}")


MODES: dict[str, Callable[..., Awaitable[None]]] = {
    function.__name__: function for function in (acknowledge, hot, commit, open_at_once, hold, unprivileged)
}


async def main() -> None:
    mode, database, *arguments = sys.argv[1:]
    await MODES[mode](Path(database), *arguments)


if __name__ == "__main__":
    asyncio.run(main())
