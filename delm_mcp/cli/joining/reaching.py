"""Whether a client's entry leads to a board: what it says is done, with the SDK's own client.

Apart from `doctor`, because importing an MCP client takes time.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from delm_mcp.domain.text import shortened

PATIENCE_S = 20.0
_VARIABLE = re.compile(r"\$\{(?:env:)?(\w+)\}|\{env:(\w+)\}|\$(\w+)")


class Unreachable(Exception):
    """The entry leads to no board; `hint` says what would help."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Target:
    """Where an entry leads: a command with its variables, or a URL with its headers."""

    command: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> str:
        return self.url or " ".join(self.command)


@dataclass(frozen=True, slots=True)
class Reached:
    """What answered: its version, how many tools it lists, and after how many seconds."""

    version: str
    tools: int
    seconds: float


def target_of(entry: Mapping[str, Any]) -> Target:
    """Where an entry of any of the clients leads, with the variables that it names.

    Raises:
        Unreachable: It says nothing of the kind, or names a variable that is not set.
    """
    url = entry.get("url") or entry.get("httpUrl")
    if isinstance(url, str):
        headers = _expanded_table(entry, "headers")
        if entry.get("bearer_token_env_var"):
            headers["Authorization"] = "Bearer " + _expanded(f"${{{entry['bearer_token_env_var']}}}")
        return Target(url=url, headers=tuple(headers.items()))
    command, args = entry.get("command"), entry.get("args") or []
    words = command if isinstance(command, list) else [command, *(args if isinstance(args, list) else [args])]
    if not words or not words[0] or not all(isinstance(word, str) for word in words):
        raise Unreachable("its entry names neither a command nor a URL", "Let delm-mcp install write it.")
    variables = _expanded_table(entry, "env") | _expanded_table(entry, "environment")
    return Target(tuple(words), tuple(variables.items()))


def _expanded_table(entry: Mapping[str, Any], key: str) -> dict[str, str]:
    table = entry.get(key) or {}
    if not isinstance(table, Mapping):
        raise Unreachable(f"{key} in its entry is no table of names and values", "Mend it there.")
    return {str(name): _expanded(str(value)) for name, value in table.items()}


def _expanded(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = next(filter(None, match.groups()))
        if not os.environ.get(name):
            raise Unreachable(
                f"the variable {name} that its entry names is not set here", f"export {name}=..."
            )
        return os.environ[name]

    return _VARIABLE.sub(value, text)


async def reach(target: Target, folder: Path, spare_board: Path) -> Reached:
    """Connect as the client would, list the tools, and leave.

    Args:
        folder: Where the client would be started.
        spare_board: A board for a server that is started, unless its entry names one.

    Raises:
        Unreachable: Says what stands in the way.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            return await _reach(target, folder, spare_board, errors)
        except Unreachable as error:
            errors.seek(0)
            lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
            if not lines:
                raise
            raise Unreachable(f"{error}; it said: {shortened(lines[0], 300)}", error.hint) from None


async def _reach(target: Target, folder: Path, spare_board: Path, errors: TextIO) -> Reached:
    began = time.monotonic()
    try:
        with anyio.fail_after(PATIENCE_S):
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(
                    await _client(stack, target, folder, spare_board, errors)
                )
                names = [tool.name for tool in (await client.list_tools()).tools]
                server = client.server_info
                seconds = time.monotonic() - began
    except TimeoutError:
        raise Unreachable(f"{target.shown} did not answer within {PATIENCE_S:g} s", _hint(target)) from None
    except Unreachable:
        raise
    except Exception as error:
        raise Unreachable(f"{target.shown}: {_first(error)}", _hint(target)) from None
    if "claim_task" not in names:
        raise Unreachable(
            f"{target.shown} is another server, with the tools {', '.join(names[:4]) or 'none'}",
            "Take its entry away, then let delm-mcp install write one.",
        )
    return Reached(server.version if server else "", len(names), round(seconds, 2))


async def _client(
    stack: AsyncExitStack, target: Target, folder: Path, spare_board: Path, errors: TextIO
) -> Client:
    if target.url:
        transport = await stack.enter_async_context(
            httpx2.AsyncClient(headers=dict(target.headers), timeout=PATIENCE_S, follow_redirects=True)
        )
        return Client(
            streamable_http_client(target.url, http_client=transport), read_timeout_seconds=PATIENCE_S
        )
    program, *words = target.command
    found = shutil.which(program)
    if found is None:
        raise Unreachable(
            f"{program} is not there, or not on PATH", "Let delm-mcp install write the entry anew."
        )
    variables = {**os.environ, "DELM_BOARD": str(spare_board), **dict(target.variables)}
    parameters = StdioServerParameters(command=found, args=words, cwd=folder, env=variables)
    return Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=PATIENCE_S)


def _hint(target: Target) -> str:
    if target.url:
        return "Is `delm-mcp serve` running there, and the token valid (`delm-mcp token list`)?"
    return "Start it by hand and see what it says."


def _first(error: BaseException) -> str:
    """What lies at the bottom of nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error).strip() or type(error).__name__
