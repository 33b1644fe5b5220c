"""`kill -9` at random moments: acknowledged writes stay, tasks and checks find somebody else.

Each round opens a run in a repository with a small test suite. Agents with servers of their own propose
patches that the servers check by running the suite; some of them are killed, and others take their place.
"""

import random
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from delm_mcp.domain.model import Command, Run, Task
from delm_mcp.domain.policy import Policy, build
from delm_mcp.store.base import Tx
from tests.outside import audited, commit, git, hall_in, repository
from tests.outside_nursery import Nursery

PARTS = 3
AGENTS = 2
LIMITS = {"lease_s": 1.0, "decide_grace_s": 0.2, "agent_live_s": 5.0, "max_losses": 50, "author_first_s": 1.0}
SUITE = {
    "whole.py": "import glob\n\n\ndef parts():\n    return sorted(glob.glob('part_*.txt'))\n",
    "tests/__init__.py": "",
    "tests/test_whole.py": (
        "import time\nimport unittest\n\nfrom whole import parts\n\n\n"
        "class Whole(unittest.TestCase):\n"
        "    def test_every_part_can_be_read(self):\n"
        "        time.sleep(0.1)\n"
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


@dataclass(frozen=True)
class Left:
    """What a round left on its board."""

    run: Run
    tasks: list[Task]
    states: dict[str, str]
    open_checks: int
    taken_over: int


async def left(board: Path) -> Left:
    def action(tx: Tx) -> Left:
        (run,) = tx.runs()
        entries = tx.entries(run.id)
        taken_over = sum(check.tries > 1 for entry in entries for check in tx.checks_of(entry.id))
        states = {entry.label: entry.state.value for entry in entries}
        return Left(run, tx.tasks(run.id), states, tx.open_checks(run.id), taken_over)

    async with hall_in(board.parent) as hall:
        return await hall.board.store.read(action)


def wait_a_little(nursery: Nursery, chance: random.Random) -> None:
    """Some lines and some time: until an agent has just claimed or proposed, and then a random moment."""
    until = time.monotonic() + chance.uniform(0.0, 2.0)
    while (now := time.monotonic()) < until:
        nursery.listen(until - now)


def agents_die(nursery: Nursery, chance: random.Random, spec: dict[str, Any]) -> None:
    """Agents that have servers of their own: some are killed, and others come."""
    for _ in range(AGENTS):
        nursery.spawn(**spec)
    nursery.hear("ready", AGENTS, within_s=60)
    nursery.go()
    for _ in range(chance.randrange(1, 4)):
        wait_a_little(nursery, chance)
        if nursery.pids:
            nursery.kill(chance.choice(sorted(nursery.pids)))
            nursery.spawn(**spec, at_once=True)
    nursery.finish(within_s=60)


def servers_die(nursery: Nursery, chance: random.Random, spec: dict[str, Any]) -> None:
    """Agents on one server over HTTP, which is killed and started again; so is one of the agents."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = {"serve": str(port), "board": spec["board"], "repo": spec["repo"]}
    agent = {**spec, "url": f"http://127.0.0.1:{port}/mcp", "patient": True, "at_once": True}
    nursery.spawn(**server)
    serving = nursery.hear("ready", 1, within_s=60)[-1]["pid"]
    for _ in range(AGENTS):
        nursery.spawn(**agent)
    nursery.hear("ready", AGENTS, within_s=60)
    for _ in range(chance.randrange(1, 3)):
        wait_a_little(nursery, chance)
        nursery.kill(serving)
        known = set(nursery.pids)
        nursery.spawn(**server)
        while not nursery.pids - known:
            assert nursery.listen(30) is not None
        (serving,) = nursery.pids - known
    agents = sorted(nursery.pids - {serving})
    if agents:
        nursery.kill(chance.choice(agents))
        nursery.spawn(**agent)
    nursery.finish(within_s=60, besides=1)


def survive(nursery: Nursery, project: tuple[Path, list[str]], home: Path, seed: int) -> int:
    """One round: work, kills, and what must hold afterwards."""
    folder, commits = project
    board = home / f"round-{seed}" / "board.db"
    board.parent.mkdir()
    run = anyio.run(opened, board, folder)
    spec = {"board": str(board), "run": run, "commits": commits, "repo": str(folder)}
    (servers_die if seed % 4 == 3 else agents_die)(nursery, random.Random(seed), spec)  # noqa: S311
    heard = list(nursery.heard)
    nursery.forget()
    return check_what_is_left(board, folder, heard)


def check_what_is_left(board: Path, folder: Path, heard: list[dict[str, Any]]) -> int:
    """Insist that nothing is lost or stuck; returns how many checks were taken over."""
    audited(board)
    found = anyio.run(left, board)
    for line in heard:
        if line["event"] == "proposed":
            expected = {line["state"]} if line["state"] != "pending" else {"admitted", "rejected"}
            assert found.states[line["entry"]] in expected, line
    assert (found.run.state.value, found.open_checks) == ("finished", 0), heard[-5:]
    assert {task.state.value for task in found.tasks if task.kind == "work"} == {"done"}
    assert "pending" not in found.states.values()
    files = git(folder, "ls-tree", "--name-only", found.run.head).split()
    assert {f"part_{number}.txt" for number in range(PARTS)} <= set(files)
    return found.taken_over


def rounds(project: tuple[Path, list[str]], home: Path, seeds: range) -> int:
    """Rounds with the seeds; returns how many checks were taken over from a process that was killed."""
    taken_over = 0
    with Nursery() as nursery:
        for seed in seeds:
            try:
                taken_over += survive(nursery, project, home, seed)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
    return taken_over


def test_boards_survive_killed_agents_servers_and_checks(
    project: tuple[Path, list[str]], tmp_path: Path
) -> None:
    rounds(project, tmp_path, range(1))


@pytest.mark.long
def test_boards_survive_fifty_rounds_of_killed_agents_servers_and_checks(
    project: tuple[Path, list[str]], tmp_path: Path
) -> None:
    assert rounds(project, tmp_path, range(100, 152)) > 0
