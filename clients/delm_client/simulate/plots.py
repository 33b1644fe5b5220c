"""The views as SVG pictures. Matplotlib is an extra, and imported only here."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from delm_client import pictures
from delm_client.pictures import MARKERS
from delm_client.simulate.errors import SimulationError
from delm_client.simulate.sweep import Cell
from delm_client.simulate.views import Column, View, by_place, xs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that the colour-blind can tell apart (Okabe and Ito), one for each topology in every plot.
COLOURS = {
    "single": "#7f7f7f",
    "independent": "#000000",
    "split": "#b59b00",
    "central": "#d55e00",
    "central-rounds": "#cc79a7",
    "central-batched": "#e69f00",
    "central-hierarchical": "#882255",
    "delm": "#0072b2",
    "delm-open": "#56b4e9",
    # Of replays only (delm_client.study).
    "context": "#009e73",
    "central-async": "#e69f00",
    "delm-silent": "#882255",
    "delm-strict": "#332288",
}
DASHES = {
    "full": "-",
    "windowed": ":",
    "delta": "--",
    "own kills": ":",
    "shared kills": "--",
    "repairable only": "--",
}


def demand() -> None:
    """Raises SimulationError, naming the extra, where plots cannot be drawn."""
    if not pictures.available():
        raise SimulationError(
            f"The report's plots need matplotlib: {pictures.HOW}. "
            "Or pass --no-report for tables, results.json and runs.csv."
        )


def svg(view: View, cells: Sequence[Cell]) -> str:
    """The same picture for the same figures, byte for byte."""
    with pictures.style():
        return pictures.svg(draw(view, cells))


def draw(view: View, cells: Sequence[Cell]) -> "Figure":
    """One plot: means, with their 95 % intervals as bands or whiskers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axes = figure.subplots()
    (_bars if view.bars else _lines)(axes, view, cells)
    figure.suptitle(view.heading, x=0.01, ha="left", fontweight="bold", fontsize=11)
    axes.grid(axis="x" if view.bars else "y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def _lines(axes: "Axes", view: View, cells: Sequence[Cell]) -> None:
    found = by_place(view, cells)
    for column, marker in zip(view.columns, cycle(MARKERS)):
        points = [(x, found[column, x]) for x in xs(view, cells) if (column, x) in found]
        at = [float(x) for x, _ in points]
        colour, dash = _look(column)
        means = [figure.mean * view.factor for _, figure in points]
        axes.plot(at, means, dash, marker=marker, color=colour, label=column.label, markersize=4)
        low = [figure.low * view.factor for _, figure in points]
        high = [figure.high * view.factor for _, figure in points]
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel(view.x)
    axes.set_ylabel(view.unit)
    if view.log_x:
        axes.set_xscale("log")
        _plain_ticks(axes, [float(x) for x in xs(view, cells)])
    if view.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.10g}")
        bottom, top = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:,.10g}" if top < 10 * bottom else "")
    else:
        axes.set_ylim(bottom=0)


def _plain_ticks(axes: "Axes", at: list[float]) -> None:
    """The values that were simulated, and none between; every other one where they would touch."""
    shown = at if len(at) < 9 else at[:: max(len(at) // 6, 1)]
    axes.set_xticks(shown, [f"{x:,.0f}" if x >= 10 else f"{x:.2g}" for x in shown])
    axes.minorticks_off()


def _bars(axes: "Axes", view: View, cells: Sequence[Cell]) -> None:
    found = by_place(view, cells)
    places = xs(view, cells)
    width = 0.8 / len(view.columns)
    for index, column in enumerate(view.columns):
        for place, x in enumerate(places):
            figure = found.get((column, x))
            at = place + (index - (len(view.columns) - 1) / 2) * width
            if figure is None:
                axes.text(0, at, " never done", va="center", fontsize=7, color=_look(column)[0])
                continue
            axes.barh(
                at,
                figure.mean * view.factor,
                width * 0.9,
                xerr=(figure.high - figure.low) / 2 * view.factor,
                color=_look(column)[0],
                error_kw={"linewidth": 0.8},
                label=column.label if place == 0 else None,
            )
    axes.set_yticks(range(len(places)), [str(x) for x in places])
    axes.set_xlabel(view.unit)
    axes.invert_yaxis()


def _look(column: Column) -> tuple[str, str]:
    """The colour of its topology, and a dash for its reading."""
    return COLOURS[column.topology], DASHES.get(column.label.rpartition(", ")[2], "-")
