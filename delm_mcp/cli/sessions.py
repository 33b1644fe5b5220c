"""Which agents a client's process speaks for, written down where its hooks find it.

A hook is told by its client neither the agent's name nor its board. But the client starts both the hook
and the `delm-mcp stdio` that serves it, so the server writes down whose it is (`.delm/sessions/<pid>.json`),
and the hook looks for a client among its own ancestors. Ids of processes are used again, so each is kept
with the time at which its process started.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from delm_mcp.config import FOLDER

_log = logging.getLogger(__name__)
_SAME_START_S = 2.0  # psutil adds a start to the time of boot, which moves when the clock is set
_BETWEEN = frozenset({"uv", "uvx", "pipx", "env", "npx"})
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "busybox"})


@dataclass(frozen=True, slots=True)
class Session:
    """One client and the agents that it was given.

    Attributes:
        client: The id of its process, and when that started.
        seats: `(run, agent)`, as they joined.
    """

    client: tuple[int, float]
    seats: tuple[tuple[str, str], ...]


class Book:
    """The session of one `delm-mcp stdio`, as a file beside its board while it runs."""

    def __init__(self, board: Path) -> None:
        self._folder = folder_of(board)
        self._file = self._folder / f"{os.getpid()}.json"
        self._seats: dict[tuple[str, str], None] = {}
        self._processes: dict[str, tuple[int, float]] = {}
        # Also while it has no agent: else hooks of a client that another one started would find that one.
        self._write()

    def note(self, run: str, agent: str) -> None:
        """Write down that the client speaks for an agent from now on."""
        if (run, agent) not in self._seats:
            self._seats[run, agent] = None
            self._write()

    def _write(self) -> None:
        try:
            if not self._processes:  # once: when a client dies, another process becomes our parent
                own = psutil.Process()
                self._processes = {"server": _named(own), "client": _named(_client_of(own))}
            facts = {"host": socket.gethostname(), **self._processes, "seats": list(self._seats)}
            with suppress(FileNotFoundError):  # another server's end may just have removed the folder
                self._put(facts)
                return
            self._put(facts)
        except (OSError, psutil.Error) as error:
            _log.warning("Hooks will not find this agent, because its session cannot be kept: %s", error)

    def _put(self, facts: dict[str, Any]) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        _forget_dead(self._folder)
        write_private(self._file, json.dumps(facts))

    def close(self) -> None:
        """Forget the session."""
        with suppress(OSError):
            self._file.unlink()
            self._folder.rmdir()  # unless others are in it


def folder_of(board: Path) -> Path:
    """The folder of a board's sessions: in its own folder, else beside it under its name."""
    return board.with_name("sessions" if board.parent.name == FOLDER else f"{board.name}.sessions")


def found(board: Path, process: psutil.Process | None = None) -> list[Session]:
    """The sessions of the nearest client above a process (this one by default); none is no fault."""
    sessions = [session for _, session in _read(folder_of(board))]
    if not sessions:
        return []
    with suppress(psutil.Error):
        for ancestor in (process or psutil.Process()).parents():
            mine = [session for session in sessions if _is(ancestor, *session.client)]
            if mine:
                return mine
    return []


def write_private(file: Path, text: str) -> None:
    """Write a file that only its user may read, whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    partial.replace(file)


def _named(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()


def _client_of(server: psutil.Process) -> psutil.Process:
    """The process that asked for the server: its parent, but for what only passes a command on."""
    client = server.parent() or server
    while _passes_on(client) and (above := client.parent()) is not None and above.pid > 1:
        client = above
    return client


def _passes_on(process: psutil.Process) -> bool:
    name = process.name()
    return name in _BETWEEN or (name in _SHELLS and "-c" in process.cmdline()[1:3])


def _read(folder: Path) -> Iterator[tuple[tuple[Path, tuple[int, float]], Session]]:
    """The sessions of this host, each with its file and its server."""
    for file in sorted(folder.glob("*.json")):
        try:
            facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if facts["host"] != socket.gethostname():
                continue
            seats = tuple((str(run), str(agent)) for run, agent in facts["seats"])
            client, server = facts["client"], facts["server"]
            session = Session((int(client[0]), float(client[1])), seats)
            yield (file, (int(server[0]), float(server[1]))), session
        except (OSError, ValueError, LookupError, TypeError):
            continue  # half-written or of another version: nobody's session


def _forget_dead(folder: Path) -> None:
    for (file, server), _ in list(_read(folder)):
        try:
            alive = _is(psutil.Process(server[0]), *server)
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            file.unlink(missing_ok=True)


def _is(process: psutil.Process, pid: int, started: float) -> bool:
    return process.pid == pid and abs(process.create_time() - started) < _SAME_START_S
