"""Exercises as programs that pass their tests, which are halved: one to search with, one to grade."""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from delm_client.bench.exercises.single import PROGRAM, TESTS
from delm_client.bench.items import Benchmark, Exercise

LEAST_TESTS = 3
"""Half of fewer would leave nothing to grade with."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A program and its tests. Paths are relative to one project for all subjects."""

    name: str
    program: str
    files: dict[str, str] = field(repr=False)
    """The program, and what it and its tests need."""
    tests: dict[str, str] = field(repr=False)
    """What the search sees."""
    held_out: dict[str, str] = field(repr=False)
    """What it does not; empty where the tests cannot be parted."""
    faulty: str = field(default="", repr=False)
    """The program with the fault that it comes with; empty where one has to be sown."""


def subject(exercise: Exercise) -> Subject | None:
    """An exercise as a subject; None for one without solution, or whose tests cannot be read apart."""
    if exercise.benchmark in (Benchmark.HUMANEVAL, Benchmark.MBPP):
        return _single(exercise)
    if not exercise.solution:
        return None
    program = next(iter(exercise.solution))
    faulty = exercise.files[program] if exercise.benchmark is Benchmark.QUIXBUGS else ""
    files = {**exercise.files, **exercise.solution}
    return Subject(exercise.id, program, files, dict(exercise.tests), {}, faulty)


def _single(exercise: Exercise) -> Subject | None:
    """The modules get names of their own, so that all of them fit into one project."""
    cases = _cases(exercise.tests[TESTS])
    if len(cases) < LEAST_TESTS:
        return None
    stem = re.sub(r"\W+", "_", exercise.id).strip("_").lower()
    head = _imports(exercise.tests[TESTS])

    def module(chosen: Sequence[str]) -> str:
        return (
            "\n\n\n".join([head, *chosen]).replace(
                f"from {PurePosixPath(PROGRAM).stem} import", f"from {stem} import"
            )
            + "\n"
        )

    seen, held = cases[0::2], cases[1::2]
    return Subject(
        exercise.id,
        f"{stem}.py",
        {f"{stem}.py": exercise.solution[PROGRAM]},
        {f"test_{stem}.py": module(seen)},
        {f"test_{stem}_held_out.py": module(held)},
    )


def _imports(text: str) -> str:
    tree = ast.parse(text)
    return "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


def _cases(text: str) -> list[str]:
    """One test function for each assertion; nothing where `check` is more than a list of assertions."""
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    check = functions.pop("check", None)
    if check is None:
        return [ast.unparse(node) for name, node in functions.items() if name.startswith("test_")]
    entry = next(name for name in functions if name.startswith("test_")).removeprefix("test_")
    plain = [node for node in check.body if not isinstance(node, ast.Expr)]
    if not all(isinstance(node, ast.Assert) for node in plain):
        return []
    asserted = [
        node for node in plain if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant)
    ]
    return [
        f"def test_{number}():\n    candidate = {entry}\n    {ast.unparse(node)}"
        for number, node in enumerate(asserted, 1)
    ]


def subjects(exercises: Iterable[Exercise]) -> list[Subject]:
    """All that can be used, in their order."""
    return [made for exercise in exercises if (made := subject(exercise)) is not None]
