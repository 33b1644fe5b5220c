"""Runs the search on each program once, to its end, and writes down what it saw."""

import json
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from delm_client.bench.exercises.project import CHECK
from delm_client.repair import (
    Budget,
    Candidate,
    Check,
    Finished,
    Mutation,
    Progress,
    Scope,
    Target,
    resolve,
    run_suite,
    search,
    targets,
)
from delm_client.repair.harness import End, Harness, Limits, Run
from delm_client.study.errors import StudyError
from delm_client.study.programs import LIMITS, Fault, Place
from delm_client.study.recording import KILLS, PASSES, UNKNOWN, Program, Space, Suite, Trial, kept, to_line

# Where no place is suspicious, an agent has started and run the tests all the same.
NOTHING = Space("nothing to try", (), 0, 0.0, whole=False)


@dataclass(slots=True)
class Heard:
    """What one search made its harness do."""

    start_s: float = 0.0
    before: list[Run] = field(default_factory=list)
    trials: dict[Scope, dict[str, tuple[Mutation, Run, str]]] = field(default_factory=dict)
    controls: dict[Scope, list[Run]] = field(default_factory=dict)
    now: Progress | None = None


class Listening(Harness):
    """A harness that writes down what it ran, and of each killed edit which tests kill it."""

    def __init__(self, check: Check, root: Path, heard: Heard) -> None:
        super().__init__(check, root=root)
        self.heard = heard

    def start(self) -> None:
        """Start, and take the processor time of it."""
        super().start()
        if self.pid is not None and not self.heard.start_s:
            server = psutil.Process(self.pid)
            family = [server, *server.children(recursive=True)]
            self.heard.start_s = sum(sum(process.cpu_times()[:2]) for process in family)

    def run(
        self,
        ids: Sequence[str],
        *,
        file: str = "",
        source: bytes = b"",
        trace: bool = False,
        stop_first: bool = False,
        limits: Limits | None = None,
    ) -> Run:
        """Run as asked, once more in full for a killed edit, and tell the first."""
        run = super().run(ids, file=file, source=source, trace=trace, stop_first=stop_first, limits=limits)
        step = self.heard.now
        if step is None:
            self.heard.before.append(run)
        elif not file:
            self.heard.controls.setdefault(step.scope, []).append(run)
        elif step.mutation.id in self.heard.trials.setdefault(step.scope, {}):
            # Tried again, because an edit before it had disturbed the ground: that is what careful costs.
            self.heard.controls.setdefault(step.scope, []).append(run)
        else:
            full = run
            if run.end is End.COMPLETED and not run.passed(ids):
                full = super().run(ids, file=file, source=source, limits=limits)
            self.heard.trials[step.scope][step.mutation.id] = (step.mutation, run, kills(ids, run, full))
        return run


def kills(ids: Sequence[str], run: Run, full: Run) -> str:
    """For each test whether it kills: from the full run where it ended, else from what was reached."""
    best = full if full.end is End.COMPLETED else run
    marks = {"passed": PASSES, "failed": KILLS, "error": KILLS, "skipped": KILLS}
    return "".join(marks.get(best.tests.get(test, ""), UNKNOWN) for test in ids)


def record(
    place: Place, faults: dict[str, Fault], mutants: int, told: Callable[[int, int, str], None]
) -> tuple[list[Program], Suite]:
    """Record what is not recorded yet; whatever was stays.

    Args:
        mutants: Edits of a program at most; 0: all.
        told: How many are done, of how many, and which is next.

    Raises:
        StudyError: There is nothing to repair.
        RepairError: The tests cannot be run.
    """
    check = resolve(CHECK, place.project)
    found, suite = _targets(place, check)
    into = place.folder / f"recording-{mutants or 'all'}.jsonl"
    done = {program.name: program for program in kept(into)}
    grader = _Grader(place)
    try:
        with into.open("a", encoding="utf-8") as file:
            for target in found:
                if target.name not in done:
                    told(len(done), len(found), target.name)
                    program = _program(check, target, faults.get(target.name), grader, mutants)
                    file.write(to_line(program))
                    file.flush()
                    done[target.name] = program
    finally:
        grader.close()
    told(len(found), len(found), "")
    return [done[target.name] for target in found], suite


def _targets(place: Place, check: Check) -> tuple[list[Target], Suite]:
    """What fails, and what the whole suite costs; found once, so that a resumed study sees the same."""
    known = place.folder / "targets.json"
    if not known.exists():
        before = _children_s()
        report = run_suite(check)
        suite = Suite(len(report.outcomes), _children_s() - before)
        found = targets(report)
        usable = [target for target in found if not target.broken]
        if not found:
            raise StudyError(
                f"All {len(report.outcomes)} tests pass: there is nothing to repair, and nothing to study."
            )
        if not usable:
            raise StudyError(f"No failing test can be run, so no edit could be judged: {found[0].broken}.")
        rows = {"suite": asdict(suite), "targets": [asdict(target) for target in usable]}
        known.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    rows = json.loads(known.read_text(encoding="utf-8"))
    return [
        Target(row["name"], tuple(row["failing"]), tuple(row["passing"])) for row in rows["targets"]
    ], Suite(**rows["suite"])


def _program(check: Check, target: Target, fault: Fault | None, grader: "_Grader", mutants: int) -> Program:
    heard = Heard()
    right: dict[str, bool | None] = {}
    ended = ""

    def progress(step: Progress) -> None:
        heard.now = step

    events = search(
        check.root,
        target,
        check,
        on_progress=progress,
        budget=Budget(mutants=mutants),
        harness=lambda check, root: Listening(check, root, heard),
    )
    whole: set[Scope] = set()
    for event in events:
        if isinstance(event, Candidate):
            right[event.mutation.id] = grader.right(fault, event)
        elif isinstance(event, Finished):
            ended = f"{event.reason}: {event.detail}"
        else:
            whole.add(event.scope)
    return Program(
        name=target.name,
        fault=fault.edit if fault else "",
        family=fault.family if fault else "",
        tests=len(target.failing) + len(target.passing),
        start_tests=sum(len(run.tests) for run in heard.before),
        start_s=heard.start_s + sum(run.cpu_s for run in heard.before),
        spaces=tuple(_spaces(heard, right, whole)) or (NOTHING,),
        held_out=len(fault.held_out) if fault else 0,
        ended=ended,
    )


def _spaces(heard: Heard, right: dict[str, bool | None], whole: set[Scope]) -> Iterator[Space]:
    for scope, tried in heard.trials.items():
        controls = heard.controls.get(scope, [])
        yield Space(
            str(scope),
            tuple(
                Trial(
                    edit=str(mutation),
                    tests=len(run.tests),
                    seconds=run.cpu_s,
                    wall_s=run.wall_s,
                    end=str(run.end),
                    passes=mutation.id in right,
                    right=right.get(mutation.id),
                    kills=marks,
                )
                for mutation, run, marks in tried.values()
            ),
            sum(len(run.tests) for run in controls),
            sum(run.cpu_s for run in controls),
            scope in whole,
        )


class _Grader:
    """Runs held-out tests on candidates; started when there is the first."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._harness: Harness | None = None

    def right(self, fault: Fault | None, event: Candidate) -> bool | None:
        if fault is None or not fault.held_out:
            return None
        if self._harness is None:
            self._harness = Harness(resolve(CHECK, self._place.graded))
        run = self._harness.run(fault.held_out, file=fault.program, source=event.source, limits=LIMITS)
        return run.passed(fault.held_out)

    def close(self) -> None:
        if self._harness is not None:
            self._harness.close()


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
