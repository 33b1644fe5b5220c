"""MCP over standard input and output, ended by end of input or by a signal.

The SDK reads standard input in a thread that nothing can interrupt, so a signal could not end the
process. Here a daemon thread copies the input into a pipe, and a signal closes that pipe: then both
ways of ending are the same, and everything is closed in order.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

import anyio
from mcp.server.stdio import stdio_server

from delm_mcp.surfaces.mcp import BoardServer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Input:
    """The client's input behind a pipe that can be closed from our side."""

    def __init__(self, source: int) -> None:
        self.read_end, self._write_end = os.pipe()
        self._lock = threading.Lock()
        threading.Thread(target=self._copy, args=(source,), daemon=True, name="stdin").start()

    def _copy(self, source: int) -> None:
        with suppress(OSError):
            while chunk := os.read(source, 65536):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._write_end, view) :]
        self.close()

    def close(self) -> None:
        """End of input."""
        with self._lock:
            if self._write_end >= 0:
                os.close(self._write_end)
                self._write_end = -1


@contextmanager
def _claimed() -> Iterator[tuple[int, int]]:
    """The protocol's two descriptors; meanwhile 0 is empty and 1 is the error output.

    So nothing that a library or a child process prints can get between the messages.
    """
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    try:
        yield source, sink
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()  # what was printed meanwhile must not come out where the protocol was
        os.dup2(source, 0)
        os.dup2(sink, 1)
        os.close(sink)


async def serve_stdio(server: BoardServer) -> None:
    """Serve until the client closes its end or a signal comes."""
    with _claimed() as (source, sink):
        pipe = _Input(source)
        reader = TextIOWrapper(os.fdopen(pipe.read_end, "rb"), encoding="utf-8", errors="replace")
        writer = TextIOWrapper(os.fdopen(sink, "wb", closefd=False), encoding="utf-8")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_close_on_signal, pipe)
                async with stdio_server(anyio.wrap_file(reader), anyio.wrap_file(writer)) as streams:
                    await _run(server, *streams)
                group.cancel_scope.cancel()
        except* (BrokenPipeError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the client is gone before our last answer: the same as its end of input
        pipe.close()
        reader.close()
        with suppress(OSError, ValueError):
            writer.close()


async def _run(server: BoardServer, read: Any, write: Any) -> None:
    lowlevel = server._lowlevel_server
    await lowlevel.run(read, write, lowlevel.create_initialization_options())


async def _close_on_signal(pipe: _Input) -> None:
    with anyio.open_signal_receiver(*SIGNALS) as signals:
        async for _ in signals:
            pipe.close()
