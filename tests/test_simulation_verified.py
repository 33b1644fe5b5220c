"""Teams whose findings peers judge, on a virtual clock, from a seed: lone agents, several agents of one
principal, judges who die, dawdle, say no or cannot tell, and agents who dispute. Their runs end as well.

To see one again: `pytest "tests/test_simulation_verified.py::test_a_team_of_judges_ends_its_run[reject-7]"`.
"""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.board.answers import Claim
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import UNFINISHED
from delm_mcp.domain.policy import Policy, build
from delm_mcp.errors import Illegal, Refused, RunClosed
from tests.boards import OWNER, Desk, desk_in, fact, result
from tests.test_simulation import Team, Worker
from tests.verification_rules import faults, rows_of

pytestmark = pytest.mark.anyio

LIMITS = {
    "lease_s": 60,
    "lease_max_s": 600,
    "max_attempts": 2,
    "max_losses": 3,
    "max_rejections": 2,
    "max_rounds": 3,
    "agent_live_s": 300,
    "author_first_s": 30,
}
TURNS_MAX = 3000
ADDED_MAX = 12  # where every result is rejected, tasks that are split for ever would never end


def policy(no_peers: str, approvals: int, of: int) -> Policy:
    """Peers judge everything; nothing else stands in the way."""
    peers = {"approvals": approvals, "of": of, "no_peers": no_peers, "peer_wait_s": 20, "max_rejections": 2}
    judged = {kind: {"checks": ["novel", "peers"]} for kind in ("fact", "fail", "patch", "answer")}
    return build({**judged, "peers": peers, "limits": LIMITS})


class Judges(Team):
    """A team that also judges and disputes; some of those who die are not replaced."""

    turns_max = TURNS_MAX

    def __init__(self, desk: Desk, seed: int, no_peers: str) -> None:
        super().__init__(desk, seed)
        self.size = self.random.choice([1, 2, 2, 3, 4, 5, 6])
        self.principals = max(1, self.size - self.random.choice([0, 0, 0, 1, 2]))
        approvals = self.random.choice([1, 1, 2])
        self.policy = policy(no_peers, approvals, approvals + self.random.choice([0, 0, 1]))
        self.cancels = self.random.random() < 0.1
        self.did: Counter[str] = Counter()

    def principal(self) -> str:
        return f"p{self.random.randrange(self.principals)}"

    def replace(self, worker: Worker) -> None:
        """Somebody else comes, or the next one of the same principal, or nobody while others are there."""
        worker.claim = None
        if self.random.random() < 0.6 or not self.turns:
            self.hire()

    def plans(self, kind: str) -> list[str]:
        if kind == "verify":
            return ["pass"] * 8 + ["fail", "fail", "abstain", "crash", "dawdle", "release", "give up"]
        return [plan for plan in super().plans(kind) if plan not in {"reject", "late verdict"}]

    async def act(self, worker: Worker) -> None:
        if self.cancels and self.random.random() < 0.01:
            with suppress(RunClosed):  # the verdict before this turn may have ended it
                await self.desk.board.cancel_run(OWNER, self.desk.run, "enough")
            return
        if worker.name and self.random.random() < 0.08:
            await self.dispute(worker)
        await super().act(worker)

    async def dispute(self, worker: Worker) -> None:
        rows = await self.desk.look(lambda tx: tx.entries(self.desk.run, ["admitted"]))
        others = [row for row in rows if row.principal != worker.caller.principal]
        if others:
            about = self.random.choice(others)
            opinion = Opinion(about.label, "fail", "The source says otherwise", ("support",))
            await self.attempt(worker, f"dispute {about.label}", opinion)

    async def attempt(self, worker: Worker, what: str, opinion: Opinion, lease: str = "") -> None:
        """Judge or dispute, as far as the board allows it."""
        agent = "" if lease else worker.name
        try:
            await self.desk.board.verify(
                worker.caller, opinion, lease=lease, agent=agent, run="" if lease else self.desk.run
            )
            self.did[what.split(maxsplit=1)[0]] += 1
            self.tell(worker, what)
        except Illegal:
            raise
        except Refused as error:
            self.tell(worker, f"{what}: {error}")

    async def carry_out(self, worker: Worker, held: Claim, plan: str) -> None:
        assert held.task is not None
        if held.task.kind == "verify" and plan in {"pass", "fail", "abstain", "dawdle"}:
            verdict = "pass" if plan == "dawdle" else plan
            fails = ("drift",) if verdict == "fail" else ()
            opinion = Opinion(held.task.about, verdict, "I compared it", fails)
            await self.attempt(worker, f"{verdict} {held.task.about}", opinion, held.lease)
            return
        if plan in {"split", "add"} and self.added > ADDED_MAX:
            plan = "work"
        await super().carry_out(worker, held, plan)

    async def complete(self, worker: Worker, held: Claim, finding: str, plan: str) -> None:
        """Findings rest on earlier ones, so that what falls takes others along."""
        live = await self.desk.look(lambda tx: tx.entries(self.desk.run, ["admitted"]))
        parents = tuple(row.id for row in live[-2:]) if self.random.random() < 0.7 else ()
        extra: dict[str, Any] = {"evidence": ()} if parents and self.random.random() < 0.5 else {}
        await self.desk.propose(held, result(finding, derived_from=parents, **extra), worker.caller)

    async def add_beside(self, worker: Worker, held: Claim, finding: str) -> None:
        await self.desk.propose(held, fact(finding), worker.caller)

    # -- what must have come out -----------------------------------------------------------------

    async def judge(self) -> None:
        home = await self.desk.home()
        assert home.state in {"finished", "stalled", "cancelled"}
        assert home.reason
        rows = await self.desk.look(lambda tx: rows_of(tx, home.id))
        found = faults(rows)
        assert not found, found
        alone = len(set(rows.principals.values())) == 1
        judged = [row for row in rows.entries.values() if row.state not in {"pending", "rejected"}]
        for row in judged:
            word = next(receipt for receipt in row.receipts if receipt.check == "peers")
            if alone:
                assert word.verdict == "abstain", row.label
            assert (word.verdict == "abstain") == ("no peer judged it" in row.flags), row.label
        if alone and self.policy.peers.no_peers == "reject":
            assert judged == []
        if home.state == "finished":
            assert [task.label for task in rows.tasks.values() if task.state in UNFINISHED] == []
        await self.desk.audit()


async def simulate(folder: Path, seed: int, no_peers: str) -> Judges:
    async with desk_in(folder, seed=seed) as desk:
        team = Judges(desk, seed, no_peers)
        try:
            await team.run()
            await team.judge()
        except BaseException:
            print(f"\nseed {seed}, {team.size} agents of {team.principals}, {team.policy.peers}:")  # noqa: T201
            print("\n".join(team.story[-60:]))  # noqa: T201 - pytest shows it beside the failure
            raise
        return team


@pytest.mark.parametrize("no_peers", ["attest", "reject"])
@pytest.mark.parametrize("seed", range(25))
async def test_a_team_of_judges_ends_its_run(tmp_path: Path, seed: int, no_peers: str) -> None:
    await simulate(tmp_path, seed, no_peers)


@pytest.mark.long
@pytest.mark.parametrize("no_peers", ["attest", "reject"])
@pytest.mark.parametrize("seed", range(1000, 1500))
async def test_a_thousand_teams_of_judges_end_their_runs(tmp_path: Path, seed: int, no_peers: str) -> None:
    await simulate(tmp_path, seed, no_peers)
