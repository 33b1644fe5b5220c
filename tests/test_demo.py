"""`delm-run demo`: real agents in processes of their own repair real bugs over real MCP."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import psutil
import pytest
from anyio.abc import Process

from delm_client.demo import kill_one
from delm_client.repair import Report
from delm_client.repairer import answer_gist
from delm_client.scene import AgentView, Scene

BIN = Path(sys.executable).parent
REPAIRABLE = 15
UNREPAIRABLE = "tests/test_roman.py"

PROJECT = {
    "shelf.py": (
        "def first_free(slots):\n"
        '    """The index of the first empty slot, or -1."""\n'
        "    for index in range(1, len(slots)):\n"
        "        if slots[index] is None:\n"
        "            return index\n"
        "    return -1\n\n\n"
        "def load(weights, limit):\n"
        "    total = 0\n"
        "    for weight in weights:\n"
        "        total -= weight\n"
        "    return total < limit\n"
    ),
    "test_first_free.py": (
        "from shelf import first_free\n\n\n"
        "def test_the_first():\n    assert first_free([None, 1]) == 0\n\n\n"
        "def test_a_later_one():\n    assert first_free([1, 1, None]) == 2\n\n\n"
        "def test_none():\n    assert first_free([1, 1]) == -1\n"
    ),
    "test_load.py": (
        "from shelf import load\n\n\n"
        "def test_light():\n    assert load([1, 2], 4)\n\n\n"
        "def test_heavy():\n    assert not load([3, 2], 4)\n\n\n"
        "def test_at_the_limit():\n    assert not load([2, 2], 4)\n"
    ),
}


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DELM"))}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}


def demo(*argv: str, timeout_s: float = 170, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "delm-run"), "demo", *argv]
    env = environment() | variables
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=env, check=False)


def small_project(folder: Path) -> Path:
    folder.mkdir()
    for name, text in PROJECT.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def status(into: Path) -> dict[str, object]:
    argv = [str(BIN / "delm-mcp"), "status", "--json", "--board", str(into / "project/.delm/board.db")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return dict(json.loads(done.stdout)["runs"][0])


@pytest.mark.long
def test_a_team_repairs_a_project_and_leaves_the_original_as_it_was(tmp_path: Path) -> None:
    project, into = small_project(tmp_path / "shelf"), tmp_path / "into"

    done = demo(str(project), "--agents", "2", "--into", str(into))

    assert done.returncode == 0, done.stdout + done.stderr
    run = status(into)
    assert run["state"] == "finished"
    assert run["answer"] == "2 patches are admitted on head; every target is repaired"
    assert {path.name: path.read_text() for path in project.iterdir()} == PROJECT
    subprocess.run(["git", "apply", str(into / "repaired.patch")], cwd=project, check=True)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout


@pytest.mark.long
def test_the_sample_is_repaired_although_an_agent_is_killed_half_way(tmp_path: Path) -> None:
    into = tmp_path / "into"

    done = demo("--chaos", "--into", str(into), "--picture", str(tmp_path / "demo.svg"), timeout_s=600)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "chaos:" in done.stdout
    assert re.search(r"The gate rejected \d+ patch", done.stdout)
    run = status(into)
    assert run["state"] == "finished"
    assert f"{REPAIRABLE} patches are admitted" in str(run["answer"])
    assert f"✗ {UNREPAIRABLE}" in done.stdout
    assert "<svg" in (tmp_path / "demo.svg").read_text()
    board = str(into / "project/.delm/board.db")
    audit = subprocess.run([str(BIN / "delm-mcp"), "audit", "--board", board], timeout=60, check=False)
    assert audit.returncode == 0


def test_a_project_whose_tests_pass_needs_no_team(tmp_path: Path) -> None:
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine" / "test_fine.py").write_text("def test_fine():\n    pass\n")

    done = demo(str(tmp_path / "fine"), "--into", str(tmp_path / "into"))

    assert done.returncode == 0
    assert "nothing to repair" in done.stdout


@pytest.mark.parametrize(
    ("make", "argv", "said"),
    [
        ("", ["missing"], "is not a folder"),
        ("empty", ["empty"], "collects no tests"),
        ("full", ["full", "--into", "full"], "is not empty"),
        ("full", ["full", "--into", "full/deep/copy"], "is inside the project"),
        ("full", ["full", "--check", "true"], "pytest"),
        ("full", ["full", "--chaos", "--agents", "1"], "--agents 2"),
        ("full", ["full", "--into", "/dev/null/copy"], "Not a directory"),
    ],
)
def test_bad_input_gets_a_clear_word_and_exit_code_2(
    tmp_path: Path, make: str, argv: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if make:
        (tmp_path / make).mkdir()
    if make == "full":
        (tmp_path / make / "test_it.py").write_text("def test_it():\n    assert False\n")

    done = demo(*argv)

    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_project_that_cannot_be_imported_stops_before_any_agent_starts(tmp_path: Path) -> None:
    project = tmp_path / "shop"
    (project / "src" / "shop").mkdir(parents=True)
    (project / "tests").mkdir()
    (project / "src" / "shop" / "__init__.py").write_text("PRICE = 3\n")
    (project / "tests" / "test_price.py").write_text(
        "from shop import PRICE\n\ndef test_price():\n    assert PRICE == 4\n"
    )

    done = demo(str(project), "--into", str(tmp_path / "into"))

    assert done.returncode == 2, done.stdout + done.stderr
    assert "No module named 'shop'" in done.stderr
    assert 'pythonpath = ["src"]' in done.stderr
    assert not (tmp_path / "into").exists()


@pytest.mark.long
def test_a_file_that_cannot_be_collected_is_named_beside_what_was_repaired(tmp_path: Path) -> None:
    project = small_project(tmp_path / "shelf")
    (project / "test_broken.py").write_text("import no_such_module\n")

    done = demo(str(project), "--agents", "2", "--into", str(tmp_path / "into"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ test_load.py" in done.stdout
    assert "✗ test_broken.py" in done.stdout
    assert "No module named 'no_such_module'" in done.stdout
    answer = str(status(tmp_path / "into")["answer"])
    assert answer.startswith("2 patches are admitted on head; 1 target is left")


@pytest.mark.parametrize(
    ("test", "argv", "code"),
    [
        ("def test_it():\n    assert False\n", ["--check", "pytest --no-such-option"], 2),
        ("import no_such_module\n", [], 2),
        ("", [], 2),
        ("def test_it():\n    pass\n", [], 0),
    ],
)
def test_no_folder_is_left_behind_where_no_team_worked(
    tmp_path: Path, test: str, argv: list[str], code: int
) -> None:
    project, temporary = tmp_path / "project", tmp_path / "tmp"
    project.mkdir()
    temporary.mkdir()
    (project / "test_it.py").write_text(test)

    done = demo(str(project), *argv, TMPDIR=str(temporary))

    assert done.returncode == code, done.stdout + done.stderr
    assert not list(temporary.glob("delm-demo-*"))


@pytest.mark.parametrize(
    ("patches", "left", "said"),
    [
        (1, 0, "1 patch is admitted on head; every target is repaired"),
        (3, 2, "3 patches are admitted on head; 2 targets are left, "),
        (0, 1, "No patch is admitted on head; 1 target is left, "),
    ],
)
def test_the_answer_says_what_is_repaired_and_how_much_is_left(patches: int, left: int, said: str) -> None:
    assert answer_gist(patches, left).startswith(said)


def scene_with(tmp_path: Path, **phases: str) -> Scene:
    scene = Scene("p", tmp_path, tmp_path / "board.db", "pytest -q", [], Report({}, {}, 0.0))
    for label, phase in phases.items():
        scene.agents[label] = AgentView(label, name=label, phase=phase, target="test_x.py")
    return scene


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("phases", "victim"),
    [
        ({"a": "waiting", "b": "working", "c": "checking"}, "b"),
        ({"a": "waiting", "b": "checking"}, "b"),
        ({"a": "gone", "b": "waiting"}, "b"),
        ({"a": "gone"}, ""),
    ],
)
async def test_chaos_kills_whoever_has_most_to_lose(
    tmp_path: Path, phases: dict[str, str], victim: str
) -> None:
    scene = scene_with(tmp_path, **phases)
    running: dict[str, Process] = {}
    try:
        for label in phases:
            running[label] = await anyio.open_process([sys.executable, "-c", "input()"])

        said = kill_one(scene, running)

        if not victim:
            assert said == "chaos: nobody was left to kill"
            return
        assert f"{victim} was killed" in said
        with anyio.fail_after(20):
            assert await running[victim].wait() == -signal.SIGKILL
        assert all(running[label].returncode is None for label in phases if label != victim)
    finally:
        for process in running.values():
            if process.returncode is None:
                process.kill()
            await process.aclose()


@pytest.mark.long
def test_ctrl_c_ends_every_process_and_keeps_the_board(tmp_path: Path) -> None:
    into = tmp_path / "into"
    command = [str(BIN / "delm-run"), "demo", "--into", str(into), "--agents", "2"]
    command += ["--picture", str(tmp_path / "demo.svg")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as running:
        assert running.stdout is not None
        try:
            first = next(line for line in running.stdout if line.startswith(("admitted", "rejected")))
            family = psutil.Process(running.pid).children(recursive=True)
            assert family
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=60)
        finally:
            running.kill()

    assert first
    assert running.returncode == 130
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert status(into)["state"] == "open"
    assert f"picture    {tmp_path / 'demo.svg'}" in errors
    assert (tmp_path / "demo.svg").stat().st_size > 0
