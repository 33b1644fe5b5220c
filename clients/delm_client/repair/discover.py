"""Run the whole suite once: the outcome of every test, and the failing ones grouped into targets."""

import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from delm_client.repair.check import Check
from delm_client.repair.errors import ProjectError
from delm_client.repair.processes import Completed, last_lines, run_bounded

SUITE_TIMEOUT_S = 600.0
NOTHING_COLLECTED = 5
PROBLEMS = {"failure": "failed", "error": "error", "skipped": "skipped"}


class Outcome(StrEnum):
    """How one test ended. `error` is a broken fixture, or a file that cannot be collected."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the whole suite."""

    outcomes: Mapping[str, Outcome]
    """By pytest node id; a file that cannot be collected stands under its path."""
    messages: Mapping[str, str]
    """One line for each test that failed or broke."""
    duration_s: float

    def ids(self, *outcomes: Outcome) -> tuple[str, ...]:
        return tuple(test for test, outcome in self.outcomes.items() if outcome in outcomes)

    @property
    def failing(self) -> tuple[str, ...]:
        return self.ids(Outcome.FAILED, Outcome.ERROR)

    @property
    def passing(self) -> tuple[str, ...]:
        return self.ids(Outcome.PASSED)


@dataclass(frozen=True, slots=True)
class Target:
    """Failing tests that one patch should make pass, and the passing ones beside them."""

    name: str
    """A test file, `file::Class`, or `file::test_function`."""
    failing: tuple[str, ...]
    passing: tuple[str, ...] = ()
    broken: str = ""
    """Why no search can work on it (a file that cannot be collected); "" when one can."""

    def split(self) -> list["Target"]:
        """One target for each test function, its parametrised cases together."""
        groups: dict[str, list[str]] = {}
        for test in self.failing:
            groups.setdefault(test.partition("[")[0], []).append(test)
        if len(groups) < 2:
            return [self]
        return [replace(self, name=name, failing=tuple(tests)) for name, tests in groups.items()]


def run_suite(check: Check, *, root: Path | None = None, timeout_s: float = SUITE_TIMEOUT_S) -> Report:
    """Run the check command on the project and read what became of each test.

    `root` runs it on another copy of the project. Nothing is written beside the sources: no byte code,
    and pytest's cache goes to a temporary folder. Raises ProjectError where there is nothing to read.
    """
    with tempfile.TemporaryDirectory(prefix="delm-suite-") as folder:
        junit = Path(folder) / "junit.xml"
        argv = [
            *check.argv,
            f"--junitxml={junit}",
            "-o",
            "junit_family=xunit1",
            "-o",
            f"cache_dir={folder}/cache",
            "--maxfail=0",
            "--continue-on-collection-errors",
        ]
        env = dict(check.environ) | {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "COVERAGE_FILE": f"{folder}/coverage",
        }
        ended = run_bounded(argv, root or check.root, env, timeout_s=timeout_s)
        if ended.code is None:
            raise ProjectError(
                f"`{check.command}` did not end within {timeout_s:.0f} s. A test may loop forever; "
                "narrow the check to tests that end, or raise the limit."
            )
        outcomes, messages = read_junit(junit, root or check.root)
    if not outcomes:
        raise ProjectError(_nothing(check, ended))
    return Report(outcomes, messages, ended.duration_s)


def _nothing(check: Check, ended: Completed) -> str:
    if ended.code == NOTHING_COLLECTED:
        return (
            f"`{check.command}` collects no tests in {check.root}. Give the folder of a project with pytest "
            "tests, or a check command that names where they are (`pytest path/to/tests`)."
        )
    return (
        f"`{check.command}` ended with code {ended.code} before it ran any test:\n{last_lines(ended.output)}"
    )


def read_junit(path: Path, root: Path) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Outcomes and one-line messages by node id, in the order of the run; empty when there is no report."""
    outcomes: dict[str, Outcome] = {}
    messages: dict[str, str] = {}
    try:
        suite = ET.parse(path).getroot()  # noqa: S314 - pytest wrote this file a moment ago, into our folder
    except (OSError, ET.ParseError):
        return outcomes, messages
    for case in suite.iter("testcase"):
        test = node_id(case.get("classname", ""), case.get("name", ""), case.get("file", ""), root)
        outcome = Outcome.PASSED
        for child in case:
            if child.tag in PROBLEMS:
                outcome = Outcome(PROBLEMS[child.tag])
                messages[test] = _one_line(child)
        # A test that passes and whose teardown breaks has two records: the worse one counts.
        if outcomes.get(test, Outcome.PASSED) in (Outcome.PASSED, Outcome.SKIPPED):
            outcomes[test] = outcome
    return outcomes, {test: text for test, text in messages.items() if outcomes[test] is not Outcome.SKIPPED}


def _one_line(problem: ET.Element) -> str:
    raised = [line[1:].strip() for line in (problem.text or "").splitlines() if re.match(r"E\s+\S", line)]
    named = [line for line in raised if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    text = named[-1] if named else (problem.get("message") or "").strip()
    return text.splitlines()[0][:300] if text else problem.tag


def node_id(classname: str, name: str, file: str, root: Path) -> str:
    """The pytest node id behind a junit record.

    junit has the file as a dotted name in front of the class, and in xunit1 also the path of the file that
    *defines* the test, which is another one for a test inherited from a mixin.
    """
    if not classname:  # a file that cannot be collected
        path = name.replace(".", "/") + ".py"
        return path if (root / path).exists() else name
    dotted = re.sub(r"\.py$", "", file.replace("/", "."))
    if file and (classname == dotted or classname.startswith(dotted + ".")):
        inside = classname[len(dotted) + 1 :].split(".")
        return "::".join([file, *filter(None, inside), name])
    parts = classname.split(".")
    for count in range(len(parts), 0, -1):
        path = "/".join(parts[:count]) + ".py"
        if (root / path).exists():
            return "::".join([path, *parts[count:], name])
    return f"{classname}::{name}"


def targets(report: Report) -> list[Target]:
    """Failing tests grouped by file; by class where several classes of one file fail."""
    by_file: dict[str, list[str]] = {}
    for test in report.failing:
        by_file.setdefault(_file(test), []).append(test)
    found: list[Target] = []
    for file, failing in by_file.items():
        if file in failing:
            message = report.messages.get(file, "an error while importing it")
            found.append(Target(file, (file,), broken=f"{file} cannot be collected: {message}"))
            continue
        passing = tuple(test for test in report.passing if _file(test) == file)
        groups = _by_class(failing)
        if len(groups) == 1:
            found.append(Target(file, tuple(failing), passing))
        else:
            found += [Target(name, tuple(tests), passing) for name, tests in groups.items()]
    return found


def regressions(before: Report, after: Report) -> tuple[str, ...]:
    """Tests that passed before and no longer do, the vanished ones among them."""
    return tuple(test for test in before.passing if after.outcomes.get(test) is not Outcome.PASSED)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _by_class(tests: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for test in tests:
        holder = test.partition("[")[0].rpartition("::")[0]
        groups.setdefault(holder, []).append(test)
    return groups
