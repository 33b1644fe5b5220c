"""The board: one method for each thing that can be asked of it.

A tool call comes in here with its caller, becomes one operation on the store, and goes out as an
answer: tool -> board -> domain -> store -> SQL.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from delm_mcp.board import adding, identity, proposals, queue, reading, runs, verifying
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Added, Claim, Judged, Proposed, Queued, Reading, Updated
from delm_mcp.board.checking import Checker
from delm_mcp.board.ids import Ids, RandomIds
from delm_mcp.board.operation import Once, Operation, seconds
from delm_mcp.board.proposals import Author
from delm_mcp.board.reading import Wanted
from delm_mcp.board.replies import proposed
from delm_mcp.board.verifying import Opinion
from delm_mcp.board.waiting import MAX_WAIT_S, Settings, Waiter
from delm_mcp.domain.model import (
    Caller,
    Entry,
    EntryId,
    EntryState,
    Kind,
    Run,
    RunId,
    RunState,
    TaskState,
)
from delm_mcp.domain.policy import Policy
from delm_mcp.domain.proposal import Proposal, refuse_oversize
from delm_mcp.domain.travel import Reach
from delm_mcp.errors import Conflict, InvalidInput, LeaseLost, Refused
from delm_mcp.store.base import Store

T = TypeVar("T")


@contextmanager
def _readable() -> Iterator[None]:
    """Refuse what no engine can store, wherever in a call it stood."""
    try:
        yield
    except UnicodeEncodeError:
        raise InvalidInput(
            "A text has half a surrogate pair, which is not Unicode.", "Send valid text."
        ) from None
    except OverflowError:
        raise InvalidInput("A number has more than 63 bits.", "Send a smaller one.") from None


class Board:
    """The use cases. Safe for any number of concurrent callers, in any number of processes.

    Args:
        store: An open engine.
        clock: Seconds since the epoch.
        ids: Where names and secrets come from.
        checker: What runs the checks that look beyond the board.
        settings: How this process waits.
        reach: How its callers get at the commits of its repository.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        ids: Ids | None = None,
        checker: Checker,
        settings: Settings | None = None,
        reach: Reach | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.ids = ids or RandomIds()
        self.checker = checker
        self.settings = settings or Settings()
        self.reach = reach or Reach()
        self._waiter = Waiter(store, clock, self._read, self.settings)

    @property
    def closing(self) -> bool:
        """Set when this process ends: open waits are then answered at once."""
        return self._waiter.closing

    @closing.setter
    def closing(self, ends: bool) -> None:
        self._waiter.closing = ends

    # -- plumbing --------------------------------------------------------------------------------

    async def _write(self, name: str, actor: str, action: Callable[[Operation], T]) -> T:
        now = self.clock()
        with _readable():
            return await self.store.write(
                name, actor, now, lambda tx: action(Operation(tx, now, self.ids, self.reach))
            )

    async def _read(self, action: Callable[[Operation], T]) -> T:
        now = self.clock()
        with _readable():
            return await self.store.read(lambda tx: action(Operation(tx, now, self.ids, self.reach)))

    # -- the owner -------------------------------------------------------------------------------

    async def open_run(
        self, caller: Caller, opening: runs.Opening, new: Sequence[NewTask]
    ) -> tuple[RunId, list[Added]]:
        """Open a run with its first tasks, in one transaction.

        Raises:
            Refused: Something in it cannot be; then nothing is kept.
        """

        def opens(op: Operation) -> tuple[RunId, list[Added]]:
            home = runs.open_run(op, caller, opening)
            return home.id, adding.add(op, home, new, limit=op.policy(home).limits.max_tasks)

        return await self._write("open_run", str(caller.principal), opens)

    async def cancel_run(self, caller: Caller, run: str, reason: str) -> RunId:
        """Cancel a run (the only open one, if none is named).

        Raises:
            Refused: Not the owner, no such run, or it is over already.
        """

        def cancels(op: Operation) -> RunId:
            home = identity.find_run(op, caller, run, "")
            return runs.cancel_run(op, caller, home.id, reason).id

        return await self._write("cancel_run", str(caller.principal), cancels)

    async def allow_judging(
        self, caller: Caller, run: str, *, usd: float | None = None, tokens: int | None = None
    ) -> Policy:
        """Change what the judge of a run may spend in all; what waits for it is then judged.

        Raises:
            Refused: Not the owner, no such run, it is over, or it has no judge.
        """

        def allows(op: Operation) -> Policy:
            home = identity.find_run(op, caller, run, "")
            return runs.allow_judging(op, caller, home, usd=usd, tokens=tokens)

        return await self._write("allow_judging", str(caller.principal), allows)

    # -- tools -----------------------------------------------------------------------------------

    async def claim_task(
        self,
        caller: Caller,
        *,
        task: str = "",
        tags: Sequence[str] = (),
        wait_s: float = 0.0,
        agent: str = "",
        run: str = "",
        gone: Callable[[], bool] = lambda: False,
    ) -> Claim:
        """Lease the next task, waiting up to `wait_s` for one; says why when there is none.

        Args:
            gone: Whether the caller has left meanwhile; then nothing is leased to it.

        Raises:
            Refused: Unknown run, agent or task, tags that do not cover it, or no right to claim.
        """
        identity.may_write(caller)
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise InvalidInput(
                f"wait_s={wait_s:g} is not within 0 to {MAX_WAIT_S:g}.", "Wait again afterwards."
            )
        deadline = self.clock() + wait_s

        def claiming(op: Operation) -> Claim:
            identity.still_valid(op, caller)
            if gone():
                raise Conflict(
                    "The caller left while it waited, so nothing was leased to it.", "Claim again."
                )
            home = identity.find_run(op, caller, run, agent or caller.agent)
            if home.state is not RunState.OPEN and not agent and not caller.agent:
                op.open_run(home.id)
            return queue.claim(op, home, identity.join(op, caller, home, agent, tuple(tags)), task)

        while True:
            cursor = self.store.committed()
            answer = await self._write("claim_task", str(caller.principal), claiming)
            if answer.task or answer.run_state != RunState.OPEN or self.clock() >= deadline or self.closing:
                return self._waiter.counted(answer, waited=wait_s > 0)
            agent, run = answer.agent, answer.run
            await self._waiter.until_claimable(answer, cursor, deadline, gone)

    async def read_context(
        self, caller: Caller, wanted: Wanted, *, agent: str = "", run: str = "", lease: str = ""
    ) -> Reading:
        """Read what is verified. Moves nothing but the caller's own read mark.

        Raises:
            Refused: Unknown run, entry or agent, or something out of range.
        """

        def reads(op: Operation) -> tuple[Reading, bool]:
            home = identity.find_run(op, caller, run, agent or caller.agent, reading=True)
            name = agent or (caller.agent if op.tx.agent(home.id, caller.agent) else "")
            row = identity.find_agent(op, caller, home, name) if name else None
            answer = reading.read(op, home, row, wanted)
            return answer, row is not None and wanted.since > row.acked

        answer, acknowledges = await self._read(reads)
        if acknowledges:
            await self._write(
                "acknowledge",
                str(caller.principal),
                lambda op: self._acknowledge(op, caller, answer, wanted, agent),
            )
        return answer

    @staticmethod
    def _acknowledge(op: Operation, caller: Caller, answer: Reading, wanted: Wanted, agent: str) -> None:
        row = op.tx.agent(RunId(answer.run), agent or caller.agent)
        if row is not None:
            identity.touched(op, row, acked=wanted.since)

    async def propose_update(
        self,
        caller: Caller,
        proposal: Proposal,
        *,
        lease: str = "",
        agent: str = "",
        run: str = "",
        request: str = "",
    ) -> Proposed:
        """Propose an entry; answers once it is admitted or rejected, or `pending` while slow checks run.

        Raises:
            Refused: The call itself cannot be (a lost lease, an unknown label, over a limit). A proposal
                that the checks turn down is not an error but an answer with `state=rejected`.
        """
        identity.may_write(caller)
        refuse_oversize(proposal)
        lease = lease.strip()
        screening = await self.checker.screen(proposal)
        content = repr(proposal)
        commit = await self._commit_of(caller, proposal, lease, agent, run)

        def submitting(op: Operation) -> tuple[EntryId, bool, Proposed]:
            scope = f"lease/{lease}" if lease else f"{caller.principal}/{agent}/{run}"
            once = Once(op, "propose_update", scope, content, request)
            if once.answered is not None:
                entry = op.entry(int(once.answered))
                identity.may_enter(caller, entry.run)
                return entry.id, True, proposed(op, entry, replayed=True)
            author = self._author(op, caller, lease, agent, run)
            acked = min(proposal.base_version, author.run.version)
            author = replace(author, agent=identity.touched(op, author.agent, acked=acked))
            entry = proposals.submit(
                op, author, proposal, commit=commit, screening=screening, worker=self.checker.worker
            )
            once.answer(str(entry.id))
            return entry.id, False, proposed(op, entry, replayed=False)

        entry_id, replayed, answer = await self._write("propose_update", str(caller.principal), submitting)
        if answer.state != EntryState.PENDING:
            return answer
        if not replayed:
            await self.checker.run_quick(entry_id)
        await self._waiter.until_decided(entry_id)
        answer = await self._read(lambda op: proposed(op, op.entry(entry_id), replayed=replayed))
        if answer.state == EntryState.ADMITTED and proposal.kind is Kind.PATCH:
            await self.checker.show_head(answer.run)
        if answer.state == EntryState.REJECTED and answer.task_state == TaskState.READY and lease:
            # The author still waits for this answer, so the task is its own again at once.
            with suppress(Refused):
                await self.update_task(caller, lease=lease, action="renew", acknowledges=False)
                return replace(answer, task_state=TaskState.LEASED)
        return answer

    async def _commit_of(self, caller: Caller, proposal: Proposal, lease: str, agent: str, run: str) -> str:
        """The commit that the evidence names, resolved before the transaction because git is slow.

        A lease that is not current any more gets no further than its replay, so nothing is looked up.
        """
        if not any(item.type == "command" for item in proposal.evidence):
            return ""
        try:
            home = await self._read(lambda op: self._home_of(op, caller, lease, agent, run))
        except LeaseLost:
            return ""
        return await self.checker.commit_of(home, proposal)

    @staticmethod
    def _home_of(op: Operation, caller: Caller, lease: str, agent: str, run: str) -> Run:
        if lease:
            return op.run(identity.task_of(op, caller, lease).run)
        return identity.find_run(op, caller, run, agent or caller.agent)

    @staticmethod
    def _author(op: Operation, caller: Caller, lease: str, agent: str, run: str) -> Author:
        if lease:
            seat = identity.by_lease(op, caller, lease, agent=agent, run=run)
            return Author(seat.run, seat.agent, seat.task)
        if not (agent or caller.agent):
            raise InvalidInput(
                "Nobody is named as the author.", "Pass your lease, or agent=... from claim_task."
            )
        home = identity.find_run(op, caller, run, agent or caller.agent)
        row = identity.find_agent(op, caller, op.open_run(home.id), agent)
        return Author(home, row, None)

    async def verify(
        self, caller: Caller, opinion: Opinion, *, lease: str = "", agent: str = "", run: str = ""
    ) -> Judged:
        """Judge the entry of a verify task (with its lease), or dispute one that peers rely on.

        Raises:
            Refused: Unknown entry, verdict or axis; one's own entry; a second verdict or dispute of one
                principal; nothing to judge.
        """
        identity.may_write(caller)
        lease = lease.strip()

        def judging(op: Operation) -> Judged:
            scope = f"lease/{lease}" if lease else f"{caller.principal}/{agent}/{run}"
            once = Once(op, "verify", scope, repr(opinion), "")
            if once.answered is not None:
                entry = op.entry(int(once.answered))
                identity.may_enter(caller, entry.run)
            else:
                entry = verifying.verify(op, caller, opinion, lease=lease, agent=agent, run=run)
                once.answer(str(entry.id))
            return verifying.judged(op, entry, verifying.speaker(op, entry, agent or caller.agent, lease))

        answer = await self._write("verify", str(caller.principal), judging)
        if answer.state == EntryState.ADMITTED:  # it may be a patch, whose last missing vote this was
            await self.checker.show_head(answer.run)
        return answer

    async def retract(self, caller: Caller, entry: str, reason: str) -> Entry:
        """Take an entry out of the context as the run's owner; what rests on it is verified again.

        Raises:
            Refused: Not the owner, no such entry, or nobody relies on it.
        """
        return await self._write(
            "retract", str(caller.principal), lambda op: verifying.retract(op, caller, entry, reason)
        )

    async def add_tasks(
        self,
        caller: Caller,
        new: Sequence[NewTask],
        *,
        lease: str = "",
        split: bool = False,
        goal: str = "",
        agent: str = "",
        run: str = "",
        request: str = "",
    ) -> Queued:
        """Queue tasks; with a lease and `split` divides that task; answers a decide task; `goal` opens a run.

        Raises:
            Refused: A task that cannot be queued; then none of the call's tasks is.
        """
        identity.may_write(caller)
        if split and not lease:
            raise InvalidInput("split needs the lease of the task to split.", "Pass lease=...")
        if goal and lease:
            raise InvalidInput(
                "goal opens a new run; a lease belongs to a run that exists.", "Pass one of them."
            )
        lease = lease.strip()
        opening = await self.checker.opening() if goal else None
        content = repr((tuple(new), split, goal))

        def adds(op: Operation) -> Queued:
            once = Once(
                op, "add_tasks", f"lease/{lease}" if lease else f"{caller.principal}/{run}", content, request
            )
            if once.answered is not None and not (goal and runs.is_over(op, once.answered)):
                return runs.queued_before(op, once.answered)
            if opening is not None:
                home = runs.open_run(op, caller, replace(opening, goal=goal))
                answer = runs.queued(op, home, None, adding.add(op, home, new))
            elif lease:
                seat = identity.by_lease(op, caller, lease, agent=agent, run=run)
                answer = runs.add_under_lease(op, seat, new, split=split)
            else:
                home = identity.find_run(op, caller, run, agent or caller.agent)
                answer = runs.add_from_outside(op, home, new)
            if lease or request or goal:
                once.answer(runs.remembered_queue(answer))
            return answer

        return await self._write("add_tasks", str(caller.principal), adds)

    async def update_task(
        self,
        caller: Caller,
        *,
        lease: str,
        action: str,
        note: str = "",
        agent: str = "",
        run: str = "",
        acknowledges: bool = True,
    ) -> Updated:
        """Keep (`renew`), hand on (`release`) or give up (`fail`) a task.

        Args:
            acknowledges: The agent itself shows its lease, so it has the answer that brought it.

        Raises:
            Refused: A lease that is not current, or an unknown action.
        """
        identity.may_write(caller)
        lease = lease.strip()
        if action not in {"renew", "release", "fail"}:
            raise InvalidInput(f"There is no action {action[:20]!r}.", "Actions: renew, release, fail.")
        if action == "fail" and not note.strip():
            raise InvalidInput("fail needs a note.", "Say what stands in the way, for whoever is next.")

        def updates(op: Operation) -> Updated:
            once = Once(op, "update_task", f"lease/{lease}", f"{action}\0{note}", "")
            if once.answered is not None:
                return runs.updated_before(op, once.answered)
            seat = identity.by_lease(op, caller, lease, agent=agent, run=run, acknowledges=acknowledges)
            assert seat.task is not None  # noqa: S101 - by_lease always gives one
            task = seat.task
            if action != "renew":
                task = (queue.give_up if action == "fail" else queue.release)(op, seat, note[:2000])
                once.answer(task.label)
            news, version = op.news(op.run(task.run), seat.agent)
            held = task.state is TaskState.LEASED
            return Updated(
                task=task.label,
                state=task.state,
                expires_s=seconds(task.lease_until - op.now) if held else 0.0,
                version=version,
                news=news,
                next="Go on." if held else f"claim_task(agent={seat.agent.name})",
            )

        return await self._write("update_task", str(caller.principal), updates)
