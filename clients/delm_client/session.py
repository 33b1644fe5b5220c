"""A connection to a board: MCP over the standard input and output of a `delm-mcp stdio` of our own."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client


class BoardError(Exception):
    """The board refused a call; the text says why and what would work."""


def server_command() -> list[str]:
    """How `delm-mcp` is started: the one installed beside us, or whatever is on PATH."""
    beside = Path(sys.executable).with_name("delm-mcp")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("delm-mcp")
    if found is None:
        raise BoardError("delm-mcp is not installed here. `pip install delm-mcp` brings it.")
    return [found]


class Session:
    """Calls the board's tools; answers are the structured form."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # One call at a time: an agent is one worker, and answers then come in the order of its work.
        self._lock = anyio.Lock()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Raises:
            BoardError: The board refused it.
        """
        async with self._lock:
            result = await self._client.call_tool(tool, arguments)
        if result.is_error:
            texts = [getattr(part, "text", "") for part in result.content]
            raise BoardError(" ".join(texts) or f"{tool} failed")
        return dict(result.structured_content or {})


@asynccontextmanager
async def connected(
    cwd: Path, *, board: Path, principal: str, extra: Mapping[str, str] | None = None
) -> AsyncIterator[Session]:
    """A session with a board.

    Args:
        cwd: The worktree that the agent works in.
        board: The board's file.
        principal: Under which name the agent is accountable; declared, not proven.
        extra: More variables for the server.
    """
    program, *words = server_command()
    parameters = StdioServerParameters(
        command=program,
        args=[*words, "stdio", "--board", str(board)],
        cwd=cwd,
        env={**os.environ, "DELM_PRINCIPAL": principal, **(extra or {})},
    )
    async with Client(stdio_client(parameters)) as client:
        yield Session(client)
