"""What the reports of simulations and replays share: their files, their tables, and the page around them."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from delm_client.simulate.sweep import Cell, Row
from delm_client.simulate.views import Grid, View, grid

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;font-size:13px;margin:.5rem 0 1.5rem;display:block;overflow-x:auto}"
    "th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}"
    ".simulated{background:#fff3cd;border-left:4px solid #e69f00;padding:.6rem 1rem}"
)


def write_figures(found: Mapping[str, Any], rows: Sequence[Row], says: str, into: Path) -> None:
    """results.json and runs.csv, in a folder that exists.

    Args:
        says: What each line of runs.csv says of itself: `simulated`, `replayed`.
    """
    text = json.dumps(found, indent=1, allow_nan=False, default=str)
    (into / "results.json").write_text(text + "\n", encoding="utf-8")
    with (into / "runs.csv").open("w", encoding="utf-8", newline="") as file:
        names = list(dict.fromkeys(name for row in rows for name in row.measures))
        lines = csv.writer(file)
        lines.writerow([says, "part", "topology", "agents", "x", "seed", *names])
        for row in rows:
            lines.writerow(["yes", *row.key, row.seed, *(row.measures.get(name, "") for name in names)])


def write_pages(markdown: str, html: str, pictures: Mapping[str, str], into: Path) -> None:
    """report.md with its plots beside it, and report.html with everything inside."""
    (into / "plots").mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (into / "plots" / f"{name}.svg").write_text(picture + "\n", encoding="utf-8")
    (into / "report.md").write_text(markdown, encoding="utf-8")
    (into / "report.html").write_text(html, encoding="utf-8")


def markdown_part(
    heading: str, said: Sequence[str], views: Iterable[View], cells: Sequence[Cell]
) -> list[str]:
    """A part of a report in Markdown: what was found, then each view's plot and table."""
    lines = [f"## {heading}", "", *(f"* {text}" for text in said), ""]
    for view in views:
        lines += [f"![{view.heading}](plots/{view.name}.svg)", "", *pipes(grid(view, cells)), ""]
    return lines


def html_part(
    heading: str,
    said: Sequence[str],
    views: Iterable[View],
    cells: Sequence[Cell],
    pictures: Mapping[str, str],
) -> list[str]:
    """The same in HTML."""
    lines = [f"<h2>{escape(heading)}</h2>", bullets(said)]
    for view in views:
        lines += [f"<figure>{pictures[view.name]}</figure>", table(grid(view, cells))]
    return lines


def page(title: str, banner: str, body: Sequence[str]) -> str:
    """A file of HTML that needs nothing else."""
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    lines = [f"<h1>{title}</h1>", f'<p class="simulated">{banner}</p>', *body]
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n'
        + "\n".join(lines)
        + "\n</body></html>\n"
    )


def pipes(shown: Grid) -> list[str]:
    """A table in Markdown."""
    lines = [shown.head, ("---",) * len(shown.head), *shown.lines]
    return [f"**{shown.heading}**", "", *("| " + " | ".join(line) + " |" for line in lines)]


def bullets(texts: Sequence[str]) -> str:
    """A list in HTML."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def table(shown: Grid) -> str:
    """A table in HTML."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = "".join(line(cells, "td") for cells in shown.lines)
    return f"<p><b>{escape(shown.heading)}</b></p><table>{line(shown.head, 'th')}{lines}</table>"
