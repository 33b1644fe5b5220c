"""Follows the run on the board, and tells what changes there as events.

It reads the board itself (`delm-mcp status --watch --json`, a line for each change) and not the server
that the agents call: so it sees pending and refused entries too, and goes on while that server is down.
"""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from delm_client.team.folder import Record
from delm_client.team.owner import Owner, clean_environment
from delm_client.team.record import Entered, Event, Holds, Joined, Line, Noted, RunIs

LINE_BYTES_MAX = 16_000_000
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The run at one moment, as `delm-mcp status --json` gives it."""

    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """`open`, `stalled`, `finished` or `cancelled`; empty before anything was seen."""
        return str(self.row.get("state", ""))

    @property
    def rows(self) -> int:
        """The length of the run's log, which only grows."""
        return int(self.row["log"]["rows"]) if self.row else 0

    @property
    def over(self) -> bool:
        """Whether nobody can do anything in this run any more."""
        return self.state not in ("", "open")

    def count(self, *states: str) -> int:
        """How many tasks are in one of these states."""
        return sum(int(self.row.get("tasks", {}).get(state, 0)) for state in states)

    def agent(self, label: str) -> Mapping[str, Any]:
        """What the board knows of an agent; empty if it has never seen it."""
        return next((row for row in self.row.get("agents", ()) if row["agent"] == label), {})

    def holding(self, label: str) -> Holds:
        """What an agent holds."""
        task = self.agent(label).get("task", "")
        row: Mapping[str, Any] = next((r for r in self.row.get("queue", ()) if r["task"] == task), {})
        return Holds(task, row.get("kind", ""), row.get("subject", "")) if task else Holds()

    def decided(self, label: str) -> int:
        """How many proposals of an agent were decided on."""
        row = self.agent(label)
        return int(row.get("admitted", 0)) + int(row.get("rejected", 0))

    @property
    def lease_s(self) -> float:
        """The most time that a lease has left; 0 where nobody holds one."""
        return max((float(row["lease_left_s"]) for row in self.row.get("queue", ())), default=0.0)


@dataclass(slots=True)
class Told:
    """What the record says already, so that nothing is told twice, after a `resume` neither."""

    entries: dict[str, str] = field(default_factory=dict)
    holds: dict[str, Holds] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    run: RunIs | None = None

    def hear(self, line: Line) -> None:
        """Take in a line of the record."""
        match line.what:
            case Entered() as what:
                self.entries[what.entry] = what.state
            case Holds() as what:
                self.holds[line.agent] = what
            case Joined():
                self.joined.add(line.agent)
            case RunIs() as what:
                self.run = what
            case _:
                pass


def news(told: Told, seen: Seen, labels: Iterable[str]) -> list[tuple[str, Event]]:
    """What is to be told now: the agent (empty: nobody) and the event, in the order to tell them."""
    found: list[tuple[str, Event]] = []
    for label in labels:
        if label not in told.joined and seen.agent(label):
            found.append((label, Joined()))
    for row in sorted(seen.row.get("latest", ()), key=lambda row: int(row["entry"].lstrip("E"))):
        if told.entries.get(row["entry"]) != row["state"]:
            what = Entered(
                row["entry"], row["kind"], row["state"], row["strength"], row["gist"], row["reason"]
            )
            found.append((row["agent"], what))
    for label in labels:
        holding = seen.holding(label)
        if told.holds.get(label, Holds()) != holding:
            found.append((label, holding))
    if seen.row:
        run = RunIs(seen.state, int(seen.row["version"]), dict(seen.row["tasks"]), seen.row.get("reason", ""))
        if run != told.run:
            found.append(("", run))
    return found


class Following:
    """The run, as it is now."""

    def __init__(self, owner: Owner, run: str, labels: Iterable[str], record: Record) -> None:
        self.seen = Seen()
        self.pid = 0
        self._owner = owner
        self._run = run
        self._labels = tuple(labels)
        self._record = record
        self._told = Told()
        self._changed = anyio.Event()
        for line in record.lines:
            self._told.hear(line)

    def take(self, seen: Seen) -> None:
        """Take in what the board says, and tell what is new; what is older than what is known is left."""
        if seen.rows < self.seen.rows:
            return
        self.seen = seen
        for label, what in news(self._told, seen, self._labels):
            self._told.hear(Line(0.0, label, what))
            self._record.tell(what, label)
        self.nudge()

    def nudge(self) -> None:
        """Let whoever waits look again."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; looked at whenever the run or an agent changed."""
        while not condition():
            await self._changed.wait()

    async def work(self) -> None:
        """Follow until cancelled; a reader that ends is started again."""
        while True:
            try:
                await self._follow()
            except OSError as error:
                self._record.tell(Noted(f"The board cannot be followed for now: {error}"))
            await anyio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        argv = self._owner.argv("status", "--watch", "--json", "--run", self._run)
        process = await anyio.open_process(
            argv,
            cwd=self._owner.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = process.pid
        try:
            await self._read(process)
        finally:
            with anyio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()  # it only reads
                await process.aclose()

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        lines = BufferedByteReceiveStream(process.stdout)
        with suppress(anyio.IncompleteRead, anyio.EndOfStream):
            while True:
                line = await lines.receive_until(b"\n", LINE_BYTES_MAX)
                with suppress(ValueError):
                    for row in json.loads(line)["runs"]:
                        if row["run"] == self._run:
                            self.take(Seen(row))
