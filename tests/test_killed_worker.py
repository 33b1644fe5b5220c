"""An agent is killed after any of its steps: the next one in its worktree finishes the task."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from delm_client.scripted import Action, Conversation, Step, worker
from delm_client.team.team import again
from delm_client.team.worktrees import branch_of, find_repository, make_worktree, take_up
from tests.outside import git
from tests.team_scene import Scene, scene_in

BRANCH = branch_of("mend", "a-1")
RECIPE = {
    "read": ["one.py"],
    "edit": [{"path": "one.py", "old": "    return x - 1", "new": "    return x + 1"}],
    "run": "python3 -S test_one.py",
    "commit": "Mend one()",
    "propose": {"kind": "patch", "gist": "one() adds", "command": "check"},
}
CLAIMED = {
    "agent": "a-1",
    "run": "mend",
    "task": {"id": "T1", "kind": "work", "subject": "Mend it", "detail": f"recipe: {json.dumps(RECIPE)}"},
    "lease": "T1.secret",
    "version": 1,
}
STEPS = ["claim", "read", "edit", "test", "add", "commit", "look"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path, ("one",)) as made:
        yield made


def done(action: Action, tree: Path) -> Step:
    """What a client does, and shows of it."""
    given = action.arguments
    if action.name == "claim_task":
        return Step(action, json.dumps(CLAIMED))
    if action.name == "shell":
        words = ["/bin/sh", "-c", given["command"]]
        ran = subprocess.run(words, cwd=tree, capture_output=True, text=True, timeout=60, check=False)
        return Step(action, f"Exit code {ran.returncode}\n{ran.stdout}{ran.stderr}", ran.returncode != 0)
    text = (tree / given["path"]).read_text()
    if action.name == "read":
        return Step(action, "\n".join(f"{n:6}→{line}" for n, line in enumerate(text.split("\n"), 1)))
    if given["old"] not in text:
        return Step(action, "String to replace not found in file.", failed=True)
    (tree / given["path"]).write_text(text.replace(given["old"], given["new"]))
    return Step(action, "The file has been updated.")


def worked(tree: Path, steps_max: int = 20) -> list[Step]:
    """A process of the worker, killed after so many steps or at its end: it has proposed, or given up."""
    steps: list[Step] = []
    for _ in range(steps_max):
        can = frozenset({"claim_task", "shell", "read", "edit"})
        (action,) = worker(Conversation("claude", "agent=a-1 run=mend", steps, can)).actions
        if action.name in {"propose_update", "update_task"}:
            return [*steps, Step(action, "")]
        steps.append(done(action, tree))
    return steps


@pytest.mark.parametrize("steps", range(1, len(STEPS) + 1), ids=lambda steps: STEPS[steps - 1])
def test_the_next_process_finishes_what_one_began_that_was_killed_after_any_step(
    small: Scene, steps: int
) -> None:
    found = find_repository(small.repo)
    tree = small.team_folder / "a-1"
    make_worktree(found, tree, BRANCH, found.head)
    worked(tree, steps)
    # It was in the middle of something with git.
    own = Path(git(tree, "rev-parse", "--path-format=absolute", "--git-dir"))
    locks = [own / "index.lock", own / "HEAD.lock", found.git_dir / "refs" / "heads" / f"{BRANCH}.lock"]
    for lock in locks:
        lock.touch()

    left = take_up(found, tree, BRANCH)
    *_, last = worked(tree)

    assert left == (["one.py"] if STEPS[steps - 1] in {"edit", "test", "add"} else [])
    assert ("one.py" in again(left)) is bool(left), "its agent is told"
    assert last.action.name == "propose_update", last
    commit = last.action.arguments["evidence"][0]["text"]
    assert git(tree, "log", "--format=%s", f"{found.head}..{commit}") == "Mend one()", "once"
    assert "x + 1" in git(tree, "show", f"{commit}:one.py")
    assert not any(lock.exists() for lock in locks)


def test_a_worktree_that_its_agent_has_deleted_is_there_again_with_what_was_committed(small: Scene) -> None:
    found = find_repository(small.repo)
    tree = small.team_folder / "a-1"
    make_worktree(found, tree, BRANCH, found.head)
    worked(tree)
    shutil.rmtree(tree)
    assert take_up(found, tree, BRANCH) == []
    assert "x + 1" in (tree / "one.py").read_text()


def test_a_lock_of_a_killed_git_is_what_stops_the_next_process(small: Scene) -> None:
    own = Path(git(small.repo, "rev-parse", "--path-format=absolute", "--git-dir"))
    (own / "index.lock").touch()
    *_, last = worked(small.repo)
    assert last.action.name == "update_task"
    assert "index.lock" in last.action.arguments["note"]
