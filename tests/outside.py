"""The board from the outside: servers over MCP, in this process and in others, and the command line."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread, Timer
from typing import Any, Literal

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from typer.testing import CliRunner

from delm_mcp.board import Board, Settings
from delm_mcp.board.adding import NewTask
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.runs import Opening
from delm_mcp.cli import app
from delm_mcp.domain.model import Caller, Principal, Role
from delm_mcp.domain.policy import build
from delm_mcp.store import journal
from delm_mcp.store.base import Tx
from delm_mcp.store.sqlite import open_sqlite
from delm_mcp.surfaces.mcp import BoardServer, make_server

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")
PATIENCE_S = 60.0
"""How long a process may take for a test; far more than it needs."""
COMMAND = (str(Path(sys.executable).with_name("delm-mcp")),)
OWNER = Caller(Principal("owner"), Role.OWNER)
ADA = Caller(Principal("ada"))
SEEN = [{"type": "artifact", "ref": "log", "text": "saw it fail, then pass"}]


# -- a board in this process ---------------------------------------------------------------------


@dataclass
class Hall:
    """An open board, and servers on it."""

    board: Board
    path: Path

    async def open(
        self, *tasks: str | NewTask, limits: Mapping[str, Any] | None = None, **opening: Any
    ) -> str:
        """Open a run; returns its name."""
        new = [NewTask(task) if isinstance(task, str) else task for task in tasks]
        preset = opening.pop("preset", "standard")
        policy = opening.pop("policy", None) or build({"preset": preset, "limits": dict(limits or {})})
        wanted = Opening(**{"goal": "Mend the parser", "policy": policy, **opening})
        run, _ = await self.board.open_run(OWNER, wanted, new)
        return run

    def server(self, caller: Caller = ADA) -> BoardServer:
        return make_server(self.board, lambda: caller)

    async def rows(self) -> dict[str, Any]:
        """All that the log describes, with its length: what a refused call must leave as it was."""

        def action(tx: Tx) -> dict[str, Any]:
            return {run.id: (tx.dump(run.id), len(tx.log(run.id))) for run in tx.runs()}

        return await self.board.store.read(action)


@asynccontextmanager
async def hall_in(folder: Path, *, answer_wait_s: float = 5.0) -> AsyncIterator[Hall]:
    """An empty board in a folder, as one server process has it."""
    path = folder / "board.db"
    async with open_sqlite(path, synchronous="OFF") as store:
        ids = RandomIds()
        checker = Checker(Examiner(), store, time.time, ids)
        settings = Settings(answer_wait_s=answer_wait_s)
        yield Hall(Board(store, clock=time.time, ids=ids, checker=checker, settings=settings), path)


# -- calling -------------------------------------------------------------------------------------


@dataclass
class Said:
    """An answer in both forms."""

    text: str
    facts: dict[str, Any]
    is_error: bool

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]


def said(result: CallToolResult) -> Said:
    """Both forms of a result, which every answer has."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert isinstance(result.structured_content, dict), content.text
    return Said(content.text, result.structured_content, bool(result.is_error))


async def ask(client: Client, tool: str, **arguments: Any) -> Said:
    """Call a tool."""
    return said(await client.call_tool(tool, arguments))


async def do(client: Client, tool: str, **arguments: Any) -> Said:
    """Call a tool, and insist that it is not refused."""
    answer = await ask(client, tool, **arguments)
    assert not answer.is_error, answer.text
    return answer


async def refused(client: Client, tool: str, *words: str, **arguments: Any) -> Said:
    """Call a tool, and insist on a tool error that says these words."""
    answer = await ask(client, tool, **arguments)
    assert answer.is_error, answer.text
    missing = [word for word in words if word not in answer.text]
    assert not missing, (missing, answer.text)
    return answer


async def hold(client: Client, **arguments: Any) -> Said:
    """Claim, and insist on a task."""
    answer = await do(client, "claim_task", **arguments)
    assert "lease" in answer.facts, answer.text
    return answer


async def finish(client: Client, claim: Said, gist: str) -> Said:
    """Complete a claimed task with a fact of its own, and insist that it is admitted."""
    proposed = await do(
        client, "propose_update", lease=claim["lease"], kind="fact", gist=gist, evidence=SEEN, completes=True
    )
    assert proposed["state"] == "admitted", proposed.text
    return proposed


# -- the command line ----------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would lead to another board."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DELM_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **more}


def delm(
    *words: str | Path, cwd: Path, check: bool = True, stdin: str | None = None, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run `delm-mcp` as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(**more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stderr
    return done


@dataclass
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


def delm_here(*words: str | Path, cwd: Path, stdin: str = "", **more: str) -> Printed:
    """Run `delm-mcp` within this process, which saves its imports.

    In a thread of its own, because it brings its own event loop.
    """
    unset = {name: None for name in os.environ if name.startswith("DELM_")}

    answers: SimpleQueue[Printed | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            with chdir(cwd):
                runner = CliRunner(env={**unset, "COLUMNS": "200", **more})
                done = runner.invoke(app, [str(word) for word in words], input=stdin)
            crash = None if isinstance(done.exception, SystemExit) else done.exception
            answers.put(crash or Printed(done.exit_code, done.stdout, done.stderr))
        except BaseException as error:
            answers.put(error)

    # A daemon, so that a command which does not end fails its test instead of holding it up.
    Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE_S)
    except Empty:
        raise TimeoutError(f"delm-mcp {words[0]} did not end") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def opened_by_cli(cwd: Path, *words: str | Path) -> dict[str, Any]:
    """`init`, answered as JSON: run, tasks, board and base."""
    done = delm_here("init", *words, "--json", cwd=cwd)
    assert done.code == 0, done.err
    facts: dict[str, Any] = json.loads(done.out)
    return facts


def policy_file(folder: Path, **limits: float) -> Path:
    """The standard policy with other limits, as TOML."""
    lines = ['preset = "standard"', "[limits]", *(f"{name} = {value}" for name, value in limits.items())]
    path = folder / "policy.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def audited(path: Path) -> None:
    """Insist that the history of every run on a board is whole and says what the tables say."""

    async def main() -> None:
        async with open_sqlite(path) as store:
            assert await store.check_integrity() == "ok"

            def action(tx: Tx) -> list[tuple[str, object, list[str]]]:
                return [
                    (
                        run.id,
                        journal.walk(tx.log(run.id)),
                        journal.differences(journal.replay(tx.log(run.id)), tx.dump(run.id)),
                    )
                    for run in tx.runs()
                ]

            for run, fault, differences in await store.read(action):
                assert fault is None, (run, fault)
                assert differences == [], run

    anyio.run(main)


# -- git -----------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    """Run git in a folder; returns what it printed."""
    identity = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, files: Mapping[str, str], message: str = "work") -> str:
    """Write files and commit everything; returns the commit."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A repository with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    commit(folder, files, "start")
    return folder


# -- servers in processes of their own -----------------------------------------------------------


@contextmanager
def process(
    *words: str | Path, cwd: Path, command: Sequence[str] = COMMAND, **more: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with pipes; killed at the end if it still runs, or when it takes too long.

    Whoever waits for what it says then finds the end of its output.
    """
    started = subprocess.Popen(
        [*command, *map(str, words)],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watchdog = Timer(PATIENCE_S, started.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield started
    finally:
        watchdog.cancel()
        if started.poll() is None:
            started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout, started.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


@dataclass
class Served:
    """A server over HTTP in a process of its own."""

    process: "subprocess.Popen[bytes]"
    url: str
    greeting: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1].split("/")[0])

    def end(self, number: int, within_s: float) -> float:
        """Send a signal; returns after how many seconds the process was gone."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=within_s)
        return time.monotonic() - began


@contextmanager
def serving(board: Path, *words: str | Path, port: int = 0) -> Iterator[Served]:
    """`delm-mcp serve` on a board, once it listens."""
    arguments = ("serve", "--board", board, "--port", str(port), *words)
    with process(*arguments, cwd=board.parent) as started:
        assert started.stderr is not None
        greeting = ""
        while "listens on" not in greeting:  # ends with the process, which closes the pipe
            line = started.stderr.readline().decode()
            assert line, greeting
            greeting += line
        match = re.search(r"http://\S+/mcp", greeting)
        assert match is not None, greeting
        yield Served(started, match.group(0), greeting)


@asynccontextmanager
async def http_client(url: str, mode: Mode = "auto", token: str = "") -> AsyncIterator[Client]:
    """The SDK's client over streamable HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as transport,
        Client(
            streamable_http_client(url, http_client=transport), mode=mode, read_timeout_seconds=PATIENCE_S
        ) as client,
    ):
        yield client


@asynccontextmanager
async def stdio(cwd: Path, *words: str | Path, mode: Mode = "auto", **more: str) -> AsyncIterator[Client]:
    """The SDK's client with a `delm-mcp stdio` of its own."""
    parameters = StdioServerParameters(
        command=COMMAND[0],
        args=[*COMMAND[1:], "stdio", *map(str, words)],
        cwd=cwd,
        env=environment(**more),
    )
    async with Client(stdio_client(parameters), mode=mode, read_timeout_seconds=PATIENCE_S) as client:
        yield client
