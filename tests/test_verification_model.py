"""Teams that do anything that the tools allow, and much that they refuse, in any order.

Commands and a judging model are part of it, with answers that are drawn. After each step the rules of
`verification_rules` must hold, the context must only have grown, and a refusal must have changed nothing; at
the end the log must give the tables, and a cancelled run must come to rest.
"""

import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from delm_mcp.board.adding import NewTask
from delm_mcp.board.examining import Examiner, Memory, Spending
from delm_mcp.board.proposals import Finding
from delm_mcp.board.reading import Wanted
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.admission import Proposal
from delm_mcp.domain.model import (
    Caller,
    Command,
    Entry,
    Evidence,
    Kind,
    Principal,
    Receipt,
    Run,
    Task,
    Verdict,
)
from delm_mcp.domain.policy import Policy, build
from delm_mcp.errors import CheckUnavailable, Illegal, Refused
from tests.boards import OWNER, SEEN, Desk, desk_in, quote
from tests.verification_rules import faults, hasty, rows_of

# -- a world that answers as it is told ------------------------------------------------------------

NOTES = "Every module drops a comma somewhere."
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


# -- what agents do --------------------------------------------------------------------------------

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


POLICIES = st.builds(
    policy,
    st.sampled_from(list(WAYS)),
    st.sampled_from([(1, 0), (1, 2), (1, 3), (2, 0), (2, 3)]),
    st.sampled_from(["attest", "reject", "wait"]),
    st.integers(1, 3),
)


@dataclass(frozen=True)
class Drawn:
    """A proposal. Entries are counted from the latest; a patch is the tree that it makes."""

    kind: str
    proof: str
    tree: str
    parents: list[int]
    supersedes: list[int]
    key: str
    completes: bool
    fresh: bool
    checked: bool

    def evidence(self, strict: bool) -> tuple[Evidence, ...]:
        """What it cites; mostly as much as is needed."""
        proof = self.proof
        if self.kind == "patch":
            return (Evidence("command", "test", self.tree),)
        if proof == "nothing" and self.parents and self.kind == "fact" and not strict:
            return ()
        if proof in {"test", "lint"}:
            return (Evidence("command", proof),)
        if proof == "no quote":
            return quote("notes", "drops no comma")
        return quote("notes", "drops a comma") if proof == "quote" or strict else SEEN


Action = tuple[Any, ...]
TREE = "test {} {}, lint {} {}".format


def _who(dice: Random) -> int:
    return dice.randrange(5)


def _which(dice: Random) -> int:
    """An entry or a task, counted from the latest."""
    return min(int(dice.expovariate(0.7)), 6)


def _target(dice: Random) -> int:
    """An entry to doubt, counted from the latest or (below zero) from the first."""
    return dice.choice([1, -1]) * _which(dice) - dice.randrange(2)


def _verdict(dice: Random) -> str:
    return dice.choice(["pass", "pass", "pass", "pass", "fail", "abstain"])


def _proposal(dice: Random) -> Drawn:
    heir, passing = dice.random() < 0.1, dice.choice(["passes", "passes", "fails"])
    return Drawn(
        kind=dice.choice(["fact", "fact", "fact", "patch", "patch", "fail"]),
        proof=dice.choice(
            ["seen", "test", "test", "lint", "lint", "nothing", "nothing", "quote", "quote", "no quote"]
        ),
        tree=TREE(dice.randrange(3), passing, dice.randrange(3), dice.choice(["passes", "fails"])),
        parents=[] if heir else [_which(dice) for _ in range(dice.choice([0, 1, 1, 2]))],
        supersedes=[_which(dice)] if heir else [],
        key="k" if dice.random() < 0.05 else "",
        completes=dice.random() < 0.5,
        fresh=dice.random() < 0.95,
        checked=dice.random() < 0.6,
    )


ACTIONS: dict[str, tuple[float, Callable[[Random], Action]]] = {
    "turn": (12, lambda dice: (_who(dice), _verdict(dice), _proposal(dice))),
    "check": (
        6,
        lambda dice: (
            dice.choice(["pass", "pass", "pass", "pass", "pass", "fail", "abstain", "away"]),
            dice.choice(["", "", "", "", "dispute", "retract", "time"]),
            _who(dice),
            _target(dice),
        ),
    ),
    "wait": (2, lambda dice: (dice.choice([1.0, 6.0, 31.0, 41.0, 41.0, 101.0, 351.0, 501.0]),)),
    "dispute": (
        2,
        lambda dice: (
            _who(dice),
            _target(dice),
            [_which(dice)] if dice.random() < 0.3 else [],
            dice.random() < 0.1,
        ),
    ),
    "retract": (0.6, lambda dice: (_target(dice),)),
    "claim": (2, lambda dice: (_who(dice), dice.choice(["next", "work", "verify", "verify"]), _which(dice))),
    "judge": (1, lambda dice: (_who(dice), _verdict(dice), dice.random() < 0.5)),
    "update": (1, lambda dice: (_who(dice), dice.choice(["renew", "renew", "release", "fail"]))),
    "add": (
        1,
        lambda dice: (
            _who(dice),
            [_which(dice)] if dice.random() < 0.4 else [],
            dice.choice(["outside", "beside", "split"]),
        ),
    ),
    "propose": (1, lambda dice: (_who(dice), _proposal(dice))),
    "read": (0.5, lambda dice: (dice.randrange(100),)),
}


def thrown(number: int) -> Action:
    """An action from a number: dice weigh better than many small draws, and steps still shrink one by one."""
    dice = Random(number)  # noqa: S311 - dice are for simulations
    name = dice.choices(list(ACTIONS), [weight for weight, _ in ACTIONS.values()])[0]
    return (name, *ACTIONS[name][1](dice))


@dataclass
class Seat:
    """An agent, and the lease that it was given last."""

    caller: Caller
    name: str = ""
    lease: str = ""


class Teams(RuleBasedStateMachine):
    """Does what is drawn, and looks whether the rules hold."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal("asyncio"))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.world = World()
        self.desk: Desk = self.stack.enter_context(
            self.portal.wrap_async_context_manager(desk_in(folder, examiner=self.world))
        )
        self.number = 0
        self.text = ""
        self.rows: Any = None

    @initialize(
        policy=POLICIES,
        seats=st.sampled_from([(0, 1, 2, 0), (0, 1, 2, 3, 0), (0, 1, 0)]),
        tasks=st.integers(3, 6),
    )
    def open(self, policy: Policy, seats: Sequence[int], tasks: int) -> None:
        self.seats = [Seat(Caller(Principal(f"p{number}"))) for number in seats]
        self.portal.call(self.opens, policy, [f"task {number}" for number in range(tasks)])

    async def opens(self, policy: Policy, tasks: list[str]) -> None:
        base = TREE(0, "passes", 0, "passes")
        await self.desk.open(
            *tasks, policy=policy, commands=COMMANDS, sources=(("notes", NOTES),), repo="/repo", base=base
        )
        await self.look()
        for seat in self.seats:
            await self.take(seat)
        await self.look()

    @rule(action=st.integers(0, 2**64 - 1).map(thrown))
    def act(self, action: Action) -> None:
        self.portal.call(self.acts, *action)

    async def acts(self, name: str, *drawn: Any) -> None:
        await getattr(self, f"do_{name}")(*drawn)
        await self.look()

    def teardown(self) -> None:
        try:
            if self.desk.run:
                self.portal.call(self.ends)
        finally:
            self.stack.close()

    async def ends(self) -> None:
        """The log gives the tables, and a cancelled run comes to rest."""
        await self.do_read(0)
        await self.desk.audit()
        if self.rows.run.state == "open":
            await self.desk.board.cancel_run(OWNER, self.desk.run, "enough")
        self.world.mood, self.world.meanwhile = "pass", None
        for _ in range(5 + 3 * len(self.rows.entries)):
            self.desk.clock.advance(41.0)
            await self.desk.board.checker.run_next()
        await self.look()
        assert [entry.label for entry in self.rows.entries.values() if entry.state == "pending"] == []

    # -- looking ---------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read the rows, and insist on every rule."""
        before = self.rows
        self.rows = await self.desk.look(lambda tx: rows_of(tx, self.desk.run, before))
        since, upto = before.run.version if before else 0, self.rows.run.version
        assert faults(self.rows) == []
        assert hasty(self.rows, since) == []
        if upto > since:
            self.text += await self.render(since, upto)

    async def render(self, since: int, upto: int) -> str:
        """Everything between two versions, page by page."""
        text = ""
        while since < upto:
            wanted = Wanted(since=since, at=upto, budget_tokens=60_000)
            seen = await self.desk.board.read_context(OWNER, wanted, run=self.desk.run)
            text, since = text + seen.text, seen.version_read
        return text

    async def do_read(self, percent: int) -> None:
        """The whole context is what was read of it bit by bit, wherever it is cut."""
        version = self.rows.run.version
        middle = version * percent // 100
        assert self.text == await self.render(0, middle) + await self.render(middle, version)

    def seat(self, who: int) -> Seat:
        return self.seats[who % len(self.seats)]

    def held(self, seat: Seat) -> Task | None:
        leased = (task for task in self.rows.tasks.values() if task.state == "leased")
        return next((task for task in leased if task.agent == seat.name), None)

    def entry(self, which: int, besides: str = "") -> Entry | None:
        """An entry as `_target` counts them, if possible one that readers rely on and not by `besides`."""
        others = [entry for entry in self.rows.entries.values() if entry.principal != besides]
        known = [entry for entry in others if entry.state in {"admitted", "suspect"}] or others
        return known[-1 - which % len(known)] if known else None

    # -- doing -----------------------------------------------------------------------------------

    async def attempt(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something; None if it is refused, which changes nothing."""
        try:
            return await work
        except Refused as error:
            refusal = error
        assert not isinstance(refusal, Illegal), refusal
        assert await self.desk.look(lambda tx: tx.log_head(self.desk.run)) == self.rows.log_head
        return None

    async def take(self, seat: Seat, task: str = "") -> None:
        claim = await self.attempt(self.desk.claim(seat.caller, agent=seat.name, task=task))
        if claim is not None:
            seat.name, seat.lease = claim.agent, claim.lease or seat.lease

    async def do_turn(self, who: int, verdict: str, drawn: Drawn) -> None:
        """Do what a task asks for, so that runs get somewhere."""
        seat = self.seat(who)
        if self.held(seat) is None:
            await self.take(seat)
            await self.look()
        held = self.held(seat)
        if held is None:
            return
        if held.kind == "verify":
            await self.do_judge(who, verdict, False)
        elif held.kind == "decide" and verdict != "fail":
            await self.do_add(who, [], "beside")
        else:
            await self.do_propose(who, drawn, "answer" if held.kind == "decide" else "")

    async def do_propose(self, who: int, drawn: Drawn, kind: str = "") -> None:
        self.number += 1
        live = [entry.id for entry in self.rows.entries.values() if entry.state in {"admitted", "suspect"}]
        good = [label for label in live if self.rows.entries[label].state == "admitted"] or live
        parents = [good[-1 - which % len(good)] for which in drawn.parents if good]
        heirs = [live[-1 - which % len(live)] for which in drawn.supersedes if live]
        words = "".join(chr(ord("a") + int(digit)) for digit in str(self.number if drawn.fresh else 0))
        proposal = Proposal(
            Kind(kind or drawn.kind),
            f"Finding {words} holds",
            evidence=drawn.evidence("checkable" in self.rows.policy.fact.checks),
            scope="everywhere" if drawn.kind == "fail" else "",
            key=drawn.key,
            derived_from=tuple(parents),
            supersedes=tuple(heirs),
            completes=drawn.completes or kind == "answer",
        )
        seat, request = self.seat(who), f"r{self.number}"
        await self.attempt(
            self.desk.board.propose_update(seat.caller, proposal, lease=seat.lease, request=request)
        )
        if drawn.checked and any(check.state != "done" for check in self.rows.checks):
            await self.do_check("pass", "", 0, 0)

    async def do_judge(self, who: int, verdict: str, borrowed: bool) -> None:
        """Judge what one holds, or what somebody else does."""
        self.number += 1
        held = self.held(self.seat(who))
        if held is not None and held.kind == "verify":
            fails = ("support",) if verdict == "fail" else ()
            opinion = Opinion(f"E{held.about}", verdict, f"I compared it ({self.number})", fails)
            caller = self.seat(who + borrowed).caller
            await self.attempt(self.desk.board.verify(caller, opinion, lease=held.lease))

    async def do_dispute(self, who: int, which: int, against: list[int], own: bool) -> None:
        self.number += 1
        seat = self.seat(who)
        entry = self.entry(which, "" if own else str(seat.caller.principal))
        if entry is not None:
            cited = tuple(cite.label for number in against if (cite := self.entry(number)))
            opinion = Opinion(entry.label, "fail", f"doubt {self.number}", ("drift",), cited)
            doubts = self.desk.board.verify(seat.caller, opinion, agent=seat.name, run=self.desk.run)
            await self.attempt(doubts)

    async def do_retract(self, which: int) -> None:
        entry = self.entry(which)
        if entry is not None:
            await self.attempt(self.desk.board.retract(OWNER, entry.label, "it was a mistake"))

    async def do_claim(self, who: int, what: str, which: int) -> None:
        """Ask for the next task, or for one by its name."""
        known = [task.label for task in self.rows.tasks.values() if task.kind == what]
        await self.take(self.seat(who), known[-1 - which % len(known)] if known else "")

    async def do_update(self, who: int, how: str) -> None:
        """Keep or give up what one held last, which may be over."""
        self.number += 1
        seat, note = self.seat(who), f"note {self.number}"
        await self.attempt(self.desk.board.update_task(seat.caller, lease=seat.lease, action=how, note=note))

    async def do_add(self, who: int, after: list[int], how: str) -> None:
        self.number += 1
        known = [task.label for task in self.rows.tasks.values()]
        new = NewTask(f"task number {self.number}", after=tuple(known[-1 - n % len(known)] for n in after))
        seat = self.seat(who)
        under = {"lease": seat.lease, "split": how == "split"} if how != "outside" else {}
        await self.attempt(self.desk.add(new, caller=seat.caller, **under))

    async def do_wait(self, seconds: float) -> None:
        self.desk.clock.advance(seconds)

    async def do_check(self, mood: str, meanwhile: str, who: int, which: int) -> None:
        """Run the next check; while it runs, somebody may do something."""

        async def happens() -> None:
            await self.look()
            if meanwhile == "dispute":
                await self.do_dispute(who, which, [], False)
            elif meanwhile == "retract":
                await self.do_retract(which)
            else:
                await self.do_wait(41.0)

        self.world.mood, self.world.meanwhile = mood, happens if meanwhile else None
        await self.desk.board.checker.run_next()


def explore(rounds: int, steps: int) -> None:
    """Ten runs a round: after ten, Hypothesis mostly varies what it has, and here that finds less."""
    for _ in range(rounds):
        run_state_machine_as_test(
            Teams,
            settings=settings(
                max_examples=10,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_no_order_of_verdicts_disputes_and_retractions_breaks_the_rules() -> None:
    explore(10, 50)


@pytest.mark.long
def test_no_order_of_verdicts_disputes_and_retractions_breaks_the_rules_in_two_thousand_runs() -> None:
    explore(200, 100)
