"""The server of `http`: what `delm-mcp serve` runs, with one more tool that does nothing.

Started as `python -m delm_mcp.cli.benchmarks.server FOLDER FLUSH_MS RUNS AGENTS`. It prints one line
of JSON once it listens, and stops when its standard input ends, so it cannot outlive whoever started it.
"""

import json
import socket
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import uvicorn
from mcp_types import CallToolResult, TextContent

from delm_mcp.cli.benchmarks.scene import scene
from delm_mcp.cli.benchmarks.watched import Watch
from delm_mcp.surfaces.mcp import BoardServer
from delm_mcp.surfaces.web import make_app

NOOP = "noop"
HOST = "127.0.0.1"


def add_noop(server: BoardServer) -> None:
    """A tool that answers a constant, in both forms like the others."""
    constant = CallToolResult(
        content=[TextContent(type="text", text="done")], structured_content={"state": "done"}
    )

    async def noop() -> CallToolResult:
        return constant

    server.add_tool(noop, NOOP, description="Does nothing.", structured_output=False)


async def main(folder: Path, flush_ms: float, runs: int, agents: int) -> None:
    """Serve until standard input ends."""
    async with scene(folder / "http.db", Watch(flush_s=flush_ms / 1e3)) as board:
        opened = []
        for _ in range(runs):
            opened.append(await board.open_run())
            await board.fill(tasks=agents + 2, agents=agents)
        with socket.create_server((HOST, 0)) as listener:
            port = listener.getsockname()[1]
            app = make_app(board.board, host=HOST, port=port, with_tokens=False, prepare=add_noop)
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, ws="none")
            server = uvicorn.Server(config)
            sys.stdout.write(json.dumps({"port": port, "runs": opened}) + "\n")
            sys.stdout.flush()
            async with anyio.create_task_group() as group:
                group.start_soon(_stop_at_end_of_input, server)
                await server.serve(sockets=[listener])
                group.cancel_scope.cancel()


async def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    server.should_exit = True


if __name__ == "__main__":
    from delm_mcp.cli.wiring import run as run_command

    run_command(lambda: main(Path(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:5])))
