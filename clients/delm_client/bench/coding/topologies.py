"""Who changes what, and who knows what: four ways to solve the same item with the same agent.

    single        one agent works in one worktree until it is done, or has to be stopped
    independent   n agents do that, each by itself; the first one's change is the team's (there is no oracle)
    central       an orchestrator divides the task among n agents, waits for all of them, reads their reports
                  and changes, and assigns again or submits one of the changes
    delm          n agents on a board on the repository: a queue of parts (divided by one call, as central's
                  are at first), a context behind a gate, and a head into which patches are merged
                  that pass it

All of them use `coder.py`. `delm` with the policy `open` merges whatever applies: the same without the gate.
"""

import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from delm_client.bench.board import head_on, live_entries
from delm_client.bench.coding.agent import COMMAND, Programmer, Site, task_of
from delm_client.bench.coding.coder import Coder, Counts, Desk, Report
from delm_client.bench.coding.lead import Assigned, Lead
from delm_client.bench.coding.workspace import Check, Worktree, added, difference, forget
from delm_client.bench.server import told
from delm_client.bench.subjects import Outcome, Scene, Topology
from delm_client.git import git
from delm_client.session import connected

GOAL_MAX = 4000
OPEN = "open"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a team works: an item's repository with a worktree for each agent, below the attempt's folder."""

    scene: Scene
    desk: Desk
    base: str

    @property
    def repository(self) -> Path:
        return repository_of(self.scene)

    @property
    def names(self) -> list[str]:
        return [f"agent-{number}" for number in range(1, self.scene.team.agents + 1)]

    def tree(self, name: str) -> Worktree:
        return Worktree(work_folder(self.scene).resolve() / name, self.base)

    def patch(self, name: str) -> str:
        return self.tree(name).patch()

    def coder(self, name: str, counts: Counts, part: str = "") -> Coder:
        return Coder(self.desk, self.scene.ask(name), self.tree(name), counts, part=part)


def work_folder(scene: Scene) -> Path:
    """What is only there while the item is worked on and graded."""
    return scene.folder / "work"


def repository_of(scene: Scene) -> Path:
    """The item's repository; the commit that is checked out there is the base."""
    return work_folder(scene) / "repository"


async def answer(scene: Scene, desk: Desk) -> Outcome:
    """Let the team work.

    Raises:
        BenchError: A cap is reached, the model broke, or the item cannot be opened.
        BoardError, GitError: The board or git broke.
    """
    ground = await anyio.to_thread.run_sync(_opened, scene, desk)
    match scene.team.topology:
        case Topology.CENTRAL:
            return await _central(ground)
        case Topology.DELM:
            return await _delm(ground)
        case _:
            return await _apart(ground)


def _opened(scene: Scene, desk: Desk) -> Ground:
    for left in scene.folder.parent.glob("*/work"):  # by a run that was killed
        forget(left)
    work_folder(scene).mkdir(parents=True, exist_ok=True)
    base = desk.workspaces.open(scene.item, repository_of(scene))
    ground = Ground(scene, desk, base)
    for name in ground.names:
        added(ground.repository, ground.tree(name).folder, base)
    return ground


def gathered(scene: Scene, why: str) -> Outcome:
    """What a team has when it is stopped in the middle: its folders, and with a board its head."""
    repository = repository_of(scene)
    if not (repository / ".git").exists():
        return Outcome("", why)
    base = git(repository, "rev-parse", "HEAD")
    trees = [work_folder(scene).resolve() / f"agent-{number}" for number in range(1, scene.team.agents + 1)]
    patches = tuple(Worktree(tree, base).patch() if tree.exists() else "" for tree in trees)
    if scene.team.topology is Topology.DELM:
        heads = git(repository, "for-each-ref", "--format=%(objectname)", "refs/delm/*/head").split()
        team = difference(repository, base, heads[0]) if heads else ""
    elif scene.team.topology is Topology.CENTRAL:
        team = next(filter(None, patches), "")
    else:
        team = patches[0]
    return Outcome(team, why, patches, agents=tuple({"ended": [why]} for _ in patches))


# -- single and independent ------------------------------------------------------------------------


async def _apart(ground: Ground) -> Outcome:
    counts = {name: Counts() for name in ground.names}

    async def one(name: str) -> None:
        await ground.coder(name, counts[name]).work()

    async with anyio.create_task_group() as group:
        for name in ground.names:
            group.start_soon(one, name)
    patches = await _patches(ground)
    return Outcome(patches[0], replies=patches, agents=tuple(each.as_json() for each in counts.values()))


async def _patches(ground: Ground) -> tuple[str, ...]:
    return tuple([await anyio.to_thread.run_sync(ground.patch, name) for name in ground.names])


# -- central ---------------------------------------------------------------------------------------


async def _central(ground: Ground) -> Outcome:
    """Scatter, wait for the slowest, gather, decide, and again while rounds are left."""
    lead = Lead(ground.desk, ground.scene.ask("orchestrator"), len(ground.names))
    counts = {name: Counts() for name in ground.names}
    reports: dict[str, tuple[Report | None, str]] = dict.fromkeys(ground.names, (None, ""))
    parts = await lead.plan(await anyio.to_thread.run_sync(ground.tree(ground.names[0]).listed))
    work = dict(zip(ground.names, parts, strict=False))
    chosen = ""
    for left in range(ground.desk.habits.rounds, -1, -1):
        await _round(ground, work, counts, reports)
        review = await lead.review(reports, left=left)
        chosen = review.submit
        if chosen or not review.assign:
            break
        await anyio.to_thread.run_sync(_prepared, ground, review.assign)
        work = {one.agent: one.part for one in review.assign}
    patches = await _patches(ground)
    named = dict(zip(ground.names, patches, strict=True))
    # An orchestrator that names nobody submits the first change that there is.
    team = named[chosen] if chosen else next(filter(None, patches), "")
    ended = "answered" if chosen else "the orchestrator submitted none"
    agents = tuple({**each.as_json(), "submitted": name == chosen} for name, each in counts.items())
    return Outcome(team, ended, patches, agents=agents)


async def _round(
    ground: Ground,
    work: dict[str, str],
    counts: dict[str, Counts],
    reports: dict[str, tuple[Report | None, str]],
) -> None:
    async def one(name: str, part: str) -> None:
        report = await ground.coder(name, counts[name], part).work()
        reports[name] = (report, await anyio.to_thread.run_sync(ground.patch, name))

    async with anyio.create_task_group() as group:
        for name, part in work.items():
            group.start_soon(one, name, part)


def _prepared(ground: Ground, assign: list[Assigned]) -> None:
    """Put the folders of those who start with somebody else's change at that change."""
    starts = {one.start for one in assign if one.start and one.start != one.agent}
    commits = {name: ground.tree(name).commit(f"what {name} has") for name in sorted(starts)}
    for one in assign:
        if one.start in commits and one.start != one.agent:
            ground.tree(one.agent).moved(commits[one.start])


# -- delm ------------------------------------------------------------------------------------------


async def _delm(ground: Ground) -> Outcome:
    scene, board = ground.scene, ground.scene.folder.resolve() / "board.db"
    lead = Lead(ground.desk, scene.ask("planner"), len(ground.names))
    parts = await lead.plan(await anyio.to_thread.run_sync(ground.tree(ground.names[0]).listed))
    rules = await anyio.to_thread.run_sync(_rules, ground)
    run = await anyio.to_thread.run_sync(_begun, ground, board, parts, rules)
    peers = scene.team.policy == "strict" or "peers" in rules
    site = Site(ground.desk, len(ground.names), run, ground.base, peers)
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(connected(ground.tree(name).folder, board=board, principal=name))
            for name in ground.names
        ]
        agents = [
            Programmer(session, scene.ask(name), site, ground.tree(name))
            for name, session in zip(ground.names, sessions, strict=True)
        ]
        async with anyio.create_task_group() as group:
            for agent in agents:
                group.start_soon(agent.work)
        answers = await live_entries(sessions[0], "answer", run=run)
        head = await head_on(sessions[0], ground.base, run=run)
    proposed = dict(sorted(sum((agent.proposed for agent in agents), Counter[str]()).items()))
    team = await anyio.to_thread.run_sync(difference, ground.repository, ground.base, head)
    ended = "answered" if answers else "the run ended without an admitted answer"
    threads = [agent.thread for agent in agents]
    return Outcome(
        team,
        ended,
        tuple(thread.patch for thread in threads),
        {"run": run, "parts": len(parts), "proposed": proposed},
        tuple(thread.counts.as_json() for thread in threads),
    )


def _begun(ground: Ground, board: Path, parts: list[str], rules: str) -> str:
    """Open a run with a task for every part, and give its name."""
    scene, folder = ground.scene, ground.scene.folder.resolve()
    tasks, policy = folder / "tasks.json", folder / "policy.toml"
    tasks.write_text(json.dumps([task_of(part) for part in parts]), encoding="utf-8")
    policy.write_text(rules, encoding="utf-8")
    check = _check(ground)
    words = ["--tasks-file", str(tasks), "--policy", str(policy), "--json"]
    words += ["--check", f"{COMMAND}={check.command}", "--check-timeout", f"{check.timeout_s:g}"]
    goal = ground.desk.workspaces.task(scene.item)[:GOAL_MAX]
    return str(json.loads(told(ground.repository, "init", goal, *words, board=board))["run"])


def _check(ground: Ground) -> Check:
    """The gate's command; without the gate one that refuses nothing, for only what passed one is merged."""
    opened = ground.scene.team.policy == OPEN
    return Check() if opened else ground.desk.workspaces.check(ground.scene.item)


def _rules(ground: Ground) -> str:
    """The board's policy."""
    habits, check = ground.desk.habits, _check(ground)
    # At four characters a token, so that a gist which is a little long is not refused for it.
    gist_tokens = min(1000, max(10, round(1.2 * habits.gist_tokens)))
    limits = {"gist_tokens": gist_tokens, "max_rounds": habits.rounds, "decide_grace_s": 1}
    settings: dict[str, Any] = {
        # Whoever gives a part up has mended it as often as it may.
        "limits": {**limits, "max_attempts": 1},
        "command": {"fail_at_base": "require" if check.fails_at_base else "note"},
    }
    if ground.scene.team.policy == OPEN:
        settings["patch"] = {"checks": ["command"]}
    return ground.scene.rules(settings)
