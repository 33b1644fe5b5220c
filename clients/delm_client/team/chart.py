"""The geometry of the timeline: bars, marks and ticks, in percent of the figure's width.

Percent along, pixels down: so the SVG is as wide as its page, and its letters keep their size on a phone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from delm_client.team.spans import Activity, Span, coarse, times, waiting_share
from delm_client.team.tally import duration, percent

LANE_PX = 26
GROWTH_PX = 46
AXIS_PX = 26
VISIBLE_PARTS = 1200
"""A span shorter than this part of the figure is drawn together with its neighbours."""
LABELLED_PERCENT = 5.0
TICKS_AT_MOST = 6
MARKS_AT_MOST = 30
"""A lane with more marks has them as ticks below its bars, which they would hide."""
STEPS_S = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    180,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    14400,
    21600,
    43200,
)
DAY_S = 86400
LEGEND = (
    ("working", "working"),
    ("verifying", "verifying"),
    ("waiting", "waiting for work"),
    ("gate", "waiting for a check of its entry"),
    ("gone", "no process"),
    ("admitted", "entry admitted"),
    ("refused", "refused or taken back"),
)
CELLS = {Activity.WORKING: "█", Activity.VERIFYING: "▒", Activity.WAITING: "·", Activity.GONE: " "}


class Decision(Protocol):
    """A decision on an entry, and when it was told."""

    @property
    def agent(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def entry(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def gist(self) -> str: ...


class Pictured(Protocol):
    """What a timeline is drawn of: a team's view, or an item of a benchmark.

    Times in seconds since 1970; `growth` is the context's size after each change.
    """

    @property
    def started_at(self) -> float: ...
    @property
    def ended_at(self) -> float: ...
    @property
    def agents(self) -> Collection[str]: ...
    @property
    def verdicts(self) -> Sequence[Decision]: ...
    @property
    def growth(self) -> Sequence[tuple[float, int]]: ...

    def spans(self, label: str) -> tuple[Span, ...]:
        """An agent's time, without gaps."""
        ...


@dataclass(frozen=True, slots=True)
class Bar:
    """A span in the figure; `label` is its task where that fits, `title` what pointing at it tells.

    `gate` tells waiting for a decision on an own entry from other waiting.
    """

    x: float
    width: float
    activity: Activity
    gate: bool
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A decision on an entry, on the lane of its author."""

    x: float
    good: bool
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """An agent's row, `y` pixels down."""

    label: str
    y: int
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    crowded: bool
    share: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the axis; `anchor` keeps the outermost labels inside."""

    x: float
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Step:
    """The context's size for a while: `height` in pixels."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws; heights in pixels."""

    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]
    steps: tuple[Step, ...]
    most: int
    lanes_px: int
    growth_px: int
    height: int


def chart(view: Pictured) -> Chart | None:
    """The timeline; None where no agent was started or no time went by."""
    begin, end = view.started_at, view.ended_at
    if end <= begin or not any(view.spans(label) for label in view.agents):
        return None
    scale = _Scale(begin, end)
    lanes = tuple(_lane(view, label, index, scale) for index, label in enumerate(view.agents))
    steps = _steps(view, scale)
    lanes_px, growth_px = LANE_PX * len(lanes), GROWTH_PX if steps else 0
    return Chart(
        lanes=lanes,
        ticks=tuple(_ticks(scale)),
        steps=steps,
        most=max((size for _, size in view.growth), default=0),
        lanes_px=lanes_px,
        growth_px=growth_px,
        height=lanes_px + growth_px + AXIS_PX,
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    begin: float
    end: float

    def x(self, at: float) -> float:
        """Percent of the width; a time outside is at the edge."""
        part = (at - self.begin) / (self.end - self.begin)
        return round(100 * min(1.0, max(0.0, part)), 3)


def _lane(view: Pictured, label: str, index: int, scale: _Scale) -> Lane:
    spans = view.spans(label)
    least_s = (scale.end - scale.begin) / VISIBLE_PARTS
    decided = [one for one in view.verdicts if one.agent == label]
    return Lane(
        label=label,
        y=LANE_PX * index,
        bars=tuple(_bar(span, scale) for span in coarse(spans, least_s)),
        marks=tuple(_mark(one, scale) for one in decided),
        crowded=len(decided) > MARKS_AT_MOST,
        share=percent(waiting_share(times(spans))),
    )


def _bar(span: Span, scale: _Scale) -> Bar:
    x, beyond = scale.x(span.start), scale.x(span.end)
    width = round(beyond - x, 3)
    awaits = f"while {span.awaits} is checked" if span.awaits else ""
    told = " ".join(filter(None, [span.activity.value, span.task, awaits]))
    title = f"{told}, {duration(span.length_s)}, from {duration(span.start - scale.begin)} on"
    return Bar(
        x=x,
        width=width,
        activity=span.activity,
        gate=bool(span.awaits),
        label=span.task if width >= LABELLED_PERCENT else "",
        title=f"{title}: {span.subject}" if span.subject else title,
    )


def _mark(one: Decision, scale: _Scale) -> Mark:
    return Mark(
        scale.x(one.at), one.state == "admitted", f"{one.entry} {one.state}: {one.reason or one.gist}"
    )


def _ticks(scale: _Scale) -> list[Tick]:
    length_s = scale.end - scale.begin
    step_s = next((step for step in STEPS_S if length_s / step <= TICKS_AT_MOST), 0.0)
    if not step_s:
        step_s = DAY_S * max(1, round(length_s / DAY_S / TICKS_AT_MOST + 0.5))
    ticks = []
    for index in range(int(length_s / step_s) + 1):
        x = scale.x(scale.begin + index * step_s)
        anchor = "start" if x < 3 else "end" if x > 94 else "middle"
        ticks.append(Tick(x, _tick_label(index * step_s, step_s), anchor))
    return ticks


def _tick_label(value_s: float, step_s: float) -> str:
    """In the unit of the steps, so that labels of one axis look alike."""
    if not value_s:
        return "0"
    for unit_s, unit in ((DAY_S, "d"), (3600, "h"), (60, "min")):
        if step_s >= unit_s or (step_s * 2 >= unit_s > 60):
            return f"{value_s / unit_s:g} {unit}"
    return f"{value_s:.1f} s" if step_s < 1 else f"{value_s:.0f} s"


def _steps(view: Pictured, scale: _Scale) -> tuple[Step, ...]:
    """The context's size as a staircase; changes that fall on one pixel are one step."""
    if not view.growth:
        return ()
    most = max(1, *(size for _, size in view.growth))
    corners: list[tuple[float, int]] = []
    for at, size in view.growth:
        x = scale.x(at)
        if corners and x - corners[-1][0] < 100 / VISIBLE_PARTS:
            corners[-1] = (corners[-1][0], size)
        else:
            corners.append((x, size))
    return tuple(
        Step(
            x=x,
            width=round(beyond - x, 3),
            height=round((GROWTH_PX - 16) * size / most, 1),
            title=f"{size} in the context",
        )
        for (x, size), (beyond, _) in pairwise([*corners, (100.0, 0)])
        if size
    )


def strip(spans: Sequence[Span], begin: float, end: float, cells: int) -> str:
    """An agent's time as a row of characters: in each cell, what took most of it."""
    if end <= begin:
        return ""
    length_s = (end - begin) / cells
    spent: list[dict[Activity, float]] = [{} for _ in range(cells)]
    for span in spans:
        first = max(0, int((span.start - begin) / length_s))
        last = min(cells - 1, int((span.end - begin) / length_s))
        for index in range(first, last + 1):
            cell_begin = begin + index * length_s
            shared_s = min(span.end, cell_begin + length_s) - max(span.start, cell_begin)
            if shared_s > 0:
                spent[index][span.activity] = spent[index].get(span.activity, 0.0) + shared_s
    return "".join(CELLS[max(cell, key=lambda one: cell[one])] if cell else " " for cell in spent)
