"""The plots of the reports. Matplotlib is an extra, and imported only where something is drawn."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from delm_client.bench.report.figures import Run
from delm_client.bench.report.page import Picture
from delm_client.bench.report.sources import SCRIPTED_MARK, Source, labelled
from delm_client.pictures import MARKERS, PALETTE, available, style, svg
from delm_client.terminal import printable
from delm_client.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["available", "bubbles", "context", "gate", "growth", "scatter", "speed_up"]
WIDTH, HEIGHT = 8.0, 4.4
NAME_CHARS, SOURCE_CHARS = 28, 118
NAMED_MAX = 12
SOURCES_MAX = 4
FRESH, WASTE, CHECK, QUIET = PALETTE[0], PALETTE[1], PALETTE[4], "#8c96a3"
Row = Mapping[str, Any]


# -- one run -------------------------------------------------------------------------------------


def context(run: Run) -> tuple[Picture, ...]:
    """Tokens of each prompt over the course of the item that is shown, and what its board held."""
    found = run.json["context"]
    calls = [call for call in found["calls"] if call["input_tokens"] is not None]
    if not calls:
        return ()
    heading = f"Tokens of each prompt, item {shortened(run.shown, NAME_CHARS)}"
    with style(adapts=True):
        figure, (axes, *below) = _figure(heading, [run.source], 2 if found["admitted"] else 1)
        agents = {call["agent"] for call in calls}
        looks = _looks([name for name in found["agents"] if name in agents])
        for agent, (colour, marker) in looks.items():
            own = [call for call in calls if call["agent"] == agent]
            axes.plot(
                [call["at_s"] for call in own],
                [call["input_tokens"] for call in own],
                marker=marker,
                color=colour,
                label=_name(agent),
                markersize=5,
                linewidth=1,
            )
        axes.set_ylabel("tokens in a prompt")
        _counts(axes)
        if below:
            steps = [(0.0, 0), *((each["at_s"], each["entries"]) for each in found["admitted"])]
            below[0].step(*zip(*steps, strict=True), where="post", color=FRESH)
            below[0].set_ylabel("admitted")
            below[0].set_ylim(0, 1.15 * len(steps))
            _whole(below[0].yaxis)
        axes.set_xlim(left=0)
        (below[0] if below else axes).set_xlabel("seconds since the item's first call")
        _legend(figure, axes)
        sizes = [call["input_tokens"] for call in calls]
        told = (
            f"Tokens in the prompt of each of the {len(calls)} calls for one item, by agent: from "
            f"{min(sizes):,} to {max(sizes):,}."
        )
        return (Picture("context", heading, told, svg(figure)),)


def gate(source: Source, stats: Row) -> tuple[Picture, ...]:
    """What became of what agents proposed."""
    try:
        proposals = stats["proposals"]
        bars = [(f"admitted, {name}", count, FRESH) for name, count in proposals["by_strength"].items()]
        bars += [(f"refused by {name}", count, WASTE) for name, count in proposals["refused"].items()]
        bars.append(("not decided on", proposals["pending"], QUIET))
        bars = [bar for bar in bars if bar[1]]
    except (KeyError, TypeError, AttributeError):
        return ()
    if not bars:
        return ()
    heading = "What became of what agents proposed"
    with style(adapts=True):
        figure, (axes, *_) = _figure(heading, [source], height=1.6 + 0.34 * len(bars))
        drawn = axes.barh(
            [_name(name) for name, _, _ in bars],
            [count for _, count, _ in bars],
            color=[colour for _, _, colour in bars],
        )
        axes.bar_label(drawn, padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel("entries")
        _whole(axes.xaxis)
        told = "; ".join(f"{name}: {count}" for name, count, _ in bars)
        return (Picture("gate", heading, told, svg(figure)),)


# -- several -------------------------------------------------------------------------------------


def scatter(found: Row, sources: Sequence[Source]) -> tuple[Picture, ...]:
    """Each run's rate against what an item took, with intervals both ways."""
    runs, cost = found["runs"], found["cost"]
    heading = "Right against what an item took"
    with style(adapts=True):
        figure, (axes, *_) = _figure(heading, sources)
        looks = _looks([run["label"] for run in runs])
        for run in runs:
            x, y = run["an_item"][cost], run["right"]
            colour, marker = looks[run["label"]]
            axes.errorbar(
                x["mean"],
                100 * y["rate"],
                xerr=[[x["mean"] - x["interval"][0]], [x["interval"][1] - x["mean"]]],
                yerr=[[100 * (y["rate"] - y["interval"][0])], [100 * (y["interval"][1] - y["rate"])]],
                fmt=marker,
                color=colour,
                capsize=3,
                elinewidth=1,
                markersize=7,
                alpha=0.85,
                label=_name(f"{run['label']} {run['team']}"),
            )
        axes.set_ylim(-4, 104)
        axes.set_xlim(left=0)
        axes.set_xlabel(
            "USD an item, mean" if cost == "cost_usd" else "tokens an item, mean (a cost is unknown)"
        )
        axes.set_ylabel("right, %")
        if cost != "cost_usd":
            axes.xaxis.set_major_formatter("{x:,.0f}")
        _legend(figure, axes)
        told = "; ".join(
            f"{run['label']} {run['team']}: {run['right']['rate']:.1%} at {run['an_item'][cost]['mean']:.4g}"
            for run in runs
        )
        return (Picture("scatter", heading, told, svg(figure)),)


def speed_up(found: Row, sources: Sequence[Source]) -> tuple[Picture, ...]:
    """How many times faster than a single agent, by how many agents."""
    rows = (found["speed_up"] or {}).get("runs", ())
    if not rows:
        return ()
    heading = "Speed-up over a single agent"
    with style(adapts=True):
        figure, (axes, *_) = _figure(heading, sources)
        looks = _looks(list(dict.fromkeys(row["team"] for row in rows)))
        for team, (colour, marker) in looks.items():
            own = sorted((row for row in rows if row["team"] == team), key=lambda row: row["agents"])
            low = [row["times"]["mean"] - row["times"]["interval"][0] for row in own]
            high = [row["times"]["interval"][1] - row["times"]["mean"] for row in own]
            axes.errorbar(
                [row["agents"] for row in own],
                [row["times"]["mean"] for row in own],
                yerr=[low, high],
                fmt=f"-{marker}",
                color=colour,
                capsize=3,
                linewidth=1.2,
                label=_name(team),
            )
        places = sorted({row["agents"] for row in rows})
        axes.axhline(1, color=QUIET, linewidth=1, linestyle=":")
        axes.text(
            0.995,
            1,
            "a single agent",
            color=QUIET,
            fontsize=8,
            ha="right",
            va="bottom",
            transform=axes.get_yaxis_transform(),
        )
        axes.set_xticks(places, [str(place) for place in places])
        axes.margins(x=0.08)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("agents")
        axes.set_ylabel("times faster, geometric mean")
        _legend(figure, axes)
        told = "; ".join(
            f"{row['label']} {row['team']} x{row['agents']}: {row['times']['mean']:.2f}" for row in rows
        )
        return (Picture("speed-up", heading, told, svg(figure)),)


def bubbles(found: Row, sources: Sequence[Source]) -> tuple[Picture, ...]:
    """How the agents' time went, run by run."""
    runs = [run for run in found["runs"] if run["bubbles"]["waiting_share"] is not None]
    if not runs:
        return ()
    heading = "How the agents' time went"
    with style(adapts=True):
        figure, (axes, *_) = _figure(heading, sources, height=1.9 + 0.32 * len(runs))
        names = [_name(f"{run['label']} {run['team']}") for run in runs]
        left = [0.0] * len(runs)
        for words, key, colour in (
            ("a call under way", "own_s", FRESH),
            ("a call that judges", "verifying_s", CHECK),
            ("no call under way", "waiting_s", QUIET),
        ):
            parts = [100 * _part(run["bubbles"], key) for run in runs]
            axes.barh(names, parts, left=left, color=colour, label=words, alpha=0.9)
            left = [before + part for before, part in zip(left, parts, strict=True)]
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of the agents' time, from an item's first call to the end of its last")
        _legend(figure, axes)
        told = "; ".join(
            f"{run['label']}: {run['bubbles']['waiting_share']:.0%} without a call" for run in runs
        )
        return (Picture("bubbles", heading, told, svg(figure)),)


def _part(spent: Row, key: str) -> float:
    whole = spent["calling_s"] + spent["waiting_s"]
    value = spent["calling_s"] - spent["verifying_s"] if key == "own_s" else spent[key]
    return float(value / whole)


def growth(found: Row, sources: Sequence[Source]) -> tuple[Picture, ...]:
    """Tokens of a prompt over the course of an item, run by run."""
    runs = [run for run in found["runs"] if any(run["prompt_tokens_by_fifth"])]
    if not runs:
        return ()
    heading = "Tokens of a prompt over the course of an item"
    with style(adapts=True):
        figure, (axes, *_) = _figure(heading, sources)
        looks = _looks([run["label"] for run in runs])
        for run in runs:
            points = [
                (at, size) for at, size in enumerate(run["prompt_tokens_by_fifth"], 1) if size is not None
            ]
            colour, marker = looks[run["label"]]
            axes.plot(
                *zip(*points, strict=True),
                marker=marker,
                color=colour,
                label=_name(f"{run['label']} {run['team']}"),
            )
        axes.set_xticks(range(1, 6), ["first", "second", "third", "fourth", "last"])
        axes.set_xlabel("fifth of an item's calls")
        axes.set_ylabel("tokens in a prompt, mean")
        _counts(axes)
        _legend(figure, axes)
        told = "Mean tokens of a prompt in the first and the last fifth of an item's calls: " + "; ".join(
            f"{run['label']} {run['prompt_tokens_by_fifth'][0] or 0:,.0f} and "
            f"{run['prompt_tokens_by_fifth'][-1] or 0:,.0f}"
            for run in runs
        )
        return (Picture("growth", heading, told, svg(figure)),)


# -- the look ------------------------------------------------------------------------------------


def _figure(
    heading: str, sources: Sequence[Source], rows: int = 1, height: float = HEIGHT
) -> "tuple[Figure, list[Axes]]":
    """An empty picture that says what it shows, whether a scripted model stands behind it, and its source."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    ratios = [3, 1][:rows]
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)
    scripted = any(source.scripted for source in sources)
    title = f"{heading}\n{SCRIPTED_MARK}" if scripted else heading
    figure.suptitle(printable_lines(title), x=0.01, ha="left", fontweight="bold", fontsize=11)
    figure.supxlabel("\n".join(_told(sources)), x=0.01, ha="left", fontsize=6.5, alpha=0.75)
    found: list[Axes] = [row[0] for row in grid]
    for axes in found:
        axes.grid(axis="both", alpha=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def _told(sources: Sequence[Source]) -> list[str]:
    """What made it: all of it for one run, a line each for a few."""
    if len(sources) == 1:
        return [_cut(sources[0].short), _cut(sources[0].command)]
    lines = [_cut(f"{label} {source.short}") for label, source in labelled(sources[:SOURCES_MAX])]
    more = len(sources) - SOURCES_MAX
    return [*lines, f"and {more} more, in the table of runs"] if more > 0 else lines


def _cut(text: str) -> str:
    return shortened(printable(text), SOURCE_CHARS)


def printable_lines(text: str) -> str:
    """Several lines, each of printable characters."""
    return "\n".join(map(printable, text.split("\n")))


def _looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each, which differ as long as they can."""
    return dict(zip(names, zip(cycle(PALETTE), cycle(MARKERS), strict=False), strict=False))


def _name(text: str) -> str:
    # Names that begin with an underscore are left out of legends.
    return shortened(printable(text), NAME_CHARS).lstrip("_") or "-"


def _counts(axes: "Axes") -> None:
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])


def _whole(axis: "Axis") -> None:
    """Ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    more = len(handles) - NAMED_MAX
    if more > 0:
        labels = [*labels[: NAMED_MAX - 1], f"and {more + 1} more"]
        handles = handles[:NAMED_MAX]
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
