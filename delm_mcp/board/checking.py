"""The checks that look beyond the board: who runs them, and what happens when that process dies.

A check waits in the queue of checks until a process takes it, under a lease that it renews while it
works. The verdict counts only from the process that holds the lease, so a check whose process was
killed is simply taken over when the lease ends. Checks run outside any transaction.

Commands run one at a time in a run, in the order of the proposals: a merge queue. Each patch is
checked as merged into the run's `head`, and admitting it moves `head` by compare-and-set.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from delm_mcp.board import cases, proposals, verifying
from delm_mcp.board.background import beside
from delm_mcp.board.cases import CHECK_LEASE_S
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import Ids
from delm_mcp.board.operation import Operation
from delm_mcp.board.proposals import Finding, Screening
from delm_mcp.board.runs import Opening
from delm_mcp.board.spending import NOTHING, Spending, bill_for, spent_on_judging
from delm_mcp.checks.judge_unavailable import JudgeUnavailable
from delm_mcp.checks.secrets import find_secrets
from delm_mcp.domain import admission
from delm_mcp.domain.briefing import JUDGE_TOKENS
from delm_mcp.domain.model import (
    Check,
    CheckId,
    CheckState,
    Entry,
    EntryId,
    EntryState,
    Kind,
    Receipt,
    Run,
    RunId,
    RunState,
    Source,
    Verdict,
)
from delm_mcp.domain.patches import AS_TEXT
from delm_mcp.domain.policy import CheckName, Policy, parse
from delm_mcp.domain.proposal import Proposal
from delm_mcp.domain.text import one_line
from delm_mcp.errors import CheckUnavailable, DelmError, InvalidInput, NotFound, Refused
from delm_mcp.store.base import Store

_log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S = 5.0  # before a check that could not run is tried again
JUDGEMENTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Job:
    """A check with all that its procedure needs.

    Attributes:
        moved_at: When its queue last got on.
        case: What a judge is given.
        spent: What judgements have cost the run so far.
    """

    check: Check
    entry: Entry
    run: Run
    sources: tuple[Source, ...]
    moved_at: float
    case: str = ""
    spent: Spending = NOTHING


class Checker:
    """Runs checks for a board in one process.

    Args:
        examiner: The procedures, and which of them this process can run.
        store: The board's store.
        clock: Seconds since the epoch.
        ids: Makes the name under which this process takes checks.
    """

    def __init__(self, examiner: Examiner, store: Store, clock: Callable[[], float], ids: Ids) -> None:
        self.examiner = examiner
        self.worker = f"w-{ids.token()}"
        self._store = store
        self._clock = clock
        self._ids = ids
        self._started_at = clock()

    # -- what a proposal needs before it is a row ------------------------------------------------

    async def screen(self, proposal: Proposal) -> Screening:
        """Look through all texts of a proposal."""
        return await anyio.to_thread.run_sync(_screened, proposal)

    async def commit_of(self, run: Run, proposal: Proposal) -> str:
        """The full commit that a proposal's command evidence names; empty when there is none.

        Raises:
            Refused: There is no such commit.
        """
        known = {command.name for command in run.commands}
        named = {
            item.text.strip() for item in proposal.evidence if item.type == "command" and item.ref in known
        } - {""}
        if not named or not run.repo:
            return ""
        try:
            commits = {await self.examiner.resolve(run, name) for name in named}
        except NotFound as error:
            if proposal.kind is Kind.PATCH:
                raise NotFound(error.problem, f"{error.hint} {AS_TEXT}") from None
            raise
        if len(commits) > 1:
            raise InvalidInput("The command evidence names several commits.", "Propose one commit at a time.")
        return commits.pop()

    async def opening(self) -> Opening:
        """What a run that an agent opens starts from."""
        return await self.examiner.opening()

    # -- running checks --------------------------------------------------------------------------

    async def run_quick(self, entry: EntryId) -> None:
        """Run what `submit` leased to this process, in the call that proposed."""
        for check in await self._read(lambda op: op.tx.checks_of(entry)):
            if check.state is CheckState.RUNNING and check.worker == self.worker:
                await self._run(check, quick=True)

    async def work(self) -> None:
        """Take and run checks until cancelled. Nothing that goes wrong with one check ends this.

        Models are asked several at a time, and beside everything else, because they take long to answer.
        """
        await anyio.to_thread.run_sync(find_secrets, "")  # loads the detectors, which takes a while
        others = (*(name for name in self.examiner.can_run if name != CheckName.JUDGE), CheckName.PEERS)
        async with anyio.create_task_group() as group:
            group.start_soon(self._work_on, others, True)
            for _ in range(JUDGEMENTS_AT_ONCE if CheckName.JUDGE in self.examiner.can_run else 0):
                group.start_soon(self._work_on, (CheckName.JUDGE,), False)

    async def _work_on(self, names: Sequence[str], publishes: bool) -> None:
        """Take and run the checks of these names."""
        while True:
            cursor = self._store.committed()
            try:
                if publishes:
                    await self._publish_heads()
                    publishes = False
                busy = await self.run_next(names)
            except Exception as error:
                # The check is tried again when its lease ends, by whoever comes, and not for ever.
                _log.warning("A check waits: %s", error, exc_info=not isinstance(error, DelmError))
                busy = False
                await anyio.sleep(RETRY_S)
            if not busy:
                await self._store.wait(cursor, await self._pause_s(names))

    async def _pause_s(self, names: Sequence[str]) -> float:
        """How long nothing needs to be looked at, unless something is committed."""
        if CheckName.PEERS not in names:
            return RETRY_S
        due = await self._read(lambda op: op.tx.next_look(CheckName.PEERS))
        return min(RETRY_S, max(0.05, due - self._clock()))

    async def run_next(self, names: Sequence[str] = ()) -> bool:
        """Run the next check that nobody runs; False when there is none for this process.

        Args:
            names: Only checks of these names; by default all that this process can run.
        """
        names = names or (*self.examiner.can_run, CheckName.PEERS)
        found = await self._read(lambda op: self._next(op, names))
        if found is None:
            if CheckName.PEERS in names:
                await self._give_up_stale()
            return False
        if found.name == CheckName.PEERS:
            await self._write("look_for_peers", lambda op: verifying.look_again(op, found))
            return True
        check = await self._write("take_check", lambda op: self._take(op, names))
        if check is None:
            return False
        return await self._run(check, quick=False)

    def _next(self, op: Operation, names: Sequence[str]) -> Check | None:
        return op.tx.next_check(names, self.examiner.repo_name, op.now, op.latest(CHECK_LEASE_S))

    def _take(self, op: Operation, names: Sequence[str]) -> Check | None:
        check = self._next(op, names)
        if check is None or check.name == CheckName.PEERS:
            return None
        taken = replace(
            check,
            state=CheckState.RUNNING,
            worker=self.worker,
            tries=check.tries + 1,
            lease_until=op.now + CHECK_LEASE_S,
        )
        return op.tx.update(check, taken)

    async def _run(self, check: Check, *, quick: bool) -> bool:
        """Run a check and write down its verdict; False when it could not run and waits again."""
        job = await self._read(lambda op: _job(op, check))
        started = self._clock()
        try:
            finding = _hopeless(job) or await self._examined(job)
        except CheckUnavailable as error:
            if started - job.moved_at < _patience_s(parse(job.run.policy), check.name):
                reason = one_line(str(error))
                bill = _bill(job, error)
                await self._write("return_check", lambda op: self._return(op, check, reason, bill))
                return False
            finding = _ends(check, Verdict.ABSTAIN, f"it could not run: {error}")
        except Refused as error:
            finding = _ends(check, Verdict.FAIL, str(error))
        timed = replace(finding.receipt, at=self._clock(), duration_s=round(self._clock() - started, 3))
        finding = replace(finding, receipt=timed)
        entry = await self._write(
            "settle", lambda op: proposals.settle(op, check, finding, worker=self.worker, quick=quick)
        )
        if entry is not None and entry.state is EntryState.ADMITTED and entry.admitted_as:
            await self._publish_head(job.run.id, entry.label)
        return True

    async def _examined(self, job: Job) -> Finding:
        """Run the procedure while the check's lease is renewed."""
        async with beside(lambda: self._keep(job.check.id)):
            if job.check.name == CheckName.QUOTES:
                return await self.examiner.quotes(job.entry, job.run, job.sources)
            if job.check.name == CheckName.JUDGE:
                return await self.examiner.judged(job.run, job.case, job.spent)
            return await self.examiner.command(job.entry, job.run, self)

    async def _keep(self, check: CheckId) -> None:
        while True:
            await anyio.sleep(CHECK_LEASE_S / 3)
            await self._write("keep_check", lambda op: self._renew(op, check))

    def _renew(self, op: Operation, check: CheckId) -> None:
        row = op.tx.check(check)
        if row and row.state is CheckState.RUNNING and row.worker == self.worker:
            op.tx.update(row, replace(row, lease_until=op.now + CHECK_LEASE_S))

    def _return(self, op: Operation, check: Check, reason: str, bill: dict[str, Any] | None) -> None:
        """Put a check back that could not run, to be tried again in a while; it was no try.

        Args:
            bill: What asking a model has cost although it gave no opinion.
        """
        row = op.tx.check(check.id)
        if row and row.state is CheckState.RUNNING and (row.worker, row.tries) == (self.worker, check.tries):
            back = replace(
                row, state=CheckState.WAITING, reason=reason[:2000], worker="", tries=row.tries - 1
            )
            if bill:
                before = [*row.receipt.get("judge_before", []), bill]
                back = replace(back, receipt={**row.receipt, "judge_before": before})
            # Until then others of its run may go first.
            op.tx.update(row, replace(back, lease_until=op.now + RETRY_S))

    async def _give_up_stale(self) -> None:
        """Reject what has waited too long for a process that could run its command."""

        def waiting(op: Operation) -> Check | None:
            check = op.tx.next_check([CheckName.COMMAND], "*", op.now, op.latest(CHECK_LEASE_S))
            if check is None:
                return None
            # Patience is for servers that could come; while none of us was there, none could be missed.
            moved_at = max(self._started_at, check.created_at, op.tx.checks_moved_at(check.run, check.name))
            patience_s = parse(op.run(check.run).policy).command.unavailable_s
            return check if op.now - moved_at > patience_s else None

        check = await self._read(waiting)
        if check is not None:
            await self._write("give_up_check", lambda op: self._abandon(op, check))

    def _abandon(self, op: Operation, check: Check) -> None:
        row = op.tx.check(check.id)
        if row is not None and row == check:
            taken = op.tx.update(row, replace(row, state=CheckState.RUNNING, worker=self.worker))
            reason = f"no server here could run it; start one with commands in its repository. {row.reason}"
            proposals.settle(
                op, taken, _ends(taken, Verdict.ABSTAIN, reason), worker=self.worker, quick=False
            )

    async def _publish_heads(self) -> None:
        """Mend refs that a killed process left behind the board."""
        for run in await self._read(lambda op: op.tx.runs(RunState.OPEN, limit=100)):
            if run.head != run.base and run.repo == self.examiner.repo_name:
                await self._publish_head(run.id, "")

    async def show_head(self, run: str) -> None:
        """Let the repository show a run's head before anybody is told to fetch it, whoever moved it."""
        home = await self._read(lambda op: op.run(run))
        if home.head != home.base and home.repo == self.examiner.repo_name:
            await self._publish_head(home.id, "")

    async def _publish_head(self, run_id: RunId, label: str) -> None:
        """Let the repository show the board's head; the board has it either way.

        Another process may publish an older head after us: so look again, until both agree.
        """
        shown = ""
        try:
            while (run := await self._read(lambda op: op.run(run_id))).head != shown:
                await self.examiner.publish_head(run, label, run.head)
                shown = run.head
        except DelmError as error:
            _log.warning("refs/delm/%s/head was not moved: %s", run_id, error)

    # -- what commands showed before -------------------------------------------------------------

    async def observed(self, run: Run, key: str) -> str | None:
        """What a command showed on a tree, if it ran on it before."""
        return await self._read(lambda op: op.tx.observed(run.id, key))

    async def observe(self, run: Run, key: str, outcome: str) -> None:
        """Keep what a command showed on a tree."""
        await self._write("observe", lambda op: op.tx.observe(run.id, key, outcome))

    async def _read(self, action: Callable[[Operation], T]) -> T:
        now = self._clock()
        return await self._store.read(lambda tx: action(Operation(tx, now, self._ids)))

    async def _write(self, name: str, action: Callable[[Operation], T]) -> T:
        now = self._clock()
        return await self._store.write(
            name, self.worker, now, lambda tx: action(Operation(tx, now, self._ids))
        )


def _job(op: Operation, check: Check) -> Job:
    run = op.run(check.run)
    sources = tuple(op.tx.sources(run.id)) if check.name == CheckName.QUOTES else ()
    moved_at = max(check.created_at, op.tx.checks_moved_at(run.id, check.name))
    entry = op.entry(check.entry)
    if check.name != CheckName.JUDGE:
        return Job(check, entry, run, sources, moved_at)
    case = cases.brief(op, entry, JUDGE_TOKENS)
    spent = spent_on_judging(op.tx.checks_in(run.id, CheckName.JUDGE))
    return Job(check, entry, run, sources, check.created_at, case, spent)


def _bill(job: Job, error: CheckUnavailable) -> dict[str, Any] | None:
    spent = error.spent if isinstance(error, JudgeUnavailable) else None
    return bill_for(parse(job.run.policy).judge.model, spent) if spent else None


def _patience_s(policy: Policy, name: str) -> float:
    """How long a check that cannot run is waited for."""
    return policy.judge.unavailable_s if name == CheckName.JUDGE else policy.command.unavailable_s


def _screened(proposal: Proposal) -> Screening:
    texts = [proposal.gist, proposal.summary, proposal.raw, proposal.scope, proposal.key]
    texts += [part for item in proposal.evidence for part in (item.type, item.ref, item.text)]
    secrets = find_secrets("\n".join(text for text in texts if text))
    return Screening(tuple(secrets), admission.flags(proposal))


def _hopeless(job: Job) -> Finding | None:
    """Why a check need not be run at all."""
    if job.run.state is not RunState.OPEN:
        return _ends(job.check, Verdict.ABSTAIN, f"run {job.run.id} is {job.run.state}")
    tries_max = parse(job.run.policy).command.max_tries
    if job.check.tries > tries_max:
        return _ends(
            job.check, Verdict.ABSTAIN, f"its process was lost {tries_max} times; {job.check.reason}"
        )
    return None


def _ends(check: Check, verdict: Verdict, reason: str) -> Finding:
    return Finding(Receipt(check.name, verdict, one_line(reason)))
