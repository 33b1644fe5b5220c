"""`delm-run report` for teams and for benchmark runs, and `delm-run compare`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from delm_client.bench.cli import clear_errors
from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Folder, is_run
from delm_client.bench.report import gate, outputs, run_page, several_page
from delm_client.bench.report.figures import read
from delm_client.bench.report.page import Page
from delm_client.bench.report.several import several
from delm_client.git import GitError
from delm_client.team import cli as teams
from delm_client.team.wish import TeamError
from delm_client.team.worktrees import find_repository

out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)

MANY = 20

REPORT_HELP = "\n\n".join(
    [
        "Report what a team or a benchmark run did.",
        "With a team's run (or nothing, where there is one team): writes its report again, and prints where "
        "it is.",
        "With folders of benchmark runs, finished or not: prints results with intervals, spending, latency, "
        "when agents worked and when they waited, how the context grew, what the gate did and cost, and each "
        "item; and writes report.html (one file, plots inside), report.md and report.json into each folder.",
        "Example: delm-run report delm --item 66ec21e6",
    ]
)
COMPARE_HELP = "\n\n".join(
    [
        "Compare benchmark runs, item by item: each with the first.",
        "McNemar's exact test on the items that only one of two got right (and Holm's correction for "
        "several), and bootstrap intervals over items of rate, cost, tokens and time. Right against cost, "
        "speed-up by the number of agents where a run of [bold]single[/] is among them, how the agents' time "
        "went, and how their prompts grew.",
        "--into FOLDER writes compare.html (one file, plots inside), compare.md and compare.json there.",
        "Example: delm-run compare single central delm --into comparison",
    ]
)
Into = Annotated[Path | None, typer.Option(help="Write the files into this folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON; writes nothing else.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(help=REPORT_HELP)(report)
    app.command(help=COMPARE_HELP)(compare)


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN|FOLDER", help="A team's run, or folders of benchmark runs."),
    ] = None,
    item: Annotated[
        str, typer.Option(help="The item whose timeline is drawn; default: the one that took longest.")
    ] = "",
    into: Into = None,
    as_json: AsJson = False,
) -> None:
    """Report what a team or a benchmark run did."""
    named = runs or []
    folders = [Path(name) for name in named]
    if not any(map(is_run, folders)) and (len(named) < 2 and not _is_place(named)):
        if item or into or as_json:
            with clear_errors(None):
                raise BenchError("--item, --into and --json are for folders of benchmark runs.")
        with clear_errors(None):
            _insist(named)
        teams.report(named[0] if named else "")
        return
    with clear_errors(into):
        if into is not None and len(folders) > 1:
            raise BenchError("--into takes the report of one folder; side by side: delm-run compare.")
        for path in folders:
            run = read(_opened(path), item)
            _give(run_page.page(run), run.json, into or Path(run.source.folder), as_json=as_json)


def _insist(named: list[str]) -> None:
    """Raises BenchError where neither a folder nor a team can be meant."""
    if named and not teams.known(named[0]) and not _in_repository():
        raise BenchError(
            f"There is no folder {named[0]}, and no git repository here that could have a team of that name."
        )


def _in_repository() -> bool:
    try:
        find_repository(Path.cwd())
    except (GitError, TeamError):
        return False
    return True


def _is_place(named: list[str]) -> bool:
    """Whether a path was meant, which no run of a team is."""
    return any("/" in name or (Path(name).is_dir() and not teams.known(name)) for name in named)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help="The folders of two or more benchmark runs.")
    ],
    into: Into = None,
    as_json: AsJson = False,
) -> None:
    """Compare benchmark runs."""
    with clear_errors(into):
        sources, found = several([_opened(path) for path in runs])
        _give(several_page.page(sources, found), found, into, as_json=as_json)


def _opened(path: Path) -> Folder:
    """A run's folder; says so where reading it takes a while."""
    folder = Folder.open(path.resolve())
    if (boards := gate.unasked(folder)) > MANY:
        err.print(f"{path}: {boards} boards are asked for their figures, once", markup=False, soft_wrap=True)
    return folder


def _give(page: Page, figures: dict[str, object], into: Path | None, *, as_json: bool) -> None:
    """Print a page and write its files; as JSON, print only."""
    if as_json:
        print(outputs.as_json(figures), end="")  # noqa: T201 - for programs
        return
    written = outputs.write(page, figures, into) if into else []
    outputs.show(out, page)
    for path in written:
        err.print(str(path), markup=False, soft_wrap=True)
