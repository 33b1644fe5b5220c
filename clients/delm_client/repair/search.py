"""Search for one edit that makes a target's failing tests pass and keeps its passing tests passing."""

import ast
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from delm_client.repair.check import Check
from delm_client.repair.discover import Target
from delm_client.repair.errors import ProjectError
from delm_client.repair.harness import End, Harness, Limits, Run
from delm_client.repair.localise import Suspicion
from delm_client.repair.mutations import Family, Mutation, mutant, mutations
from delm_client.repair.source import Source

# How readily each family is believed: the suspicion of a place is multiplied by it. Families whose edits
# tend to satisfy tests without being right (deletion, constants) come late.
BELIEF = {
    Family.COMPARISON: 1.0,
    Family.INDEX: 0.95,
    Family.SLICE: 0.95,
    Family.BOUNDARY: 0.9,
    Family.NEGATION: 0.9,
    Family.BOOLEAN: 0.85,
    Family.ARITHMETIC: 0.85,
    Family.AUGMENTED: 0.85,
    Family.ORDER: 0.8,
    Family.CALL: 0.8,
    Family.INDENTATION: 0.75,
    Family.INITIAL: 0.7,
    Family.VARIABLE: 0.7,
    Family.FLOW: 0.65,
    Family.RETURN: 0.6,
    Family.DELETION: 0.5,
    Family.WRAPPING: 0.45,
    Family.LITERAL: 0.4,
}


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a search can rule out: one family of edits in one function, for one target."""

    file: str
    function: str
    family: Family
    target: str

    def __str__(self) -> str:
        return f"{self.file}::{self.function} {self.family} for {self.target}"


@dataclass(slots=True)
class Counts:
    """What a search has spent so far."""

    mutants: int = 0
    test_runs: int = 0
    """Executions of single tests."""
    timeouts: int = 0
    scopes_skipped: int = 0
    cpu_s: float = 0.0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a search stops by itself; 0 is no limit."""

    mutants: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Told before each mutant is run."""

    scope: Scope
    mutation: Mutation
    counts: Counts


@dataclass(frozen=True, slots=True)
class Candidate:
    """An edit with which the target's tests pass. Whether others still do is for the caller to find out."""

    scope: Scope
    mutation: Mutation
    source: bytes
    """The whole edited file."""
    diff: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class ScopeExhausted:
    """Every edit of a scope was tried. `candidates` passed the target's tests, and the caller wanted more."""

    scope: Scope
    tried: int
    candidates: int
    timed_out: int
    counts: Counts


class Reason(StrEnum):
    """Why a search ended."""

    EXHAUSTED = "exhausted"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    ALREADY_PASSING = "already passing"
    NOT_LOCATED = "not located"


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every search."""

    reason: Reason
    detail: str
    counts: Counts


Event = Candidate | ScopeExhausted | Finished


@dataclass(slots=True)
class _Stop(Exception):
    """The way out of nested loops."""

    reason: Reason
    detail: str = ""


def search(
    worktree: Path,
    target: Target,
    check: Check,
    *,
    skip: Callable[[Scope], bool] = lambda scope: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    budget: Budget | None = None,
    harness: Callable[[Check, Path], Harness] = lambda check, root: Harness(check, root=root),
) -> Generator[Event, None, None]:
    """Yield candidates and exhausted scopes, most suspicious first, and `Finished` at the end.

    Resuming after a candidate means that it was refused: the search goes on. Closing the iterator ends the
    test server. `skip` is asked once before each scope and `cancelled` before each mutant; both, and
    `on_progress`, are called in the thread that iterates. The worktree is only read. `harness` makes what
    runs the tests, for whoever wants to listen. Raises RepairError.
    """
    if target.broken:
        raise ProjectError(f"{target.broken}. Repair that by hand: no test runs that could judge an edit.")
    with harness(check, worktree) as running:
        yield from _Search(
            worktree, target, running, skip, on_progress, cancelled, budget or Budget()
        ).events()


@dataclass(slots=True)
class _Ranked:
    scope: Scope
    source: Source
    mutations: list[Mutation]
    priority: float


@dataclass(slots=True)
class _Search:
    worktree: Path
    target: Target
    harness: Harness
    skip: Callable[[Scope], bool]
    on_progress: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    budget: Budget
    counts: Counts = field(default_factory=Counts)
    started: float = field(default_factory=time.monotonic)
    baseline: Run = field(default_factory=lambda: Run(End.CRASHED, {}, 0.0, 0.0))

    @property
    def ids(self) -> tuple[str, ...]:
        """The failing tests first: most mutants end there."""
        return (*self.target.failing, *self.target.passing)

    def events(self) -> Iterator[Event]:
        try:
            self._narrow()
            scopes = self._scopes()
            for ranked in scopes:
                if self.skip(ranked.scope):
                    self.counts.scopes_skipped += 1
                    continue
                yield from self._scope(ranked)
            raise _Stop(Reason.EXHAUSTED, self._exhausted(len(scopes)))
        except _Stop as stop:
            yield Finished(stop.reason, stop.detail, self._snapshot())

    def _narrow(self) -> None:
        """Run the target's tests as they are, and keep those that really fail and really pass here."""
        self.baseline = self._count(self.harness.run(self.ids))
        tests = self.baseline.tests
        if self.baseline.end is not End.COMPLETED:
            raise _Stop(Reason.NOT_LOCATED, f"the tests of {self.target.name} end in a {self.baseline.end}")
        missing = [test for test in self.target.failing if test not in tests]
        if missing:
            raise _Stop(Reason.NOT_LOCATED, f"{missing[0]} is not collected any more; look for targets again")
        failing = tuple(test for test in self.target.failing if tests[test] in ("failed", "error"))
        passing = tuple(test for test in self.ids if tests.get(test) == "passed")
        if not failing:
            raise _Stop(Reason.ALREADY_PASSING, f"every test of {self.target.name} passes as it is")
        self.target = replace(self.target, failing=failing, passing=passing)

    def _scopes(self) -> list[_Ranked]:
        """Suspicious mutations by scope, the best scopes first; ties in the order of the text."""
        traced = self._count(
            self.harness.run(self.ids, trace=True, limits=_limits(self.baseline, factor=100))
        )
        suspicion = Suspicion(traced, self.target.failing, self.target.passing)
        files = suspicion.files()
        if not files:
            raise _Stop(Reason.NOT_LOCATED, _not_located(self.target, traced))
        ranked: list[_Ranked] = []
        for file in files:
            ranked += self._of_file(Source(file, (self.worktree / file).read_bytes()), suspicion)
        return sorted(ranked, key=lambda one: -one.priority)

    def _of_file(self, source: Source, suspicion: Suspicion) -> list[_Ranked]:
        scored: dict[Scope, list[tuple[float, Mutation]]] = {}
        # Below the `def` line, which runs at import.
        suspect = {
            unit.qualname
            for unit in source.units
            if isinstance(unit.node, ast.Module | ast.ClassDef)
            or suspicion.of(source.path, unit.node.body[0].lineno, unit.node.end_lineno or 0)
        }
        for mutation in mutations(source, frozenset(suspect)):
            score = suspicion.of(source.path, *mutation.covers)
            if score:
                scope = Scope(source.path, mutation.function, mutation.family, self.target.name)
                scored.setdefault(scope, []).append((score, mutation))
        # A function is as suspicious as its worst line, so that within it the families' order decides.
        worst: dict[str, float] = {}
        for scope, found in scored.items():
            worst[scope.function] = max(worst.get(scope.function, 0.0), *(score for score, _ in found))
        return [
            _Ranked(
                scope,
                source,
                [mutation for _, mutation in sorted(found, key=lambda pair: -pair[0])],
                worst[scope.function] * BELIEF[scope.family],
            )
            for scope, found in scored.items()
        ]

    def _scope(self, ranked: _Ranked) -> Iterator[Event]:
        """Try the edits of one scope, and prove afterwards that they left the ground as it was.

        A mutant may damage what later ones depend on: a data file in the copy, say. So the unmutated tests
        run again at the end. If they end otherwise than before, the edits are tried again, one by one.
        """
        edits = [
            (mutation, edited) for mutation in ranked.mutations if (edited := mutant(ranked.source, mutation))
        ]
        candidates: set[str] = set()
        timed_out = 0
        for careful in (False, True):
            timed_out = 0
            for mutation, edited in edits:
                self._stop_if_asked()
                self.on_progress(Progress(ranked.scope, mutation, self._snapshot()))
                run = self._try(mutation.file, edited)
                timed_out += run.end is End.TIMEOUT
                if run.passed(self.ids) and mutation.id not in candidates:
                    candidates.add(mutation.id)
                    diff = ranked.source.diff(edited)
                    yield Candidate(ranked.scope, mutation, edited, diff, self._snapshot())
                if careful:
                    self._undisturbed()
            if self._undisturbed():
                break
        if edits:
            yield ScopeExhausted(ranked.scope, len(edits), len(candidates), timed_out, self._snapshot())

    def _try(self, file: str, edited: bytes) -> Run:
        self.counts.mutants += 1
        return self._count(
            self.harness.run(
                self.ids, file=file, source=edited, stop_first=True, limits=_limits(self.baseline)
            )
        )

    def _undisturbed(self) -> bool:
        """Whether the unmutated tests end as they did at first; starts on a fresh copy where they do not."""
        control = self._count(self.harness.run(self.ids, limits=_limits(self.baseline)))
        if _behaviour(control) == _behaviour(self.baseline):
            return True
        self.harness.start()
        return False

    def _exhausted(self, scopes: int) -> str:
        skipped = self.counts.scopes_skipped
        others = f", and {skipped} that were ruled out before" if skipped else ""
        return f"no single edit makes {self.target.name} pass: {scopes - skipped} scopes tried{others}"

    def _stop_if_asked(self) -> None:
        if self.cancelled():
            raise _Stop(Reason.CANCELLED, "the caller cancelled")
        if self.budget.mutants and self.counts.mutants >= self.budget.mutants:
            raise _Stop(Reason.BUDGET, f"{self.budget.mutants} mutants tried")
        if self.budget.elapsed_s and time.monotonic() - self.started >= self.budget.elapsed_s:
            raise _Stop(Reason.BUDGET, f"{self.budget.elapsed_s:.0f} s spent")

    def _count(self, run: Run) -> Run:
        self.counts.test_runs += len(run.tests)
        self.counts.cpu_s += run.cpu_s
        self.counts.timeouts += run.end is End.TIMEOUT
        return run

    def _snapshot(self) -> Counts:
        return replace(self.counts, elapsed_s=time.monotonic() - self.started)


def _limits(baseline: Run, *, factor: float = 10) -> Limits:
    """What a mutant may use: ten times what the unmutated tests do, and at least half a second."""
    cpu_s = max(0.5, factor * baseline.cpu_s)
    return Limits(cpu_s=cpu_s, wall_s=max(10.0, 10 * cpu_s, 2 * factor * baseline.wall_s))


def _behaviour(run: Run) -> tuple[End, dict[str, str], dict[str, str]]:
    """Outcomes, and where each failure was: in which line of which file, whatever folder the copy is in."""
    return run.end, dict(run.tests), {test: Path(place).name for test, place in run.places.items()}


def _not_located(target: Target, traced: Run) -> str:
    if traced.end is not End.COMPLETED:
        return f"tracing the tests of {target.name} ended in a {traced.end}"
    if not any(traced.lines.values()):
        return (
            f"the tests of {target.name} execute no source of this project: they may import an installed "
            "copy. Let pytest import the project's own files (`pythonpath` in its configuration, or "
            "`python -m pytest` as the check)"
        )
    return f"the failing tests of {target.name} share no source file; split the target"
