"""Runs chosen tests on the project with one file replaced, in a warm process of its own (`server.py`)."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from delm_client.repair.check import Check
from delm_client.repair.copies import copy_project
from delm_client.repair.errors import HarnessError
from delm_client.repair.processes import last_lines

START_TIMEOUT_S = 120.0
ANSWER_GRACE_S = 30.0
SERVER = Path(__file__).with_name("server.py")


class End(StrEnum):
    """How the process that ran the tests ended."""

    COMPLETED = "completed"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of tests may use. Processor time is what counts; the clock only catches waiting."""

    cpu_s: float = 60.0
    wall_s: float = 300.0
    memory_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the tests of one request."""

    end: End
    tests: Mapping[str, str]
    """passed, failed, error or skipped by node id; tests that were not reached are missing."""
    cpu_s: float
    wall_s: float
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where each failing test failed, as `file:line`."""
    lines: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict, repr=False)
    """Executed lines by test and file, when traced; what ran at import stands under ""."""

    def passed(self, ids: Sequence[str]) -> bool:
        return self.end is End.COMPLETED and all(self.tests.get(test) == "passed" for test in ids)


class Harness:
    """A test server over a private copy of the project; close it, or use it as a context manager.

    The project's own folder is only read. A server that dies is replaced, on a fresh copy.
    """

    def __init__(self, check: Check, *, root: Path | None = None) -> None:
        self._check = check
        self._root = (root or check.root).resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: Path | None = None
        self._buffer = b""
        if not hasattr(os, "fork"):
            raise HarnessError("The test server forks, so it needs Linux, macOS or another POSIX system.")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it is not running."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Copy the project and start the server. Raises HarnessError with what pytest said."""
        self.close()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        # Resolved, because the paths that tests and tracebacks see are.
        scratch = Path(tempfile.mkdtemp(prefix="delm-repair-")).resolve()
        self._scratch = scratch
        copy = scratch / "project"
        for name in ("project", "tmp"):
            (scratch / name).mkdir()
        copy_project(self._root, copy)
        settings = {
            "args": self._check.args,
            "path": [self._translated(entry, copy) for entry in self._check.path],
            "root": str(copy),
            "scratch": str(scratch),
        }
        # Byte code is welcome in the copy: without it, every mutant would compile the tests anew.
        inherited = {
            key: value for key, value in self._check.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
        }
        env = inherited | {
            "TMPDIR": str(scratch / "tmp"),
            "PYTHONHASHSEED": "0",
        }
        warnings = [f"-W{option}" for option in self._check.warnings]
        self._buffer = b""
        with (scratch / "log").open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    [self._check.python, *warnings, str(SERVER), json.dumps(settings)],
                    cwd=copy,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    start_new_session=True,
                )
            except OSError as error:
                raise HarnessError(f"{self._check.python} cannot be started: {error}") from error
        ready = self._answer(START_TIMEOUT_S)
        if ready is None or "error" in ready:
            said = last_lines((scratch / "log").read_text("utf-8", "replace")) if scratch.exists() else ""
            reason = ready["error"] if ready else "it ended, or did not answer in time"
            raise HarnessError(f"The test server did not start: {reason}\n{said}".rstrip())

    def _translated(self, entry: str, copy: Path) -> str:
        """An import path inside the project means the copy; what was not copied (.venv) stays where it is."""
        with contextlib.suppress(ValueError):
            inside = copy / (self._check.root / entry).resolve().relative_to(self._check.root)
            if inside.is_dir():
                return str(inside)
        return entry

    def run(
        self,
        ids: Sequence[str],
        *,
        file: str = "",
        source: bytes = b"",
        trace: bool = False,
        stop_first: bool = False,
        limits: Limits | None = None,
    ) -> Run:
        """Run tests in this order, with `source` as the text of `file` where one is named.

        A run that takes the server down is tried once more on a new one, then it counts as crashed.
        Raises HarnessError when a server cannot be started any more.
        """
        limits = limits or Limits()
        request = {
            "ids": list(ids),
            "file": file,
            "source": base64.b64encode(source).decode(),
            "trace": trace,
            "stop_first": stop_first,
            "cpu_s": limits.cpu_s,
            "wall_s": limits.wall_s,
            "memory_bytes": limits.memory_bytes,
        }
        started = time.monotonic()
        for _ in range(2):
            if self._process is None:
                self.start()
            answer = self._answer(limits.wall_s + ANSWER_GRACE_S) if self._send(request) else None
            if answer is not None and "end" in answer:
                return _run(answer)
            self.close()
        return Run(End.CRASHED, {}, 0.0, time.monotonic() - started)

    def close(self) -> None:
        """End the server and everything it started, and remove the copy."""
        process, self._process = self._process, None
        scratch, self._scratch = self._scratch, None
        try:
            if process is not None:
                _end(process)
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)

    def _send(self, request: dict[str, Any]) -> bool:
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018
        data = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while data:
                data = data[self._process.stdin.write(data) or 0 :]
        except OSError:
            return False
        return True

    def _answer(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line from the server; None when it is gone or overdue."""
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(descriptor, 1 << 20) if ready else b""
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _run(answer: dict[str, Any]) -> Run:
    lines = {
        test: {file: frozenset(numbers) for file, numbers in files.items()}
        for test, files in answer.get("lines", {}).items()
    }
    places = answer.get("places", {})
    return Run(End(answer["end"]), answer["tests"], answer["cpu_s"], answer["wall_s"], places, lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The end of its stdin tells the server and its children to go; what does not go is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # The zygote is in the server's group, and a child in its own dies with the zygote.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, 9)
        process.wait()
