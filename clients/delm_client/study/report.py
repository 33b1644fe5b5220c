"""Writes a study down: results.json, runs.csv, and a report in Markdown and HTML."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from delm_client.simulate.report import versions
from delm_client.simulate.sheets import bullets, html_part, markdown_part, page, pipes, table, write_figures
from delm_client.simulate.sweep import Cell, Row
from delm_client.simulate.views import Grid
from delm_client.study.findings import plausible
from delm_client.study.programs import EXERCISES, Wanted
from delm_client.study.real import Beside
from delm_client.study.recording import trials
from delm_client.study.sweep import PARTS, Study
from delm_client.study.views import VIEWS

TITLE = "Repair without a model, through topologies (replayed)"
SECONDS = ("wall_s", "gate_s")
WORDS = {"repaired": "programs repaired", "wall_s": "wall time, s", "gate_s": "proposal to verdict, s"}
BANNER = (
    "Every edit of every program was run once, by real tests. What follows is replayed from that: no team "
    "ran, except where it says real."
)
LIMITS = (
    "A solver without a model: no tokens, no reading, no reasoning. What it says about coordination holds "
    "for agents that search alike, no more.",
    "Faults that were sown come from the families of edits that the search tries: that flatters the "
    "repaired count.",
    "Seconds are processor time, as if each agent had a core of its own; a machine with fewer cores is "
    "slower. Calls and the gate have the seconds given below.",
    "Independent agents are stopped by a bystander once everything is decided, and orchestrators cost no "
    "time of their own, fail never and see every result: all of it favours them. An agent of DeLM waits "
    "for the gate; a worker of central-async does not.",
    "Edits of a program that the recording's limit cut off are in nobody's reach.",
    "That an agent misjudges edits is assumed; the recorded outcomes are those of tests that repeat "
    "themselves.",
    "Held-out tests are few: passing them is not being right either.",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a study gave."""

    wanted: Wanted
    study: Study
    rows: Sequence[Row]
    cells: Sequence[Cell]
    findings: dict[str, list[str]]
    real: Sequence[Beside]
    command: str
    date: str

    @property
    def origin(self) -> str:
        """Where the figures come from, beside the command: date, model and policy."""
        return f"{self.date}; no model; the policy of delm-run demo (standard) where it says delm"


def about(report: Report) -> str:
    """What was recorded and how it is replayed."""
    study, wanted = report.study, report.wanted
    sown = (
        "one fault sown into each, drawn from the families of edits that the search tries"
        if wanted.name in set(EXERCISES) and any(program.fault for program in study.programs)
        else "with the faults that they came with"
    )
    counts = plausible(study.programs)
    text = (
        f"{counts['programs']} programs of {wanted.name}, {sown}; {trials(study.programs):,} edits were "
        f"run, {counts['passing']} of which pass the tests that the search sees. {study.plan.seeds} seeds, "
        "the same draws for every topology; ± and [ ] are 95 % intervals, comparisons are paired by seed. "
        f"A call of the board takes {1000 * study.costs.call_s:.0f} ms, the gate {study.costs.gate_s:.2f} "
        f"s, the whole suite ({study.suite.tests} tests) {study.costs.check_s:.2f} s, a second of tests "
        f"{study.costs.stretch:.2f} "
        f"s{' (fitted to real runs)' if report.real else ' (calls and gate assumed: --real fits them)'}."
    )
    if study.plan.seeds < 20:
        text += " Fewer than 20 seeds: a look, not a result."
    return text


def results(report: Report) -> dict[str, Any]:
    """Everything, for programs. Estimates are means with 95 % intervals over `n` seeds; times in seconds."""
    study = report.study
    return {
        "replayed": True,
        "note": BANNER,
        "command": report.command,
        "date": report.date,
        "wanted": asdict(report.wanted),
        "plan": asdict(study.plan),
        "costs": asdict(study.costs),
        "suite": asdict(study.suite),
        "versions": versions(),
        "repairs": plausible(study.programs),
        "programs": [_program(study, index) for index in range(len(study.programs))],
        "real": [asdict(one) for one in report.real],
        "limits": list(LIMITS),
        "findings": report.findings,
        "cells": [_cell(cell) for cell in report.cells],
    }


def _program(study: Study, index: int) -> dict[str, Any]:
    program = study.programs[index]
    found = [trial for space in program.spaces for trial in space.trials]
    return {
        "name": program.name,
        "fault": program.fault,
        "family": program.family,
        "edits": len(found),
        "passing": sum(trial.passes for trial in found),
        "right": sum(bool(trial.right) for trial in found),
        "held_out": program.held_out,
        "seconds": sum(space.seconds for space in program.spaces),
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


def real_grid(report: Report) -> Grid:
    """Real and replayed side by side."""
    lines = []
    for one in report.real:
        for name in ("repaired", "edits", "tests", *SECONDS):
            mean, low, high = one.real[name]
            timed = name in SECONDS
            digits = 1 if timed else 0
            note = "fitted" if one.fitted and timed else f"{_off(one.replayed[name], mean):+.1f} %"
            lines.append(
                (
                    str(one.agents),
                    WORDS.get(name, name),
                    f"{mean:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f}, {one.repeats} runs)",
                    f"{one.replayed[name]:,.{digits}f}",
                    note,
                )
            )
    count = report.real[0].programs if report.real else 0
    load = max((one.real["load"][2] for one in report.real), default=0.0)
    heading = (
        f"Real runs of `delm` on {count} programs and {os.cpu_count()} cores, and their replay; the "
        f"machine's load before a run was up to {load:.1f}"
    )
    return Grid(heading, ("agents", "what", "real", "replayed", "replayed - real"), tuple(lines))


def _off(value: float, real: float) -> float:
    return 100 * (value / real - 1) if real else 0.0


def write(report: Report, into: Path) -> None:
    """The figures, in a folder that exists."""
    write_figures(results(report), report.rows, "replayed", into)


def markdown(report: Report) -> str:
    """The report, with links to its plots."""
    made = f"Made by `{report.command}`, {report.origin}."
    lines = [f"# {TITLE}", "", f"> {BANNER}", "", about(report), "", made, ""]
    if report.real:
        lines += ["## Real beside replayed", "", *pipes(real_grid(report)), ""]
    for part, said in report.findings.items():
        views = [view for view in VIEWS if view.part == part]
        lines += markdown_part(f"{PARTS[part].question} (replayed)", said, views, report.cells)
    lines += ["## What this does not show", "", *(f"* {text}" for text in LIMITS)]
    return "\n".join(lines) + "\n"


def html(report: Report, pictures: dict[str, str]) -> str:
    """The report as one file that needs nothing else."""
    body = [
        f"<p>{escape(about(report))}</p>",
        f"<p>Made by <code>{escape(report.command)}</code>, {escape(report.origin)}.</p>",
    ]
    if report.real:
        body += ["<h2>Real beside replayed</h2>", table(real_grid(report))]
    for part, said in report.findings.items():
        views = [view for view in VIEWS if view.part == part]
        body += html_part(f"{PARTS[part].question} (replayed)", said, views, report.cells, pictures)
    body += ["<h2>What this does not show</h2>", bullets(LIMITS)]
    return page(TITLE, BANNER, body)
