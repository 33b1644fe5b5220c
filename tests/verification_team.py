"""A team that does anything that the tools allow, and much that they refuse.

After each action the rules of `verification_rules` must hold, and a refusal must have changed nothing; at the
end the context must be what was read of it bit by bit, the log must give the tables, and the run, cancelled,
must come to rest.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from delm_mcp.board.adding import NewTask
from delm_mcp.board.reading import Wanted
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Entry, Evidence, Kind, Principal, Task
from delm_mcp.domain.policy import Policy
from delm_mcp.domain.proposal import Proposal
from delm_mcp.errors import Illegal, Refused
from tests.boards import OWNER, SEEN, Desk, quote
from tests.verification_rules import faults, hasty, rows_of
from tests.verification_world import COMMANDS, NOTES, TREE, World


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


class Team:
    """A team at a desk whose examiner is the world; it looks after each action whether the rules hold.

    Args:
        principals: Whose each agent is.
    """

    def __init__(self, desk: Desk, world: World, principals: Sequence[int]) -> None:
        self.desk = desk
        self.world = world
        self.seats = [Seat(Caller(Principal(f"p{number}"))) for number in principals]
        self.number = 0
        self.text = ""
        self.rows: Any = None

    async def opens(self, policy: Policy, tasks: int) -> None:
        """Open a run; everybody joins and takes a task."""
        await self.desk.open(
            *(f"task {number}" for number in range(tasks)),
            policy=policy,
            commands=COMMANDS,
            sources=(("notes", NOTES),),
            repo="/repo",
            base=TREE(0, "passes", 0, "passes"),
        )
        await self.look()
        for seat in self.seats:
            await self.take(seat)
        await self.look()

    async def acts(self, name: str, *drawn: Any) -> None:
        await getattr(self, f"do_{name}")(*drawn)
        await self.look()

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
        waiting = [entry.label for entry in self.rows.entries.values() if entry.state == "pending"]
        assert not waiting, f"{waiting} wait in a cancelled run"

    # -- looking ---------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read the rows, and insist on every rule."""
        before = self.rows
        self.rows = await self.desk.look(lambda tx: rows_of(tx, self.desk.run, before))
        since, upto = before.run.version if before else 0, self.rows.run.version
        found = faults(self.rows) + hasty(self.rows, since)
        assert not found, found
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
        text = await self.render(0, middle) + await self.render(middle, version)
        assert text == self.text, f"cut at {middle}:\n{text}\nread bit by bit:\n{self.text}"

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
        head = await self.desk.look(lambda tx: tx.log_head(self.desk.run))
        assert head == self.rows.log_head, f"refused, and changed: {refusal}"
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
