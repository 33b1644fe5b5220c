"""From a check command to a repaired project, and the command that does it all at once."""

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from delm_client.repair import (
    Budget,
    Candidate,
    Check,
    CheckError,
    Finished,
    Outcome,
    ProjectError,
    Reason,
    Report,
    Scope,
    ScopeExhausted,
    Target,
    regressions,
    resolve,
    run_suite,
    search,
    targets,
)
from delm_client.repair.__main__ import main
from delm_client.repair.discover import node_id
from delm_client.repair.mutations import Family
from delm_client.repair.source import Source

CHECK = f"{sys.executable} -m pytest -q"
SHOP = """\
def price(unit, count):
    if count > 10:
        return unit * count * 0.5
    return unit * count


def label(name):
    return name.strip()
"""
SHOP_TESTS = """\
import pytest
from shop import label, price

@pytest.mark.parametrize("count", [1, 9])
def test_few_have_no_discount(count):
    assert price(2, count) == 2 * count

def test_ten_have_a_discount():
    assert price(2, 10) == 10

def test_many_have_a_discount():
    assert price(2, 11) == 11

def test_label():
    assert label(" x ") == "x"
"""


def make_project(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"pytest.ini": "[pytest]\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Resolved once; the tests name the project that they run it on."""
    return resolve(CHECK, make_project(tmp_path_factory.mktemp("resolved"), {}))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    project = make_project(tmp_path / "shop", {"shop.py": SHOP, "tests/test_shop.py": SHOP_TESTS})
    before = fingerprint(project)
    yield project
    assert fingerprint(project) == before


SHOP_TARGET = Target(
    "tests/test_shop.py",
    ("tests/test_shop.py::test_ten_have_a_discount",),
    (
        "tests/test_shop.py::test_few_have_no_discount[1]",
        "tests/test_shop.py::test_few_have_no_discount[9]",
        "tests/test_shop.py::test_many_have_a_discount",
        "tests/test_shop.py::test_label",
    ),
)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("make test", "does not name pytest"),
        ("cd tests && pytest", "needs a shell"),
        ("pytest 'tests", "cannot be read"),
        ("no-such-folder/pytest -q", "is not on PATH"),
        (f"{sys.executable} -S -m pytest", "has no pytest"),
        (f"{sys.executable} -m pytest --no-such-option", "refuses the project or its options"),
        (f"{sys.executable} -c pass pytest", "without starting pytest"),
    ],
)
def test_a_check_command_that_is_not_pytest_is_refused_with_advice(
    tmp_path: Path, command: str, says: str
) -> None:
    with pytest.raises(CheckError, match=says):
        resolve(command, tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="not a directory"):
        resolve(CHECK, tmp_path / "nowhere")


def test_a_check_is_what_pytest_itself_was_given(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"tests/test_x.py": ""})
    check = resolve(
        f"env DEEP=1 {sys.executable} -W ignore::UserWarning -m pytest -q tests -k 'a or b'", project
    )
    assert check.args == ("-q", "tests", "-k", "a or b")
    assert check.environ["DEEP"] == "1"
    assert "ignore::UserWarning" in check.warnings
    assert "DELM_PROBE_OUT" not in check.environ
    assert check.path[0] == str(project.resolve())
    assert not any("delm-probe" in entry for entry in check.path)


def test_the_script_beside_our_interpreter_serves_where_none_is_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(sys.executable).with_name("pytest")
    if not script.exists():
        pytest.skip("pytest was installed without its script")
    monkeypatch.setenv("PATH", os.defpath)
    check = resolve("pytest -q", make_project(tmp_path, {}))
    assert Path(check.argv[0]).name == "pytest"


def test_every_test_has_an_outcome_and_failures_a_line(check: Check, tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "project",
        {
            "base.py": "class Inherited:\n    def test_inherited(self):\n        assert True\n",
            "tests/test_kinds.py": (
                "import pytest, unittest\nfrom base import Inherited\n\n"
                "@pytest.fixture\ndef broken():\n    raise OSError('no disk')\n\n"
                "@pytest.fixture\ndef late():\n    yield\n    raise OSError('too late')\n\n"
                "class TestOne(Inherited):\n"
                "    class TestInner:\n        def test_deep(self):\n            raise ValueError('deep')\n\n"
                "class TestCase(unittest.TestCase):\n"
                "    def test_case(self):\n        self.assertEqual(1, 2)\n\n"
                "@pytest.mark.parametrize('text', ['a.b', 'c::d', 'e/f.py'])\n"
                "def test_texts(text):\n    assert text != 'c::d'\n\n"
                "def test_setup(broken): pass\n\n"
                "def test_teardown(late): pass\n\n"
                "@pytest.mark.skip\ndef test_skipped(): pass\n"
            ),
            "tests/test_broken.py": "def test_x(:\n    pass\n",
        },
    )
    before = fingerprint(project)
    report = run_suite(check, root=project)
    kinds = "tests/test_kinds.py"
    assert report.outcomes == {
        "tests/test_broken.py": Outcome.ERROR,
        f"{kinds}::TestOne::test_inherited": Outcome.PASSED,
        f"{kinds}::TestOne::TestInner::test_deep": Outcome.FAILED,
        f"{kinds}::TestCase::test_case": Outcome.FAILED,
        f"{kinds}::test_texts[a.b]": Outcome.PASSED,
        f"{kinds}::test_texts[c::d]": Outcome.FAILED,
        f"{kinds}::test_texts[e/f.py]": Outcome.PASSED,
        f"{kinds}::test_setup": Outcome.ERROR,
        f"{kinds}::test_teardown": Outcome.ERROR,
        f"{kinds}::test_skipped": Outcome.SKIPPED,
    }
    assert report.messages[f"{kinds}::TestOne::TestInner::test_deep"] == "ValueError: deep"
    assert report.messages["tests/test_broken.py"].startswith("SyntaxError")
    assert fingerprint(project) == before

    found = {target.name: target for target in targets(report)}
    assert found["tests/test_broken.py"].broken.startswith(
        "tests/test_broken.py cannot be collected: SyntaxError"
    )
    assert found[f"{kinds}::TestCase"].failing == (f"{kinds}::TestCase::test_case",)
    assert len(found[kinds].failing) == 3
    assert len(found[kinds].passing) == 3


def test_a_project_without_tests_is_refused(check: Check, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="collects no tests"):
        run_suite(check, root=make_project(tmp_path, {"a.py": ""}))


def test_a_suite_that_does_not_end_is_refused(check: Check, tmp_path: Path) -> None:
    project = make_project(tmp_path, {"test_a.py": "def test_a():\n    while True: pass\n"})
    with pytest.raises(ProjectError, match="did not end within 2 s"):
        run_suite(check, root=project, timeout_s=2)


def test_a_mixin_in_a_file_of_its_own_does_not_lend_its_file_to_the_test(tmp_path: Path) -> None:
    make_project(tmp_path, {"tests/test_a.py": "", "base.py": ""})
    assert (
        node_id("tests.test_a.TestB", "test_c[x]", "base.py", tmp_path) == "tests/test_a.py::TestB::test_c[x]"
    )


def test_failures_in_one_class_make_one_target_for_the_file() -> None:
    outcomes = dict.fromkeys(("t.py::A::x", "t.py::A::y[1]"), Outcome.FAILED)
    assert [target.name for target in targets(Report({**outcomes, "t.py::z": Outcome.PASSED}, {}, 1.0))] == [
        "t.py"
    ]


def test_a_target_splits_into_its_functions() -> None:
    target = Target("t.py", ("t.py::a[1]", "t.py::a[2]", "t.py::b"), ("t.py::c",))
    assert [(part.name, part.failing, part.passing) for part in target.split()] == [
        ("t.py::a", ("t.py::a[1]", "t.py::a[2]"), ("t.py::c",)),
        ("t.py::b", ("t.py::b",), ("t.py::c",)),
    ]
    assert Target("t.py", ("t.py::a",)).split() == [Target("t.py", ("t.py::a",))]


def test_tests_that_vanish_count_as_lost() -> None:
    before = Report({"a": Outcome.PASSED, "b": Outcome.PASSED, "c": Outcome.FAILED}, {}, 1.0)
    after = Report({"a": Outcome.PASSED, "c": Outcome.FAILED}, {}, 1.0)
    assert regressions(before, after) == ("b",)


def test_a_search_finds_the_edit_and_ends_its_server(check: Check, shop: Path) -> None:
    with contextlib.closing(search(shop, SHOP_TARGET, check)) as events:
        found = next(event for event in events if isinstance(event, Candidate))
    assert found.scope == Scope("shop.py", "price", Family.COMPARISON, "tests/test_shop.py")
    assert str(found.scope) == "shop.py::price comparison for tests/test_shop.py"
    assert found.source.decode() == SHOP.replace("count > 10", "count >= 10")
    assert found.diff.splitlines()[:2] == ["--- a/shop.py", "+++ b/shop.py"]
    assert found.counts.mutants >= 1
    assert found.counts.test_runs >= 10


def test_a_refused_candidate_resumes_the_search_to_its_end(check: Check, shop: Path) -> None:
    events = list(search(shop, SHOP_TARGET, check))
    candidates = [event for event in events if isinstance(event, Candidate)]
    edits = {event.mutation.after.strip() for event in candidates}
    assert {"if count >= 10:", "if count > 9:"} <= edits
    exhausted = [event for event in events if isinstance(event, ScopeExhausted)]
    assert sum(event.candidates for event in exhausted) == len(candidates)
    assert len({event.scope for event in exhausted}) == len(exhausted)
    assert {event.scope.function for event in exhausted} == {
        "price"
    }  # label is no suspect: the failing test skips it
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason is Reason.EXHAUSTED
    assert end.counts.mutants == sum(event.tried for event in exhausted)


def test_scopes_that_were_ruled_out_are_skipped(check: Check, shop: Path) -> None:
    asked: list[Scope] = []

    def skip(scope: Scope) -> bool:
        asked.append(scope)
        return scope.family is not Family.LITERAL

    events = list(search(shop, SHOP_TARGET, check, skip=skip))
    assert len(asked) == len(set(asked)) > 5
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason is Reason.EXHAUSTED
    assert end.counts.scopes_skipped == len(asked)
    assert "ruled out before" in end.detail
    assert not [event for event in events if not isinstance(event, Finished)]


def test_a_search_stops_where_its_budget_ends(check: Check, shop: Path) -> None:
    *_, end = search(shop, SHOP_TARGET, check, budget=Budget(mutants=2))
    assert isinstance(end, Finished)
    assert (end.reason, end.counts.mutants) == (Reason.BUDGET, 2)


def test_a_search_is_cancelled_between_two_mutants(check: Check, shop: Path) -> None:
    stop = threading.Event()
    progress: list[int] = []

    def on_progress(seen: object) -> None:
        progress.append(1)
        if len(progress) == 3:
            stop.set()

    *_, end = search(shop, SHOP_TARGET, check, on_progress=on_progress, cancelled=stop.is_set)
    assert isinstance(end, Finished)
    assert (end.reason, end.counts.mutants) == (Reason.CANCELLED, 3)


def test_a_target_that_passes_already_needs_no_search(check: Check, tmp_path: Path) -> None:
    fixed = SHOP.replace("count > 10", "count >= 10")
    project = make_project(tmp_path, {"shop.py": fixed, "tests/test_shop.py": SHOP_TESTS})
    (end,) = search(project, SHOP_TARGET, check)
    assert isinstance(end, Finished)
    assert end.reason is Reason.ALREADY_PASSING


def test_a_target_whose_tests_are_gone_says_so(check: Check, shop: Path) -> None:
    (end,) = search(shop, Target("tests/test_shop.py", ("tests/test_shop.py::test_gone",)), check)
    assert isinstance(end, Finished)
    assert end.reason is Reason.NOT_LOCATED
    assert "not collected any more" in end.detail


def test_a_file_that_cannot_be_collected_is_not_searched(check: Check, shop: Path) -> None:
    target = Target(
        "tests/test_x.py", ("tests/test_x.py",), broken="tests/test_x.py cannot be collected: SyntaxError"
    )
    with pytest.raises(ProjectError, match="cannot be collected"):
        next(search(shop, target, check))


def test_code_from_elsewhere_is_not_searched(check: Check, tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {"test_a.py": "import json\ndef test_a():\n    assert json.loads('1') == 2\n"}
    )
    (end,) = search(project, Target("test_a.py", ("test_a.py::test_a",)), check)
    assert isinstance(end, Finished)
    assert end.reason is Reason.NOT_LOCATED
    assert "execute no source of this project" in end.detail


def test_a_mutant_that_damages_the_ground_does_not_spoil_the_search(check: Check, tmp_path: Path) -> None:
    """`wipe or keep` wipes the file that every later run needs; an edit that repairs comes after it."""
    project = make_project(
        tmp_path / "project",
        {
            "data.txt": "5",
            "store.py": (
                "from pathlib import Path\n\n\n"
                "def read(wipe, keep):\n"
                "    if wipe and keep:\n"
                '        Path("data.txt").write_text("")\n'
                '    return int(Path("data.txt").read_text()) + 1\n'
            ),
            "test_store.py": "from store import read\ndef test_read():\n    assert read(False, True) == 5\n",
        },
    )
    before = fingerprint(project)
    target = Target("test_store.py", ("test_store.py::test_read",))
    some = (Family.BOOLEAN, Family.ARITHMETIC)
    events = search(project, target, check, skip=lambda scope: scope.family not in some)
    found = [event for event in events if isinstance(event, Candidate)]
    assert {event.scope.family for event in found} == {Family.ARITHMETIC}
    assert fingerprint(project) == before


def test_the_debugging_command_repairs_a_copy(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    assert main([str(shop), "--check", CHECK, "--keep", str(kept)]) == 0
    assert (kept / "shop.py").read_text() == SHOP.replace("count > 10", "count >= 10")
    assert "repaired" in capsys.readouterr().out


def test_the_debugging_command_explains_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(make_project(tmp_path, {"a.py": ""})), "--check", CHECK]) == 2
    assert "collects no tests" in capsys.readouterr().out


def test_a_diff_marks_a_missing_last_newline() -> None:
    source = Source("a.py", b"x = 1")
    assert source.diff(b"x = 2").endswith("+x = 2\n\\ No newline at end of file\n")
