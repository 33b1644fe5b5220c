"""The command check on real repositories and real pytest runs, hostile patches included."""

import os
from pathlib import Path

import anyio
import pytest

from delm_mcp.checks.commands import CommandSpec, Outcome, detect, observe
from delm_mcp.checks.judging import judge_patch
from delm_mcp.checks.sandbox import Limits, choose_sandbox
from tests.checks_scene import ENV_PATH, Scene

pytestmark = pytest.mark.anyio

APP = "def double(x):\n    return x + 2\n\n\ndef halve(x):\n    return x / 2\n"
FIXED = APP.replace("x + 2", "x * 2")
TESTS = (
    "from app import double, halve\n\n\n"
    "def test_double():\n    assert double(3) == 6\n\n\n"
    "def test_halve():\n    assert halve(6) == 3\n"
)
PYTEST_INI = "[pytest]\naddopts = -p no:randomly -p no:xdist\npythonpath = .\n"
PYTEST = detect(["python", "-m", "pytest", "-q"])


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "project")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, so that a test sees what is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


async def watch(scene: Scene, tree: str, *argv: str, timeout_s: float = 60) -> Outcome:
    words, report = detect(argv) if argv else PYTEST
    spec = CommandSpec("tests", words, timeout_s, report)
    kind, _ = await choose_sandbox()
    with anyio.fail_after(90):
        return await observe(
            await scene.repo(), spec, tree, sandbox=kind, env_path=ENV_PATH, hidden=[scene.path]
        )


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("pytest -q", "pytest --junitxml={report} --continue-on-collection-errors -q"),
        ("/opt/venv/bin/pytest", "/opt/venv/bin/pytest --junitxml={report} --continue-on-collection-errors"),
        (
            "python -m pytest tests -- -x",
            "python -m pytest --junitxml={report} --continue-on-collection-errors tests -- -x",
        ),
        (
            "python3.12 -X dev -m pytest",
            "python3.12 -X dev -m pytest --junitxml={report} --continue-on-collection-errors",
        ),
        ("uv run pytest -q", "uv run pytest --junitxml={report} --continue-on-collection-errors -q"),
        (
            "uv run --with pytest pytest -q",
            "uv run --with pytest pytest --junitxml={report} --continue-on-collection-errors -q",
        ),
        (
            "poetry run python -m pytest",
            "poetry run python -m pytest --junitxml={report} --continue-on-collection-errors",
        ),
        (
            "coverage run -m pytest -q",
            "coverage run -m pytest --junitxml={report} --continue-on-collection-errors -q",
        ),
        ("env A=1 pytest", "env A=1 pytest --junitxml={report} --continue-on-collection-errors"),
        ("pytest --junitxml=out.xml -q", "pytest --junitxml={report} --continue-on-collection-errors -q"),
        ("pytest --junit-xml out.xml -q", "pytest --junitxml={report} --continue-on-collection-errors -q"),
    ],
)
def test_pytest_is_recognised_and_told_to_write_a_report(argv: str, expected: str) -> None:
    assert detect(argv.split()) == (tuple(expected.split()), "junit")


@pytest.mark.parametrize(
    "argv",
    [
        "make test",
        "python -m unittest",
        "grep pytest setup.cfg",
        "pip install pytest",
        "uv sync",
        "env",
        "env A=1",
    ],
)
def test_other_commands_are_left_alone(argv: str) -> None:
    assert detect(argv.split()) == (tuple(argv.split()), "")


def test_a_command_that_names_the_report_itself_is_left_alone() -> None:
    argv = ("npx", "jest", "--outputFile={report}")
    assert detect(argv) == (argv, "junit")
    assert detect([]) == ((), "")


async def test_pytest_is_observed_test_by_test(scene: Scene, temporary: Path) -> None:
    commit = scene.commit({"app.py": APP, "test_app.py": TESTS, "pytest.ini": PYTEST_INI})
    tree = scene.tree(commit)

    outcome = await watch(scene, tree)

    assert outcome.tests == {"test_app::test_double": "failed", "test_app::test_halve": "passed"}
    assert (outcome.exit_code, outcome.tree, outcome.report_problem) == (1, tree, "")
    assert "1 failed, 1 passed" in outcome.tail
    assert str(temporary) not in outcome.tail
    assert os.listdir(temporary) == []


async def test_a_repair_passes_and_a_patch_that_breaks_something_does_not(scene: Scene) -> None:
    base = scene.commit({"app.py": APP, "test_app.py": TESTS})
    fixed = scene.commit({"app.py": FIXED})
    broken = scene.commit({"app.py": FIXED.replace("x / 2", "x // 4")})
    before = await watch(scene, scene.tree(base))

    good = judge_patch(before, await watch(scene, scene.tree(fixed)), cited=True)
    bad = judge_patch(before, await watch(scene, scene.tree(broken)), cited=True)

    assert good.verdict == "pass"
    assert "1 test that did not pass on head" in good.reason
    assert bad.verdict == "fail"
    assert "1 test no longer passes" in bad.reason
    assert "«test_app::test_halve»" in bad.reason


@pytest.mark.long
async def test_a_patch_that_deletes_its_failing_test_is_refused_with_and_without_protection(
    scene: Scene,
) -> None:
    base = scene.commit({"app.py": APP, "tests/test_app.py": TESTS, "pytest.ini": PYTEST_INI})
    cheat = scene.commit({"tests/test_app.py": "def test_nothing():\n    pass\n"})
    gone = scene.commit({"tests/test_app.py": None})
    repo = await scene.repo()
    before = await watch(scene, scene.tree(base))

    for commit in (cheat, gone):
        unprotected = judge_patch(before, await watch(scene, scene.tree(commit)), cited=True)
        assert unprotected.verdict == "fail"
        assert "1 vanished" in unprotected.reason or "no test report" in unprotected.reason
        restored = await repo.restore(scene.tree(commit), scene.tree(base), ["tests/**"])
        assert restored.paths == ("tests/test_app.py",)
        protected = judge_patch(before, await watch(scene, restored.tree), cited=True)
        assert (protected.verdict, restored.tree) == ("fail", scene.tree(base))
        assert "changes nothing" in protected.reason


async def test_a_module_that_cannot_be_imported_counts_as_failing_and_its_repair_as_a_repair(
    scene: Scene,
) -> None:
    base = scene.commit({"app.py": "def double(x:\n", "test_app.py": TESTS, "pytest.ini": PYTEST_INI})
    fixed = scene.commit({"app.py": FIXED})
    before, after = await watch(scene, scene.tree(base)), await watch(scene, scene.tree(fixed))

    assert before.tests == {"test_app": "error"}
    judged = judge_patch(before, after, cited=True)
    assert judged.verdict == "pass"
    assert judged.facts["new"] == ["test_app::test_double", "test_app::test_halve"]
    assert judge_patch(after, before, cited=False).verdict == "fail"


async def test_ending_the_process_early_with_exit_code_zero_is_no_pass(scene: Scene) -> None:
    base = scene.commit({"app.py": APP, "test_app.py": TESTS, "pytest.ini": PYTEST_INI})
    cheat = scene.commit({"app.py": "import os\nos._exit(0)\n"})
    before, after = await watch(scene, scene.tree(base)), await watch(scene, scene.tree(cheat))

    assert (after.exit_code, after.tests) == (0, None)
    judged = judge_patch(before, after, cited=True)
    assert judged.verdict == "fail"
    assert "no test report" in judged.reason


async def test_a_report_that_is_a_link_or_committed_by_the_patch_is_not_believed(
    scene: Scene, tmp_path: Path
) -> None:
    forged = tmp_path / "forged.xml"
    forged.write_text('<testsuite><testcase classname="a" name="b"/></testsuite>')
    commit = scene.commit({"a": "1", "report.xml": forged.read_text()})
    link = ("sh", "-c", 'ln -s "$0" "$1"', str(forged), "{report}")

    linked = await watch(scene, scene.tree(commit), *link)
    committed = await watch(scene, scene.tree(commit), "sh", "-c", ": {report}")

    assert (linked.tests, committed.tests) == (None, None)
    assert "no report was written" in linked.report_problem
    assert "no report was written" in committed.report_problem


async def test_a_command_without_a_report_is_judged_by_its_exit_code(scene: Scene) -> None:
    base = scene.commit({"flag": "0"})
    fixed = scene.commit({"flag": "1"})
    command = ("grep", "-q", "1", "flag")
    before = await watch(scene, scene.tree(base), *command)
    after = await watch(scene, scene.tree(fixed), *command)

    assert (before.exit_code, after.exit_code, before.tests, after.tests) == (1, 0, None, None)
    assert judge_patch(before, after, cited=True).verdict == "pass"
    assert judge_patch(after, before, cited=False).verdict == "fail"


async def test_a_hanging_command_leaves_neither_a_process_nor_a_folder(scene: Scene, temporary: Path) -> None:
    commit = scene.commit({"a": "1"})
    outcome = await watch(scene, scene.tree(commit), "sh", "-c", "echo begun; exec sleep 1000", timeout_s=2)
    assert (outcome.timed_out, outcome.exit_code, outcome.tail) == (True, None, "begun\n")
    assert os.listdir(temporary) == []


async def test_a_cancelled_observation_leaves_no_folder(
    scene: Scene, temporary: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "begun")
    commit = scene.commit({"a": "1"})
    repo = await scene.repo()
    spec = CommandSpec("tests", ("sh", "-c", f"echo x > {tmp_path}/begun; exec sleep 1000"))

    async def go() -> None:
        await observe(repo, spec, scene.tree(commit), sandbox="process", env_path=ENV_PATH)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync((tmp_path / "begun").read_text)
        assert len(os.listdir(temporary)) == 2
        tasks.cancel_scope.cancel()

    assert os.listdir(temporary) == []


async def test_what_a_command_writes_never_reaches_the_repository(scene: Scene) -> None:
    commit = scene.commit({"a": "1"})
    outcome = await watch(scene, scene.tree(commit), "sh", "-c", "echo 2 > a; ls -A; ls .git")
    assert outcome.tail.splitlines()[0] == "a"
    assert outcome.exit_code != 0
    assert (scene.path / "a").read_text() == "1"
    assert scene.git("status", "--porcelain") == ""


async def test_the_checkout_is_imported_and_not_an_install_of_another_tree(
    scene: Scene, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "pkg").mkdir(parents=True)
    (elsewhere / "pkg" / "__init__.py").write_text("WHERE = 'elsewhere'\n")
    commit = scene.commit(
        {"src/pkg/__init__.py": "WHERE = 'checkout'\n", "flat/__init__.py": "", "a.txt": ""}
    )
    spec = CommandSpec("where", ("python", "-c", "import pkg, flat; print(pkg.WHERE)"))

    outcome = await observe(
        await scene.repo(),
        spec,
        scene.tree(commit),
        sandbox="process",
        env_path=ENV_PATH,
        env={"PYTHONPATH": str(elsewhere)},
        limits=Limits(),
    )

    assert outcome.tail == "checkout\n"


async def test_a_repository_with_a_module_named_like_the_standard_library_still_works(scene: Scene) -> None:
    commit = scene.commit({"queue.py": "raise RuntimeError('hidden')\n", "test_a.py": "def test_a(): pass\n"})
    outcome = await watch(
        scene, scene.tree(commit), "python", "-c", "import sys; sys.path.pop(0); import queue"
    )
    assert outcome.exit_code == 0
    assert "queue" in outcome.notes[0]


async def test_submodules_and_links_that_were_left_out_are_noted(scene: Scene) -> None:
    (scene.path / "out").symlink_to("/etc")
    commit = scene.commit({"a": "1"})
    scene.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor")
    scene.git("commit", "--quiet", "-m", "a submodule")
    outcome = await watch(scene, scene.git("rev-parse", "HEAD^{tree}"), "true")
    assert any("Submodules" in note and "vendor" in note for note in outcome.notes)
    assert any("Links" in note and "out" in note for note in outcome.notes)
