"""Bubbles (Mao et al., arXiv 2606.10662): when an item's agents had a call under way, and when not.

From the trajectories: a call is under way from `at` - `latency_s` to `at`. Between calls an agent waits for
peers, for work, for the board or for its own tools; a trajectory cannot tell these apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from delm_client.bench.report.calls import Asked
from delm_client.team.chart import Decision
from delm_client.team.spans import Activity, Span, times

_NUMBERED = re.compile(r"^(.*?)(\d+)$")
_AGENT = re.compile(r"^agent-\d+$")
PLANNER = "planner"
"""Makes the first tasks, and is gone: nothing is left for which it could wait."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """An item's agents over time, from its first call to the end of its last one.

    Attributes:
        lanes: Each agent's time, without gaps.
        verdicts: Decisions of the board on what agents proposed.
        growth: The size of the board's context after each change.
    """

    started_at: float
    ended_at: float
    lanes: Mapping[str, tuple[Span, ...]]
    verdicts: Sequence[Decision] = field(default=())
    growth: Sequence[tuple[float, int]] = field(default=())

    @property
    def agents(self) -> list[str]:
        """Their names: an orchestrator first, then by number."""
        return list(self.lanes)

    @property
    def length_s(self) -> float:
        """How long it took."""
        return self.ended_at - self.started_at

    def spans(self, label: str) -> tuple[Span, ...]:
        """One agent's time."""
        return self.lanes[label]


def timeline(calls: Sequence[Asked], team: int) -> Timeline | None:
    """One item's timeline; None where there was no call.

    Args:
        team: How many agents `agent-1` ... there were; one without any call has waited all the time.
    """
    if not calls:
        return None
    begin, end = min(call.start for call in calls), max(call.end for call in calls)
    names = {call.agent for call in calls}
    if any(_AGENT.match(name) for name in names):
        names |= {f"agent-{number}" for number in range(1, team + 1)}
    lanes = {
        name: tuple(_lane([call for call in calls if call.agent == name], begin, end, gone=name == PLANNER))
        for name in sorted(names, key=_order)
    }
    return Timeline(begin, end, lanes)


def _order(name: str) -> tuple[int, str, int]:
    found = _NUMBERED.match(name)
    return (1, found[1], int(found[2][-9:])) if found else (0, name, 0)


def _lane(calls: Iterable[Asked], begin: float, end: float, *, gone: bool) -> Iterable[Span]:
    """Calls that overlap are under way until the last of them ends."""
    now = begin
    for call in sorted(calls, key=lambda each: each.start):
        if call.start > now:
            yield Span(Activity.WAITING, now, call.start)
            now = call.start
        if call.end > now:
            activity = Activity.VERIFYING if call.verifying else Activity.WORKING
            yield Span(activity, now, call.end, call.step, _told(call))
            now = call.end
    if end > now:
        yield Span(Activity.GONE if gone else Activity.WAITING, now, end)


def _told(call: Asked) -> str:
    return f"{call.call.input_tokens:,} tokens in, {call.call.output_tokens:,} out"


@dataclass(frozen=True, slots=True)
class Share:
    """Agent-seconds: with a call under way (of which for verifying), and without."""

    calling_s: float = 0.0
    verifying_s: float = 0.0
    waiting_s: float = 0.0

    @property
    def waiting(self) -> float | None:
        """The part without a call, from 0 to 1; None where no time went by."""
        whole = self.calling_s + self.waiting_s
        return self.waiting_s / whole if whole else None

    def plus(self, other: "Share") -> "Share":
        """Both together."""
        return Share(
            self.calling_s + other.calling_s,
            self.verifying_s + other.verifying_s,
            self.waiting_s + other.waiting_s,
        )

    def as_json(self) -> dict[str, float | None]:
        """With the share of waiting."""
        return {
            "calling_s": self.calling_s,
            "verifying_s": self.verifying_s,
            "waiting_s": self.waiting_s,
            "waiting_share": self.waiting,
        }


def share_of(spans: Iterable[Span]) -> Share:
    """How one agent's time went."""
    spent = times(spans)
    verifying = spent[Activity.VERIFYING]
    return Share(spent[Activity.WORKING] + verifying, verifying, spent[Activity.WAITING])


def whole_share(found: Timeline) -> Share:
    """How the time of all of an item's agents went."""
    total = Share()
    for spans in found.lanes.values():
        total = total.plus(share_of(spans))
    return total
