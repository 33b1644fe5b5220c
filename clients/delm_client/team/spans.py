"""How an agent's time went: spans of working, verifying, waiting, and of having no process.

DeLM (Mao et al., arXiv 2606.10662) calls time in which an agent waits a bubble; these spans show it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Activity(StrEnum):
    """What an agent does, as the board and its process tell it.

    working: holds a work or decide task.
    verifying: holds a verify task.
    waiting: its process is alive and holds nothing; starting up counts.
    gone: it has no process.
    """

    WORKING = "working"
    VERIFYING = "verifying"
    WAITING = "waiting"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of an agent's time: `start` and `end` in seconds since 1970.

    `awaits` is the agent's own entry that is not decided on while it waits: then it is the gate that it
    waits for, else the queue.
    """

    activity: Activity
    start: float
    end: float
    task: str = ""
    subject: str = ""
    awaits: str = ""

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end - self.start

    def goes_on(self, other: "Span") -> bool:
        """Whether another span is more of the same."""
        own = (self.activity, self.task, self.awaits)
        return own == (other.activity, other.task, other.awaits)


@dataclass
class Life:
    """An agent's spans from its first start on, without gaps and overlaps, whatever its clock does."""

    _ended: list[Span] = field(default_factory=list)
    _current: Span | None = None

    def become(
        self, activity: Activity, at: float, task: str = "", subject: str = "", awaits: str = ""
    ) -> None:
        """The agent does this from now on; a time before the last one counts as the last one."""
        current = self._current
        coming = Span(activity, at, at, task, subject, awaits)
        if current is not None:
            if current.goes_on(coming):
                return
            coming = replace(coming, start=max(at, current.start), end=max(at, current.start))
            if coming.start > current.start:
                self._ended.append(replace(current, end=coming.start))
            elif self._ended and self._ended[-1].goes_on(coming):
                # Something else for no time at all: what was before it goes on.
                coming = self._ended.pop()
        self._current = coming

    def until(self, end: float) -> tuple[Span, ...]:
        """The spans up to `end`, or to the last change where that is later; none before the first start."""
        if self._current is None or end <= self._current.start:
            return tuple(self._ended)
        return (*self._ended, replace(self._current, end=end))


def times(spans: Iterable[Span]) -> Mapping[Activity, float]:
    """Seconds by activity; every activity is there."""
    found = dict.fromkeys(Activity, 0.0)
    for span in spans:
        found[span.activity] += span.length_s
    return found


def awaiting_gate_s(spans: Iterable[Span]) -> float:
    """Seconds of waiting for a decision on an entry of one's own."""
    return sum(span.length_s for span in spans if span.awaits)


def waiting_share(spent: Mapping[Activity, float]) -> float | None:
    """The part of the time with a process in which it waited, from 0 to 1; None without such time."""
    alive = spent[Activity.WORKING] + spent[Activity.VERIFYING] + spent[Activity.WAITING]
    return spent[Activity.WAITING] / alive if alive else None


def coarse(spans: Iterable[Span], least_s: float) -> list[Span]:
    """The spans for a picture in which less than `least_s` cannot be seen.

    Neighbours that are shorter become one, of what took most of their time.
    """
    found: list[Span] = []
    crowd: list[Span] = []

    def close() -> None:
        if crowd:
            spent = times(crowd)
            chief = max(crowd, key=lambda span: (spent[span.activity], span.length_s))
            found.append(replace(chief, start=crowd[0].start, end=crowd[-1].end))
            crowd.clear()

    for span in spans:
        if span.length_s >= least_s:
            close()
            found.append(span)
            continue
        crowd.append(span)
        if crowd[-1].end - crowd[0].start >= least_s:
            close()
    close()
    return found
