"""Keep one command and everything it starts on a leash. Run as a script, with the standard library only.

The server starts `python -I -S supervisor.py JSON` in a session of its own, with the emptied
environment that the command is to have, and holds the other end of its stdin. The supervisor

- sets the limits and starts the command in another session;
- adopts what the command leaves behind (Linux: PR_SET_CHILD_SUBREAPER), double forks included;
- kills everything when the command ends, when there are too many processes, and when stdin reaches
  its end: the server closes it to give up, and the kernel does when the server is gone, kill -9 or not;
- exits as the command did (128 + n for signal n), after writing `{"reason": ...}` to the status pipe.

Should the command kill its supervisor, the kernel kills the command (PR_SET_PDEATHSIG); the server then
looks for what is left by its mark in the environment.

JSON: `{"argv": [...], "status": fd, "cpu_s": n, "file_bytes": n, "memory_bytes": n, "processes": n}`, 0 for
no limit. The status pipe is also inherited by the command when `"share_status"` is 1 (bubblewrap reports
there, and closes it before it starts anything).
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.25
_KILL_WITHIN_S = 5.0


def _prctl(option: int, value: int) -> None:
    """Linux's prctl; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _set_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _limit_child(order: dict[str, int], processes_now: int) -> None:
    """Between fork and exec of the command."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _set_limit(resource.RLIMIT_CORE, 0)
    if order["cpu_s"]:
        _set_limit(resource.RLIMIT_CPU, order["cpu_s"])
    if order["file_bytes"]:
        _set_limit(resource.RLIMIT_FSIZE, order["file_bytes"])
    if order["memory_bytes"]:
        _set_limit(resource.RLIMIT_AS, order["memory_bytes"])
    if order["processes"] and processes_now:
        # The kernel counts all of the user's threads, not only ours, and does not count root's. This
        # only stops what is faster than our own count, hence the room.
        _set_limit(resource.RLIMIT_NPROC, processes_now + 4 * order["processes"])


def _process_table() -> dict[int, tuple[int, str]]:
    """Parent and state of every process: `{pid: (ppid, "S")}`. Empty where there is no /proc."""
    table: dict[int, tuple[int, str]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return table
    for name in names:
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The command's name stands in parentheses and may contain anything.
                    fields = file.read().rpartition(b")")[2].split()
                table[int(name)] = (int(fields[1]), fields[0].decode("ascii"))
    return table


def _descendants() -> list[int]:
    """Every living process below this one."""
    table = _process_table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        found += [pid for pid in below if table[pid][1] not in "ZX"]
    return found


def _threads_of_user() -> int:
    """How many threads the user has now; 0 where that is unknown."""
    count = 0
    for pid in _process_table():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def _signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Supervisor:
    """One command's life. `exit_code` is None until it has ended."""

    def __init__(self, order: dict[str, int], argv: list[str]) -> None:
        self._order = order
        self.exit_code: int | None = None
        self.reason = ""
        processes_now = _threads_of_user()
        # Only this thread exists, so code between fork and exec is safe here.
        self._command = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(order["status"],) if order["share_status"] else (),
            preexec_fn=lambda: _limit_child(order, processes_now),  # noqa: PLW1509
        )

    def run(self) -> None:
        """Until the command has ended, or has to."""
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._reap()
        while self.exit_code is None and not self.reason:
            ready, _, _ = select.select([0, wake], [], [], _POLL_S)
            if wake in ready:
                os.read(wake, 4096)
            if 0 in ready and not os.read(0, 4096):
                self.reason = "owner"
            self._reap()
            if self._order["processes"] and len(_descendants()) > self._order["processes"]:
                self.reason = "processes"
        self.kill_all()

    def kill_all(self) -> None:
        """Nothing below this process lives on, new children of the dying included."""
        give_up = time.monotonic() + _KILL_WITHIN_S
        while time.monotonic() < give_up:
            alive = _descendants()
            # Stopped first: what is stopped cannot fork while its siblings are being killed.
            _signal_all(alive, signal.SIGSTOP)
            _signal_all(alive, signal.SIGKILL)
            if self.exit_code is None or sys.platform != "linux":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._command.pid, signal.SIGKILL)
            self._reap()
            if not alive and self.exit_code is not None:
                return
            time.sleep(0.005)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._command.pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = self._command.returncode = code if code >= 0 else 128 - code


def main() -> int:
    order = json.loads(sys.argv[1])
    argv = order.pop("argv")
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        supervisor = Supervisor(order, argv)
    except OSError as error:
        report, code = {"reason": "not started", "error": error.strerror or str(error)}, 127
    else:
        supervisor.run()
        report, code = {"reason": supervisor.reason}, supervisor.exit_code or 0
        if supervisor.exit_code is None:
            code = 128 + signal.SIGKILL
    with contextlib.suppress(OSError):
        os.write(order["status"], json.dumps(report).encode() + b"\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
