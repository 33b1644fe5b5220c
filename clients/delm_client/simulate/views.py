"""What is shown of each part: one description for its tables and its plots."""

from collections.abc import Sequence
from dataclasses import dataclass

from delm_client.simulate.intervals import Estimate
from delm_client.simulate.parts import PARTS, RIVALS
from delm_client.simulate.sweep import Cell
from delm_client.simulate.topologies import TOPOLOGIES


@dataclass(frozen=True, slots=True)
class Column:
    """One line of a plot, one column of a table: a measure of a topology."""

    label: str
    topology: str
    measure: str


@dataclass(frozen=True, slots=True)
class View:
    """One plot and one table."""

    name: str  # of the plot's file
    part: str
    title: str
    unit: str
    columns: tuple[Column, ...]
    factor: float = 1.0
    digits: int = 2
    log_x: bool = False
    log_y: bool = False
    bars: bool = False
    says: str = "simulated"  # what every heading tells of how the figures came about
    bottom: str = ""  # what the horizontal axis shows, where it is not what the part of a simulation sweeps

    @property
    def heading(self) -> str:
        """The title, saying what it is."""
        return f"{self.title} ({self.says})"

    @property
    def x(self) -> str:
        """What the horizontal axis shows."""
        return self.bottom or PARTS[self.part].x


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text."""

    heading: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def turned(self, width: int) -> "Grid":
        """Lines become columns: as many as fit into so many characters, spread evenly, and it says so."""
        columns = [self.head, *self.lines]
        kept = len(self.lines)
        while kept > 2 and sum(map(_width, columns)) > width:
            kept -= 1
            chosen = dict.fromkeys(round(place * (len(self.lines) - 1) / (kept - 1)) for place in range(kept))
            columns = [self.head, *(self.lines[index] for index in chosen)]
        head, *lines = zip(*columns, strict=True)
        left_out = len(self.lines) - kept
        heading = f"{self.heading} ({left_out} columns left out here)" if left_out else self.heading
        return Grid(heading, head, tuple(lines))


def _width(texts: Sequence[str]) -> int:
    """Characters that a column takes; its head may be broken between words."""
    words = max(len(word) for word in texts[0].split())
    return max(words, *(len(text) for text in texts[1:])) + 3


def grid(view: View, cells: Sequence[Cell]) -> Grid:
    """The view's figures with half of their 95 % intervals; - where some task was never done."""
    found = by_place(view, cells)
    lines = []
    for x in xs(view, cells):
        texts = [_text(found.get((column, x)), view) for column in view.columns]
        lines.append((x if isinstance(x, str) else f"{x:,.4g}" if x < 1000 else f"{x:,.0f}", *texts))
    head = (view.x, *(column.label for column in view.columns))
    return Grid(f"{view.heading}, {view.unit}", head, tuple(lines))


def xs(view: View, cells: Sequence[Cell]) -> list[float | str]:
    """What the part swept, in its order."""
    return list(dict.fromkeys(cell.key[3] for cell in cells if cell.key[0] == view.part))


def by_place(view: View, cells: Sequence[Cell]) -> dict[tuple[Column, float | str], Estimate]:
    """Each column's figures."""
    found = {}
    for cell in cells:
        part, topology, _, x = cell.key
        for column in view.columns:
            figure = cell.figure(column.measure)
            if part == view.part and topology == column.topology and figure is not None:
                found[column, x] = figure
    return found


def _text(figure: Estimate | None, view: View) -> str:
    if figure is None:
        return "-"
    half = (figure.high - figure.low) / 2 * view.factor
    text = f"{figure.mean * view.factor:,.{view.digits}f}"
    return f"{text} ±{half:,.{view.digits}f}" if half * 10**view.digits >= 0.5 else text


def _all(measure: str, *topologies: str) -> tuple[Column, ...]:
    return tuple(Column(topology, topology, measure) for topology in topologies)


def _costs(caching: str) -> tuple[Column, ...]:
    return (
        Column("single", "single", f"usd_full_{caching}"),
        Column("central", "central", f"usd_full_{caching}"),
        *(
            Column(f"delm, {reading}", "delm", f"usd_{reading}_{caching}")
            for reading in ("full", "windowed", "delta")
        ),
    )


def _tokens(measure: str, central: str) -> tuple[Column, ...]:
    return (
        Column("central: orchestrator", "central", central),
        *(
            Column(f"delm, {reading}", "delm", f"{measure}_{reading}")
            for reading in ("full", "windowed", "delta")
        ),
    )


SPED = ("central-batched", "delm", "delm-open")
FAILING = ("split", "independent", *(name for name in RIVALS if name != "central-rounds"), "delm")
VIEWS = (
    View(
        "speed-up", "scale", "Speed-up over one agent", "times", _all("speed_up", *TOPOLOGIES),
        digits=1, log_x=True, log_y=True,
    ),
    View(
        "against-delm", "scale", "Makespan beside DeLM's, seed by seed", "times DeLM's; below 1 beats DeLM",
        _all("slower", "split", *RIVALS, "delm-open"), digits=3, log_x=True, log_y=True,
    ),
    View(
        "waiting", "scale", "Agents' time spent waiting", "% of their time",
        _all("waiting", "split", *RIVALS, "delm", "delm-open"), factor=100, digits=1, log_x=True,
    ),
    View(
        "redone", "scale", "Agents' time spent on what a peer does too", "% of their time",
        _all("redone", "independent", "split", "central", "delm"), factor=100, digits=1, log_x=True,
    ),
    View(
        "tokens-read", "reading", "Context tokens delivered to readers", "million tokens of the run",
        _tokens("read", "orchestrator_read"), factor=1e-6, log_x=True, log_y=True,
    ),
    View(
        "tokens-carried", "reading", "Context tokens sent along in calls", "million tokens of the run",
        _tokens("carried", "orchestrator_tokens"), factor=1e-6, log_x=True, log_y=True,
    ),
    View(
        "cost-cached", "reading", "Cost with cached prefixes", "USD a task", _costs("cached"),
        digits=3, log_x=True,
    ),
    View(
        "cost-uncached", "reading", "Cost without cached prefixes", "USD a task", _costs("uncached"),
        digits=3, log_x=True,
    ),
    View(
        "orchestrator", "orchestrator", "Speed-up over one agent", "times", _all("speed_up", *RIVALS, "delm"),
        digits=1, log_x=True,
    ),
    View(
        "dead-ends", "dead-ends", "Makespan where tasks share dead ends", "hours",
        _all("makespan_s", "split", "central", *SPED), factor=1 / 3600,
    ),
    View(
        "dead-ends-redone", "dead-ends", "Agents' time in dead ends that a peer had met", "% of their time",
        _all("redone", "split", "central", *SPED), factor=100,
    ),
    View(
        "gate", "gate", "Makespan where results may be false", "hours", _all("makespan_s", *SPED),
        factor=1 / 3600,
    ),
    View(
        "gate-repaired", "gate", "Makespan plus repair of what stands false", "hours",
        _all("repaired_s", *SPED), factor=1 / 3600,
    ),
    View(
        "gate-false", "gate", "False results that stand at the end", "% of tasks",
        _all("false_standing", *SPED), factor=100,
    ),
    View(
        "verifying", "verifying", "Makespan against the cost of a verdict", "hours",
        _all("makespan_s", *SPED), factor=1 / 3600, log_x=True,
    ),
    View(
        "merge-queue", "merge-queue", "Speed-up with a serial check on the moved head", "times",
        _all("speed_up", "split", "central-batched", "delm"), digits=1,
    ),
    View(
        "failures", "failures", "Makespan when something fails", "hours",
        _all("makespan_s", *(name for name in FAILING if name != "independent")),
        factor=1 / 3600, bars=True,
    ),
    View(
        "failures-finished", "failures", "Tasks done when something fails", "%", _all("finished", *FAILING),
        factor=100, digits=1, bars=True,
    ),
)  # fmt: skip
