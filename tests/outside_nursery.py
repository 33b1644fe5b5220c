"""A process that starts agents in processes of their own, and hears what they say."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.outside import environment


class Nursery:
    """Starts agents in processes of their own (`tests.outside_worker`), hears what they say, kills them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.outside_worker"],
            cwd=Path(__file__).parent.parent,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pids: set[int] = set()
        self.heard: list[dict[str, Any]] = []
        self._alive = 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        for pid in list(self.pids):
            self.kill(pid)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self._reader.join(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def spawn(self, **spec: Any) -> None:
        """Start an agent; it says `ready` and, unless told to begin `at_once`, waits for `go`."""
        self._alive += 1
        self._tell(json.dumps(spec))

    def go(self) -> None:
        """Let everybody begin who is ready."""
        self._tell("go")

    def kill(self, pid: int) -> None:
        """`kill -9`."""
        self.pids.discard(pid)
        self._alive -= 1
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def listen(self, within_s: float) -> dict[str, Any] | None:
        """The next thing that an agent says; None after a while of silence."""
        try:
            line: dict[str, Any] = json.loads(self._lines.get(timeout=max(0.0, within_s)))
        except queue.Empty:
            return None
        if line["event"] == "ready":
            self.pids.add(line["pid"])
        elif line["event"] in {"over", "crashed"}:
            self._alive -= line["pid"] in self.pids
            self.pids.discard(line["pid"])
        self.heard.append(line)
        return line

    def hear(self, event: str, times: int, within_s: float) -> list[dict[str, Any]]:
        """Listen until an event was said so many times; everything that was said on the way."""
        until = time.monotonic() + within_s
        heard: list[dict[str, Any]] = []
        while sum(line["event"] == event for line in heard) < times:
            line = self.listen(until - time.monotonic())
            assert line is not None, f"{event} was said too rarely; last: {heard[-3:]}"
            assert line["event"] != "crashed", line["why"]
            heard.append(line)
        return heard

    def forget(self) -> None:
        """Forget what was said so far, and kill whoever is still there."""
        for pid in list(self.pids):
            self.kill(pid)
        self.heard.clear()

    def finish(self, within_s: float, besides: int = 0) -> None:
        """Listen until all who were not killed have stopped by themselves, but for some servers `besides`."""
        until = time.monotonic() + within_s
        while self._alive > besides:
            line = self.listen(until - time.monotonic())
            assert line is not None, f"{self._alive} agents did not stop; last: {self.heard[-5:]}"
            assert line["event"] != "crashed", line["why"]
