"""The sample project: its bugs, what can be repaired, and the edit that the gate has to refuse."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from delm_client.repair import (
    Candidate,
    Check,
    Finished,
    Report,
    Target,
    regressions,
    resolve,
    run_suite,
    search,
    targets,
)

BEYOND_ONE_EDIT = "tests/test_roman.py"
PROGRAMS = 16


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.find_spec("delm_client")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = tmp_path_factory.mktemp("sample") / "project"
    shutil.copytree(
        Path(spec.submodule_search_locations[0]) / "sample",
        folder,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return folder


@pytest.fixture(scope="module")
def check(sample: Path) -> Check:
    return resolve(f"{sys.executable} -m pytest -q", sample)


@pytest.fixture(scope="module")
def report(check: Check) -> Report:
    return run_suite(check)


def test_every_program_has_a_bug_and_tests_that_pass(sample: Path, report: Report) -> None:
    found = {target.name: target for target in targets(report)}
    files = {f"tests/{path.name}" for path in (sample / "tests").glob("test_*.py")}
    assert set(found) == files
    assert len(files) == PROGRAMS
    assert all(target.passing and not target.broken for target in found.values())
    assert report.duration_s < 30


def test_a_tempting_edit_of_the_shared_helper_breaks_another_program(
    sample: Path, check: Check, report: Report
) -> None:
    first = next(
        event for event in search(sample, _target(report, "leave"), check) if isinstance(event, Candidate)
    )
    assert first.mutation.file == "programs/spans.py"
    lost = regressions(report, _with(sample, first, check))
    assert lost
    assert all(test.startswith("tests/test_bookings.py::") for test in lost)


def test_a_later_edit_is_the_right_one(sample: Path, check: Check, report: Report) -> None:
    events = search(sample, _target(report, "leave"), check, skip=lambda scope: "spans" in scope.file)
    found = next(event for event in events if isinstance(event, Candidate))
    assert found.mutation.file == "programs/leave.py"
    assert regressions(report, _with(sample, found, check)) == ()


@pytest.mark.long
def test_all_bugs_but_one_are_repaired_by_single_edits(sample: Path, check: Check, report: Report) -> None:
    refused = 0
    for target in targets(report):
        for event in search(sample, target, check):
            if isinstance(event, Candidate):
                after = _with(sample, event, check)
                if regressions(report, after):
                    refused += 1
                    continue
                assert not set(target.failing) & set(after.failing)
                (sample / event.mutation.file).write_bytes(event.source)
                report = after
                break
            if isinstance(event, Finished):
                assert target.name == BEYOND_ONE_EDIT
    assert {test.partition("::")[0] for test in report.failing} == {BEYOND_ONE_EDIT}
    assert refused


def _target(report: Report, name: str) -> Target:
    return next(target for target in targets(report) if target.name == f"tests/test_{name}.py")


def _with(sample: Path, candidate: Candidate, check: Check) -> Report:
    """The whole suite with a candidate in place."""
    path = sample / candidate.mutation.file
    original = path.read_bytes()
    path.write_bytes(candidate.source)
    try:
        return run_suite(check)
    finally:
        path.write_bytes(original)
