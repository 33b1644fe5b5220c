"""Waiting for commits: an event for those of this process, a cheap probe for those of others."""

import asyncio

import anyio

from delm_mcp.store.base import Cursor
from delm_mcp.store.connection import Conn, SqlConnection

# A probe costs some 10 us, and runs only while somebody waits.
PROBE_EVERY_S = 0.05


def _data_version(connection: SqlConnection) -> int:
    """A number that changes when another connection commits (https://sqlite.org/pragma.html#pragma_data_version)."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


class Commits:
    """The cursor, and those who wait for it to move.

    A waiter may be woken for nothing (a commit of this process is seen a second time by the probe),
    but never sleeps through a commit: the probe compares with what it saw last, however long ago.
    """

    def __init__(self, probe: Conn) -> None:
        self._probe = probe
        self._cursor = Cursor(0)
        self._moved = anyio.Event()
        self._waiting = 0
        self._seen: int | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the probe and take note of where the file stands."""
        await self._probe.start()
        self._seen = await self._probe.run(_data_version)

    def cursor(self) -> Cursor:
        return self._cursor

    def moved(self) -> None:
        """Wake everybody who waits."""
        self._cursor = Cursor(self._cursor + 1)
        woken, self._moved = self._moved, anyio.Event()
        woken.set()

    async def wait(self, since: Cursor, timeout_s: float) -> bool:
        """Return True once the cursor has moved past `since`, False when it has not within the time."""
        self._waiting += 1
        try:
            if self._watch is None and timeout_s > 0:
                self._watch = asyncio.create_task(self._look())
            with anyio.move_on_after(timeout_s):
                while self._cursor <= since:
                    await self._moved.wait()
            return self._cursor > since
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Stop looking, and wake everybody for good."""
        self.moved()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._probe.close()

    async def _look(self) -> None:
        try:
            while self._waiting:
                if await self._changed():
                    self.moved()
                await anyio.sleep(PROBE_EVERY_S)
        finally:
            self._watch = None

    async def _changed(self) -> bool:
        try:
            version = await self._probe.run(_data_version)
        except Exception:
            return True  # whoever waits finds out what is wrong by reading
        before, self._seen = self._seen, version
        return version != before
