"""A connection to a board: MCP over the standard input and output of a `delm-mcp stdio` of our own.

The MCP SDK takes most of a second to import, so only who calls a board does.
"""

import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from delm_client.words import innermost

if TYPE_CHECKING:
    from mcp import Client


class BoardError(Exception):
    """The board refused a call; the text says why and what would work."""


class BoardGone(BoardError):
    """The connection to the board is lost; nothing more can be asked of it."""


def server_command() -> list[str]:
    """How `delm-mcp` is started: the one installed beside us, or whatever is on PATH."""
    beside = Path(sys.executable).with_name("delm-mcp")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("delm-mcp")
    if found is None:
        raise BoardError("delm-mcp is not installed here. `pip install delm-mcp` brings it.")
    return [found]


def server_name() -> str:
    """What a user types for the same `delm-mcp`: its name where the shell finds it, else its path."""
    program = Path(server_command()[0])
    on_path = shutil.which("delm-mcp")
    if on_path is not None and Path(on_path).resolve() == program.resolve():
        return "delm-mcp"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


class Session:
    """Calls the board's tools; answers are the structured form."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        # One call at a time: an agent is one worker, and answers then come in the order of its work.
        self._lock = anyio.Lock()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Raises:
            BoardError: The board refused it.
        """
        from mcp.shared.exceptions import MCPError

        async with self._lock:
            try:
                result = await self._client.call_tool(tool, arguments)
            except (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
                raise BoardGone(f"The board's server did not answer {tool}: {error}") from error
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
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    program, *words = server_command()
    parameters = StdioServerParameters(
        command=program,
        args=[*words, "stdio", "--board", str(board)],
        cwd=cwd,
        env={**os.environ, "DELM_PRINCIPAL": principal, **(extra or {})},
    )
    failure: Exception | None = None
    try:
        async with Client(stdio_client(parameters)) as client:
            try:
                yield Session(client)
            except Exception as error:  # leaves as it is, and not in the client's exception group
                failure = error
    except Exception as error:
        if failure is None:
            raise BoardError(
                f"The board's server could not be reached or ended early: {_first(error)}"
            ) from error
    if failure is not None:
        raise failure


def _first(error: BaseException) -> str:
    bottom = innermost(error)
    return str(bottom) or type(bottom).__name__
