"""An exercise as a small project with failing tests, and the grading of what became of it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from delm_client.bench.errors import DataError
from delm_client.bench.items import Exercise
from delm_client.git import git
from delm_client.repair.copies import copy_project
from delm_client.repair.processes import Completed, last_lines, run_bounded

CHECK = "pytest -q"
"""The check command of every project made here."""
TIMEOUT_S = 60.0
USAGE_ERROR = 4
"""The exit code of a pytest that does not like its own command line."""
# Makes the folder pytest's root whatever is around it, and lets tests import what is beside them.
PYTEST_INI = """\
[pytest]
pythonpath = . python_testcases
markers = task: the part of an exercise that a test belongs to
"""
GITIGNORE = "__pycache__/\n.pytest_cache/\n.delm/\n"
# What could make pytest do something else than run the tests: not taken over when grading.
CONFIGURATION = frozenset(
    ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg", "pyproject.toml",
     "conftest.py", "sitecustomize.py", "usercustomize.py")
)  # fmt: skip


class Outcome(StrEnum):
    """What the tests say of a program."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """It does not end in time: the program is wrong, or the time is too short."""
    BROKE = "broke"
    """The tests could not be run at all; says nothing about the program."""


@dataclass(frozen=True, slots=True)
class Graded:
    """The outcome, with how many of the tests passed, and the end of what pytest printed."""

    outcome: Outcome
    passed: int
    total: int
    duration_s: float
    output: str

    @property
    def is_judged(self) -> bool:
        """Whether it says something about the program."""
        return self.outcome is not Outcome.BROKE


def materialise(exercise: Exercise, folder: Path, *, commit: bool = False, tests: bool = True) -> str:
    """Write an exercise into a new or empty folder and return its check command.

    Args:
        commit: Make it a repository of its own with one commit.
        tests: With its tests; without them nothing in the folder tells what they are.

    Raises:
        DataError: The folder is not empty, or a file of the exercise would lie outside of it.
        GitError: git failed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: name a new folder for {exercise.id}.")
    readme = {"README.md": f"# {exercise.id}\n\n{exercise.statement.strip()}\n"}
    given = {**readme, ".gitignore": GITIGNORE, **exercise.files}
    _write(folder, {**given, **_tests(exercise)} if tests else given)
    if commit:
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--no-verify", "-m", f"{exercise.id} as it was given")
    return CHECK


def grade(
    exercise: Exercise, folder: Path, *, timeout_s: float = TIMEOUT_S, python: str = sys.executable
) -> Graded:
    """Run the exercise's own tests on what is in `folder`, which is left as it is.

    They run in a copy, in which tests are as they were given and pytest's configuration is ours: with an
    emptied environment, a home of its own, in a process group that is ended afterwards. That keeps mistakes
    in; a program that wants to cheat or do harm needs a sandbox around it.

    Raises:
        DataError: `folder` is not there.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not there to be graded: `materialise` {exercise.id} first.")
    with tempfile.TemporaryDirectory(prefix="delm-grade-") as made:
        project, home = Path(made) / "project", Path(made) / "home"
        project.mkdir()
        home.mkdir()
        copy_project(folder, project)
        _forget_configuration(project)
        _write(project, _tests(exercise))
        report = Path(made) / "report.xml"
        # Isolated (-I), so that no file of the project is taken for one of pytest's own modules.
        argv = [
            python, "-I", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
            *(name for name in exercise.tests if _is_test(name)),
        ]  # fmt: skip
        try:
            ended = run_bounded(argv, project, _environ(home), timeout_s=timeout_s)
        except OSError as error:
            return Graded(Outcome.BROKE, 0, 0, 0.0, f"{python} cannot be started: {error}")
        return _graded(ended, report, python)


def _graded(ended: Completed, report: Path, python: str) -> Graded:
    tail = last_lines(ended.output, 30)
    if ended.code is None:
        return Graded(Outcome.TIMED_OUT, 0, 0, ended.duration_s, tail)
    if ended.code == USAGE_ERROR or ended.output.strip() == f"{python}: No module named pytest":
        return Graded(Outcome.BROKE, 0, 0, ended.duration_s, tail)
    total, failed = _counts(report)
    # A program that ends the process leaves no report, and one that skips the tests leaves none that passed.
    good = ended.code == 0 and failed == 0 and total > 0
    return Graded(Outcome.PASSED if good else Outcome.FAILED, total - failed, total, ended.duration_s, tail)


def _counts(report: Path) -> tuple[int, int]:
    """How many tests ran, and how many of them failed or broke; skipped ones count as neither."""
    counts = [0, 0]

    def opened(name: str, attributes: Mapping[str, str]) -> None:
        if name == "testsuite":
            number = {
                key: int(attributes.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")
            }
            counts[0] += number["tests"] - number["skipped"]
            counts[1] += number["failures"] + number["errors"]

    parser = expat.ParserCreate()
    parser.StartElementHandler = opened
    try:
        parser.Parse(report.read_bytes(), True)
    except (OSError, ValueError, expat.ExpatError):
        return 0, 0
    return counts[0], counts[1]


def _tests(exercise: Exercise) -> dict[str, str]:
    return {**exercise.tests, "pytest.ini": PYTEST_INI}


def _is_test(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".py" and (path.stem.startswith("test_") or path.stem.endswith("_test"))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder, in the place of whatever is there; no link leads out of it."""
    for name, text in files.items():
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or not parts:
            raise DataError(f"The file {name} would lie outside of {folder}.")
        place = folder
        for part in parts[:-1]:
            place /= part
            if place.is_symlink() or place.is_file():
                _remove(place)
        path = folder / name
        if path.is_symlink() or path.is_dir():
            _remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _forget_configuration(project: Path) -> None:
    for path in sorted(project.rglob("*")):
        if path.name in CONFIGURATION and (path.is_symlink() or path.exists()):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _environ(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
