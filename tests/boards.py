"""A board in a temporary file, with a clock that stands still until a test moves it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from delm_mcp.board import Board, Settings
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim, Judged, Proposed, Queued, Reading
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.reading import Wanted
from delm_mcp.board.runs import Opening
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import (
    Agent,
    Caller,
    Entry,
    EntryId,
    Evidence,
    Kind,
    Principal,
    Role,
    Run,
    RunId,
    Task,
    TaskId,
)
from delm_mcp.domain.policy import Policy, build
from delm_mcp.domain.proposal import Proposal
from delm_mcp.errors import DelmError
from delm_mcp.store import journal
from delm_mcp.store.base import Tx
from delm_mcp.store.sqlite import SqliteStore, Synchronous, open_sqlite

T = TypeVar("T")

ADA = Caller(Principal("ada"))
BOB = Caller(Principal("bob"))
CYD = Caller(Principal("cyd"))
OWNER = Caller(Principal("owner"), Role.OWNER)
OBSERVER = Caller(Principal("eve"), Role.OBSERVER)

GOAL = "Mend the parser"
SEEN = (Evidence("artifact", "log", "saw it fail, then pass"),)
START = 1_700_000_000.0


class Clock:
    """Seconds since the epoch that only pass when told to."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Dying(Checker):
    """A checker whose process dies right after each proposal was written down."""

    async def run_quick(self, entry: EntryId) -> None:
        """Leave the check to whoever takes it over."""


def limits(**values: float) -> Policy:
    """The standard policy with other limits."""
    return build({"limits": values})


def fact(gist: str = "The parser drops a trailing comma in lists", **fields: Any) -> Proposal:
    """A proposal that passes, unless `fields` say otherwise."""
    return Proposal(**{"kind": Kind.FACT, "gist": gist, "evidence": SEEN, **fields})


def result(gist: str = "The parser drops a trailing comma in lists", **fields: Any) -> Proposal:
    """A fact that completes its task."""
    return fact(gist, completes=True, **fields)


def answer(*parents: int, gist: str = "The parser is mended and every list reads back") -> Proposal:
    """The end of a run."""
    return Proposal(Kind.ANSWER, gist, derived_from=parents, completes=True)


def quote(ref: str, text: str) -> tuple[Evidence, ...]:
    return (Evidence("quote", ref, text),)


@dataclass
class Desk:
    """An open board and everything behind it."""

    board: Board
    store: SqliteStore
    clock: Clock
    ids: RandomIds
    path: Path
    run: str = ""
    opened: list[str] = field(default_factory=list)
    dying: type[Checker] = Dying

    # -- doing -----------------------------------------------------------------------------------

    async def open(
        self, *tasks: str | NewTask, policy: Policy | None = None, caller: Caller = OWNER, **opening: Any
    ) -> Queued:
        """Open a run as its owner's command line does, with the policy, commands and sources of `opening`."""
        new = [NewTask(task) if isinstance(task, str) else task for task in tasks]
        wanted = Opening(**{"goal": GOAL, **opening, **({"policy": policy} if policy else {})})

        run, added = await self.board.open_run(caller, wanted, new)
        queued = Queued(run=run, tasks=tuple(added))
        self.run = queued.run
        self.opened.append(queued.run)
        return queued

    async def claim(self, caller: Caller = ADA, **fields: Any) -> Claim:
        return await self.board.claim_task(caller, **{"run": self.run, **fields})

    async def hold(self, caller: Caller = ADA, **fields: Any) -> Claim:
        """Claim, and insist on a task."""
        claim = await self.claim(caller, **fields)
        assert claim.task is not None, claim.reason
        return claim

    async def propose(self, claim: Claim | str, proposal: Proposal, caller: Caller = ADA) -> Proposed:
        lease = claim if isinstance(claim, str) else claim.lease
        return await self.board.propose_update(caller, proposal, lease=lease)

    async def admit(self, claim: Claim | str, proposal: Proposal, caller: Caller = ADA) -> Proposed:
        """Propose, and insist on admission."""
        proposed = await self.propose(claim, proposal, caller)
        assert proposed.state == "admitted", proposed.reasons
        return proposed

    async def add(self, *tasks: str | NewTask, caller: Caller = OWNER, **fields: Any) -> Queued:
        new = [NewTask(task) if isinstance(task, str) else task for task in tasks]
        known = {} if "lease" in fields else {"run": self.run}
        return await self.board.add_tasks(caller, new, **{**known, **fields})

    async def read(self, caller: Caller = ADA, *, agent: str = "", **wanted: Any) -> Reading:
        return await self.board.read_context(caller, Wanted(**wanted), agent=agent, run=self.run)

    async def vote(
        self, claim: Claim, verdict: str, *fails: str, caller: Caller = BOB, reason: str = "I compared it"
    ) -> Judged:
        """Judge the entry of a verify task."""
        assert claim.task is not None
        assert claim.task.kind == "verify"
        about = (await self.task(claim.task.id)).about
        opinion = Opinion(f"E{about}", verdict, reason, fails)
        return await self.board.verify(caller, opinion, lease=claim.lease)

    async def dispute(
        self, entry: str, *fails: str, by: Claim, caller: Caller = CYD, against: Sequence[str] = ()
    ) -> Judged:
        """Challenge an admitted entry."""
        opinion = Opinion(entry, "fail", "The source says otherwise", fails, tuple(against))
        return await self.board.verify(caller, opinion, agent=by.agent, run=self.run)

    async def work_off(self, claim: Claim, gist: str, caller: Caller = ADA) -> Claim:
        """Complete a task and claim the next."""
        await self.admit(claim, result(gist), caller)
        return await self.claim(caller, agent=claim.agent)

    # -- looking ---------------------------------------------------------------------------------

    async def look(self, action: Any) -> Any:
        return await self.store.read(action)

    async def task(self, label: str) -> Task:
        found = await self.store.read(lambda tx: tx.task(TaskId(int(label[1:]))))
        assert found is not None
        return found

    async def entry(self, label: str) -> Entry:
        found = await self.store.read(lambda tx: tx.entry(EntryId(int(label[1:]))))
        assert found is not None
        return found

    async def home(self, run: str = "") -> Run:
        found = await self.store.read(lambda tx: tx.run(RunId(run or self.run)))
        assert found is not None
        return found

    async def agent(self, name: str) -> Agent:
        found = await self.store.read(lambda tx: tx.agent(RunId(self.run), name))
        assert found is not None
        return found

    async def set_run(self, **fields: Any) -> None:
        """Change the run's row as an operation of its owner would."""

        def action(tx: Tx) -> None:
            run = tx.run(RunId(self.run))
            assert run is not None
            tx.update(run, replace(run, **fields))

        await self.store.write("set_run", "owner", self.clock(), action)

    async def dump(self) -> dict[str, Any]:
        """All that the board knows but presence: the rows of every run, and how long its log is."""

        def action(tx: Tx) -> dict[str, Any]:
            return {run.id: (tx.dump(run.id), len(tx.log(run.id))) for run in tx.runs()}

        return await self.store.read(action)

    async def audit(self) -> None:
        """Insist that every run's log is whole, and says what the tables say."""

        def action(tx: Tx) -> list[tuple[RunId, journal.Fault | None, list[str]]]:
            found = []
            for run in tx.runs():
                rows = tx.log(run.id)
                found.append(
                    (run.id, journal.walk(rows), journal.differences(journal.replay(rows), tx.dump(run.id)))
                )
            return found

        for run, fault, differences in await self.store.read(action):
            assert fault is None, (run, fault)
            assert differences == [], run

    # -- other processes -------------------------------------------------------------------------

    def another(self, checker: type[Checker] = Checker, examiner: Examiner | None = None) -> Board:
        """A board over the same store with a checker of its own, as a second server would have."""
        checks = checker(examiner or Examiner(), self.store, self.clock, self.ids)
        return Board(self.store, clock=self.clock, ids=self.ids, checker=checks, settings=self.board.settings)

    async def propose_and_die(self, claim: Claim, proposal: Proposal, caller: Caller = ADA) -> Proposed:
        """Propose through a process that is gone before its checks have run."""
        return await self.another(Dying).propose_update(caller, proposal, lease=claim.lease)


@asynccontextmanager
async def desk_in(
    folder: Path, *, seed: int = 1, examiner: Examiner | None = None, synchronous: Synchronous = "OFF"
) -> AsyncIterator[Desk]:
    """An empty board in a folder. Durability is not what these tests are about, so nothing is synced."""
    clock, ids = Clock(), RandomIds(seed)
    async with open_sqlite(folder / "board.db", synchronous=synchronous) as store:
        checker = Checker(examiner or Examiner(), store, clock, ids)
        settings = Settings(answer_wait_s=0.01, poll_s=0.05)
        board = Board(store, clock=clock, ids=ids, checker=checker, settings=settings)
        yield Desk(board, store, clock, ids, folder / "board.db")


@asynccontextmanager
async def refused(desk: Desk, error: type[DelmError], *words: str) -> AsyncIterator[None]:
    """Insist that the body is refused with exactly this error, in these words, and changes nothing."""
    before = await desk.dump()
    with pytest.raises(error) as caught:
        yield
    assert caught.type is error, caught.value
    assert await desk.dump() == before
    said = str(caught.value)
    assert [word for word in words if word not in said] == [], said


async def turned_down(desk: Desk, claim: Claim, proposal: Proposal, *words: str) -> Proposed:
    """Insist that a proposal is answered `rejected`, in these words, and only kept as a refused one."""
    before, home = await desk.dump(), await desk.home()
    proposed = await desk.propose(claim, proposal)
    assert proposed.state == "rejected"
    assert proposed.task_state == "leased"
    said = " ".join(proposed.reasons)
    assert [word for word in words if word not in said] == [], said
    after = await desk.dump()
    tables = after[home.id][0]
    rejected = tables["entry"].pop(proposed.entry[1:])
    assert rejected["state"] == "rejected"
    known = before[home.id][0]
    for task in (*tables["task"].values(), *known["task"].values()):
        task.pop("rejections")  # counted, so that nobody tries for ever
    for name in ("run", "task", "change", "agent", "source"):
        assert tables.get(name, {}) == known.get(name, {}), name
    assert tables["entry"] == known.get("entry", {})
    return proposed


def ids_of(claims: Sequence[Claim]) -> list[str]:
    """The labels of the tasks that were claimed."""
    return [claim.task.id for claim in claims if claim.task is not None]
