"""What the tests of real agents share: a place to work, the agents as processes, and the board's server."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from delm_client.scripted import ScriptedModel
from delm_client.team.harness import Assignment, Parser, Permissions, Server
from delm_client.team.harnesses import HARNESSES
from delm_client.team.record import Event
from tests.outside import COMMAND, delm, environment, git, repository

Told = TypeVar("Told", bound=Event)
ROOT = Path(__file__).parents[2]
CLIENTS = Path(os.environ.get("DELM_AGENT_CLIENTS") or ROOT / ".agents") / "node_modules" / ".bin"
NAMES = tuple(HARNESSES)
MODELS = {"claude": "", "codex": "", "gemini": "gemini-2.5-flash", "opencode": "scripted/scripted"}
FORMS = {"claude": "structured", "codex": "structured", "gemini": "text", "opencode": "text"}
"""Which of an answer's two forms each client shows its model."""
PROMPT = (
    "Join the team on this board as a worker: claim_task with run={run}. Do the task, propose "
    "the result, then claim the next, until claim_task tells you to stop."
)


def missing(names: Sequence[str]) -> list[str]:
    """Which of the clients are not installed here."""
    return [name for name in names if not (CLIENTS / HARNESSES[name].program).exists()]


# -- the place -----------------------------------------------------------------------------------


@dataclass
class Place:
    """A repository with a board and one run, and a folder for all that belongs to the agents."""

    folder: Path
    repository: Path
    run: str = "team"
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def board(self) -> Path:
        return self.folder / "board.db"

    def delm(self, *words: str | Path) -> str:
        """Run `delm-mcp` on this board; returns what it printed."""
        return delm(*words, "--board", self.board, cwd=self.repository).stdout

    def opened(self, tasks: Sequence[Mapping[str, Any]], *words: str, policy: str = "strict") -> None:
        """Open the run."""
        path = self.folder / "tasks.json"
        path.write_text(json.dumps(tasks), encoding="utf-8")
        self.delm(
            "init", "Mend the modules", "--tasks-file", path, "--run", self.run, "--policy", policy, *words
        )
        # Before a server starts: one that finds no tokens on its board asks nobody for one.
        for name in NAMES:
            label = f"{name}-1"
            said = self.delm("token", "create", name, "--agent", label)
            self.tokens[label] = said.strip().splitlines()[-1]

    def worktree(self, label: str) -> Path:
        """A worktree of its own for an agent."""
        path = self.folder / "worktrees" / label
        git(self.repository, "worktree", "add", "-q", "-b", f"delm/{label}", str(path))
        return path

    def status(self) -> dict[str, Any]:
        """The run as `delm-mcp status --json` has it."""
        (status,) = json.loads(self.delm("status", "--json", "--run", self.run))["runs"]
        return dict(status)

    def exported(self) -> list[dict[str, Any]]:
        """All rows of the run."""
        return [json.loads(line) for line in self.delm("export", "--run", self.run).splitlines()]


def place(folder: Path, files: Mapping[str, str]) -> Place:
    """A new repository in a folder."""
    made = repository(folder / "repository", files)
    git(made, "config", "user.name", "An Agent")
    git(made, "config", "user.email", "agent@example.org")
    return Place(folder, made)


# -- the board's server --------------------------------------------------------------------------


@dataclass
class BoardServer:
    """`delm-mcp serve` as a process, which can be killed and started again at the same address."""

    place: Place
    stack: AsyncExitStack
    group: anyio.abc.TaskGroup
    port: int = 0
    url: str = ""
    process: anyio.abc.Process | None = None

    async def start(self) -> None:
        """Start it; returns once it listens."""
        words = ("serve", "--board", str(self.place.board), "--port", str(self.port), "--commands", "process")
        started = await anyio.open_process(
            [*COMMAND, *words], cwd=self.place.repository, env=environment(), stdout=subprocess.DEVNULL
        )
        self.process = started
        assert started.stderr is not None
        lines = BufferedByteReceiveStream(started.stderr)
        match = None
        with anyio.fail_after(120):
            while match is None:
                line = await lines.receive_until(b"\n", 10_000)
                match = re.search(r"http://127\.0\.0\.1:(\d+)/mcp", line.decode())
        self.url, self.port = match[0], int(match[1])
        self.group.start_soon(_drain, lines)

    async def kill(self) -> None:
        """End it without warning (kill -9)."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def _drain(lines: BufferedByteReceiveStream) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await lines.receive()


@asynccontextmanager
async def board_server(place: Place) -> AsyncIterator[BoardServer]:
    """The board's server over HTTP."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        server = BoardServer(place, stack, group)
        await server.start()
        try:
            yield server
        finally:
            with anyio.CancelScope(shield=True):
                await server.kill()


# -- the agents ----------------------------------------------------------------------------------


@dataclass
class Agent:
    """An agent's process, and what it told by its harness's parser."""

    name: str
    label: str
    worktree: Path
    events: list[Event] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    code: int | None = None
    pid: int = 0
    heard: anyio.Condition = field(default_factory=anyio.Condition)

    async def until(self, enough: Callable[["Agent"], bool], within_s: float) -> None:
        """Wait until it has told enough."""
        with anyio.move_on_after(within_s):
            async with self.heard:
                while not enough(self) and self.code is None:
                    await self.heard.wait()
        assert enough(self), (self.label, self.code, self.errors[-5:], self.lines[-3:])

    def of(self, kind: type[Told]) -> list[Told]:
        """Its events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def users_own(name: str, home: Path, model_url: str) -> dict[str, str]:
    """What a user of the client would have set up: the model's address and a key, in an empty HOME."""
    home.mkdir(parents=True)
    match name:
        case "claude":
            return {"ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": "sk-none",
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1"}  # fmt: skip
        case "codex":
            lines = [
                'model = "scripted"', 'model_provider = "scripted"', "[analytics]", "enabled = false",
                "[model_providers.scripted]", 'name = "scripted"', f'base_url = "{model_url}/v1"',
                'env_key = "SCRIPTED_KEY"', 'wire_api = "responses"', "request_max_retries = 1",
                "stream_max_retries = 1",
            ]  # fmt: skip
            (home / ".codex").mkdir()
            (home / ".codex" / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
            return {"SCRIPTED_KEY": "sk-none"}
        case "gemini":
            settings = {
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "privacy": {"usageStatisticsEnabled": False},
                "general": {"disableAutoUpdate": True},
            }
            (home / ".gemini").mkdir()
            (home / ".gemini" / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
            return {"GEMINI_API_KEY": "sk-none", "GOOGLE_GEMINI_BASE_URL": model_url}
        case _:
            provider = {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{model_url}/v1", "apiKey": "sk-none"},
                "models": {"scripted": {"name": "scripted"}},
            }
            (home / ".config" / "opencode").mkdir(parents=True)
            path = home / ".config" / "opencode" / "opencode.json"
            path.write_text(json.dumps({"provider": {"scripted": provider}}), encoding="utf-8")
            return {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}


def surroundings(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """An agent's whole environment: nothing of ours but what finds programs."""
    node = Path(shutil.which("node") or "/usr/bin/node").parent
    path = os.pathsep.join([str(CLIENTS), str(node), os.environ.get("PATH", "/usr/bin:/bin")])
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "NO_COLOR": "1", "TERM": "dumb", **variables}


@asynccontextmanager
async def started(
    name: str,
    place: Place,
    model: ScriptedModel | str,
    server: Server,
    *,
    key: bool = True,
    prompt: str = "",
    permissions: Permissions = Permissions.EDIT,
    commands: Sequence[str] = ("python3",),
) -> AsyncIterator[Agent]:
    """An agent at work, started as its harness says; ended with all that it started when the block ends."""
    label = f"{name}-1"
    harness = HARNESSES[name]
    agent = Agent(name, label, place.worktree(label))
    own = place.folder / "ours" / label
    own.mkdir(parents=True)
    home = place.folder / "home" / label
    url = model if isinstance(model, str) else model.url
    given = users_own(name, home, url)
    if not key:
        given = {variable: value for variable, value in given.items() if not variable.endswith("_KEY")}
    launch = harness.launch(
        Assignment(
            label=label,
            worktree=agent.worktree,
            home=own,
            git_dir=place.repository / ".git",
            server=server,
            prompt=prompt or PROMPT.format(run=place.run),
            permissions=permissions,
            commands=tuple(commands),
            model=MODELS[name],
        )
    )
    for path, text in launch.files.items():
        path.write_text(text, encoding="utf-8")
    variables = {
        **given,
        **launch.variables,
        **({server.token_variable: place.tokens[label]} if server.url else {}),
    }
    process = await anyio.open_process(
        launch.argv, cwd=agent.worktree, env=surroundings(home, variables), start_new_session=True
    )
    agent.pid = process.pid
    async with anyio.create_task_group() as group:
        try:
            assert process.stdin is not None
            with suppress(anyio.BrokenResourceError):
                await process.stdin.send(launch.stdin.encode())
            await process.stdin.aclose()
            group.start_soon(_attend, agent, process)
            yield agent
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await process.wait()


async def _attend(agent: Agent, process: anyio.abc.Process) -> None:
    """Take in what an agent prints, on both of its outputs, until it is gone."""
    parser = HARNESSES[agent.name].parser()
    assert process.stdout is not None
    assert process.stderr is not None
    async with anyio.create_task_group() as group:
        group.start_soon(_listen, agent, parser, process.stdout, agent.lines)
        group.start_soon(_listen, agent, parser, process.stderr, agent.errors)
    agent.code = await process.wait()
    async with agent.heard:
        agent.heard.notify_all()


async def _listen(agent: Agent, parser: Parser, stream: anyio.abc.ByteReceiveStream, kept: list[str]) -> None:
    rest = ""
    async for text in TextReceiveStream(stream, errors="replace"):
        *lines, rest = (rest + text).split("\n")
        async with agent.heard:
            for line in lines:
                kept.append(line)
                agent.events += parser.feed(line)
            agent.heard.notify_all()


async def ended(agents: Sequence[Agent], within_s: float) -> None:
    """Wait until the agents are gone by themselves."""
    with anyio.move_on_after(within_s):
        for agent in agents:
            async with agent.heard:
                while agent.code is None:
                    await agent.heard.wait()
    late = {agent.label: agent.events[-3:] for agent in agents if agent.code is None}
    assert not late, late


def over_http(url: str) -> Server:
    """The board over HTTP, with a bearer token from a variable."""
    return Server(url=url, token_variable="DELM_TOKEN")


def over_stdio(place: Place, principal: str, agent: str) -> Server:
    """The board over stdio, by a server of the agent's own."""
    command = (*COMMAND, "stdio", "--board", str(place.board))
    return Server(command=command, variables={"DELM_PRINCIPAL": principal, "DELM_AGENT": agent})
