"""`tools/call` over HTTP, beside a tool of the same server that does nothing."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import psutil
from anyio.streams.text import TextReceiveStream

from delm_mcp.cli.benchmarks.scene import DURABILITY
from delm_mcp.cli.benchmarks.server import HOST, NOOP
from delm_mcp.cli.benchmarks.timing import Timing, closed_loop, ratio
from delm_mcp.errors import ConfigError

PROTOCOL = "2026-07-28"
AGENTS = 3_000  # in a run; each claims once, because an agent holds one lease
START_TIMEOUT_S = 30.0
_META = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_GIST = "Component {} reads its settings once when it starts, and keeps them until it is restarted"


class Link:
    """One kept-alive connection. Bare: a whole MCP client here would cost more than the server does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self._reader, self._writer, self._port = reader, writer, port

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool and return the structured form of its answer.

        Raises:
            RuntimeError: The server refused the call.
        """
        body = json.dumps(
            {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {"name": tool, "arguments": arguments, "_meta": _META},
            }
        ).encode()
        head = (
            f"POST /mcp HTTP/1.1\r\nhost: {HOST}:{self._port}\r\ncontent-type: application/json\r\n"
            f"accept: application/json, text/event-stream\r\nmcp-protocol-version: {PROTOCOL}\r\n"
            f"mcp-method: tools/call\r\nmcp-name: {tool}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answered.split("content-length:")[1].split("\r\n")[0])
        said = json.loads(await self._reader.readexactly(length))
        result = said.get("result", {})
        if "error" in said or result.get("isError"):
            raise RuntimeError(f"{tool} was refused: {json.dumps(said)[:500]}")
        return dict(result["structuredContent"])


@asynccontextmanager
async def _serving(
    folder: Path, flush_s: float, runs: int
) -> AsyncIterator[tuple[int, list[str], Callable[[], float]]]:
    """A server in a process of its own; gives its port, its runs, and its clock of processor time."""
    command = [
        sys.executable,
        "-m",
        "delm_mcp.cli.benchmarks.server",
        str(folder),
        str(flush_s * 1e3),
        str(runs),
        str(AGENTS),
    ]
    # In a session of its own, so that Ctrl-C reaches only this process, which then ends the server's input.
    async with await anyio.open_process(command, stderr=None, start_new_session=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the server was started without pipes")
        try:
            ready = await _ready(process.stdout)
            served = psutil.Process(process.pid)
            yield ready["port"], ready["runs"], lambda: sum(served.cpu_times()[:2])
        finally:
            with anyio.CancelScope(shield=True):
                await process.stdin.aclose()
                with anyio.move_on_after(10):
                    await process.wait()


async def _ready(output: anyio.abc.ByteReceiveStream) -> dict[str, Any]:
    """The line that the server prints when it listens."""
    try:
        with anyio.fail_after(START_TIMEOUT_S):
            return dict(json.loads(await TextReceiveStream(output).receive()))
    except (TimeoutError, anyio.EndOfStream) as error:
        raise ConfigError(
            f"The HTTP server did not start within {START_TIMEOUT_S:g} s.",
            "What it printed may say why; --part leaves this part out.",
        ) from error


@asynccontextmanager
async def _links(port: int, count: int) -> AsyncIterator[asyncio.Queue[Link]]:
    idle: asyncio.Queue[Link] = asyncio.Queue()
    writers = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HOST, port)
            writers.append(writer)
            idle.put_nowait(Link(reader, writer, port))
        yield idle
    finally:
        for writer in writers:
            writer.close()


class Load:
    """The four kinds of calls, in one run of a server."""

    def __init__(self, port: int, run: str, cpu_time: Callable[[], float]) -> None:
        self._port, self._run, self._cpu_time = port, run, cpu_time
        self._agents = iter(range(1, AGENTS))
        self._leases: list[tuple[int, str]] = []
        self._known = 0

    async def timed(self, tool: str, clients: int, limit_s: float) -> Timing:
        """One pass of one tool."""
        async with _links(self._port, clients) as idle:

            async def through(call: Callable[[Link], Awaitable[None]]) -> None:
                link = idle.get_nowait()  # there are as many links as callers
                await call(link)
                idle.put_nowait(link)

            return await closed_loop(clients, limit_s, self._calls(tool), through, self._cpu_time)

    def _calls(self, tool: str) -> Iterator[Callable[[Link], Awaitable[None]]]:
        if tool == NOOP:
            return repeat(self._noop)
        if tool == "read_context":
            return repeat(self._read)
        if tool == "claim_task":
            return (self._claim(number) for number in self._agents)
        held, self._leases = self._leases, []
        return (self._propose(number, lease) for number, lease in held)

    async def _noop(self, link: Link) -> None:
        await link.call(NOOP, {})

    async def _read(self, link: Link) -> None:
        since = max(0, self._known - 20)
        await link.call("read_context", {"since": since, "run": self._run})

    def _claim(self, number: int) -> Callable[[Link], Awaitable[None]]:
        async def claim(link: Link) -> None:
            arguments = {"agent": f"a{number}", "run": self._run}
            self._leases.append((number, (await link.call("claim_task", arguments))["lease"]))

        return claim

    def _propose(self, number: int, lease: str) -> Callable[[Link], Awaitable[None]]:
        async def propose(link: Link) -> None:
            evidence = {"type": "artifact", "ref": "log", "text": f"component {number}: settings loaded"}
            answer = await link.call(
                "propose_update",
                {
                    "lease": lease,
                    "kind": "fact",
                    "gist": _GIST.format(number),
                    "evidence": [evidence],
                    "base_version": self._known,
                    "completes": True,
                },
            )
            self._known = max(self._known, int(answer["version"]))

        return propose


TOOLS = (NOOP, "claim_task", "propose_update", "read_context")


async def measure(
    folder: Path,
    clients: tuple[int, ...],
    limit_s: float,
    rounds: int,
    flush_s: float,
    step: Callable[[str], None],
) -> dict[str, Any]:
    """Rates and latencies of the tools, and of one that does nothing."""
    found = {(tool, count): Timing() for count in clients for tool in TOOLS}
    step("starting the HTTP server")
    async with _serving(folder, flush_s, rounds * len(clients)) as (port, runs, cpu):
        await Load(port, runs[0], cpu).timed(NOOP, 1, limit_s / 4)  # what only the first calls pay for
        unused = iter(runs)
        for turn in range(rounds):
            for count in clients:
                # A run of its own, or agents would first be told all that earlier passes found.
                load = Load(port, next(unused), cpu)
                for tool in TOOLS:
                    step(f"HTTP: {tool}, {count} clients, round {turn + 1} of {rounds}")
                    found[tool, count].add(await load.timed(tool, count, limit_s))
    rows = [_row(tool, count, found[tool, count], found[NOOP, count]) for count in clients for tool in TOOLS]
    slept = f", {flush_s * 1e3:g} ms slept in each COMMIT" if flush_s else ""
    return {
        "title": f"tools/call over HTTP (127.0.0.1, kept alive, stateless JSON, protocol {PROTOCOL})",
        "durability": f"{DURABILITY}{slept}; read_context and noop write nothing",
        "rows": rows,
    }


def _row(tool: str, clients: int, timing: Timing, noop: Timing) -> dict[str, Any]:
    return {"tool": tool, "clients": clients, **timing.summary(), "x_noop": ratio(timing.rate, noop.rate)}
