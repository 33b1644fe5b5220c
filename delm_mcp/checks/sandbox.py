"""Run a command that an agent's code takes part in.

Two kinds of sandbox:

- `bubblewrap`: no network, a read-only system, private /tmp, /run, /dev, /proc and home, only the
  given folders writable, namespaces of its own, hidden paths covered. A command in there reaches
  neither the board nor the user's files.
- `process`: an emptied environment, a private home and temporary folder, resource limits, a session
  of its own. It keeps accidents in, not attacks: the command can read and write what the server can.

In both, a supervisor (see `supervisor`) ends everything that the command started when the command
ends, when time is up, when the caller is cancelled, and when the server itself is killed.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from subprocess import STDOUT
from typing import Literal

import anyio
import psutil
from anyio.abc import Process

from delm_mcp.checks import supervisor
from delm_mcp.checks.bubblewrap import Mounts, bubblewrap_argv, bubblewrap_problem
from delm_mcp.checks.output import Tail
from delm_mcp.checks.processes import kill_group
from delm_mcp.checks.workdirs import work_dir
from delm_mcp.errors import CheckUnavailable

SandboxKind = Literal["bubblewrap", "process"]

_MARK = "DELM_CHECK"
# How long the supervisor may take to end everything before it is killed itself.
_STOP_S = 8.0
# A command that prints without end is slowed down from here on, so that reading it leaves the
# event loop free. It still runs into its time limit.
_SLOW_AFTER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one command may use.

    Args:
        processes: At most this many processes at a time; more end the command.
        file_bytes: Largest file that it may write; 0: no limit.
        memory_bytes: Address space of each process; 0: no limit, as runtimes such as node or Go
            reserve far more than they use.
        cpu_s: CPU time of each process; 0: the time limit times the number of processors.
        tail_bytes: How much of the end of its output is kept.
    """

    processes: int = 512
    file_bytes: int = 1024**3
    memory_bytes: int = 0
    cpu_s: int = 0
    tail_bytes: int = 16 * 1024


@dataclass(frozen=True)
class Ran:
    """How a command ended.

    `exit_code` is None when it was stopped, and `killed_reason` then says why: `timeout`,
    `processes` (too many) or `supervisor` (it attacked its supervisor). 128 + n means signal n.
    """

    exit_code: int | None
    duration_s: float
    output_tail: str
    output_bytes: int
    killed_reason: str
    sandbox: SandboxKind

    @property
    def timed_out(self) -> bool:
        return self.killed_reason == "timeout"


async def choose_sandbox() -> tuple[SandboxKind, str]:
    """`bubblewrap` where it really works, else `process` and the reason."""
    problem = await bubblewrap_problem()
    return ("process", problem) if problem else ("bubblewrap", "")


async def run(
    argv: Sequence[str],
    cwd: Path,
    *,
    timeout_s: float,
    sandbox: SandboxKind,
    env_path: str,
    limits: Limits | None = None,
    hidden: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    readable: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
) -> Ran:
    """Run `argv` in `cwd` until it ends or has to.

    Args:
        argv: The command; its first word is looked up on `env_path`.
        cwd: Where it runs; it may write there.
        timeout_s: When it is stopped.
        sandbox: Which kind, see the module.
        env_path: Its PATH. In bubblewrap the folders of these programs stay readable.
        limits: What it may use.
        hidden: Folders and files that it must not see (bubblewrap only).
        writable: More folders that it may write in.
        readable: Folders that stay readable although they lie in a hidden one.
        env: More variables; otherwise it gets only PATH, HOME, TMPDIR, LANG and Python's settings
            for repeatable runs.

    Raises:
        CheckUnavailable: The command or the sandbox is not there, so nothing was run.
    """
    _require_program(argv, env_path)
    if sandbox == "bubblewrap" and (problem := await bubblewrap_problem()):
        raise CheckUnavailable(
            f"bubblewrap does not work here: {problem}", "Let the owner choose another sandbox, or mend it."
        )
    limits = limits or Limits()
    mark = token_hex(16)
    async with work_dir() as scratch:
        (scratch / "tmp" / "home").mkdir(parents=True)
        variables = {
            "PATH": env_path,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "HOME": str(scratch / "tmp" / "home"),
            "TMPDIR": str(scratch / "tmp"),
            **(env or {}),
            _MARK: mark,
        }
        with _Pipes() as pipes:
            command = list(argv)
            if sandbox == "bubblewrap":
                variables |= {"HOME": "/tmp/home", "TMPDIR": "/tmp"}  # noqa: S108
                # A program that was named by its path is found as well where /tmp or a home hides it.
                named = [str(Path(argv[0]).parent)] if os.path.isabs(argv[0]) else []
                programs = os.pathsep.join([*named, env_path])
                mounts = Mounts(scratch, (cwd, *writable), tuple(hidden), tuple(readable), programs)
                command = bubblewrap_argv(argv, cwd, mounts, pipes.status_write)
            order = {
                "argv": command,
                "cpu_s": limits.cpu_s or int(timeout_s * (os.cpu_count() or 1)) + 5,
                "file_bytes": limits.file_bytes,
                "memory_bytes": limits.memory_bytes,
                "processes": limits.processes,
                "status": pipes.status_write,
                "share_status": int(sandbox == "bubblewrap"),
            }
            ended = await _supervise(order, cwd, variables, pipes, timeout_s, Tail(limits.tail_bytes))
    return _judge_end(ended, argv, sandbox)


@dataclass
class _Ended:
    """What is known about a command after its end, before it is made sense of."""

    tail: Tail
    exit_code: int | None = None
    duration_s: float = 0.0
    timed_out: bool = False
    status: dict[str, object] = field(default_factory=dict)


def _judge_end(ended: _Ended, argv: Sequence[str], sandbox: SandboxKind) -> Ran:
    reason = str(ended.status.get("reason", "supervisor"))
    if ended.timed_out:
        reason = "timeout"
    code = ended.exit_code
    if reason == "not started":
        if "/" not in argv[0] or argv[0].startswith("/"):
            raise CheckUnavailable(f"`{argv[0]}` cannot be started: {ended.status.get('error')}.")
        # A script of the repository that is not there, or cannot be executed, is the patch's affair.
        ended.tail.add(f"{argv[0]}: {ended.status.get('error')}\n".encode())
    elif reason:
        code = None
    elif sandbox == "bubblewrap" and "exit-code" not in ended.status and not _is_relative(argv[0]):
        raise CheckUnavailable(
            f"bubblewrap ended before the command did: {ended.tail.text()[-300:].strip()}",
            "Look at the hidden and readable paths of the sandbox, and at the memory of the machine.",
        )
    return Ran(
        exit_code=code,
        duration_s=round(ended.duration_s, 3),
        output_tail=ended.tail.text(),
        output_bytes=ended.tail.bytes_seen,
        killed_reason="" if reason == "not started" else reason,
        sandbox=sandbox,
    )


def _is_relative(program: str) -> bool:
    return "/" in program and not program.startswith("/")


def _require_program(argv: Sequence[str], env_path: str) -> None:
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise CheckUnavailable("The command is empty or contains a NUL character.")
    if not _is_relative(argv[0]) and shutil.which(argv[0], path=env_path) is None:
        raise CheckUnavailable(
            f"There is no program `{argv[0]}` on the PATH that commands get: {env_path[:300]}",
            "Install it there, or start the server with the PATH that has it.",
        )


class _Pipes:
    """The three pipes between us and the supervisor; each end is closed exactly once."""

    def __init__(self) -> None:
        self.life_read, self.life_write = os.pipe()
        self.output_read, self.output_write = os.pipe()
        self.status_read, self.status_write = os.pipe()
        self._open = {*vars(self).values()}
        for reader in (self.output_read, self.status_read):
            os.set_blocking(reader, False)

    def __enter__(self) -> "_Pipes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *ends: int) -> None:
        for end in ends or tuple(self._open):
            if end in self._open:
                self._open.remove(end)
                os.close(end)


async def _supervise(
    order: Mapping[str, object],
    cwd: Path,
    env: Mapping[str, str],
    pipes: _Pipes,
    timeout_s: float,
    tail: Tail,
) -> _Ended:
    ended = _Ended(tail)
    started = time.monotonic()
    process = await anyio.open_process(
        [sys.executable, "-I", "-S", supervisor.__file__, json.dumps(order)],
        stdin=pipes.life_read,
        stdout=pipes.output_write,
        stderr=STDOUT,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
        pass_fds=(pipes.status_write,),
    )
    try:
        pipes.close(pipes.life_read, pipes.output_write, pipes.status_write)
        async with anyio.create_task_group() as tasks:
            at_end = anyio.Event()
            tasks.start_soon(_read_output, pipes.output_read, tail, at_end)
            with anyio.move_on_after(timeout_s) as scope:
                await process.wait()
            ended.timed_out = scope.cancelled_caught
            ended.duration_s = time.monotonic() - started
            await _stop(process, pipes, env[_MARK])
            # Whatever escaped may hold the pipe open for ever; what it prints does not matter.
            with anyio.move_on_after(1):
                await at_end.wait()
            tasks.cancel_scope.cancel()
        ended.exit_code = process.returncode
        ended.status = _read_status(pipes.status_read)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process, pipes, env[_MARK])
    return ended


async def _stop(process: Process, pipes: _Pipes, mark: str) -> None:
    """Have the supervisor end everything; end it and what it leaves ourselves if it does not."""
    pipes.close(pipes.life_write)
    with anyio.move_on_after(_STOP_S):
        await process.wait()
    if process.returncode is None or process.returncode < 0:
        kill_group(process.pid)
        await anyio.to_thread.run_sync(_kill_marked, mark)
        await process.wait()


def _kill_marked(mark: str) -> None:
    """Kill every process that carries our mark, until none is found."""
    for _ in range(20):
        found = False
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    found = True
        if not found:
            return


async def _read_output(pipe: int, tail: Tail, at_end: anyio.Event) -> None:
    while True:
        await anyio.wait_readable(pipe)
        chunk = os.read(pipe, 65_536)
        if not chunk:
            at_end.set()
            return
        tail.add(chunk)
        if tail.bytes_seen > _SLOW_AFTER_BYTES:
            await anyio.sleep(0.01)


def _read_status(pipe: int) -> dict[str, object]:
    """Everything reported on the status pipe, in one dict: bubblewrap's lines and the supervisor's."""
    status: dict[str, object] = {}
    with suppress(OSError, ValueError):
        for document in os.read(pipe, 65_536).decode().split("\n"):
            if document.strip():
                status |= json.loads(document)
    return status
