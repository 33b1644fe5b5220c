"""`delm-run simulate`: reads what is wanted, shows how far it is, writes what came out."""

import json
import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from delm_client.simulate import plots
from delm_client.simulate.assumptions import Assumptions, Prices
from delm_client.simulate.errors import SimulationError
from delm_client.simulate.findings import findings
from delm_client.simulate.parts import PARTS, Plan
from delm_client.simulate.report import BANNER, Report, about, html, markdown, results, write
from delm_client.simulate.sheets import write_pages
from delm_client.simulate.sweep import Study, cells, run
from delm_client.simulate.traces import load
from delm_client.simulate.views import grid
from delm_client.simulate.world import MOST_AGENTS

out = Console()
err = Console(stderr=True)

HELP = "\n\n".join(
    [
        "Replay calls of real agents through ways to organise a team. Nothing runs: the output is simulated.",
        "Nine topologies do the same tasks with the same luck: one agent (single); many that know nothing of "
        "each other (independent); a split made once (split); an orchestrator that is asked for each task "
        "(central), that plans in rounds (central-rounds), that serves all who wait in one turn "
        "(central-batched), or that has managers below it (central-hierarchical); a queue and a shared "
        "context with a gate (delm) and without (delm-open).",
        f"Parts: {', '.join(PARTS)}. Each gives tables, plots, and sentences that say where DeLM loses, too.",
        "Calls come from a CSV file with the columns instance, call, prompt, completion, cached and created "
        "(tokens, and seconds at which the call began); without --traces, from a small synthetic sample.",
        "Example: delm-run simulate --traces calls.csv --part scale --part gate --verdict-turns 4",
        "Exit code 0 when done, 2 for bad input, 130 when interrupted.",
    ]
)
QUICK = Plan(agents=(1, 4, 16), team=8, tasks=60, seeds=3, coarse=True)


def simulate(
    traces: Annotated[Path | None, typer.Option(help="A CSV of calls; default: a synthetic one.")] = None,
    part: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="Only this part; may be repeated.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="A new folder for the results; default: delm-out/simulate-<date>.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small sweep, in seconds: a look.")] = False,
    agents: Annotated[str, typer.Option(help="Numbers of agents for the part scale, as 1,8,64.")] = "",
    team: Annotated[int | None, typer.Option(help="Agents in the other parts; default: 32.")] = None,
    tasks: Annotated[int | None, typer.Option(help="Tasks of a run; default: 1,000.")] = None,
    subtasks: Annotated[int, typer.Option(help="Pieces into which each instance is cut, each a task.")] = 1,
    seeds: Annotated[int | None, typer.Option(help="Worlds to average over; default: 20.")] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 1,
    turn_s: Annotated[float | None, typer.Option(help="Seconds of a turn; default: the median call.")] = None,
    orchestrator_calls: Annotated[float, typer.Option(help="Its calls a task.")] = 2,
    verdict_turns: Annotated[float, typer.Option(help="A peer's turns to verify.")] = 2,
    check_s: Annotated[float, typer.Option(help="A check on the moved head, one at a time.")] = 0,
    dead_ends: Annotated[float, typer.Option(help="Probability that a task runs into one.")] = 0,
    false_results: Annotated[float, typer.Option(help="Probability that a result is false.")] = 0,
    caught: Annotated[float, typer.Option(help="Share of the false ones that the gate catches.")] = 0.8,
    rests: Annotated[float, typer.Option(help="Share of tasks that rest on an earlier entry.")] = 0.5,
    gist_tokens: Annotated[int, typer.Option(help="Tokens of an entry that everybody reads.")] = 100,
    window_entries: Annotated[int, typer.Option(help="Entries of a windowed read.")] = 20,
    lease_s: Annotated[float, typer.Option(help="Seconds until a dead agent's task is free.")] = 300,
    price_prompt: Annotated[float, typer.Option(help="USD a million prompt tokens.")] = 0.50,
    price_cached: Annotated[float, typer.Option(help="USD a million cached prompt tokens.")] = 0.05,
    price_completion: Annotated[float, typer.Option(help="USD a million completion tokens.")] = 3.00,
    max_gap_s: Annotated[float, typer.Option(help="A longer pause in the trace is no call's time.")] = 600,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Processes. 0: one for each core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json, and no tables.")] = False,
    report: Annotated[bool, typer.Option(help="Plots and pages; they need delm-mcp[bench].")] = True,
) -> None:
    """Replay calls through topologies."""
    with _clear_errors():
        if report:
            plots.demand()
        if not max_gap_s > 0:
            raise SimulationError(f"--max-gap-s is {max_gap_s:g}: pass seconds above 0.")
        trace = load(traces, max_gap_s)
        size = QUICK if quick else Plan()
        plan = Plan(
            _numbers(agents) if agents.strip() else size.agents,
            _within("--team", size.team if team is None else team, 1, MOST_AGENTS),
            _within("--tasks", size.tasks if tasks is None else tasks, 1, 100_000),
            _within("--subtasks", subtasks, 1, 1000),
            _within("--seeds", size.seeds if seeds is None else seeds, 1, 10_000),
            seed,
            size.coarse,
        )
        given = Assumptions(
            turn_s=trace.median_call_s if turn_s is None else turn_s,
            orchestrator_calls=orchestrator_calls,
            verdict_turns=verdict_turns,
            check_s=check_s,
            dead_ends=dead_ends,
            false_results=false_results,
            caught=caught,
            rests=rests,
            gist_tokens=gist_tokens,
            window_entries=window_entries,
            lease_s=lease_s,
        )
        prices = Prices(price_prompt, price_cached, price_completion)
        study = Study(trace, plan, given.checked(), prices.checked(), _parts(part))
        with _folder(into) as folder:
            _run(study, folder, workers or os.cpu_count() or 1, as_json, report)


def _run(study: Study, into: Path, workers: int, as_json: bool, pages: bool) -> None:
    err.print("Simulating: no agent and no model runs.", style="bold")
    err.print(about(study), highlight=False, markup=False)
    jobs = len(study.parts) * study.plan.seeds
    with Progress(
        TextColumn("simulated"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=jobs)
        rows = run(study, min(workers, jobs), lambda: bar.advance(task))
    put = cells(rows)
    made = Report(study, rows, put, findings(study, put))
    write(made, into)
    if pages:
        pictures = {view.name: plots.svg(view, put) for view in made.views}
        write_pages(markdown(made), html(made, pictures), pictures, into)
    if as_json:
        out.out(json.dumps(results(made), allow_nan=False, default=str), highlight=False)
    else:
        _show(made)
    name = "report.html" if pages else "results.json"
    err.print(f"simulated results: {into / name}", highlight=False, markup=False, soft_wrap=True)


def _show(report: Report) -> None:
    for part, said in report.findings.items():
        out.print(f"\n{PARTS[part].question} (simulated)", style="bold", highlight=False)
        for view in report.views:
            if view.part == part:
                found = grid(view, report.cells).turned(out.width)
                table = Table(title=found.heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
                for index, name in enumerate(found.head):
                    table.add_column(name, justify="right" if index else "left", overflow="fold")
                for line in found.lines:
                    table.add_row(*line)
                out.print(table)
        for text in said:
            out.print(f"* {text}", highlight=False, markup=False)
    out.print(f"\n{BANNER}", highlight=False, markup=False)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = {int(word) for word in text.split(",")}
    except ValueError:
        raise SimulationError(f"--agents {text}: pass whole numbers with commas, as 1,8,64.") from None
    return tuple(_within("--agents", number, 1, MOST_AGENTS) for number in sorted(found))


def _within(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise SimulationError(f"{name} is {value}: it must lie between {low} and {high:,}.")
    return value


def _parts(wanted: list[str] | None) -> tuple[str, ...]:
    for name in wanted or ():
        if name not in PARTS:
            raise SimulationError(f"There is no part {name}; there are: {', '.join(PARTS)}.")
    return tuple(name for name in PARTS if not wanted or name in wanted)


@contextmanager
def _folder(into: Path | None) -> Iterator[Path]:
    """A new folder; gone again when nothing was written."""
    found = into or Path("delm-out") / f"simulate-{datetime.now():%Y%m%d-%H%M%S}"
    if found.exists() and (not found.is_dir() or any(found.iterdir())):
        raise SimulationError(f"{found} is there already: pass a new folder with --into.")
    found.mkdir(parents=True, exist_ok=True)
    try:
        yield found
    finally:
        if not any(found.iterdir()):
            found.rmdir()


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What a user can mend is said in plain words; everything else is a bug and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped: nothing was written.")
        raise typer.Exit(130) from None
    except SimulationError as error:
        err.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except BrokenProcessPool:
        err.print(
            "A process of the simulation was killed, perhaps for its memory: try --workers 1.", style="red"
        )
        raise typer.Exit(2) from None
    except OSError as error:
        err.print(
            f"{error.filename}: {error.strerror}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        raise typer.Exit(2) from None
