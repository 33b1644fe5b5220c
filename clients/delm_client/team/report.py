"""The report of a team: `report.html`, `report.md` and `report.json` in its folder.

The HTML is one file that loads nothing: its policy forbids scripts and every address. Text of agents is data
in both: what goes into a template is escaped on its way, whatever the template forgets.
"""

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from delm_client.pages import date, html_templates, markdown_templates, put
from delm_client.team import chart, economics
from delm_client.team.figures import Figures, as_json, figures
from delm_client.team.record import Line, TeamFacts
from delm_client.team.spans import Activity
from delm_client.team.tally import duration, percent, shortly
from delm_client.words import plural, shortened

TEMPLATES = "delm_client.team"
STRIP_CELLS = 60
SHA_CHARS = 12
WRONG_AT_MOST = 100
TEXT_CHARS = 4000


def write(folder: Path, facts: TeamFacts, lines: Iterable[Line]) -> list[Path]:
    """Write the report of a team, also of one that is under way or was broken off.

    Args:
        folder: Where to; made if it is not there.
        facts: What is known beside the events.
        lines: The record, oldest first.

    Returns:
        The files: `report.html`, `report.md`, `report.json`. Each is replaced as a whole.

    Raises:
        OSError: They cannot be written.
    """
    found = figures(facts, list(lines))
    texts = {"report.html": html(found), "report.md": markdown(found), "report.json": _json(found)}
    return [put(folder / name, text) for name, text in texts.items()]


def write_json(folder: Path, facts: TeamFacts, lines: Iterable[Line]) -> Path:
    """Write the figures alone: `report.json`."""
    return put(folder / "report.json", _json(figures(facts, list(lines))))


def html(found: Figures) -> str:
    """The report as a page of HTML."""
    return html_templates(TEMPLATES).get_template("report.html.j2").render(_page(found))


def markdown(found: Figures) -> str:
    """The report as Markdown, with what GitHub adds to it: tables."""
    return markdown_templates(TEMPLATES).get_template("report.md.j2").render(_page(found))


def _json(found: Figures) -> str:
    return json.dumps(as_json(found), indent=1) + "\n"


# -- what the templates tell ------------------------------------------------------------------------


def _page(found: Figures) -> dict[str, Any]:
    facts = found.facts
    drawn = chart.chart(found.view)
    return {
        "found": found,
        "facts": facts,
        "title": _title(found),
        "subtitle": _subtitle(found),
        "goal": _lines(facts.goal),
        "answer": _lines(facts.answer),
        "take": _take(facts),
        "tiles": _tiles(found),
        "chart": drawn,
        "legend": chart.LEGEND,
        "chart_label": "What each agent did over the run: working, verifying, waiting",
        "lane_px": chart.LANE_PX,
        "growth_px": chart.GROWTH_PX,
        "strips": _strips(found),
        "cells": {activity.value: cell for activity, cell in chart.CELLS.items()},
        "Activity": Activity,
        "economics": economics.rows(found.stats),
        "admission": economics.admission(found.stats),
        "wrong": found.wrong[:WRONG_AT_MOST],
        "more_wrong": max(0, len(found.wrong) - WRONG_AT_MOST),
        "notes": found.notes[:WRONG_AT_MOST],
        "more_notes": max(0, len(found.notes) - WRONG_AT_MOST),
        "provenance": _provenance(found),
        "duration": duration,
        "percent": percent,
        "date": date,
        "since": lambda at: duration(max(0.0, at - found.view.started_at)),
        "sha": lambda sha: sha[:SHA_CHARS],
    }


def _title(found: Figures) -> str:
    took = f" {'in' if found.good else 'after'} {duration(found.lasted_s)}" if found.lasted_s else ""
    simulated = "Simulated: " if found.facts.simulated else ""
    title = f"{simulated}{found.outcome}{took}"
    return title[0].upper() + title[1:] if title else "A team"


def _subtitle(found: Figures) -> str:
    parts = [
        plural(len(found.agents), "agent"),
        plural(len(found.facts.commits), "commit"),
        f"{plural(found.admitted, 'entry')} in the context",
        f"{len(found.refused)} refused or taken back",
    ]
    return ", ".join(parts)


def _lines(text: str) -> list[str]:
    """A text of several lines, with one empty line at most between two of them."""
    lines = [line.strip() for line in shortened(text, TEXT_CHARS).strip().splitlines()]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]


def _take(facts: TeamFacts) -> list[str]:
    """What a user types to get the result; nothing where nothing was admitted."""
    if not facts.branch and not facts.head:
        return []
    result = facts.branch or facts.head
    look = f"git diff {shlex.quote(f'{facts.base[:SHA_CHARS]}...{result}')}" if facts.base else ""
    return [line for line in (look, facts.take) if line]


def _tiles(found: Figures) -> list[tuple[str, str, str]]:
    """The figures at the top: name, number, and what it needs to be read right."""
    spent = found.spent
    tokens = spent.input_tokens + spent.output_tokens
    cached = f"{shortly(spent.cached_tokens)} of them cached" if spent.cached_tokens else ""
    return [
        ("Time", duration(found.lasted_s), "" if found.facts.ended_at else "up to the latest event"),
        ("In the context", plural(found.admitted, "entry"), f"version {found.view.version}"),
        ("Refused", str(len(found.refused)), _said(found.refusals)),
        ("Waiting", percent(found.share), "of the agents' time"),
        ("Tokens", spent.tokens(tokens, short=True), cached),
        ("Cost", spent.cost, "as clients report it"),
    ]


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _strips(found: Figures) -> list[str]:
    view = found.view
    return [chart.strip(one.spans, view.started_at, view.ended_at, STRIP_CELLS) for one in found.agents]


def _provenance(found: Figures) -> list[tuple[str, str]]:
    facts = found.facts
    commands = "; ".join(f"{name}: {command}" for name, command in facts.commands.items())
    rows = [
        ("Run", facts.run),
        ("Command line", facts.command),
        ("Policy", facts.policy),
        ("Checks", commands or "no command"),
        ("Repository", facts.repository),
        ("Board", facts.board),
        ("From commit", facts.base),
        ("To commit", facts.head),
        ("Started", date(found.view.started_at)),
        ("Ended", date(facts.ended_at) or "no end is recorded"),
        ("delm-mcp", facts.version),
        ("Model", "simulated: a scripted model answered in place of a real one" if facts.simulated else ""),
    ]
    return [(name, value) for name, value in rows if value]
