"""Writes a simulation down: results.json, runs.csv, and a report in Markdown and HTML."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from delm_client.simulate.parts import PARTS
from delm_client.simulate.sheets import bullets, html_part, markdown_part, page, table, write_figures
from delm_client.simulate.sweep import Cell, Row, Study
from delm_client.simulate.views import VIEWS, Grid, View

BANNER = (
    "All of this is simulated: no agent and no model ran. Calls were replayed as discrete events under "
    "stated assumptions; what was assumed is not found out."
)
TITLE = "Ways to organise a team of agents (simulated)"
LIMITS = (
    "Tasks are independent of each other: no dependencies, no planning, no answer at the end.",
    "A task takes as long whoever does it, and its calls are the trace's: quality does not enter, except as "
    "the assumed probability of a false result.",
    "Orchestrators work beside the N agents, not as one of them, and read no more of a result than its gist: "
    "both favour them.",
    "Models answer as fast at 1,000 agents as at one: no provider's rate limit, no slower answers to "
    "longer prompts, no context that is full.",
    "Idle agents of DeLM are woken at once and pay no turns for waiting.",
    "How often agents run into dead ends or find something false was measured by nobody: 0 unless swept.",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a simulation gave."""

    study: Study
    rows: Sequence[Row]
    cells: Sequence[Cell]
    findings: dict[str, list[str]]

    @property
    def views(self) -> list[View]:
        """What there is to show."""
        return [view for view in VIEWS if view.part in self.study.parts]


def results(report: Report) -> dict[str, Any]:
    """Everything, for programs. Estimates are means with 95 % intervals over `n` seeds; times in seconds."""
    study = report.study
    return {
        "simulated": True,
        "note": BANNER,
        "trace": trace_of(study),
        "plan": asdict(study.plan),
        "seeds": list(study.seeds),
        "assumptions": asdict(study.given),
        "prices_usd_per_million": asdict(study.prices),
        "versions": versions(),
        "limits": list(LIMITS),
        "findings": report.findings,
        "cells": [_cell(cell) for cell in report.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    part, topology, agents, x = cell.key
    return {
        "part": part,
        "topology": topology,
        "agents": agents,
        "x": x,
        "measures": {name: asdict(figure) for name, figure in cell.measures.items()},
        "times_over_delm": {name: asdict(figure) for name, figure in cell.beside_delm.items()},
    }


def trace_of(study: Study) -> dict[str, Any]:
    """Where the calls come from, and what of them was imputed."""
    trace = study.trace
    return {
        "name": trace.name,
        "sha256": trace.sha256,
        "synthetic": trace.synthetic,
        "instances": len(trace.instances),
        "calls": trace.calls,
        "mean_instance_s": trace.mean_instance_s,
        "median_call_s": trace.median_call_s,
        "last_calls_imputed": trace.imputed,
        "pauses_replaced": trace.capped,
    }


def versions() -> dict[str, str]:
    """What computed it."""
    found = {"python": platform.python_version()}
    for package in ("delm-mcp", "matplotlib"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def about(study: Study) -> str:
    """The calls and the plan, in a sentence or two."""
    trace, plan = study.trace, study.plan
    origin = "synthetic calls that come with delm-mcp" if trace.synthetic else f"the calls in {trace.name}"
    text = (
        f"{origin[0].upper()}{origin[1:]}: {trace.calls:,} calls of {len(trace.instances):,} instances, "
        f"{trace.mean_instance_s:.0f} s each. {trace.imputed:,} last calls have imputed times"
        f"{f', {trace.capped:,} long pauses were replaced' if trace.capped else ''}. {plan.tasks:,} tasks "
        f"a run, drawn with replacement{f', {plan.subtasks} from an instance' if plan.subtasks > 1 else ''}; "
        f"{plan.seeds} seeds, the same draws for every topology; ± is half of a 95 % interval."
    )
    if plan.seeds < 20:
        text += " Fewer than 20 seeds: a look, not a result."
    return text


def write(report: Report, into: Path) -> None:
    """The figures, in a folder that exists."""
    write_figures(results(report), report.rows, "simulated", into)


def markdown(report: Report) -> str:
    """The report, with links to its plots."""
    lines = [f"# {TITLE}", "", f"> {BANNER}", "", about(report.study), ""]
    for part, said in report.findings.items():
        views = [view for view in report.views if view.part == part]
        lines += markdown_part(f"{PARTS[part].question} (simulated)", said, views, report.cells)
    lines += ["## What this does not show", "", *(f"* {text}" for text in LIMITS), ""]
    lines += ["## Assumptions", "", "| assumption | value |", "|---|---|"]
    lines += [f"| `{name}` | {value} |" for name, value in assumed(report.study)]
    return "\n".join(lines) + "\n"


def assumed(study: Study) -> list[tuple[str, str]]:
    """Every parameter and its value."""
    pairs = [(field.name, f"{getattr(study.given, field.name):.4g}") for field in fields(study.given)]
    return pairs + [
        (f"{field.name}, USD a million tokens", f"{getattr(study.prices, field.name):g}")
        for field in fields(study.prices)
    ]


def html(report: Report, pictures: dict[str, str]) -> str:
    """The report as one file that needs nothing else."""
    body = [f"<p>{escape(about(report.study))}</p>"]
    for part, said in report.findings.items():
        views = [view for view in report.views if view.part == part]
        body += html_part(f"{PARTS[part].question} (simulated)", said, views, report.cells, pictures)
    body += ["<h2>What this does not show</h2>", bullets(LIMITS), "<h2>Assumptions</h2>"]
    body.append(table(Grid("Assumptions", ("assumption", "value"), tuple(assumed(report.study)))))
    return page(TITLE, BANNER, body)
