"""What must hold of verdicts, disputes and cascades, whatever agents do and in whatever order.

The invariants are told from the rows alone and from the rules as they are written down; nothing of the
board's code is used to judge them. `faults` lists what does not hold, in words.
"""

import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from delm_mcp.board.adding import NewTask
from delm_mcp.board.examining import Examiner, Memory, Spent
from delm_mcp.board.proposals import Finding
from delm_mcp.board.reading import Wanted
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.admission import Proposal
from delm_mcp.domain.model import (
    UNFINISHED,
    Caller,
    Check,
    Command,
    ContextChange,
    Entry,
    Evidence,
    Kind,
    Principal,
    Receipt,
    Run,
    Task,
    Verdict,
    Vote,
)
from delm_mcp.domain.policy import Policy, build, parse
from delm_mcp.errors import CheckUnavailable, Illegal, Refused
from delm_mcp.store.base import Tx
from tests.boards import OWNER, SEEN, Desk, desk_in, quote

# -- what must hold --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """A run as its tables have it."""

    run: Run
    policy: Policy
    entries: dict[int, Entry]
    tasks: dict[int, Task]
    votes: list[Vote]
    changes: list[ContextChange]
    checks: list[Check]
    principals: dict[str, str]
    needs: dict[int, list[Task]]

    def above(self, entry: Entry) -> list[Entry]:
        """Everything that an entry derives from, however deep."""
        found: dict[int, Entry] = {}
        waiting = list(entry.derived_from)
        while waiting:
            label = waiting.pop()
            parent = self.entries.get(label)
            if parent is not None and label not in found:
                found[label] = parent
                waiting += parent.derived_from
        return list(found.values())

    def about(self, entry: int, *states: str) -> list[Task]:
        """Verify tasks about an entry."""
        wanted = [task for task in self.tasks.values() if (task.kind, task.about) == ("verify", entry)]
        return [task for task in wanted if not states or task.state in states]

    def verdicts(self, entry: int) -> list[Vote]:
        return [vote for vote in self.votes if vote.entry == entry and vote.task]

    def disputes(self, entry: int) -> list[Vote]:
        return [vote for vote in self.votes if vote.entry == entry and not vote.task]


def rows_of(tx: Tx, run_id: str) -> Rows:
    run = next(run for run in tx.runs() if run.id == run_id)
    agents = tx.agents(run.id)
    heard = {
        change.id: change
        for reader in ("", *(agent.name for agent in agents))
        for change in tx.changes(run.id, 0, run.version, reader=reader)
    }
    tasks = {int(task.id): task for task in tx.tasks(run.id)}
    return Rows(
        run,
        parse(run.policy),
        {int(entry.id): entry for entry in tx.entries(run.id)},
        tasks,
        tx.votes_in(run.id),
        [heard[number] for number in sorted(heard)],
        [check for name in ("quotes", "command", "peers", "judge") for check in tx.checks_in(run.id, name)],
        {agent.name: str(agent.principal) for agent in agents},
        {number: tx.waits_for(task.id) for number, task in tasks.items() if task.kind == "work"},
    )


def faults(rows: Rows) -> list[str]:
    """Every rule that does not hold, in words."""
    rules = (standing, history, voting, counted, settled, waiting, verify_tasks, leases, work)
    return [fault for rule in rules for fault in rule(rows)]


def standing(rows: Rows) -> Iterator[str]:
    """Nobody is told to rely on what stands on something doubtful, or fallen and not looked at since."""
    last: dict[tuple[int, bool], int] = {}
    for change in rows.changes:
        if change.what in {"admitted", "cleared", "retracted"}:
            last[change.entry, change.what == "retracted"] = change.version
    for entry in rows.entries.values():
        if entry.state != "admitted":
            continue
        for ancestor in rows.above(entry):
            if ancestor.state == "suspect":
                yield f"{entry.label} is admitted and stands on {ancestor.label}, which is suspect"
            if ancestor.state == "retracted" and last[entry.id, False] <= last[ancestor.id, True]:
                yield f"{entry.label} is admitted since before {ancestor.label} below it was retracted"
            if ancestor.state in {"pending", "rejected"}:
                yield f"{entry.label} is admitted and stands on {ancestor.label}, which is {ancestor.state}"


NEXT = {
    "pending": {"admitted": "admitted", "rejected": "rejected"},
    "admitted": {"superseded": "superseded", "suspect": "suspect", "retracted": "retracted"},
    "suspect": {"superseded": "superseded", "cleared": "admitted", "retracted": "retracted"},
}


def history(rows: Rows) -> Iterator[str]:
    """The tables say what the changes say, and the versions have no gap."""
    told = dict.fromkeys(rows.entries, "pending")
    for change in rows.changes:
        after = NEXT.get(told[change.entry], {}).get(change.what)
        if after is None:
            yield f"v{change.version}: E{change.entry} was {told[change.entry]} and is {change.what}"
        told[change.entry] = after or told[change.entry]
    for entry in rows.entries.values():
        state = told[entry.id]
        if entry.state != state and (entry.state, state) != ("rejected", "pending"):
            yield f"{entry.label} is {entry.state}, and its last change leaves it {state}"
        if bool(entry.doubts) != (entry.state == "suspect"):
            yield f"{entry.label} is {entry.state} with the doubts {entry.doubts}"
    versions = sorted({change.version for change in rows.changes})
    if versions != list(range(1, rows.run.version + 1)):
        yield f"versions {versions}, and the run is at {rows.run.version}"


def voting(rows: Rows) -> Iterator[str]:
    """Nobody decides on its own entry, on one that it disputed, or twice in a round."""
    for vote in rows.votes:
        entry = rows.entries[vote.entry]
        if vote.principal == entry.principal:
            yield f"{vote.principal} judged or disputed its own {entry.label}"
        if vote.principal != rows.principals[vote.agent]:
            yield f"{vote.agent} voted as {vote.principal}"
    for (entry_id, number, principal), count in Counter(
        (vote.entry, vote.round, vote.principal) for vote in rows.votes if vote.task
    ).items():
        if count > 1:
            yield f"{principal} judged E{entry_id} {count} times in round {number}"
    for dispute in (vote for vote in rows.votes if not vote.task):
        for vote in rows.verdicts(dispute.entry):
            if vote.principal == dispute.principal and vote.id > dispute.id:
                yield f"{vote.principal} judged E{vote.entry} after disputing it"
        if sum(other.principal == dispute.principal for other in rows.disputes(dispute.entry)) > 1:
            yield f"{dispute.principal} disputed E{dispute.entry} twice"


def counted(rows: Rows) -> Iterator[str]:
    """What peers decided, enough of them decided."""
    peers = rows.policy.peers
    asked = max(peers.of, peers.approvals)
    for entry in rows.entries.values():
        first = {vote.principal: vote.verdict for vote in rows.verdicts(entry.id) if vote.round == 0}
        passes = sum(verdict == "pass" for verdict in first.values())
        fails = sum(verdict == "fail" for verdict in first.values())
        said = next((receipt for receipt in entry.receipts if receipt.check == "peers"), None)
        was_admitted = entry.state not in {"pending", "rejected"}
        if was_admitted and "peers" in rows.policy.of(entry.kind):
            attested = said is not None and said.verdict == "abstain" and peers.no_peers == "attest"
            if passes < peers.approvals and not attested:
                yield f"{entry.label} was admitted with {passes} approvals of {peers.approvals}"
        if entry.state == "rejected" and said is not None:
            if said.verdict == "fail" and fails <= asked - peers.approvals:
                yield f"{entry.label} was rejected by {fails} of {asked}"
            if said.verdict == "abstain" and peers.no_peers == "wait":
                yield f"{entry.label} was given up although its run waits for peers"


def settled(rows: Rows) -> Iterator[str]:
    """A question that is answered is asked of nobody; one that is open is asked of somebody."""
    for entry in rows.entries.values():
        asked = rows.about(entry.id, *UNFINISHED)
        checks = [check for check in rows.checks if check.entry == entry.id and check.state != "done"]
        if entry.state not in {"pending", "suspect"} and asked:
            yield f"{entry.label} is {entry.state}, and {asked[0].label} about it is {asked[0].state}"
        if rows.run.state != "open":
            continue
        if entry.state == "pending" and len(checks) != 1:
            yield f"{entry.label} is pending with {len(checks)} open checks"
        if entry.state == "suspect":
            later = any(ancestor.state == "suspect" for ancestor in rows.above(entry))
            if not (asked or checks or later or rows.about(entry.id, "failed")):
                yield f"{entry.label} is suspect ({entry.doubts}), and nobody is asked"


def waiting(rows: Rows) -> Iterator[str]:
    """Entries are verified in the order in which they derive from each other."""
    for entry in rows.entries.values():
        for task in rows.about(entry.id, *UNFINISHED):
            doubtful = sum(ancestor.state == "suspect" for ancestor in rows.above(entry))
            blockers = doubtful if entry.state == "suspect" else 0
            if (task.state == "blocked") != bool(blockers) or (blockers and task.blocked_by != blockers):
                yield (
                    f"{task.label} about {entry.label} ({entry.state}) is {task.state} by {task.blocked_by}, "
                    f"and {doubtful} below it are suspect"
                )


def verify_tasks(rows: Rows) -> Iterator[str]:
    """A verify task ends with one verdict, of the agent that held it."""
    cast = Counter(vote.task for vote in rows.votes if vote.task)
    for task in rows.tasks.values():
        if task.kind != "verify":
            continue
        if cast[task.id] != (task.state == "done"):
            yield f"{task.label} is {task.state} with {cast[task.id]} verdicts"
        if task.state == "submitted" or task.result:
            yield f"{task.label} is a verify task with a result"


def leases(rows: Rows) -> Iterator[str]:
    """Whoever holds a verify task may judge, and holds one a principal and entry."""
    seen: set[tuple[int, str]] = set()
    for task in rows.tasks.values():
        if task.kind != "verify" or task.state != "leased":
            continue
        holder, entry = rows.principals[task.agent], rows.entries[task.about]
        barred = {str(vote.principal) for vote in rows.disputes(entry.id)} | {str(entry.principal)}
        barred |= {str(vote.principal) for vote in rows.verdicts(entry.id) if vote.round == entry.round}
        if holder in barred:
            yield f"{task.label} about {entry.label} is held by {holder}, who may not judge it"
        if (task.about, holder) in seen:
            yield f"{holder} holds two verify tasks about {entry.label}"
        seen.add((task.about, holder))


def work(rows: Rows) -> Iterator[str]:
    """What is done stays done by something, and what has not begun waits for what it needs."""
    for task in rows.tasks.values():
        result = rows.entries.get(task.result)
        if task.result and (result is None or task.state != "done" or result.state == "retracted"):
            yield f"{task.label} is {task.state} by E{task.result}"
        pending = [e for e in rows.entries.values() if e.task == task.id and e.completes and e.state == "pending"]
        if (task.state == "submitted") != bool(pending) and rows.run.state == "open" and task.kind != "verify":
            yield f"{task.label} is {task.state} with {len(pending)} results on their way"
        if task.kind == "work" and task.state in {"blocked", "ready"}:
            left = [need.label for need in rows.needs[task.id] if need.state != "done"]
            if task.blocked_by != len(left) or (task.state == "blocked") != bool(left):
                yield f"{task.label} is {task.state} by {task.blocked_by}, and {left} are not done"
    if rows.run.state in {"finished", "cancelled"}:
        for task in rows.tasks.values():
            if task.state in UNFINISHED:
                yield f"the run is {rows.run.state}, and {task.label} is {task.state}"


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

    async def judged(self, run: Run, case: str, spent: Spent) -> Finding:
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


# -- the machine -----------------------------------------------------------------------------------


@dataclass
class Seat:
    """An agent, and the lease that it was given last."""

    caller: Caller
    name: str = ""
    lease: str = ""


WAYS = {
    "open": {"preset": "open"},
    "standard": {},
    "peers": {kind: {"checks": ["novel", "quotes", "command", "peers"]} for kind in ("fact", "fail", "patch")},
    "strict": {"preset": "strict"},
    "judge": {
        "fact": {"checks": ["novel", "command", "judge"]},
        "patch": {"checks": ["command", "judge"]},
        "judge": {"model": "openai:drawn"},
    },
    "both": {"fact": {"checks": ["novel", "peers", "judge"]}, "judge": {"model": "openai:drawn"}},
}
POLICIES = st.builds(
    lambda way, **peers: build({**WAYS[way], "limits": LIMITS, "peers": peers}),
    st.sampled_from(sorted(WAYS)),
    approvals=st.integers(1, 2),
    of=st.integers(0, 3),
    no_peers=st.sampled_from(["attest", "reject", "wait"]),
    peer_wait_s=st.just(40),
    max_rejections=st.integers(1, 3),
)
WHO = st.integers(0, 4)
ENTRY = st.integers(0, 5)
TREES = st.builds(
    "test {} {}, lint {} {}".format, *[st.integers(0, 2), st.sampled_from(["passes", "fails"])] * 2
)
VERDICTS = st.sampled_from(["pass", "pass", "pass", "fail", "abstain"])
MEANWHILE = st.one_of(st.none(), st.tuples(st.sampled_from(["dispute", "retract", "time"]), WHO, ENTRY))


@dataclass(frozen=True)
class Drawn:
    """A proposal; entries are counted from the latest."""

    kind: str
    proof: str
    tree: str
    parents: list[int]
    supersedes: list[int]
    key: str
    completes: bool
    fresh: bool


PROPOSALS = st.builds(
    Drawn,
    kind=st.sampled_from(["fact", "fact", "fact", "patch", "fail"]),
    proof=st.sampled_from(["seen", "test", "nothing", "quote", "lint", "test", "nothing", "seen", "no quote"]),
    tree=TREES,
    parents=st.lists(ENTRY, max_size=2),
    supersedes=st.one_of(st.just([]), st.just([]), st.just([]), st.lists(ENTRY, max_size=1)),
    key=st.sampled_from(["", "", "", "k"]),
    completes=st.sampled_from([False, False, True]),
    fresh=st.sampled_from([True] * 9 + [False]),
)


def evidence(proof: str, drawn: Drawn) -> tuple[Evidence, ...]:
    """What a proposal cites; a patch is the tree that it makes, and others speak of head."""
    if drawn.kind == "patch":
        return (Evidence("command", "test", drawn.tree),)
    if proof in {"test", "lint"}:
        return (Evidence("command", proof),)
    found = {"seen": SEEN, "quote": quote("notes", "drops a comma"), "no quote": quote("notes", "no comma")}
    return found.get(proof, ())


def worded(number: int) -> str:
    """A number without digits, because those have to stand in the quotes."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


WORK = st.lists(st.tuples(WHO, VERDICTS, PROPOSALS), max_size=3)


def step(**draws: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule before which a few agents work."""

    def wrap(function: Callable[..., None]) -> Any:
        def acts(self: "Teams", work: list[tuple[int, str, Drawn]], **drawn: Any) -> None:
            self.work(work)
            function(self, **drawn)

        acts.__name__ = function.__name__
        return rule(work=WORK, **draws)(acts)

    return wrap


class Teams(RuleBasedStateMachine):
    """A team that does anything that the tools allow, and much that they refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal("asyncio"))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.world = World()
        self.desk: Desk = self.stack.enter_context(
            self.portal.wrap_async_context_manager(desk_in(folder, examiner=self.world))
        )
        self.seats: list[Seat] = []
        self.number = 0
        self.text = ""
        self.versions = 0

    def teardown(self) -> None:
        try:
            if self.desk.run:
                self.portal.call(self.desk.audit)
        finally:
            self.stack.close()

    # -- doing -----------------------------------------------------------------------------------

    def call(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self.portal.call(self.attempt, work)

    async def attempt(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something; None if it is refused, which changes nothing."""
        before = await self.desk.look(lambda tx: tx.log_head(self.desk.run))
        try:
            return await work()
        except Refused as error:
            assert not isinstance(error, Illegal), error
            assert await self.desk.look(lambda tx: tx.log_head(self.desk.run)) == before
            return None

    def look(self) -> Rows:
        rows: Rows = self.portal.call(self.desk.look, lambda tx: rows_of(tx, self.desk.run))
        return rows

    @initialize(
        policy=POLICIES,
        seats=st.sampled_from([(0, 1, 2, 0), (0, 1, 2, 3, 0), (0, 1, 0)]),
        tasks=st.integers(1, 3),
    )
    def open(self, policy: Policy, seats: Sequence[int], tasks: int) -> None:
        self.seats = [Seat(Caller(Principal(f"p{number}"))) for number in seats]
        subjects = [f"task {number}" for number in range(tasks)]
        base = "test 0 passes, lint 0 passes"
        opening = {"commands": COMMANDS, "sources": (("notes", NOTES),), "repo": "/repo", "base": base}
        self.portal.call(lambda: self.desk.open(*subjects, policy=policy, **opening))
        for seat in self.seats:
            self.portal.call(self.claim, seat)

    def seat(self, who: int) -> Seat:
        return self.seats[who % len(self.seats)]

    def holding(self, who: int, rows: Rows) -> tuple[Seat, Task | None]:
        seat = self.seat(who)
        held = [task for task in rows.tasks.values() if (task.state, task.agent) == ("leased", seat.name)]
        return seat, held[0] if held else None

    @staticmethod
    def entry(which: int, rows: Rows, besides: str = "") -> Entry | None:
        """One of the latest entries, mostly one that readers rely on, by somebody else than `besides`."""
        others = [entry for entry in rows.entries.values() if entry.principal != besides]
        live = [entry for entry in others if entry.state in {"admitted", "suspect"}]
        known = live or others
        return known[-1 - which % len(known)] if known else None

    async def claim(self, seat: Seat, task: str = "") -> None:
        claim = await self.desk.claim(seat.caller, agent=seat.name, task=task)
        seat.name, seat.lease = claim.agent, claim.lease or seat.lease

    async def dispute(self, seat: Seat, entry: Entry, against: Sequence[str] = ()) -> None:
        self.number += 1
        opinion = Opinion(entry.label, "fail", f"doubt {self.number}", ("drift",), tuple(against))
        await self.desk.board.verify(seat.caller, opinion, agent=seat.name, run=self.desk.run)

    async def propose(self, seat: Seat, proposal: Proposal) -> None:
        self.number += 1
        await self.desk.board.propose_update(
            seat.caller, proposal, lease=seat.lease, request=f"r{self.number}"
        )

    @step(who=WHO, what=st.sampled_from(["", "", "T", "V"]), which=ENTRY)
    def claims(self, who: int, what: str, which: int) -> None:
        """Ask for the next task, or for one by name."""
        tasks = [t.label for t in self.rows.tasks.values() if (t.kind == "verify") == (what == "V")]
        wanted = tasks[-1 - which % len(tasks)] if what and tasks else ""
        self.call(lambda: self.claim(self.seat(who), wanted))

    def work(self, turns: list[tuple[int, str, Drawn]]) -> None:
        """Agents do what their tasks ask of them, so that runs get somewhere."""
        for who, verdict, drawn in turns:
            seat, held = self.holding(who, self.rows)
            if held is None:
                self.call(lambda seat=seat: self.claim(seat))
                self.holds()
                seat, held = self.holding(who, self.rows)
            if held is not None and held.kind == "verify":
                self.judge(who, verdict, False)
            elif held is not None and held.kind == "decide" and verdict != "fail":
                self.add(who, [], "beside")
            elif held is not None:
                self.offer(who, replace(drawn, kind="answer") if held.kind == "decide" else drawn)
            self.holds()
            if any(check.name != "peers" and check.state == "waiting" for check in self.rows.checks):
                self.check(verdict, None)

    def offer(self, who: int, drawn: Drawn) -> None:
        self.number += 1
        rows = self.rows
        parents = [entry.id for which in drawn.parents if (entry := self.entry(which, rows))]
        heirs = [entry.id for which in drawn.supersedes if (entry := self.entry(which, rows))]
        strict = "checkable" in rows.policy.fact.checks and drawn.proof in {"seen", "nothing"}
        bare = drawn.proof == "nothing" and (drawn.kind == "fail" or not parents)
        proposal = Proposal(
            Kind(drawn.kind),
            f"Finding {worded(self.number if drawn.fresh else 0)} holds",
            evidence=evidence("quote" if strict or bare else drawn.proof, drawn),
            scope="everywhere" if drawn.kind == "fail" else "",
            key=drawn.key,
            derived_from=tuple(parents),
            supersedes=tuple(heirs),
            completes=drawn.completes or drawn.kind == "answer",
        )
        self.call(lambda: self.propose(self.seat(who), proposal))

    @step(who=WHO, drawn=PROPOSALS)
    def proposes(self, who: int, drawn: Drawn) -> None:
        self.offer(who, drawn)

    def judge(self, who: int, verdict: str, borrowed: bool) -> None:
        seat, held = self.holding(who, self.rows)
        if held is None or held.kind != "verify":
            return
        caller = self.seat(who + 1).caller if borrowed else seat.caller
        self.number += 1
        fails = ("support",) if verdict == "fail" else ()
        opinion = Opinion(f"E{held.about}", verdict, f"I compared it ({self.number})", fails)
        self.call(lambda: self.desk.board.verify(caller, opinion, lease=held.lease))

    @step(who=WHO, which=ENTRY, against=st.lists(ENTRY, max_size=1), own=st.sampled_from([False, False, True]))
    def disputes(self, who: int, which: int, against: list[int], own: bool) -> None:
        author = "" if own else str(self.seat(who).caller.principal)
        entry = self.entry(which, self.rows, besides=author)
        if entry is not None:
            cited = [cite.label for number in against if (cite := self.entry(number, self.rows))]
            self.call(lambda: self.dispute(self.seat(who), entry, cited))

    @step(which=ENTRY)
    def retracts(self, which: int) -> None:
        entry = self.entry(which, self.rows)
        if entry is not None:
            self.call(lambda: self.desk.board.retract(OWNER, entry.label, "it was a mistake"))

    @step(who=WHO, action=st.sampled_from(["renew", "renew", "release", "fail"]))
    def updates(self, who: int, action: str) -> None:
        """With the lease that one had last, which may be over."""
        seat = self.seat(who)
        self.number += 1
        note = f"note {self.number}"
        self.call(
            lambda: self.desk.board.update_task(seat.caller, lease=seat.lease, action=action, note=note)
        )

    def add(self, who: int, after: list[int], how: str) -> None:
        self.number += 1
        known = [task.label for task in self.rows.tasks.values()]
        new = NewTask(f"task number {self.number}", after=tuple(known[-1 - n % len(known)] for n in after))
        seat = self.seat(who)
        under = {"lease": seat.lease, "split": how == "split"} if how != "outside" else {}
        self.call(lambda: self.desk.add(new, caller=seat.caller, **under))

    @step(who=WHO, verdict=VERDICTS, borrowed=st.sampled_from([False, True]))
    def judges(self, who: int, verdict: str, borrowed: bool) -> None:
        """Judge what one holds, or with somebody else's lease."""
        self.judge(who, verdict, borrowed)

    @step(who=WHO, after=st.lists(ENTRY, max_size=1), how=st.sampled_from(["outside", "beside", "split"]))
    def adds(self, who: int, after: list[int], how: str) -> None:
        self.add(who, after, how)

    @step(seconds=st.sampled_from([1.0, 6.0, 41.0, 41.0, 101.0, 351.0, 501.0]))
    def waits(self, seconds: float) -> None:
        self.desk.clock.advance(seconds)

    @step(mood=st.sampled_from(["pass", "pass", "fail", "abstain", "away"]), meanwhile=MEANWHILE)
    def checks(self, mood: str, meanwhile: tuple[str, int, int] | None) -> None:
        """Run the next check; while it runs, somebody may do something."""
        self.check(mood, meanwhile)

    def check(self, mood: str, meanwhile: tuple[str, int, int] | None) -> None:
        self.world.mood, self.world.meanwhile = mood, None
        if meanwhile is not None:
            self.world.meanwhile = lambda: self.meddle(*meanwhile)
        self.call(self.desk.board.checker.run_next)
        self.holds()

    async def meddle(self, what: str, who: int, which: int) -> None:
        rows = await self.desk.look(lambda tx: rows_of(tx, self.desk.run))
        entry = self.entry(which, rows, besides=str(self.seat(who).caller.principal))
        if what == "time":
            self.desk.clock.advance(41.0)
        elif entry is not None and what == "dispute":
            await self.attempt(lambda: self.dispute(self.seat(who), entry))
        elif entry is not None:
            await self.attempt(lambda: self.desk.board.retract(OWNER, entry.label, "a mistake"))

    # -- looking ---------------------------------------------------------------------------------

    def render(self, since: int, upto: int) -> str:
        """Everything between two versions, page by page."""
        text, at = "", since
        while at < upto:
            wanted = Wanted(since=at, at=upto, budget_tokens=60_000)
            seen = self.portal.call(lambda w=wanted: self.desk.board.read_context(OWNER, w, run=self.desk.run))
            text, at = text + seen.text, seen.version_read
        return text

    @step(share=st.floats(0, 1))
    def reads(self, share: float) -> None:
        version = self.rows.run.version
        middle = round(share * version)
        assert self.render(0, version) == self.render(0, middle) + self.render(middle, version)

    @precondition(lambda self: self.desk.run)
    @invariant()
    def holds(self) -> None:
        self.rows = self.look()
        assert faults(self.rows) == []
        assert cleared_by_few(self.rows, self.versions) == []
        if self.rows.run.version > self.versions:
            text = self.render(0, self.rows.run.version)
            assert text.startswith(self.text)
            self.text, self.versions = text, self.rows.run.version


def cleared_by_few(rows: Rows, since: int) -> list[str]:
    """Entries that peers cleared after a version, without being enough."""
    few = []
    for change in rows.changes:
        if change.version > since and change.what == "cleared" and change.note.startswith("peers:"):
            entry = rows.entries[change.entry]
            judges = {v.principal for v in rows.verdicts(entry.id) if (v.round, v.verdict) == (entry.round, "pass")}
            if len(judges) < rows.policy.peers.approvals:
                few.append(f"{entry.label} was cleared by {sorted(judges)}")
    return few


def explore(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Teams,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_order_of_verdicts_disputes_and_retractions_breaks_the_rules() -> None:
    explore(100, 40)


@pytest.mark.long
def test_no_order_of_verdicts_disputes_and_retractions_breaks_the_rules_in_two_thousand_runs() -> None:
    explore(2000, 80)
