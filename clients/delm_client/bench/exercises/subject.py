"""HumanEval, MBPP, Exercism and QuixBugs for the runner: their repositories, and their tests as the judge."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from delm_client.bench.coding.coder import Habits
from delm_client.bench.coding.subject import Coding, Judged, base_of
from delm_client.bench.coding.workspace import Check, DoesNotApply, patched
from delm_client.bench.errors import BenchError
from delm_client.bench.exercises.project import Outcome, grade, materialise
from delm_client.bench.items import Exercise
from delm_client.bench.subjects import known_to
from delm_client.git import git
from delm_client.repair.processes import Completed, last_lines

HIDDEN, SHOWN = TESTS = ("hidden", "shown")
CODES = {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.TIMED_OUT: None}


@dataclass(frozen=True, slots=True)
class Projects:
    """Exercises as repositories, with their tests in them or without."""

    shown: bool
    tests_s: float

    def open(self, item: Exercise, folder: Path) -> str:
        """See `Workspaces.open`."""
        materialise(item, folder, commit=True, tests=self.shown)
        return git(folder, "rev-parse", "HEAD")

    def task(self, item: Exercise) -> str:
        """See `Workspaces.task`."""
        told = "Its tests will be run on your files; you do not see them."
        if self.shown:
            names = ", ".join(sorted(item.tests))
            told = f"Its tests are in your folder ({names}); changing them does not count."
        return f"{item.shown()}\n\n{told}"

    def runs(self, item: Exercise) -> str:
        """See `Workspaces.runs`."""
        return "runs the tests" if self.shown else ""

    def run(self, item: Exercise, worktree: Path, words: str) -> Completed:
        """See `Workspaces.run`: the item's own tests, whatever is asked for."""
        graded = grade(item, worktree, timeout_s=self.tests_s)
        if graded.outcome is Outcome.BROKE:
            raise BenchError(f"the tests could not be run: {last_lines(graded.output, 3)}")
        return Completed(CODES[graded.outcome], graded.output, graded.duration_s)

    def check(self, item: Exercise) -> Check:
        """See `Workspaces.check`: the tests where agents see them, else that all of it can be compiled."""
        python = shlex.quote(sys.executable)
        if self.shown:
            return Check(f"{python} -B -m pytest -q -p no:cacheprovider", True, self.tests_s)
        return Check(f"{python} -m compileall -q .", False, self.tests_s)


@dataclass(frozen=True, slots=True)
class Exercises(Coding):
    """Small programs that are judged by their tests."""

    @classmethod
    def wished(cls, wishes: Mapping[str, Any]) -> Self:
        """With what a user or a folder says. Raises BenchError for a wish that is none."""
        habits = known_to(Habits, wishes)
        if habits.tests not in TESTS:
            raise BenchError(f"--tests {habits.tests!r} is none; there are: {', '.join(TESTS)}.")
        return cls(habits, Projects(habits.tests == SHOWN, habits.tests_s))

    def judged(self, item: Exercise, patch: str, repository: Path, folder: Path) -> Judged:
        """See `Coding.judged`: the patch on the item as it was given, and its tests on that."""
        try:
            made = patched(repository, folder, base_of(repository), patch)
        except DoesNotApply as error:
            return Judged("does_not_apply", False, {"output": str(error)})
        graded = grade(item, made.folder, timeout_s=self.habits.tests_s)
        if not graded.is_judged:
            raise BenchError(f"the tests could not be run: {last_lines(graded.output, 3)}")
        right = graded.outcome is Outcome.PASSED
        more = {"tests_passed": graded.passed, "tests": graded.total}
        return Judged(str(graded.outcome), right, more if right else {**more, "output": graded.output})
