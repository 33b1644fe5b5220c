"""Repair a copy of a project in one process, without a board: `python -m delm_client.repair PATH`."""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from delm_client.repair.check import Check, resolve
from delm_client.repair.copies import copy_project
from delm_client.repair.discover import Report, Target, regressions, run_suite, targets
from delm_client.repair.errors import RepairError
from delm_client.repair.search import Budget, Candidate, Finished, search


def main(arguments: list[str] | None = None) -> int:
    """Print one row for each target; 0 when every failing test was repaired, 1 when not, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m delm_client.repair", description=__doc__)
    parser.add_argument("path", type=Path, help="the project's folder; it is copied, and stays as it is")
    parser.add_argument("--check", default="pytest -q", help="the command that runs its tests (%(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only targets whose name contains this")
    parser.add_argument("--mutants", type=int, default=0, help="at most this many for each target (0: all)")
    parser.add_argument("--keep", type=Path, help="copy the repaired project to this new folder")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="delm-repair-") as folder:
            project = Path(folder).resolve() / "project"
            project.mkdir()
            copy_project(options.path.resolve(), project)
            check = resolve(options.check, project)
            left = _repair_all(console, check, options.only, Budget(mutants=options.mutants))
            if options.keep:
                shutil.copytree(project, options.keep, ignore=shutil.ignore_patterns("__pycache__"))
    except RepairError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    return 1 if left else 0


def _repair_all(console: Console, check: Check, only: str, budget: Budget) -> int:
    """Repair one target after the other; the number of those that failed."""
    report = run_suite(check)
    table = Table(
        "target", "result", "edit", "mutants", "CPU s", "s", title=f"{len(report.failing)} tests fail"
    )
    failed = 0
    totals: Counter[str] = Counter()
    for target in targets(report):
        if only not in target.name:
            continue
        repaired, row, report = _repair(console, check, target, report, budget, totals)
        failed += not repaired
        table.add_row(*row)
    console.print(table)
    console.print(
        f"{totals['mutants']} mutants, {totals['refused']} refused candidates, "
        f"{totals['cpu_ms'] / 1000:.1f} s CPU in their tests; {len(report.failing)} tests still fail"
    )
    return failed


def _repair(
    console: Console, check: Check, target: Target, report: Report, budget: Budget, totals: Counter[str]
) -> tuple[bool, tuple[str, ...], Report]:
    if target.broken:
        return False, (target.name, "broken", target.broken, "", "", ""), report
    for event in search(check.root, target, check, budget=budget):
        if isinstance(event, Candidate):
            path = check.root / event.mutation.file
            original = path.read_bytes()
            path.write_bytes(event.source)
            after = run_suite(check)
            lost = regressions(report, after)
            if not lost:
                _add(totals, event)
                console.print(f"[green]repaired[/] {target.name}")
                console.print(event.diff, markup=False, highlight=False)
                return (
                    True,
                    _row(
                        target,
                        "repaired",
                        f"{event.mutation.file}:{event.mutation.line} {event.scope.family}",
                        event,
                    ),
                    after,
                )
            path.write_bytes(original)
            totals["refused"] += 1
            refusal = f"{event.mutation}: breaks {len(lost)} tests, such as {lost[0]}"
            console.print(f"[yellow]refused[/] {escape(refusal)}")
        elif isinstance(event, Finished):
            _add(totals, event)
            return False, _row(target, event.reason, event.detail, event), report
    raise AssertionError("a search ends with Finished")


def _add(totals: Counter[str], event: Candidate | Finished) -> None:
    totals["mutants"] += event.counts.mutants
    totals["cpu_ms"] += round(event.counts.cpu_s * 1000)


def _row(target: Target, result: str, edit: str, event: Candidate | Finished) -> tuple[str, ...]:
    counts = event.counts
    return target.name, result, edit, str(counts.mutants), f"{counts.cpu_s:.1f}", f"{counts.elapsed_s:.1f}"


if __name__ == "__main__":
    sys.exit(main())
