"""What a report shows, in its order, before it is put down for a terminal, as Markdown or as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from delm_client.team.chart import Chart
from delm_client.team.tally import duration, percent, usd

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        left: So many columns from the left hold words; the others hold numbers.
        words_last: Whether the last column holds words, too.
        long: Whether it grows with the items, so that a terminal shows its beginning only.
        brief: The columns that a terminal has room for; empty: all.
    """

    heading: str
    head: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]
    left: int = 1
    words_last: bool = False
    long: bool = False
    brief: tuple[int, ...] = ()

    def of_words(self, column: int) -> bool:
        """Whether a column holds words."""
        return column < self.left or (self.words_last and column == len(self.head) - 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot as SVG, in a page's own colours; `told` is what it shows in words."""

    name: str
    heading: str
    told: str
    svg: str


@dataclass(frozen=True, slots=True)
class Strips:
    """A timeline: drawn, and as rows of characters."""

    heading: str
    chart: Chart
    legend: tuple[tuple[str, str], ...]
    caption: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where figures come from: in a few words, and with everything, a line for each run."""

    short: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it; `origin` says where its figures come from."""

    heading: str
    origin: Origin
    told: tuple[str, ...] = ()
    strips: Strips | None = None
    pictures: tuple[Picture, ...] = ()
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A report.

    Attributes:
        scripted: Whether a scripted model had a part in it, which is said at the top of every output.
        tiles: The figures at the top: name, number, and what it needs to be read right.
    """

    name: str
    title: str
    subtitle: str
    scripted: bool
    tiles: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    provenance: tuple[tuple[str, str], ...] = field(default=())

    @property
    def pictures(self) -> list[Picture]:
        """All of them."""
        return [picture for section in self.sections for picture in section.pictures]


# -- figures in words ----------------------------------------------------------------------------


def rate(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Right, of how many, rate, and interval; nothing was run: no rate."""
    if not found["total"]:
        return "0", "0", "-", "-"
    low, high = found["interval"]
    return str(found["right"]), str(found["total"]), f"{found['rate']:.1%}", f"{low:.0%} to {high:.0%}"


def money(amount: float | None) -> str:
    """USD; what nobody knows is unknown, not nothing."""
    return UNKNOWN if amount is None else usd(amount)


def spending(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Calls, tokens in, of it cached, out, cost, cost without caches."""
    counts = (f"{found[name]:,}" for name in ("calls", "input_tokens", "cached_tokens", "output_tokens"))
    return (*counts, money(found["cost_usd"]), money(found["cost_uncached_usd"]))


SPENDING_HEAD = ("calls", "tokens in", "of it cached", "tokens out", "cost", "without caches")


def times(found: Mapping[str, Any]) -> tuple[str, ...]:
    """How many, p50, p95, longest."""
    return str(found["count"]), *(fine(found[name]) for name in ("p50", "p95", "max"))


def fine(value_s: float) -> str:
    """Seconds; below one in milliseconds."""
    return f"{1000 * value_s:.0f} ms" if 0 < value_s < 0.95 else duration(value_s)


def share(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Time with a call under way, of it verifying, without one, and the share of that."""
    spent = (fine(found[name]) for name in ("calling_s", "verifying_s", "waiting_s"))
    return (*spent, percent(found["waiting_share"]))


def listed(counts: Mapping[str, Any], none: str = "none") -> str:
    """`admitted 3, rejected 1`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or none


def lines(rows: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """Rows of a table."""
    return tuple(tuple(row) for row in rows)
