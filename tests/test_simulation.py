"""Teams of scripted agents that crash, dawdle, give up and come back late, on a virtual clock, from a seed.

To see one again: `pytest "tests/test_simulation.py::test_a_team_ends_its_run[7]"`.
"""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim
from delm_mcp.domain.model import UNFINISHED, Caller, Principal
from delm_mcp.errors import Conflict, LeaseLost, RunClosed
from tests.boards import Desk, answer, desk_in, fact, limits, quote, result

pytestmark = pytest.mark.anyio

SOURCE = "Every module drops a comma somewhere."
POLICY = limits(
    lease_s=60,
    lease_max_s=600,
    max_attempts=2,
    max_losses=3,
    max_rounds=3,
    agent_live_s=300,
    author_first_s=30,
)
TURNS_MAX = 1500


@dataclass
class Worker:
    """One scripted agent."""

    caller: Caller
    tags: tuple[str, ...]
    name: str = ""
    claim: Claim | None = None
    plan: str = ""


@dataclass(order=True)
class Turn:
    """When a worker acts next."""

    at: float
    number: int
    worker: Worker = field(compare=False)


class Team:
    """A run and those who work on it. All randomness is from one seed."""

    policy = POLICY
    turns_max = TURNS_MAX

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.random = random.Random(seed)  # noqa: S311 - a seed is for simulations
        self.turns: list[Turn] = []
        self.number = 0
        self.size = self.random.randint(2, 8)
        self.acknowledged: list[str] = []
        self.finished: Counter[str] = Counter()
        self.added = 0
        self.story: list[str] = []

    def tell(self, worker: Worker, what: str) -> None:
        self.story.append(f"{self.desk.clock() % 1e6:9.1f} {worker.name or '?'}: {what}")

    def schedule(self, worker: Worker, after_s: float) -> None:
        self.number += 1
        heapq.heappush(self.turns, Turn(self.desk.clock() + after_s, self.number, worker))

    def hire(self) -> None:
        tags = tuple(tag for tag in ("gpu", "web") if self.random.random() < 0.4)
        worker = Worker(Caller(Principal(self.principal())), tags)
        self.schedule(worker, self.random.uniform(0, 5))

    def principal(self) -> str:
        """Whose the next agent is."""
        return f"p{self.number}"

    def new_task(self) -> NewTask:
        self.added += 1
        needs = (self.random.choice(["gpu", "web", "quantum"]),) if self.random.random() < 0.25 else ()
        return NewTask(f"task {self.added}", needs=needs, priority=self.random.randint(-2, 2))

    async def run(self) -> None:
        """Let everybody act until the run has ended."""
        tasks = [self.new_task() for _ in range(self.random.randint(1, 8))]
        chained = [
            NewTask(t.subject, after=(f"#{n}",) if n and self.random.random() < 0.4 else (), needs=t.needs)
            for n, t in enumerate(tasks)
        ]
        await self.desk.open(*chained, policy=self.policy, sources=(("notes", SOURCE),))
        for _ in range(self.size):
            self.hire()
        for _ in range(self.turns_max):
            if (await self.desk.home()).state != "open":
                return
            turn = heapq.heappop(self.turns)
            self.desk.clock.now = max(self.desk.clock.now, turn.at)
            if self.random.random() < 0.3:
                await self.desk.board.checker.run_next()
            await self.act(turn.worker)
        raise AssertionError(f"the run is still open after {self.turns_max} turns")

    async def act(self, worker: Worker) -> None:
        if worker.claim is None:
            await self.take(worker)
            return
        held, worker.claim = worker.claim, None
        plan, worker.plan = worker.plan, ""
        try:
            await self.carry_out(worker, held, plan)
        except LeaseLost as error:
            self.tell(worker, f"{plan}: {error}")
        except RunClosed:
            return
        except Conflict as error:  # no rounds are left
            self.tell(worker, f"{plan}: {error}")
            await self.decide(worker, held)
        self.schedule(worker, self.random.uniform(0.5, 5))

    async def take(self, worker: Worker) -> None:
        claim = await self.desk.claim(worker.caller, agent=worker.name, tags=worker.tags)
        worker.name = claim.agent
        if claim.task is None:
            self.schedule(worker, self.random.uniform(5, 30))
            return
        worker.claim, worker.plan = claim, self.random.choice(self.plans(claim.task.kind))
        self.tell(worker, f"took {claim.task.id} to {worker.plan}")
        if worker.plan == "crash":
            self.replace(worker)
            return
        slow = worker.plan == "dawdle"
        self.schedule(worker, self.random.uniform(50, 700) if slow else self.random.uniform(1, 55))

    def plans(self, kind: str) -> list[str]:
        """What an agent may do with a task; it draws one."""
        if kind == "decide":
            return ["answer"] * 6 + ["more", "release", "dawdle", "crash"]
        odd = ["reject", "late verdict", "give up", "release", "split", "add", "dawdle", "crash"]
        return ["work"] * 10 + odd

    def replace(self, worker: Worker) -> None:
        """An agent has crashed; another one comes."""
        worker.claim = None
        self.hire()

    async def carry_out(self, worker: Worker, held: Claim, plan: str) -> None:
        assert held.task is not None
        self.number += 1
        finding = f"Finding number {self.number} of {held.task.id} holds"
        if plan == "give up":
            await self.desk.board.update_task(worker.caller, lease=held.lease, action="fail", note="a wall")
        elif plan == "release":
            await self.desk.board.update_task(worker.caller, lease=held.lease, action="release")
        elif plan in {"split", "add", "more"}:
            parts = [self.new_task() for _ in range(self.random.randint(1, 2))]
            if plan == "add":
                await self.add_beside(worker, held, finding)
            await self.desk.add(*parts, lease=held.lease, split=plan == "split", caller=worker.caller)
        elif plan == "late verdict":
            text = "drops a comma" if self.random.random() < 0.5 else "drops no comma"
            late = result(f"{finding} late", evidence=quote("notes", text))
            await self.desk.propose_and_die(held, late, worker.caller)
        elif held.task.kind == "decide":
            await self.decide(worker, held)
        else:
            await self.complete(worker, held, finding, plan)

    async def add_beside(self, worker: Worker, held: Claim, finding: str) -> None:
        """Propose what does not complete the task."""
        await self.desk.admit(held, fact(finding), worker.caller)

    async def decide(self, worker: Worker, held: Claim) -> None:
        live = await self.desk.look(lambda tx: tx.entries(self.desk.run, ["admitted"]))
        ends = answer(*(entry.id for entry in live[:20]), gist="Every module keeps its commas now")
        try:
            proposed = await self.desk.propose(held, ends, worker.caller)
        except RunClosed:
            raise
        except Conflict:  # there is open work again
            await self.desk.board.update_task(worker.caller, lease=held.lease, action="release")
            return
        if proposed.state == "admitted":
            self.acknowledged.append(proposed.entry)

    async def complete(self, worker: Worker, held: Claim, finding: str, plan: str) -> None:
        assert held.task is not None
        if plan == "reject":
            bad = await self.desk.propose(held, result("It should work now"), worker.caller)
            assert (bad.state, bad.task_state) == ("rejected", "leased")
        made = await self.desk.admit(held, result(finding), worker.caller)
        self.acknowledged.append(made.entry)
        self.finished[held.task.id] += 1

    # -- what must have come out -----------------------------------------------------------------

    async def judge(self) -> None:
        home = await self.desk.home()
        assert home.state in {"finished", "stalled"}
        assert home.reason
        assert [task for task, count in self.finished.items() if count > 1] == []
        text = (await self.desk.read(budget_tokens=20_000)).text
        assert [label for label in self.acknowledged if f" + {label} " not in text] == []
        results = Counter(
            entry.task
            for entry in await self.desk.look(lambda tx: tx.entries(home.id, ["admitted"]))
            if entry.completes
        )
        tasks = await self.desk.look(lambda tx: tx.tasks(home.id))
        assert {task.id for task in tasks if task.state == "done" and task.result} == set(results)
        assert set(results.values()) <= {1}
        if home.state == "finished":
            assert [task.label for task in tasks if task.state in UNFINISHED] == []
        await self.desk.audit()


async def simulate(folder: Path, seed: int) -> None:
    async with desk_in(folder, seed=seed) as desk:
        team = Team(desk, seed)
        try:
            await team.run()
            await team.judge()
        except BaseException:
            print(f"\nseed {seed}, {team.size} agents:")  # noqa: T201 - pytest shows it beside the failure
            print("\n".join(team.story[-60:]))  # noqa: T201
            raise


@pytest.mark.parametrize("seed", range(40))
async def test_a_team_ends_its_run(tmp_path: Path, seed: int) -> None:
    await simulate(tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 2000))
async def test_a_thousand_teams_end_their_runs(tmp_path: Path, seed: int) -> None:
    await simulate(tmp_path, seed)


async def test_a_seed_tells_the_same_story_twice(tmp_path: Path) -> None:
    stories = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        async with desk_in(tmp_path / name, seed=3) as desk:
            team = Team(desk, 3)
            await team.run()
            stories.append(team.story)
    assert stories[0] == stories[1]
