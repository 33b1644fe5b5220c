"""Processes that the launcher starts: noted in the team's folder, and ended with all that they started."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psutil
from anyio.abc import Process

from delm_client.team.folder import Folder
from delm_client.team.wish import TeamError

STOP_S = 5.0
MARK = "DELM_WORKTREE"
"""What tells a process of an agent, whatever session it went to: its worktree, in its environment."""
SHORT = 40


@dataclass
class Pids:
    """Which processes are ours now."""

    folder: Folder
    by_name: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, pid: int) -> None:
        """A process was started."""
        self.by_name[name] = pid
        self._write()

    def remove(self, name: str) -> None:
        """It is gone."""
        self.by_name.pop(name, None)
        self._write()

    def _write(self) -> None:
        with suppress(TeamError):  # it is needed only if we are killed, and a full disk is said elsewhere
            self.folder.write_processes(self.by_name)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a process that leads a session of its own, and whatever it started there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def end(process: Process, hurry: anyio.Event | None = None, worktree: Path | None = None) -> None:
    """End a process and what it started: asked to at first, killed after a while or when in a hurry.

    Args:
        worktree: For an agent: what it started is known by this, too.
    """
    if process.returncode is None and not (hurry and hurry.is_set()):
        signal_group(process.pid, signal.SIGTERM)
        with anyio.move_on_after(STOP_S):
            async with anyio.create_task_group() as group:
                if hurry is not None:
                    group.start_soon(_cancel_when, hurry, group.cancel_scope)
                await process.wait()
                group.cancel_scope.cancel()
    signal_group(process.pid, signal.SIGKILL)  # what outlived its leader, too
    await process.wait()
    for one in _of_session(process.pid) + (marked(worktree) if worktree else []):
        with suppress(psutil.Error):
            one.kill()


def _of_session(leader: int) -> list[psutil.Process]:
    """What is left of a session, in whatever process group: shells give each of their jobs one."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(one.pid) == leader:
                found.append(one)
    return found


def marked(folder: Path) -> list[psutil.Process]:
    """The processes of agents whose worktree is this folder or in it, daemons among them."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(one.environ().get(MARK, "/")).is_relative_to(folder):
                found.append(one)
    return found


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def end_leftovers(folder: Folder) -> list[int]:
    """End processes that a killed launcher left behind, with what they started; returns their ids."""
    ended = []
    for process in [*folder.processes().values(), *marked(folder.root)]:
        with suppress(psutil.Error, OSError):
            family = [process, *process.children(recursive=True)]
            for one in family:
                with suppress(psutil.Error):
                    one.terminate()
            _, alive = psutil.wait_procs(family, timeout=STOP_S)
            for one in alive:
                with suppress(psutil.Error):
                    one.kill()
            psutil.wait_procs(alive, timeout=STOP_S)
            ended.append(process.pid)
    return ended


def tail(path: Path, chars: int = 400) -> str:
    """The last words in a file, on one line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4 * chars))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip(" |+-\t") for line in text.splitlines()]
    lines = [line for line in lines if line]
    # A traceback's last line has it all; a sentence that was wrapped does not.
    short = len(lines) > 1 and len(lines[-1]) < SHORT and not lines[-2].startswith(("File ", "raise "))
    return " / ".join(lines[-2:] if short else lines[-1:])[-chars:]
