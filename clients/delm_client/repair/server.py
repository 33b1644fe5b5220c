"""The test server: imports pytest once and forks a child for each mutant.

This file is started by path, with the interpreter of the check command, in a private copy of the project:
it may import nothing but the standard library and pytest. `harness.py` is the other end.

Two levels, so that a mutant costs little more than its tests:

    server  imports pytest, waits for the rest, and clears the scratch folder when its client is gone
    └── zygote   has read the project's pytest configuration and waits just before collection
        └── child    collects and runs the tests of one request, under limits, then ends

Where the project's own conftest imports the code to be mutated, a zygote would keep the unmutated modules.
Then the server itself forks, before the configuration is read: slower, and right.

A request is one line of JSON on stdin, an answer one line on stdout (both moved to other descriptors, so
that no test can write into them). The end of stdin ends everything.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import importlib.util
import json
import math
import os
import resource
import select
import shutil
import signal
import stat
import sys
import threading
import time
import warnings
from typing import Any, NoReturn

POLL_S = 0.02
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
FILE_SIZE_BYTES = 64 * 2**20


def prctl(option: int, value: int) -> None:
    """Ask the kernel for a favour, where it is Linux."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Server:
    """Reads requests, keeps the mutated file in place while a child runs, and bounds that child."""

    def __init__(self, requests: int, answers: int, settings: dict[str, Any]) -> None:
        self.requests = requests
        self.answers = answers
        self.root: str = settings["root"]
        self.scratch: str = settings["scratch"]
        self.buffer = b""
        self.reports = -1
        self.edits = 0
        self.plugin: Any = None

    def answer(self, message: dict[str, Any]) -> None:
        """Tell the client."""
        send(self.answers, message)

    def report(self, message: dict[str, Any]) -> None:
        """In a child: tell the process that watches it."""
        send(self.reports, message)

    def leave(self) -> NoReturn:
        """End this process when the client is gone, straight through whatever pytest has on the stack."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        os._exit(0)

    def next_request(self) -> dict[str, Any]:
        """Wait for the next request."""
        while b"\n" not in self.buffer:
            chunk = os.read(self.requests, 65536)
            if not chunk:
                self.leave()
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        request: dict[str, Any] = json.loads(line)
        return request

    def serve(self) -> dict[str, Any]:
        """Serve until the client is gone. Returns only in a child, with the request that it has to run."""
        gc.collect()
        gc.freeze()
        while True:
            request = self.next_request()
            with self.edited(request):
                read, self.reports = os.pipe()
                started = time.monotonic()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a plugin's thread makes fork warn, perhaps as an error
                    pid = os.fork()
                if pid == 0:
                    os.close(read)
                    self.become_child(request)
                    return request
                os.close(self.reports)
                answer = self.watch(pid, read, started + request["wall_s"])
                os.close(read)
            answer["wall_s"] = time.monotonic() - started
            self.answer(answer)

    @contextlib.contextmanager
    def edited(self, request: dict[str, Any]) -> Any:
        """The mutated text stands in its file for the length of the block.

        Byte code is recognised by size and by the second of the last change, so each text gets a second of
        its own, and children write no byte code for it.
        """
        if not request.get("file"):
            yield
            return
        path = os.path.join(self.root, request["file"])
        with open(path, "rb") as file:
            original = file.read()
        status = os.stat(path)
        self.edits += 1
        forker = os.getpid()
        try:
            replace_file(path, base64.b64decode(request["source"]), status)
            second = int(status.st_mtime) + self.edits
            os.utime(path, (second, second))
            yield
        finally:
            if os.getpid() == forker:
                replace_file(path, original, status)

    def become_child(self, request: dict[str, Any]) -> None:
        """Leave the server's session, descriptors and patience behind."""
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(self.requests)
        os.close(self.answers)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        if request.get("file"):
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_FSIZE, FILE_SIZE_BYTES)
        limit(resource.RLIMIT_CPU, math.ceil(request["cpu_s"]) + 1)
        if used := address_space_bytes():
            limit(resource.RLIMIT_AS, used + request["memory_bytes"])
        # Processor time, not the clock: a busy machine makes no mutant guilty.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])

    def watch(self, pid: int, read: int, deadline: float) -> dict[str, Any]:
        """Wait for the child's report, its end, its deadline, or the end of our client."""
        data, ended = b"", None
        overdue = client_gone = False
        while not data.endswith(b"\n") and ended is None and not overdue and not client_gone:
            ready, _, _ = select.select([read, self.requests], [], [], POLL_S)
            if read in ready:
                chunk = os.read(read, 1 << 20)
                data += chunk
                if not chunk:
                    break
            elif self.requests in ready:
                client_gone = True  # nobody asks while we owe an answer
            else:
                ended = reap(pid)
                overdue = time.monotonic() > deadline
        if ended is not None and read in select.select([read], [], [], 0)[0]:
            data += os.read(read, 1 << 20)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if ended is None:
            _, status, usage = os.wait4(pid, 0)
            ended = (status, usage.ru_utime + usage.ru_stime)
        reap_adopted()
        if client_gone:
            self.leave()
        empty_folder(os.path.join(self.scratch, "tmp"))
        return verdict(data, ended, overdue)


def send(descriptor: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def replace_file(path: str, data: bytes, like: os.stat_result) -> None:
    """Put a new file in place, never through a link to another one."""
    with open(path + ".delm", "wb") as file:
        file.write(data)
    os.chmod(path + ".delm", stat.S_IMODE(like.st_mode))
    os.utime(path + ".delm", ns=(like.st_atime_ns, like.st_mtime_ns))
    os.replace(path + ".delm", path)


def verdict(data: bytes, ended: tuple[int, float], overdue: bool) -> dict[str, Any]:
    status, cpu_s = ended
    if data.endswith(b"\n"):
        return {"end": "completed", "cpu_s": cpu_s, **json.loads(data)}
    spent = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGXCPU)
    return {"end": "timeout" if overdue or spent else "crashed", "cpu_s": cpu_s, "tests": {}}


def reap(pid: int) -> tuple[int, float] | None:
    done, status, usage = os.wait4(pid, os.WNOHANG)
    return (status, usage.ru_utime + usage.ru_stime) if done else None


def reap_adopted() -> None:
    """Kill and reap what a child left behind in sessions of its own; as subreaper we inherit it."""
    for _ in range(100):
        try:
            done, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if done:
            continue
        try:
            with open(f"/proc/self/task/{threading.get_native_id()}/children", encoding="ascii") as file:
                orphans = [int(word) for word in file.read().split()]
        except OSError:
            return
        for orphan in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(orphan, signal.SIGKILL)
        time.sleep(0.001)


def empty_folder(folder: str) -> None:
    """Remove what killed tests left among the temporary files."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


def limit(kind: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def address_space_bytes() -> int:
    """What this process has mapped already; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def load_plugin() -> Any:
    """The module beside this file; by path, because its package is not installed for this interpreter."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugin.py")
    spec = importlib.util.spec_from_file_location("delm_repair_plugin", path)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_pytest(server: Server, settings: dict[str, Any], request: dict[str, Any] | None) -> int:
    import pytest

    session = server.plugin.Session(server, request)
    return int(pytest.main([*settings["args"], "--capture=no"], plugins=[session]))


def serve_as_server(server: Server, settings: dict[str, Any]) -> None:
    """Fork before the configuration is read: for projects whose conftest imports the code under repair."""
    import pytest

    # A session without the project imports what is left of pytest, and the installed plugins.
    empty = os.path.join(server.scratch, "empty")
    os.makedirs(empty, exist_ok=True)
    pytest.main([empty, f"--rootdir={empty}", "-c", os.devnull, "-p", "no:cacheprovider"])
    server.answer({"ready": "server"})
    request = server.serve()
    # A child whose session ends before its report is a crash, whatever pytest makes of it.
    run_pytest(server, settings, request)
    os._exit(1)


def start(server: Server, settings: dict[str, Any]) -> None:
    try:
        server.plugin = load_plugin()
    except ImportError as error:
        server.answer({"error": f"{sys.executable} cannot import pytest: {error}"})
        return
    zygote = os.fork()
    if zygote == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        os._exit(run_pytest(server, settings, None) or 1)
    _, status = os.waitpid(zygote, 0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    if code == server.plugin.IMPORTS_THE_PROJECT:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        serve_as_server(server, settings)
    elif code:
        server.answer({"error": f"pytest ended with code {code} before it collected a test"})


def main() -> None:
    settings = json.loads(sys.argv[1])
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    sys.argv[1:] = []
    sys.path[:] = settings["path"]
    server = Server(requests, answers, settings)
    owner = os.getpid()
    try:
        start(server, settings)
    finally:
        if os.getpid() == owner:
            while os.read(requests, 65536):
                pass  # the client may still want to read the log
            shutil.rmtree(settings["scratch"], ignore_errors=True)


if __name__ == "__main__":
    main()
