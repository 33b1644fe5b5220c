"""How a team's agents reach the board: one HTTP server of ours with a token for each, or stdio.

The server runs the run's commands for all of them. It is started again at the same address if it dies, and
agents go on: it keeps nothing between calls. Tokens end with the team.
"""

import re
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import anyio
from anyio.abc import Process, TaskStatus
from anyio.streams.text import TextReceiveStream

from delm_client.session import server_command
from delm_client.team.folder import Record
from delm_client.team.harness import Server
from delm_client.team.hearing import Log
from delm_client.team.owner import Owner, clean_environment
from delm_client.team.processes import Pids, end, tail
from delm_client.team.record import Noted
from delm_client.team.wish import TeamError

READY_S = 60.0
TTL = "30d"  # should nobody come to revoke it
DEATHS_MAX = 10
PAUSE_S = 0.5
DRAIN_S = 1.0
_GREETING = re.compile(r"http://[^ ]+/mcp")


class Host(Protocol):
    """Gives each agent its way to the board."""

    def server(self, label: str) -> Server:
        """What its client is told."""

    def secrets(self, label: str) -> Mapping[str, str]:
        """What its process gets in its environment, and no file has."""

    async def ready(self) -> None:
        """Wait until agents can reach the board."""


@asynccontextmanager
async def hosting(
    transport: str, owner: Owner, run: str, labels: Sequence[str], record: Record, pids: Pids
) -> AsyncIterator[Host]:
    """A host for as long as the team works.

    Raises:
        TeamError: The server does not start, or dies again and again.
    """
    if transport == "stdio":
        yield StdioHost(owner)
        return
    names = {label: f"{run}.{label}" for label in labels}
    try:
        async with anyio.create_task_group() as group:
            secrets: dict[str, str] = {}
            for label, name in names.items():
                group.start_soon(_make_token, owner, run, label, name, secrets)
        host = HttpHost(owner, record, pids, secrets)
        async with anyio.create_task_group() as group:
            await group.start(host.work)
            try:
                yield host
            finally:
                group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for name in names.values():
                    group.start_soon(_revoke, owner, name)


async def _make_token(owner: Owner, run: str, label: str, name: str, secrets: dict[str, str]) -> None:
    words = ("token", "create", name, "--agent", label, "--run", run, "--ttl", TTL)
    try:
        secrets[label] = (await owner.tell(*words)).strip()
    except TeamError:
        await _revoke(owner, name)  # a launcher that was killed left it behind
        secrets[label] = (await owner.tell(*words)).strip()


async def _revoke(owner: Owner, name: str) -> None:
    with suppress(TeamError):  # it is not valid any more, which is what we want
        await owner.tell("token", "revoke", name)


@dataclass(frozen=True, slots=True)
class StdioHost:
    """Each client starts a server of its own, which declares whom it speaks for."""

    owner: Owner

    def server(self, label: str) -> Server:
        """A command that speaks for this agent only."""
        words = ("stdio", "--board", str(self.owner.board), "--agent", label)
        return Server(
            command=(*server_command(), *words), variables={"DELM_PRINCIPAL": label, "DELM_AGENT": label}
        )

    def secrets(self, label: str) -> Mapping[str, str]:
        """None."""
        return {}

    async def ready(self) -> None:
        """It always is."""


@dataclass
class HttpHost:
    """One server on loopback."""

    owner: Owner
    record: Record
    pids: Pids
    tokens: Mapping[str, str]
    url: str = ""
    _deaths: int = 0
    _ready: anyio.Event = field(default_factory=anyio.Event)

    def server(self, label: str) -> Server:
        """The one address; the token says who calls."""
        return Server(url=self.url)

    def secrets(self, label: str) -> Mapping[str, str]:
        """The agent's token."""
        return {Server().token_variable: self.tokens[label]}

    async def ready(self) -> None:
        """Wait while the server is being started again: an agent that comes meanwhile comes for nothing."""
        while not self._ready.is_set():
            await self._ready.wait()

    async def work(self, *, task_status: TaskStatus[None]) -> None:
        """Keep the server running until cancelled; started once it can be reached.

        Raises:
            TeamError: It did not start, or died too often.
        """
        started = False
        while True:
            process = await self._start()
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._drain, process)
                    if not started:
                        group.start_soon(self._tell_ready, process, task_status)
                        started = True
                    code = await process.wait()
                    group.cancel_scope.deadline = anyio.current_time() + DRAIN_S
            finally:
                with anyio.CancelScope(shield=True):
                    await end(process)
                    await process.aclose()
                    self.pids.remove("server")
            if self._ready.is_set():  # one that is not has agents that wait for it
                self._ready = anyio.Event()
            self._deaths += 1
            if self._deaths > DEATHS_MAX or not self.url:
                raise TeamError(f"The board's server does not stay alive: {self._last_words()}")
            self.record.tell(
                Noted(f"The board's server ended (code {code}); it is started again at {self.url}.")
            )
            await anyio.sleep(PAUSE_S)

    def _last_words(self) -> str:
        log = self.pids.folder.log("server")
        return f"{tail(log) or 'it said nothing'} (see {log})"

    async def _start(self) -> Process:
        port = self.url.rpartition(":")[2].partition("/")[0] or "0"
        process = await anyio.open_process(
            self.owner.argv("serve", "--host", "127.0.0.1", "--port", port, "--commands", "auto"),
            cwd=self.owner.folder,
            env=clean_environment() | {"NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pids.add("server", process.pid)
        return process

    async def _drain(self, process: Process) -> None:
        """Keep what the server says; its greeting names its address."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        said = ""
        log = Log(self.pids.folder.log("server"))
        async for text in TextReceiveStream(process.stderr, errors="replace"):
            log.write(text)
            said = (said + text)[-2000:]
            match = _GREETING.search(said)
            if match and not self._ready.is_set():
                self.url = match[0]
                self._ready.set()

    async def _tell_ready(self, process: Process, task_status: TaskStatus[None]) -> None:
        with anyio.move_on_after(READY_S):
            await self._ready.wait()
            task_status.started()
            return
        raise TeamError(f"The board's server did not start within {READY_S:.0f} s: {self._last_words()}")
