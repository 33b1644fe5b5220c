"""Bounded subprocesses: a deadline, one process group, and nothing left running afterwards."""

import contextlib
import errno
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OUTPUT_TAIL_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended; `code` is None when it was killed at its deadline."""

    code: int | None
    output: str
    duration_s: float


_running: set[int] = set()
_over = threading.Event()


def run_bounded(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None, *, timeout_s: float
) -> Completed:
    """Run a command in a session of its own and kill what is left of its group when it ends.

    Output goes to a file and not to a pipe, so that a grandchild that keeps it open cannot block us.
    Raises OSError where the program cannot be started, and InterruptedError where `no_more` ended it.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        _running.add(process.pid)
        try:
            if not _over.is_set():
                code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _running.discard(process.pid)
            kill_group(process.pid)
            process.wait()
        if _over.is_set():
            raise InterruptedError(errno.EINTR, "the run was stopped")
        output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_TAIL_BYTES))
        tail = output.read().decode("utf-8", "replace")
    return Completed(code, tail, time.monotonic() - started)


def no_more() -> None:
    """End what `run_bounded` is running in other threads, which nothing else can stop, and refuse more."""
    _over.set()
    for pid in tuple(_running):
        kill_group(pid)


def again() -> None:
    """Allow `run_bounded` again."""
    _over.clear()


def kill_group(pid: int) -> None:
    """Kill every process of the group that `pid` leads; a group that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def last_lines(text: str, count: int = 8) -> str:
    """The last lines that say something: what belongs into an error message."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])
