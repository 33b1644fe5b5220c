"""A page put down: for a terminal, as Markdown, and as one file of HTML that loads nothing.

Ids, groups, agents and models are text that others wrote: it is escaped wherever it goes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from delm_client.bench.report.page import Grid, Page, Strips
from delm_client.bench.report.sources import SCRIPTED_MARK
from delm_client.pages import html_templates, markdown_templates, put
from delm_client.pictures import alone, inline
from delm_client.team import chart
from delm_client.terminal import printable

PACKAGES = ("delm_client.bench.report", "delm_client.team")
ROWS_MAX = 20
"""So many items a terminal shows; the files have all."""
LEAST, WIDEST = 14, 10_000


def write(page: Page, figures: Mapping[str, Any], into: Path) -> list[Path]:
    """Write `NAME.html`, `NAME.md` with its plots beside it, and `NAME.json`; give their paths.

    Raises:
        OSError: They cannot be written.
    """
    for picture in page.pictures:
        drawn = alone(picture.svg, picture.heading, picture.told)
        put(into / "plots" / f"{page.name}-{picture.name}.svg", drawn)
    texts = {"html": html(page), "md": markdown(page), "json": as_json(figures)}
    return [put(into / f"{page.name}.{kind}", text) for kind, text in texts.items()]


def as_json(figures: Mapping[str, Any]) -> str:
    """The figures, for programs."""
    return json.dumps(figures, indent=1, ensure_ascii=False) + "\n"


def html(page: Page) -> str:
    """The page as HTML, in light and dark."""
    return html_templates(*PACKAGES).get_template("page.html.j2").render(_given(page), inline=inline)


def markdown(page: Page) -> str:
    """The page as Markdown, with what GitHub adds to it: tables."""
    return markdown_templates(*PACKAGES).get_template("page.md.j2").render(_given(page))


def _given(page: Page) -> dict[str, Any]:
    return {
        "page": page,
        "mark": SCRIPTED_MARK.capitalize(),
        "lane_px": chart.LANE_PX,
        "growth_px": chart.GROWTH_PX,
    }


# -- terminal ------------------------------------------------------------------------------------


def show(out: Console, page: Page) -> None:
    """Print the page."""
    mark = f"  [{SCRIPTED_MARK}]" if page.scripted else ""
    if page.scripted:
        _say(out, f"SCRIPTED MODEL: {SCRIPTED_MARK}", "yellow")
    _say(out, page.title, "bold")
    _say(out, page.subtitle)
    for section in page.sections:
        _say(out, f"\n{section.heading}{mark}", "bold")
        _say(out, f"From {section.origin.short}", "dim")
        for line in section.told:
            _say(out, line)
        if section.strips:
            _strips(out, section.strips)
        for grid in section.grids:
            out.print()
            _print(out, _table(grid))
            if grid.long and len(grid.lines) > ROWS_MAX:
                _say(out, f"and {len(grid.lines) - ROWS_MAX} more in the files", "dim")
    _say(out, "\nWhere this comes from", "bold")
    for name, value in page.provenance:
        _say(out, f"{name}: {value}", "dim")


def _say(out: Console, line: str, style: str = "") -> None:
    begin, rest = ("\n", line[1:]) if line.startswith("\n") else ("", line)
    out.print(Text(f"{begin}{printable(rest)}", style=style), soft_wrap=True)


def _strips(out: Console, strips: Strips) -> None:
    for name, cells in strips.rows:
        out.print(Text(f"{printable(name)[:18]:<18} |{cells}|"), soft_wrap=True)
    told = "; ".join(
        f"{sign} {words}" for kind, words in strips.legend for key, sign in chart.CELLS.items() if key == kind
    )
    _say(out, told, "dim")


def _print(out: Console, table: Table) -> None:
    """Where not even its longest words fit, it is wider than the terminal: cells are not cut."""
    least = Measurement.get(out, out.options.update(width=WIDEST), table).minimum
    out.print(table, width=max(out.width, least), crop=False, no_wrap=True, overflow="ignore")


def _table(grid: Grid) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    table.title = Text(printable(grid.heading), style="italic")
    columns = grid.brief or tuple(range(len(grid.head)))
    for column in columns:
        justify: Literal["left", "right"] = "left" if grid.of_words(column) else "right"
        # Where it is narrow, the widest columns are broken between words first; no cell is cut.
        least = LEAST if column == 0 else None
        table.add_column(Text(grid.head[column]), justify=justify, overflow="fold", min_width=least)
    for line in grid.lines[:ROWS_MAX] if grid.long else grid.lines:
        table.add_row(*(Text(printable(line[column])) for column in columns))
    return table
