"""`bench`: what the board costs here, beside SQLite itself and beside a tool that does nothing."""

import json
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from delm_mcp.cli.wiring import err, out, run
from delm_mcp.errors import ConfigError


class Part(StrEnum):
    """What can be measured by itself."""

    WRITES = "writes"
    CLAIMS = "claims"
    READS = "reads"
    HTTP = "http"
    GATE = "gate"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        callers: Concurrent callers of the board, each number in a pass of its own.
        clients: The same over HTTP.
        queue_sizes: Ready tasks among which claims are timed.
        entries: Size of the context that is read.
        agents: How many propose at once under each preset, each number in batches of its own.
        facts: Proposals of a batch.
        commands: Proposals of a batch that cite a command.
        gate_s: How long the presets take turns; `rounds` of them are finished in any case.
        pass_s: The longest that a pass takes.
        rounds: Passes of each kind; they take turns, and their calls are added up.
        flush_s: Slept in every COMMIT, of the board and of SQLite alone, to stand for a slower disk.
    """

    parts: tuple[Part, ...] = tuple(Part)
    callers: tuple[int, ...] = (1, 16, 64)
    clients: tuple[int, ...] = (1, 16)
    queue_sizes: tuple[int, ...] = (1_000, 100_000)
    entries: int = 10_000
    agents: tuple[int, ...] = (2, 8)
    facts: int = 24
    commands: int = 5
    gate_s: float = 8.0
    pass_s: float = 0.6
    rounds: int = 2
    flush_s: float = 0.0


FULL_QUEUE_SIZES = (1_000, 100_000, 1_000_000)
FULL_ENTRIES = 1_000_000
FULL_GATE_S = 36.0


async def measure(plan: Plan, folder: Path, step: Callable[[str], None]) -> dict[str, Any]:
    """Run the plan on boards in `folder`, which is empty; tells `step` what it is doing."""
    from delm_mcp.cli.benchmarks import gate, growing, http, machine, writing

    began = time.perf_counter()
    step("syncing the disk")
    report: dict[str, Any] = {
        "machine": {**machine.facts(folder), **machine.fsync_cost(folder, plan.pass_s)},
        "settings": {
            "synchronous": "FULL",
            "flush_ms": plan.flush_s * 1e3,
            "pass_s": plan.pass_s,
            "rounds": plan.rounds,
        },
    }
    sizes: dict[Part, Callable[[], Awaitable[dict[str, Any]]]] = {
        Part.WRITES: lambda: writing.measure(
            folder, plan.callers, plan.pass_s, plan.rounds, plan.flush_s, step
        ),
        Part.CLAIMS: lambda: growing.claims(folder, plan.queue_sizes, plan.pass_s * 2, step),
        Part.READS: lambda: growing.reading(folder, plan.entries, plan.pass_s, step),
        Part.HTTP: lambda: http.measure(folder, plan.clients, plan.pass_s, plan.rounds, plan.flush_s, step),
        Part.GATE: lambda: gate.measure(
            folder,
            gate.Size(plan.agents, plan.facts, plan.commands, plan.rounds, plan.gate_s),
            plan.flush_s,
            step,
        ),
    }
    for part in Part:
        if part in plan.parts:
            report[part.value] = await sizes[part]()
    report["settings"]["took_s"] = round(time.perf_counter() - began, 1)
    return report


def bench(
    folder: Annotated[
        Path | None,
        typer.Option(help="Measure on the disk of this folder. Default: the system's temporary folder."),
    ] = None,
    part: Annotated[list[Part] | None, typer.Option(help="Only this part; repeatable.")] = None,
    flush_ms: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            help="Stand for a slower disk: sleep this long in every COMMIT, the board's and SQLite's alike.",
        ),
    ] = 0.0,
    seconds: Annotated[float, typer.Option(min=0.05, max=60, help="The longest that a pass takes.")] = 0.6,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Passes of each kind.")] = 2,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also a million ready tasks, a million entries to read, more rounds of the gate.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure the board on this machine: claims and proposals beside SQLite itself, large queues and
    contexts, tool calls over HTTP beside a tool that does nothing, and what each preset's checks cost
    beside none. Takes about a minute.
    """
    plan = Plan(
        parts=tuple(part) if part else tuple(Part),
        queue_sizes=FULL_QUEUE_SIZES if full else Plan.queue_sizes,
        entries=FULL_ENTRIES if full else Plan.entries,
        gate_s=FULL_GATE_S if full else Plan.gate_s,
        pass_s=seconds,
        rounds=rounds,
        flush_s=flush_ms / 1e3,
    )

    async def main() -> None:
        report = await _measured(plan, folder)
        if as_json:
            out.print_json(json.dumps(report))
        else:
            _show(report)

    run(main)


async def _measured(plan: Plan, folder: Path | None) -> dict[str, Any]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _temporary(folder) as home, Progress(*columns, console=err, transient=True) as progress:
        line = progress.add_task("starting")
        try:
            return await measure(plan, Path(home), lambda text: progress.update(line, description=text))
        except sqlite3.Error as error:
            raise ConfigError(
                f"SQLite failed while it was measured: {error}.", "Is the disk full?"
            ) from error


def _temporary(folder: Path | None) -> "tempfile.TemporaryDirectory[str]":
    """A folder of our own that is removed at the end, also after Ctrl-C."""
    try:
        return tempfile.TemporaryDirectory(prefix="delm-bench-", dir=folder)
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written in {folder or tempfile.gettempdir()}: {error.strerror}.",
            "Name another folder with --folder.",
        ) from error


NOTES = {
    Part.WRITES: "cpu: processor time of a call, in all threads. batch: operations per transaction, on "
    "average. SQLite alone, operations/s, and in brackets the board's rate as a part of it: a small read "
    "and update (or insert and update) in the same batches; the board's own statements replayed in the "
    "same batches; the small ones in a transaction each.",
    Part.CLAIMS: "One caller. inside: within the transaction, rules and log included; "
    "call: until it is durable.",
    Part.READS: "One caller. inside: within the snapshot; call: through the board.",
    Part.HTTP: "cpu: processor time of the server per call. x noop: the tool's rate as a part of that of "
    "a tool of the same server that does nothing.",
    Part.GATE: "The machinery's cost, beside which a model's thinking comes: agents that do not think, each "
    "under a principal of its own, claim and propose, and under strict verify what the others proposed. "
    "admitted: median of the rounds (lowest-highest). x open: the rate as a part of that under open in the "
    "same round. p50, p99: from the call that proposes an entry until the call is answered that admits it, "
    "its author's or its verifier's. cpu: processor time of an entry in this process, without that of git "
    "and of commands. In brackets behind p50 and cpu: as a multiple of open's. command p50: of the check "
    "alone; the commands of a run take turns. again: on a tree on which the command ran before. case tokens: "
    "what a verifier is given about one of these entries; its verdict takes it two calls. Strict admits no "
    "fact with only an artifact. Where nobody is there to verify, an entry waits peer_wait_s (60 s by "
    "default), a setting and no cost of ours, and then no_peers decides.",
}


BRACKETS = {
    "sqlite_same_batches_per_s": "x_same_batches",
    "sqlite_single_per_s": "x_single",
    "sqlite_replayed_per_s": "x_replayed",
    "admitted_per_s": "admitted_per_s_range",
    "x_open": "x_open_range",
    "p50_ms": "x_open_p50",
    "cpu_us": "x_open_cpu",
}
"""What stands in brackets behind a figure: its ratio to what it is compared with, or its range."""
JSON_ONLY = {"calls", "admitted", "checks", *BRACKETS.values()}
"""What has no column of its own: how many a figure rests on, which checks, and what stands in brackets."""


def _show(report: dict[str, Any]) -> None:
    facts = report["machine"]
    out.print(
        f"$ {facts['command']}\n"
        f"{facts['cores']} cores (load {facts['load_1min']}), {facts['system']}, {facts['file_system']}; "
        f"Python {facts['python']}, SQLite {facts['sqlite']}, mcp {facts['mcp']}, "
        f"delm-mcp {facts['delm_mcp']}\n"
        f"4 KiB and fsync on this disk: p50 {facts['fsync_overwrite_p50_ms']} ms written over, "
        f"{facts['fsync_append_p50_ms']} ms appended\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for part in Part:
        if part.value in report:
            _show_part(report[part.value], NOTES[part])
    out.print(f"took {report['settings']['took_s']} s", highlight=False)


def _show_part(found: dict[str, Any], note: str) -> None:
    table = Table(title=found["title"], title_justify="left", caption=f"{found['durability']}. {note}")
    table.caption_justify = "left"
    names = [name for name in found["rows"][0] if name not in JSON_ONLY]
    for name in names:
        words = isinstance(found["rows"][0][name], str)
        justify: Literal["left", "right"] = "left" if words else "right"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold")
    for row in found["rows"]:
        table.add_row(*[_cell(row, name) for name in names])
    out.print(table)
    out.print()


def _cell(row: dict[str, Any], name: str) -> str:
    value, beside = row[name], row.get(BRACKETS.get(name, ""))
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if beside is None:
        return _figure(name, value)
    shown = "-".join(_figure(name, end) for end in beside) if isinstance(beside, list) else f"{beside}"
    return f"{_figure(name, value)} ({shown})"


def _figure(name: str, value: float) -> str:
    return f"{value:,.0f}" if name.endswith("per_s") else f"{value:,}"
