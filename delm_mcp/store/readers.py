"""Connections that only read, lent out one read at a time."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import anyio

from delm_mcp.errors import StoreUnavailable
from delm_mcp.store.connection import Conn, SqlConnection, roll_back

T = TypeVar("T")


def run_read(connection: SqlConnection, operation: Callable[[sqlite3.Connection], T]) -> T:
    """Run a read in a transaction of its own: one snapshot, from its first query to its last."""
    connection.execute("BEGIN DEFERRED")
    try:
        return operation(connection)  # type: ignore[arg-type]
    finally:
        roll_back(connection)


class Readers:
    """A pool of query-only connections. In WAL mode they wait for no writer, only for each other."""

    def __init__(self, connections: list[Conn]) -> None:
        self._connections = connections
        self._started: list[Conn] = []
        self._idle: asyncio.LifoQueue[Conn] = asyncio.LifoQueue()
        self._closing = False

    async def start(self) -> None:
        for connection in self._connections:
            await connection.start()
            self._started.append(connection)
            self._idle.put_nowait(connection)

    async def run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `operation` returns from one snapshot.

        A cancelled caller stops its query; the connection is lent out again once it is at rest.
        """
        connection = await self._idle.get()
        try:
            if self._closing:
                raise StoreUnavailable("The board is closed.")
            return await connection.run(run_read, operation)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await connection.interrupt()
                await connection.run(roll_back)
            raise
        finally:
            self._idle.put_nowait(connection)

    async def close(self) -> None:
        """Stop the reads that still run, and close every connection."""
        self._closing = True
        for connection in self._started:
            await connection.interrupt()
        async with AsyncExitStack() as ending:
            for _ in self._started:
                ending.push_async_callback((await self._idle.get()).close)
