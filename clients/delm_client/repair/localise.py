"""Which lines to suspect: Ochiai's coefficient over what the target's tests executed.

Abreu, Zoeteweij, van Gemund, "An evaluation of similarity coefficients for software fault localization"
(PRDC 2006): `failed(line) / sqrt(all failed * (failed(line) + passed(line)))`, from 0 to 1.
"""

import math
from collections.abc import Mapping, Sequence

from delm_client.repair.harness import Run

AT_IMPORT = ""
Lines = Mapping[str, frozenset[int]]


class Suspicion:
    """How suspicious each place is, given a traced run of failing and passing tests."""

    def __init__(self, run: Run, failing: Sequence[str], passing: Sequence[str]) -> None:
        imported = run.lines.get(AT_IMPORT, {})
        self._failing = [_with(run.lines.get(test, {}), imported) for test in failing]
        self._passing = [_with(run.lines.get(test, {}), imported) for test in passing]
        self._known: dict[tuple[str, int, int], float] = {}

    def files(self) -> list[str]:
        """Files of which every failing test executes something, in a fixed order."""
        common = [set(lines) for lines in self._failing]
        return sorted(set.intersection(*common)) if common else []

    def of(self, file: str, first: int, last: int) -> float:
        """Suspicion of the lines from `first` to `last` as one place; 0 unless every failing test goes there.

        One edit that makes them all pass must be executed by them all.
        """
        place = (file, first, last)
        if place not in self._known:
            self._known[place] = self._ochiai(file, range(first, last + 1))
        return self._known[place]

    def _ochiai(self, file: str, lines: range) -> float:
        failed = sum(not executed.get(file, frozenset()).isdisjoint(lines) for executed in self._failing)
        if failed < len(self._failing) or not failed:
            return 0.0
        passed = sum(not executed.get(file, frozenset()).isdisjoint(lines) for executed in self._passing)
        return failed / math.sqrt(len(self._failing) * (failed + passed))


def _with(lines: Lines, imported: Lines) -> Lines:
    return {
        file: lines.get(file, frozenset()) | imported.get(file, frozenset()) for file in {*lines, *imported}
    }
