"""Exercises through the benchmark command, with a scripted programmer over real HTTP: nothing here is about
real models.
"""

import json
import os
from pathlib import Path

import pytest

from delm_client.bench.coding.agent import REFUSED
from delm_client.bench.coding.coder import cut
from delm_client.bench.coding.workspace import DoesNotApply, Refused, Worktree, difference, patched
from delm_client.bench.scripted import scripted
from delm_client.git import GitError, git
from tests.bench_coding import DONE, SECRET, acting, coder, exercises, knows, only, program, solved
from tests.bench_model import calls, command, found

LONG = pytest.mark.long


@pytest.mark.parametrize(
    "topology", [pytest.param(name, marks=LONG) for name in ("single", "independent", "central")]
)
def test_a_team_is_right_where_its_submission_passes_the_hidden_tests(topology: str, tmp_path: Path) -> None:
    data, folder = exercises(tmp_path, "double", "triple"), tmp_path / "run"
    with coder(knows("double", wrong=("triple",))) as model:
        results = solved(data, folder, model, "--topology", topology, "-n", "2")
    assert (results["overall"]["right"], results["overall"]["total"]) == (1, 2)
    assert results["outcomes"] == {"passed": 1, "failed": 1}
    assert results["scripted_model"]
    rows = {
        row["id"]: row for row in map(json.loads, (each.read_text() for each in (folder / "items").iterdir()))
    }
    right, wrong = rows["HumanEval/1"], rows["HumanEval/2"]
    assert "return 2 * x" in (folder / right["patch"]).read_text()
    assert (wrong["outcome"], wrong["tests_passed"], wrong["tests"]) == ("failed", 0, 1)
    agents = {"single": ["passed"], "independent": ["passed"] * 2, "central": ["passed", "empty"]}[topology]
    assert [one["outcome"] for one in right["submissions"]] == agents
    assert results["each_agent"][f"pass_at_{len(agents)}"]["right"] == 1
    assert results["each_agent"]["avg_at_1"]["total"] == 2 * len(agents)
    # What they are graded by is in no prompt, and no folder that an agent could look into is left.
    assert calls(folder)
    assert all(SECRET not in line["prompt"] for line in calls(folder))
    assert not list(folder.glob("boards/**/work"))


def test_a_patch_that_the_gate_refuses_is_mended_before_it_is_merged(tmp_path: Path) -> None:
    def known(prompt: str) -> dict[str, str]:
        return {"solution.py": program("double", 2) if REFUSED in prompt else "def double(x: int) ->"}

    with coder(known) as model:
        results = solved(exercises(tmp_path, "double"), tmp_path / "run", model, "-n", "1")
    done = only(tmp_path / "run")
    assert (results["overall"]["right"], done["outcome"], done["ended"]) == (1, "passed", "answered")
    assert done["board"]["proposed"] == {"patch admitted": 1, "patch rejected": 1}
    assert [line["step"] for line in calls(tmp_path / "run") if line["step"] != "step"] == ["decide", "plan"]
    assert all(SECRET not in line["prompt"] for line in calls(tmp_path / "run"))
    assert not list((tmp_path / "run").glob("boards/**/work"))


def test_what_an_agent_may_not_do_is_told_and_counted(tmp_path: Path) -> None:
    odd = acting(
        "I would rather talk.",
        {"action": "fly"},
        {"action": "read", "path": "../secret"},
        {"action": "write", "path": "/delm-outside", "content": "x"},
        {"action": "read", "path": ".git"},
        {"action": "run"},
        {"action": "replace", "path": "solution.py", "old": "nowhere", "new": "x"},
        {"action": "done", "gist": " "},
        DONE,
    )
    with scripted(odd) as model:
        results = solved(exercises(tmp_path, "double"), tmp_path / "run", model, "--topology", "single")
    assert results["outcomes"] == {"empty": 1}
    (one,) = only(tmp_path / "run")["submissions"]
    assert (one["steps"], one["malformed"], one["refused"], one["ended"]) == (9, 2, 6, ["done"])
    last = calls(tmp_path / "run")[-1]["prompt"]
    for said in ("was no action", "outside of your folder", "not yours", "nothing can be run", "0 times"):
        assert said in last
    assert not Path("/delm-outside").exists()


def test_an_agent_that_never_says_done_is_stopped_and_its_change_counts(tmp_path: Path) -> None:
    write = {"action": "write", "path": "solution.py", "content": program("double", 2)}
    with scripted(acting(write, {"action": "list"})) as model:
        words = ("--topology", "single", "--steps", "3")
        results = solved(exercises(tmp_path, "double"), tmp_path / "run", model, *words)
    assert (results["overall"]["right"], results["spent"]["calls"]) == (1, 3)
    assert only(tmp_path / "run")["submissions"][0]["ended"] == ["the step limit is reached"]
    assert "End with `done` now" in calls(tmp_path / "run")[-1]["prompt"]


@LONG
@pytest.mark.parametrize(("topology", "at"), [("single", 3), ("central", 5), ("delm", 5)])
def test_what_is_there_when_a_cap_ends_an_item_is_submitted(topology: str, at: int, tmp_path: Path) -> None:
    with coder(knows("double")) as model:
        words = ("--topology", topology, "-n", "1", "--item-calls", str(at))
        results = solved(exercises(tmp_path, "double"), tmp_path / "run", model, *words)
    assert (results["overall"]["right"], results["spent"]["calls"]) == (1, at)
    assert "calls limit of the item" in str(only(tmp_path / "run")["ended"])


@LONG
def test_tests_that_could_not_be_run_are_no_wrong_answer_and_run_again(tmp_path: Path) -> None:
    data, folder, ready = exercises(tmp_path, "double", "triple"), tmp_path / "run", [False]

    def known(prompt: str) -> dict[str, str]:
        if "def double(" in prompt or ready[0]:
            return dict(knows("double", "triple")(prompt))
        return {"solution.py": "import os\n\nos._exit(4)\n"}  # as pytest ends when it cannot start

    with coder(known) as model:
        results = solved(data, folder, model, "--topology", "single", code=1)
        assert (results["overall"]["total"], list(results["could_not_be_run"])) == (1, ["HumanEval/2"])
        assert "the tests could not be run" in results["could_not_be_run"]["HumanEval/2"]
        ready[0], before = True, len(model.asked)
        assert command("bench", "--resume", folder).exit_code == 0
        assert all("def triple(" in prompt for prompt in model.asked[before:])
    assert (found(folder)["overall"]["right"], found(folder)["overall"]["total"]) == (2, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topology", "direct"], "--topology direct; there are: single, independent, central, delm"),
        (["--tests", "some"], "hidden, shown"),
        (["--model", "scripted:reader"], "scripted:coder stands in for a model"),
        (["--data", "."], "is a folder"),
    ],
)
def test_what_cannot_be_done_with_exercises_is_said(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exercises(tmp_path, "double")
    result = command("bench", "humaneval", "--data", "HumanEval.jsonl", "--model", "scripted:coder", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_dry_run_estimates_steps_and_asks_nothing(tmp_path: Path) -> None:
    data = exercises(tmp_path, "double", "triple")
    words = ("bench", "humaneval", "--data", data, "--model", "scripted:coder", "-n", "3", "--dry-run")
    result = command(*words, "--topology", "independent", "--steps", "5", "--into", tmp_path / "run")
    assert result.exit_code == 0
    assert f"about {2 * 3 * 5} calls" in result.output
    assert not (tmp_path / "run").exists()


# --- worktrees


@pytest.fixture
def tree(tmp_path: Path) -> Worktree:
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    (folder / "src/a.py").write_text("a = 1\nb = 2\nb = 2\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "base")
    return Worktree(folder, git(folder, "rev-parse", "HEAD"))


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "src/../../x", ".git/config", "", "out/x", "link", "in/.GIT/x"]
)
def test_no_action_leaves_the_worktree(path: str, tree: Worktree) -> None:
    outside = tree.folder.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("theirs")
    os.symlink(outside, tree.folder / "out")
    os.symlink(outside / "x", tree.folder / "link")
    for act in (
        tree.text,
        lambda name: tree.write(name, "mine"),
        lambda name: tree.replace(name, "theirs", "mine"),
    ):
        with pytest.raises(Refused):
            act(path)
    if path:
        with pytest.raises(Refused):
            tree.listed(path)
        with pytest.raises(Refused):
            tree.found("theirs", path)
    assert (outside / "x").read_text() == "theirs"
    assert sorted(os.listdir(tree.folder.parent)) == ["outside", "repository"]


def test_a_worktree_shows_finds_and_changes_files(tree: Worktree) -> None:
    assert tree.listed() == "src/ (1)\n.gitignore"
    assert tree.listed("src") == "a.py"
    assert tree.numbered("src/a.py", 2, 2) == "    2 b = 2"
    assert tree.found("b = 2", "src") == "src/a.py:2:b = 2\nsrc/a.py:3:b = 2"
    assert tree.found("c") == "(nothing found)"
    with pytest.raises(Refused, match="2 times"):
        tree.replace("src/a.py", "b = 2\n", "b = 3\n")
    tree.replace("src/a.py", "a = 1\nb = 2", "a = 3\nb = 4")
    tree.write("new/é.py", "c = 5\n")
    tree.write("x.log", "noise")
    patch = tree.patch()
    assert "+a = 3" in patch
    assert "+c = 5" in patch
    assert "noise" not in patch
    commit = tree.commit("changed")
    tree.write("new/é.py", "c = 6\n")
    commit, patch = tree.commit("changed again"), tree.patch()
    assert git(tree.folder, "rev-parse", f"{commit}^") == tree.base  # one change, however often it was mended
    assert difference(tree.folder, tree.base, commit) == patch
    assert patched(tree.folder, tree.folder.parent / "other", tree.base, patch).patch() == patch
    with pytest.raises(DoesNotApply):
        patched(tree.folder, tree.folder.parent / "third", tree.base, patch.replace("a = 1", "a = 0"))
    with pytest.raises(GitError) as other:  # such as a full disk: says nothing about the patch
        patched(tree.folder, tree.folder.parent / "third", tree.base, patch)
    assert not isinstance(other.value, DoesNotApply)
    moved = tree.moved(tree.base)
    assert (moved.patch(), moved.commit("nothing")) == ("", tree.base)


def test_what_is_too_long_loses_its_middle() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefgh", 4) == "ab\n[... 4 characters left out ...]\ngh"
