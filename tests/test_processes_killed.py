"""`kill -9` at random moments: acknowledged writes stay, tasks and checks find somebody else.

Each round opens a run in a repository with a small test suite. Agents with servers of their own propose
patches that the servers check by running the suite; some of them are killed, and others take their place.
"""

import random
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from delm_mcp.domain.model import Command, Task
from delm_mcp.domain.policy import Policy, build
from delm_mcp.store.base import Tx
from tests.outside import audited, commit, git, hall_in, repository
from tests.outside_nursery import Nursery

PARTS = 4
LIMITS = {"lease_s": 2.0, "decide_grace_s": 0.2, "agent_live_s": 5.0, "max_losses": 50, "author_first_s": 1.0}
SUITE = {
    "whole.py": "import glob\n\n\ndef parts():\n    return sorted(glob.glob('part_*.txt'))\n",
    "tests/test_whole.py": (
        "import time\nimport unittest\n\nfrom whole import parts\n\n\n"
        "class Whole(unittest.TestCase):\n"
        "    def test_every_part_can_be_read(self):\n"
        "        time.sleep(0.2)\n"
        "        for part in parts():\n"
        "            with open(part) as file:\n"
        "                self.assertTrue(file.read())\n"
    ),
}
CHECK = Command(
    "check", (sys.executable, "-S", "-m", "unittest", "discover", "-q", "-s", "tests", "-t", "."), 60.0
)
POLICY: Policy = build({"limits": LIMITS, "command": {"fail_at_base": "note", "max_tries": 50}})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A repository, and commits that each add one part to its first one."""
    folder = repository(tmp_path_factory.mktemp("project").resolve(), SUITE)
    commits = []
    for number in range(PARTS):
        git(folder, "checkout", "-q", "-B", f"part-{number}", "main")
        commits.append(commit(folder, {f"part_{number}.txt": f"part {number}\n"}, f"part {number}"))
    git(folder, "checkout", "-q", "main")
    return folder, commits


async def opened(board: Path, folder: Path) -> str:
    """A run with one task for each part, on the project."""
    async with hall_in(board.parent) as hall:
        return await hall.open(
            *(f"part {number}" for number in range(PARTS)),
            policy=POLICY,
            commands=(CHECK,),
            repo=str(folder),
            base=git(folder, "rev-parse", "main"),
        )


async def left(board: Path) -> tuple[list[Task], dict[str, str], int, str, str]:
    """Tasks, the state of each entry, open checks, and the run's state and head."""

    def action(tx: Tx) -> tuple[list[Task], dict[str, str], int, str, str]:
        (run,) = tx.runs()
        states = {entry.label: entry.state.value for entry in tx.entries(run.id)}
        return tx.tasks(run.id), states, tx.open_checks(run.id), run.state.value, run.head

    async with hall_in(board.parent) as hall:
        return await hall.board.store.read(action)


def let_some_die(nursery: Nursery, chance: random.Random, kills: int, spec: dict[str, Any]) -> None:
    """Kill random agents at random moments, and start one for each of them."""
    for _ in range(kills):
        until = time.monotonic() + chance.uniform(0.0, 1.2)
        while (now := time.monotonic()) < until:
            nursery.listen(until - now)
        if not nursery.pids:
            return
        nursery.kill(chance.choice(sorted(nursery.pids)))
        nursery.spawn(**spec, at_once=True)


def survive(folder: Path, commits: list[str], home: Path, seed: int) -> None:
    """One round: work, kills, and what must hold afterwards."""
    chance = random.Random(seed)  # noqa: S311
    board = home / "board.db"
    run = anyio.run(opened, board, folder)
    spec: dict[str, Any] = {"board": str(board), "run": run, "commits": commits, "repo": str(folder)}
    with Nursery() as nursery:
        for _ in range(3):
            nursery.spawn(**spec)
        nursery.hear("ready", 3, within_s=60)
        nursery.go()
        let_some_die(nursery, chance, chance.randrange(1, 4), spec)
        nursery.finish(within_s=60)
        heard = nursery.heard
    check_what_is_left(board, folder, heard)


def check_what_is_left(board: Path, folder: Path, heard: list[dict[str, Any]]) -> None:
    audited(board)
    tasks, states, open_checks, state, head = anyio.run(left, board)
    for line in heard:
        if line["event"] == "proposed":
            expected = {line["state"]} if line["state"] != "pending" else {"pending", "admitted", "rejected"}
            assert states[line["entry"]] in expected, line
    assert (state, open_checks) == ("finished", 0), heard[-5:]
    assert {task.state.value for task in tasks if task.kind == "work"} == {"done"}
    assert "pending" not in states.values()
    files = git(folder, "ls-tree", "--name-only", head).split()
    assert {f"part_{number}.txt" for number in range(PARTS)} <= set(files)


def rounds(project: tuple[Path, list[str]], home: Path, seeds: range) -> None:
    for seed in seeds:
        place = home / f"round-{seed}"
        place.mkdir()
        try:
            survive(*project, place, seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_boards_survive_killed_agents_and_checks(project: tuple[Path, list[str]], tmp_path: Path) -> None:
    rounds(project, tmp_path, range(4))


@pytest.mark.long
def test_boards_survive_killed_agents_and_checks_in_many_rounds(
    project: tuple[Path, list[str]], tmp_path: Path
) -> None:
    rounds(project, tmp_path, range(100, 160))
