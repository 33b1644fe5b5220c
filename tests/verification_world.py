"""What surrounds a team that is drawn: policies, commands, and a model, all answering as they are told."""

from collections.abc import Awaitable, Callable
from typing import Any

from delm_mcp.board.bench import Memory
from delm_mcp.board.examining import Examiner
from delm_mcp.board.proposals import Finding
from delm_mcp.board.spending import Spending
from delm_mcp.domain.model import Command, Entry, Kind, Receipt, Run, Verdict
from delm_mcp.domain.policy import Policy, build
from delm_mcp.errors import CheckUnavailable

NOTES = "Every module drops a comma somewhere."
TREE = "test {} {}, lint {} {}".format
COMMANDS = (Command("test", ("true",)), Command("lint", ("true",)))
LIMITS = {
    "lease_s": 100,
    "lease_max_s": 350,
    "max_attempts": 3,
    "max_losses": 3,
    "max_rounds": 3,
    "max_rejections": 4,
    "decide_grace_s": 10,
    "author_first_s": 30,
    "agent_live_s": 500,
}


class World(Examiner):
    """Commands and a model whose answers are drawn; things happen while they think.

    A tree is what its two commands depend on and whether they pass: `test 3 passes, lint 1 fails`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mood = "pass"
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    @property
    def can_run(self) -> tuple[str, ...]:
        return ("quotes", "command", "judge")

    @property
    def repo_name(self) -> str:
        return "/repo"

    async def resolve(self, run: Run, rev: str) -> str:
        return rev

    async def publish_head(self, run: Run, label: str, head: str) -> None:
        return None

    async def _answer(self) -> Verdict:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        if self.mood == "away":
            raise CheckUnavailable("The world is away.", "Ask it later.")
        return Verdict(self.mood)

    async def judged(self, run: Run, case: str, spent: Spending) -> Finding:
        return Finding(Receipt("judge", await self._answer(), "the model says so"))

    async def command(self, entry: Entry, run: Run, memory: Memory) -> Finding:
        verdict = await self._answer()
        again = entry.state == "suspect"
        tree = entry.commit if entry.kind is Kind.PATCH else run.head if again else entry.commit or run.head
        shown = dict(part.split(" ", 1) for part in tree.split(", "))
        ran = {
            "outcomes": {name: said.endswith("passes") for name, said in shown.items()},
            "inputs": {name: said.split(" ")[0] for name, said in shown.items()},
            "of_head": entry.kind is Kind.PATCH or tree == run.head,
        }
        tested = run.head if again or entry.kind in {Kind.PATCH, Kind.ANSWER} else ""
        new = tree if entry.kind is Kind.PATCH and verdict is Verdict.PASS else ""
        return Finding(
            Receipt("command", verdict, "it ran"), tested_head=tested, new_head=new, detail={"ran": ran}
        )


WAYS: dict[str, dict[str, Any]] = {
    "executed": {kind: {"checks": ["novel", "quotes", "command"]} for kind in ("fact", "fail", "patch")},
    "peers": {
        kind: {"checks": ["novel", "quotes", "command", "peers"]} for kind in ("fact", "fail", "patch")
    },
    "strict": {"preset": "strict"},
    "judge": {
        "fact": {"checks": ["novel", "command", "judge"]},
        "patch": {"checks": ["command"]},
        "judge": {"model": "openai:drawn"},
    },
    "both": {"fact": {"checks": ["novel", "peers", "judge"]}, "judge": {"model": "openai:drawn"}},
}


def policy(way: str, asked: tuple[int, int], no_peers: str, max_rejections: int) -> Policy:
    peers = {"approvals": asked[0], "of": asked[1], "no_peers": no_peers, "max_rejections": max_rejections}
    return build({**WAYS[way], "limits": LIMITS, "peers": {**peers, "peer_wait_s": 40}})
