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
import json
import math
import os
import re
import resource
import select
import shutil
import signal
import sys
import threading
import time
import warnings
from typing import Any, NoReturn

IMPORTS_THE_PROJECT = 77
POLL_S = 0.02
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
FILE_SIZE_BYTES = 64 * 2**20
TEST_FILE = re.compile(r"(^|/)(tests?/.*|test_[^/]*|[^/]*_test|conftest|setup|noxfile)\.py$")


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
        self.report = -1
        self.edits = 0

    def answer(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.answers, data) :]

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
                read, self.report = os.pipe()
                started = time.monotonic()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a plugin's thread makes fork warn, perhaps as an error
                    pid = os.fork()
                if pid == 0:
                    os.close(read)
                    self.become_child(request)
                    return request
                os.close(self.report)
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
            with open(path, "wb") as file:
                file.write(base64.b64decode(request["source"]))
            os.utime(path, (status.st_atime, int(status.st_mtime) + self.edits))
            yield
        finally:
            if os.getpid() == forker:
                with open(path, "wb") as file:
                    file.write(original)
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

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


class Session:
    """The pytest plugin of one session: waits in the zygote, selects, traces and reports in the child."""

    def __init__(self, server: Server, request: dict[str, Any] | None) -> None:
        self.server = server
        self.request = request
        self.outcomes: dict[str, str] = {}
        self.lines: dict[str, set[tuple[str, int]]] = {}
        self.current: set[tuple[str, int]] = self.lines.setdefault("", set())
        self.sources: dict[str, str] = {}

    def trace(self) -> None:
        if self.request is not None and self.request["trace"]:
            threading.settrace(self.enter)
            sys.settrace(self.enter)

    def pytest_load_initial_conftests(self, early_config: Any) -> None:
        known = early_config.known_args_namespace
        if hasattr(known, "no_cov"):  # pytest-cov would trace what we trace, and write a report
            known.no_cov = True

    def pytest_cmdline_main(self, config: Any) -> Any:
        option = config.option
        option.basetemp = os.path.join(self.server.scratch, "tmp", "pytest")
        option.xmlpath = None
        option.tbstyle = "native"  # nobody reads the tracebacks, and the long style is half the time
        if hasattr(option, "numprocesses"):
            option.numprocesses, option.dist, option.tx = 0, "no", []
        yield

    def pytest_collection(self, session: Any) -> Any:
        if self.request is None:
            if imported_sources(self.server.root):
                os._exit(IMPORTS_THE_PROJECT)
            self.server.answer({"ready": "zygote"})
            self.request = self.server.serve()
        wanted = self.request["ids"]
        root = str(session.config.rootpath)
        files = dict.fromkeys(os.path.join(root, test.partition("::")[0]) for test in wanted)
        session.config.args = [file for file in files if os.path.exists(file)]
        session.config.option.maxfail = 1 if self.request["stop_first"] else 0
        self.trace()
        yield

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        assert self.request is not None
        order = {test: place for place, test in enumerate(self.request["ids"])}
        chosen = [item for item in items if str(item.nodeid) in order]
        items[:] = sorted(chosen, key=lambda item: order[str(item.nodeid)])

    def pytest_runtest_protocol(self, item: Any) -> Any:
        self.current = self.lines.setdefault(str(item.nodeid), set())
        yield

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = str(report.nodeid)
        so_far = self.outcomes.get(test)
        if report.failed:
            self.outcomes[test] = "failed" if report.when == "call" else "error"
        elif report.skipped:
            self.outcomes[test] = "skipped"
        elif so_far is None and report.when == "call":
            self.outcomes[test] = "passed"

    def pytest_sessionfinish(self) -> None:
        if self.server.report < 0:
            return  # the zygote itself ends: an error before the first request
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        message: dict[str, Any] = {"tests": self.outcomes}
        if self.request is not None and self.request["trace"]:
            message["lines"] = {test: by_file(lines) for test, lines in self.lines.items()}
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.server.report, data) :]
        os._exit(0)

    def enter(self, frame: Any, event: str, arg: object) -> Any:
        """Trace function: a local tracer for the frames of project sources, none for others."""
        filename = frame.f_code.co_filename
        relative = self.sources.get(filename)
        if relative is None:
            relative = self.sources[filename] = project_source(filename, self.server.root)
        if not relative:
            return None

        def line(frame: Any, event: str, arg: object) -> Any:
            if event == "line":
                self.current.add((relative, frame.f_lineno))
            return line

        self.current.add((relative, frame.f_lineno))
        return line


def declare_hooks() -> None:
    """Mark the order of our hooks here and not where they stand: pytest need not be importable to read this."""
    import pytest

    outermost = pytest.hookimpl(hookwrapper=True, tryfirst=True)
    outermost(Session.pytest_cmdline_main)
    outermost(Session.pytest_collection)
    outermost(Session.pytest_runtest_protocol)
    pytest.hookimpl(tryfirst=True)(Session.pytest_load_initial_conftests)
    pytest.hookimpl(trylast=True)(Session.pytest_collection_modifyitems)
    pytest.hookimpl(tryfirst=True)(Session.pytest_sessionfinish)


def by_file(lines: set[tuple[str, int]]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for file, line in sorted(lines):
        grouped.setdefault(file, []).append(line)
    return grouped


def project_source(filename: str, root: str) -> str:
    """The path inside the project of a source that may be mutated; "" for everything else."""
    if not filename.startswith(root + os.sep) or not filename.endswith(".py"):
        return ""
    relative = filename[len(root) + 1 :].replace(os.sep, "/")
    return "" if TEST_FILE.search(relative) or "site-packages/" in relative else relative


def imported_sources(root: str) -> list[str]:
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    return [file for file in files if isinstance(file, str) and project_source(file, root)]


def run_pytest(server: Server, settings: dict[str, Any], request: dict[str, Any] | None) -> int:
    import pytest

    plugin = Session(server, request)
    plugin.trace()
    return int(pytest.main([*settings["args"], "--capture=no"], plugins=[plugin]))


def warm_up(settings: dict[str, Any]) -> None:
    """Import pytest's own modules and its installed plugins, without the project."""
    import pytest

    empty = os.path.join(settings["scratch"], "empty")
    os.makedirs(empty, exist_ok=True)
    pytest.main([empty, f"--rootdir={empty}", "-c", os.devnull, "-p", "no:cacheprovider"])


def serve_as_server(server: Server, settings: dict[str, Any]) -> None:
    """Fork before the configuration is read: for projects whose conftest imports the code under repair."""
    warm_up(settings)
    server.answer({"ready": "server"})
    request = server.serve()
    code = run_pytest(server, settings, request)
    # A child that comes back here never finished a session: its answer is missing, and counts as a crash.
    os._exit(code or 1)


def start(server: Server, settings: dict[str, Any]) -> None:
    try:
        import pytest
    except ImportError as error:
        server.answer({"error": f"{sys.executable} cannot import pytest: {error}"})
        return
    declare_hooks()
    versions = {"python": sys.version.split()[0], "pytest": pytest.__version__}
    zygote = os.fork()
    if zygote == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        forker = os.getpid()
        code = run_pytest(server, settings, None)
        os._exit((code or 1) if os.getpid() == forker else 1)
    _, status = os.waitpid(zygote, 0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    if code == IMPORTS_THE_PROJECT:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        serve_as_server(server, settings)
    elif code:
        server.answer({"error": f"pytest ended with code {code} before it collected a test", **versions})


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
            shutil.rmtree(settings["scratch"], ignore_errors=True)


if __name__ == "__main__":
    main()
