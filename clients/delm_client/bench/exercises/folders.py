"""Exercises that are folders of files: clones of exercism/python and of QuixBugs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from delm_client.bench.errors import DataError, did_you_mean
from delm_client.bench.items import Benchmark, Exercise

EXERCISM = "https://github.com/exercism/python"
QUIXBUGS = "https://github.com/jkoppel/QuixBugs"
DOCS = ("introduction.md", "instructions.md", "instructions.append.md")
# Upstream's conftest.py takes these from its command line.
QUIXBUGS_CONFTEST = "import pytest\n\npytest.use_correct = False\npytest.run_slow = False\n"


def load_exercism(clone: Path, kinds: Iterable[str] = ("practice",)) -> tuple[Exercise, ...]:
    """Load the exercises of a clone of exercism's Python track.

    Args:
        clone: The clone, or a folder whose folders are exercises.
        kinds: `practice`, `concept`.

    Raises:
        DataError: There are none, or one is not complete; names its folder.
    """
    _is_folder(clone, EXERCISM)
    roots = [clone / "exercises" / kind for kind in kinds]
    roots = [root for root in roots if root.is_dir()] or [clone]
    folders = sorted(
        folder for root in roots for folder in root.iterdir() if (folder / ".meta" / "config.json").is_file()
    )
    if not folders:
        raise DataError(
            f"{clone} holds no exercise (a folder with .meta/config.json): name a clone of {EXERCISM}."
        )
    return tuple(_exercism(folder) for folder in folders)


def _exercism(folder: Path) -> Exercise:
    config = folder / ".meta" / "config.json"
    try:
        listed = json.loads(config.read_text(encoding="utf-8"))["files"]
        files = {kind: list(listed.get(kind) or ()) for kind in ("solution", "test", "editor")}
        example = [*(listed.get("example") or ()), *(listed.get("exemplar") or ())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{config}: there must be an object `files` with `solution` and `test`.") from error
    stem = folder.name.replace("-", "_")
    solution = files["solution"] or [f"{stem}.py"]
    tests = files["test"] or [f"{stem}_test.py"]
    docs = [folder / ".docs" / name for name in DOCS]
    text = "\n\n".join(path.read_text(encoding="utf-8").strip() for path in docs if path.is_file())
    examples = [
        name for name in (*example, ".meta/example.py", ".meta/exemplar.py") if (folder / name).is_file()
    ]
    return Exercise(
        id=f"exercism/{folder.name}",
        benchmark=Benchmark.EXERCISM,
        statement=f"{text}\n\nWrite it in {', '.join(solution)}.".strip(),
        files=_texts(folder, [*solution, *files["editor"]]),
        tests=_texts(folder, tests),
        solution={solution[0]: _texts(folder, examples[:1])[examples[0]]} if examples else {},
    )


def load_quixbugs(clone: Path) -> tuple[Exercise, ...]:
    """Load the Python programs of a clone of QuixBugs, each with its one faulty line.

    Raises:
        DataError: There are none.
    """
    _is_folder(clone, QUIXBUGS)
    tests = clone / "python_testcases"
    names = sorted(path.stem.removeprefix("test_") for path in tests.glob("test_*.py"))
    names = [name for name in names if (clone / "python_programs" / f"{name}.py").is_file()]
    if not names:
        raise DataError(
            f"{clone} holds no python_testcases/test_*.py with a python_programs/*.py: "
            f"name a clone of {QUIXBUGS}."
        )
    helpers = [
        f"python_testcases/{path.name}" for path in tests.glob("*.py") if not path.name.startswith("test_")
    ]
    return tuple(_quixbugs(clone, name, helpers) for name in names)


def _quixbugs(clone: Path, name: str, helpers: Iterable[str]) -> Exercise:
    program, correct = f"python_programs/{name}.py", f"correct_python_programs/{name}.py"
    data = f"json_testcases/{name}.json"
    tests = [*helpers, f"python_testcases/test_{name}.py", *([data] if (clone / data).is_file() else [])]
    files = [
        program,
        *(["python_programs/node.py"] if (clone / "python_programs" / "node.py").is_file() else []),
    ]
    return Exercise(
        id=f"quixbugs/{name}",
        benchmark=Benchmark.QUIXBUGS,
        statement=f"{program} has one faulty line. Repair it, so that the tests pass.",
        files=_texts(clone, files),
        tests={**_texts(clone, tests), "conftest.py": QUIXBUGS_CONFTEST},
        solution={program: _texts(clone, [correct])[correct]} if (clone / correct).is_file() else {},
    )


def _is_folder(clone: Path, url: str) -> None:
    if clone.is_dir():
        return
    if clone.exists():
        raise DataError(f"{clone} is a file: name a clone of {url}.")
    beside = (
        [child.name for child in clone.parent.iterdir() if child.is_dir()] if clone.parent.is_dir() else []
    )
    raise DataError(
        f"{clone} is not a folder.{did_you_mean(clone.name, beside)} "
        f"Make it: `git clone --depth 1 {url} {clone}`."
    )


def _texts(root: Path, names: Iterable[str]) -> Mapping[str, str]:
    """The files by name. Raises DataError where one is missing, is no text, or leads out of its folder."""
    texts: dict[str, Any] = {}
    for name in names:
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{root}: the file {name} leads out of the folder.")
        try:
            texts[name] = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise DataError(f"{root}: the file {name} is missing. Is the clone whole?") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    return texts
