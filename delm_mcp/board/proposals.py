"""Versioned, verified writes: an entry is proposed, checked, and only then seen by others.

`submit` is the first transaction: what the board alone can judge is judged there, and an entry that
needs no more is admitted or rejected at once. Otherwise it is pending, with its checks queued.
`settle` is the second one, once an outside check has a verdict: what changed meanwhile is judged
again before the entry is admitted at the next version.
"""

from dataclasses import dataclass, replace

from delm_mcp.board import cascading, cases, queue
from delm_mcp.board.operation import Operation
from delm_mcp.domain import admission, entries, tasks
from delm_mcp.domain.evidence import artifact_keys
from delm_mcp.domain.model import (
    Agent,
    Change,
    Check,
    CheckState,
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Receipt,
    Run,
    RunState,
    Task,
    TaskId,
    TaskKind,
    TaskState,
    Verdict,
)
from delm_mcp.domain.patches import is_text, named_base
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.proposal import Board, Proposal
from delm_mcp.domain.text import one_line, shortened
from delm_mcp.errors import Conflict, InvalidInput, NotAllowed

UNJUDGED = "no peer judged it"
"""What readers are told of an entry that peers should have judged, when nobody was there to do it."""

AGAIN = (CheckName.FRESH, CheckName.NOVEL)
"""What may have changed while a slow check ran."""


@dataclass(frozen=True, slots=True)
class Screening:
    """What reading a proposal's texts found, before any transaction because texts can be long.

    Attributes:
        secrets: The kinds of secrets in them.
        flags: What readers are to be warned of.
    """

    secrets: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Author:
    """Who proposes, and the task that it holds if it shows a lease."""

    run: Run
    agent: Agent
    task: Task | None


def facts_for(op: Operation, run: Run, proposal: Proposal, author: str) -> Board:
    """What the checks may know of the board now."""
    grounds: set[int] = set()
    if proposal.supersedes:  # only then does it matter what it rests on in the end
        grounds |= {row.id for label in proposal.derived_from for row in op.tx.ancestors(EntryId(label))}
        grounds |= set(proposal.derived_from)
    labels = {*proposal.supersedes, *proposal.derived_from}
    related = {label: entry for label in labels if (entry := op.tx.entry(EntryId(label)))}
    return Board(
        run=run,
        policy=op.policy(run),
        related=related,
        key_holder=op.tx.live_with_key(run.id, proposal.key) if proposal.key else None,
        has_live=proposal.kind is Kind.ANSWER and bool(op.tx.entries(run.id, [EntryState.ADMITTED], 1)),
        same_gist=op.tx.live_with_gist(run.id, admission.key_of(proposal)),
        author=author,
        grounds=frozenset(grounds),
        echoed={
            key: entry for key in artifact_keys(proposal) if (entry := op.tx.live_with_gist(run.id, key))
        },
    )


def submit(
    op: Operation, author: Author, proposal: Proposal, *, commit: str, screening: Screening, worker: str
) -> Entry:
    """Judge what the board can judge; admit, reject, or queue the checks that are left.

    Args:
        commit: The full commit of a patch, resolved; empty without one.
        screening: What reading the proposal's texts found.
        worker: This process, which runs quick checks itself right after this transaction.

    Raises:
        NotAllowed: The lease does not carry this right (answers need the decide lease).
        Conflict: The task waits for the verdict on an earlier result.
    """
    proposal = replace(
        proposal,
        gist=proposal.gist.strip(),
        key=proposal.key.strip(),
        scope=proposal.scope.strip(),
        supersedes=tuple(dict.fromkeys(proposal.supersedes)),
        derived_from=tuple(dict.fromkeys(proposal.derived_from)),
        evidence=tuple(_based(item, author.run, proposal.kind) for item in proposal.evidence),
    )
    _refuse_misplaced(op, author, proposal)
    board = facts_for(op, author.run, proposal, author.agent.principal)
    names = board.policy.of(proposal.kind)
    receipts = admission.judge_on_board(proposal, board, names, screening.secrets, op.now)
    entry = _draft(op, author, proposal, commit, receipts, screening)
    failed = next((receipt for receipt in receipts if receipt.verdict is not Verdict.PASS), None)
    if failed is not None:
        rejected = replace(entries.transition(entry, entries.Event.REJECT), reason=_reason(failed))
        if author.task is not None and proposal.completes:
            queue.count_rejection(op, author.task, rejected.reason)
        return op.tx.insert(replace(rejected, decided_at=op.now))
    outside = admission.outside_checks(proposal, board)
    if not outside:
        return _conclude(op, op.tx.insert(entry), quick=True)
    entry = op.tx.insert(entry)
    cases.queue_check(op, entry, outside[0], worker)
    if author.task is not None and proposal.completes:
        op.tx.update(author.task, tasks.transition(author.task, tasks.Event.SUBMIT))
    return entry


def _based(item: Evidence, run: Run, kind: Kind) -> Evidence:
    """A patch's text with the commit that it is meant for, so that it makes the same commit each time."""
    if kind is not Kind.PATCH or not (run.head and is_text(item)) or named_base(item):
        return item
    return replace(item, at={**item.at, "base": run.head})


def _refuse_misplaced(op: Operation, author: Author, proposal: Proposal) -> None:
    task = author.task
    if proposal.completes and task is None:
        raise InvalidInput("completes needs the lease of the task that is completed.", "Pass lease=...")
    if proposal.completes and task is not None and task.kind is TaskKind.VERIFY:
        raise NotAllowed(
            f"{task.label} is answered with a verdict on E{task.about}.",
            f"verify(lease={task.lease}, entry=E{task.about}, ...); a finding beside it: completes=false.",
        )
    deciding = task is not None and task.kind is TaskKind.DECIDE
    if proposal.kind is Kind.ANSWER and not deciding:
        raise NotAllowed(
            "Only the holder of the decide task may answer; it appears when everything else is done.",
            "Propose your finding as kind=fact, or go on with claim_task.",
        )
    if proposal.kind is Kind.ANSWER and not proposal.completes:
        raise InvalidInput("An answer finishes the run.", "Pass completes=true with kind=answer.")
    if deciding and proposal.completes and proposal.kind is not Kind.ANSWER:
        raise NotAllowed(
            "A decide task is answered with add_tasks or with kind=answer.",
            "Pass kind=answer, or completes=false.",
        )
    if (
        proposal.kind is Kind.ANSWER
        and task is not None
        and not queue.only_decision_open(op, author.run, task)
    ):
        raise Conflict(
            "There is open work again, so the run cannot end yet.",
            f"update_task(lease={task.lease}, action=release), then claim_task.",
        )


def _draft(
    op: Operation,
    author: Author,
    proposal: Proposal,
    commit: str,
    receipts: list[Receipt],
    screening: Screening,
) -> Entry:
    """The entry as it will be stored; a text in which a secret was found is not."""
    hidden = "[withheld: it contained a secret]"
    withheld = bool(screening.secrets)
    return Entry(
        id=EntryId(0),
        run=author.run.id,
        kind=proposal.kind,
        gist=hidden if withheld else proposal.gist,
        summary="" if withheld else proposal.summary,
        raw="" if withheld else proposal.raw,
        scope="" if withheld else proposal.scope,
        key="" if withheld else proposal.key,
        agent=author.agent.name,
        principal=author.agent.principal,
        task=author.task.id if author.task else 0,
        completes=proposal.completes,
        evidence=() if withheld else proposal.evidence,
        supersedes=proposal.supersedes,
        derived_from=proposal.derived_from,
        base_version=proposal.base_version,
        gist_key="" if withheld else admission.key_of(proposal),
        flags=screening.flags,
        receipts=tuple(receipts),
        commit=commit,
        proposed_at=op.now,
    )


def _reason(receipt: Receipt) -> str:
    return one_line(f"{receipt.check}: {receipt.reason}")


def proposal_of(entry: Entry) -> Proposal:
    """The proposal that an entry was made of."""
    return Proposal(
        kind=entry.kind,
        gist=entry.gist,
        summary=entry.summary,
        raw=entry.raw,
        evidence=entry.evidence,
        scope=entry.scope,
        key=entry.key,
        supersedes=entry.supersedes,
        derived_from=entry.derived_from,
        base_version=entry.base_version,
        completes=entry.completes,
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """What an outside check found.

    Attributes:
        receipt: The verdict.
        evidence: The entry's evidence with what the server found out about it.
        head: What the run's head was, and becomes if the entry is admitted; empty for no change.
        detail: The in-toto statement, for the check's row.
        flags: What readers are to be warned of in what it found.
    """

    receipt: Receipt
    evidence: tuple[Evidence, ...] | None = None
    tested_head: str = ""
    new_head: str = ""
    detail: dict[str, object] | None = None
    flags: tuple[str, ...] = ()


def settle(op: Operation, check: Check, finding: Finding, *, worker: str, quick: bool) -> Entry | None:
    """Write down a verdict, and go on to the next check or to the decision.

    Args:
        check: The check as it was taken.
        quick: The proposing call is still there, so a rejected task keeps its lease.

    Returns:
        The entry, or None when the verdict does not count: somebody else took the check over, or the
        run's head moved while it ran, in which case it is queued again.
    """
    current = op.tx.check(check.id)
    holds = current is not None and (current.state, current.worker) == (CheckState.RUNNING, worker)
    if current is None or not holds or current.tries != check.tries:
        return None
    run = op.run(check.run)
    if finding.tested_head and run.head != finding.tested_head and finding.receipt.verdict is Verdict.PASS:
        op.tx.update(current, replace(current, state=CheckState.WAITING, worker="", tries=current.tries - 1))
        return None
    return end_check(op, current, finding, quick=quick)


def end_check(op: Operation, current: Check, finding: Finding, *, quick: bool) -> Entry:
    """A check has its verdict: what becomes of the entry. See `settle` for `quick`."""
    entry, run = op.entry(current.entry), op.run(current.run)
    receipt = replace(finding.receipt, reason=one_line(finding.receipt.reason))
    op.tx.update(
        current,
        replace(
            current,
            state=CheckState.DONE,
            verdict=receipt.verdict,
            reason=shortened(receipt.reason, 4000),
            receipt={**current.receipt, **(finding.detail or {}), "tested_head": finding.tested_head},
            ended_at=op.now,
            lease_until=0.0,
        ),
    )
    if entry.state is EntryState.SUSPECT and run.state is RunState.OPEN:
        return cascading.settle(op, entry, receipt)
    if entry.state is not EntryState.PENDING:
        return entry
    unjudged = (UNJUDGED,) if _attests(op, run, receipt) else ()
    judged = replace(
        entry,
        receipts=(*entry.receipts, receipt),
        evidence=finding.evidence if finding.evidence is not None else entry.evidence,
        admitted_as=finding.new_head or entry.admitted_as,
        flags=tuple(dict.fromkeys((*entry.flags, *finding.flags, *unjudged))),
    )
    entry = op.tx.update(entry, judged)
    if receipt.verdict is not Verdict.PASS and not _attests(op, run, receipt):
        return reject(op, entry, _reason(receipt), quick=quick)
    remaining = _remaining(op, run, entry)
    if remaining:
        cases.queue_check(op, entry, remaining[0])
        return entry
    return _conclude(op, entry, quick=quick)


def _attests(op: Operation, run: Run, receipt: Receipt) -> bool:
    """Whether the policy admits an entry although no peer was there to judge it."""
    nobody = receipt.check == CheckName.PEERS and receipt.verdict is Verdict.ABSTAIN
    return nobody and op.policy(run).peers.no_peers == "attest"


def _remaining(op: Operation, run: Run, entry: Entry) -> list[CheckName]:
    done = {receipt.check for receipt in entry.receipts}
    proposal = proposal_of(entry)
    return [
        name
        for name in admission.outside_checks(proposal, facts_for(op, run, proposal, entry.principal))
        if name not in done
    ]


def _conclude(op: Operation, entry: Entry, *, quick: bool) -> Entry:
    """Every check that can run here has passed; judge again what may have changed, and admit."""
    run = op.run(entry.run)
    if run.state is not RunState.OPEN:
        return reject(op, entry, f"run {run.id} is {run.state}", quick=quick)
    proposal = proposal_of(entry)
    board = facts_for(op, run, proposal, entry.principal)
    again = [name for name in board.policy.of(entry.kind) if name in AGAIN]
    moved = [
        r
        for r in admission.judge_on_board(proposal, board, again, (), op.now)
        if r.verdict is not Verdict.PASS
    ]
    if moved:
        return reject(op, entry, _reason(moved[0]) + " (changed while it was checked)", quick=quick)
    weak = admission.too_weak_an_heir(proposal, board, entry.receipts)
    if weak:
        return reject(op, entry, f"fresh: {'; '.join(weak)}", quick=quick)
    if entry.kind is Kind.ANSWER and not _may_end(op, run, entry):
        return reject(op, entry, "there is open work again, so the run cannot end yet", quick=quick)
    if _tested_elsewhere(op, run, entry):
        # Peers took their time, and head has moved since the commands ran on it.
        others = tuple(receipt for receipt in entry.receipts if receipt.check != CheckName.COMMAND)
        entry = op.tx.update(entry, replace(entry, receipts=others, admitted_as=""))
        cases.queue_check(op, entry, CheckName.COMMAND)
        return entry
    return admit(op, entry)


def _tested_elsewhere(op: Operation, run: Run, entry: Entry) -> bool:
    ran = [check for check in op.tx.checks_of(entry.id) if check.name == CheckName.COMMAND]
    tested = ran[-1].receipt.get("tested_head", "") if ran else ""
    return bool(tested) and tested != run.head


def _may_end(op: Operation, run: Run, answer: Entry) -> bool:
    decision = op.tx.task(TaskId(answer.task))
    return decision is not None and queue.only_decision_open(op, run, decision)


def admit(op: Operation, entry: Entry) -> Entry:
    """Into the context at the next version, together with all that follows from it."""
    for label in entry.supersedes:
        cascading.supersede(op, op.entry(label), entry)
    admitted = replace(
        entries.transition(entry, entries.Event.ADMIT),
        strength=admission.strength(entry.receipts),
        decided_at=op.now,
    )
    version = op.publish(admitted, Change.ADMITTED)
    admitted = op.tx.update(entry, replace(admitted, version=version))
    if entry.admitted_as:
        run = op.run(entry.run)
        cascading.head_moved(op, op.tx.update(run, replace(run, head=entry.admitted_as)), admitted)
    task = op.tx.task(TaskId(entry.task)) if entry.task and entry.completes else None
    if task is not None and task.state in {TaskState.LEASED, TaskState.SUBMITTED}:
        queue.finish(op, task, result=entry.id, agent=entry.agent)
    if entry.kind is Kind.ANSWER:
        _finish_run(op, admitted)
    return admitted


def _finish_run(op: Operation, answer: Entry) -> None:
    """The answer is in: what nobody could take is cancelled, and the run is over."""
    run = op.run(answer.run)
    for task in op.tx.tasks(run.id, [TaskState.BLOCKED, TaskState.READY]):
        queue.cancel(op, task, f"the run was finished by {answer.label} without it")
    op.tx.update(
        run, replace(run, state=RunState.FINISHED, reason=f"answered by {answer.label}", ended_at=op.now)
    )


def reject(op: Operation, entry: Entry, reason: str, *, quick: bool) -> Entry:
    """Kept, but never shown as context; its task goes back to its author."""
    rejected = replace(
        entries.transition(entry, entries.Event.REJECT), reason=shortened(reason, 4000), decided_at=op.now
    )
    rejected = op.tx.update(entry, replace(rejected, admitted_as=""))
    task = op.tx.task(TaskId(entry.task)) if entry.task and entry.completes else None
    if task is not None and task.state in {TaskState.LEASED, TaskState.SUBMITTED}:
        _return_task(op, task, rejected, quick=quick)
    if not quick:
        op.publish(rejected, Change.REJECTED, audience=entry.agent)
    return rejected


def _return_task(op: Operation, task: Task, rejected: Entry, *, quick: bool) -> None:
    """Give a task back to its author: with its lease if the author is still waiting for the answer."""
    policy = op.policy(op.run(task.run))
    limits = policy.limits
    if task.state is TaskState.LEASED:
        queue.count_rejection(op, task, rejected.reason)
    elif _turned_down(rejected) and _times_turned_down(op, task, rejected) % policy.peers.max_rejections == 0:
        queue.pass_on(op, task, f"{rejected.label} was turned down, as others of {task.agent} before")
    elif quick and op.tx.leased_to(task.run, task.agent) is None:
        until = min(op.now + limits.lease_s, tasks.lease_ceiling(task, limits))
        held = replace(tasks.transition(task, tasks.Event.RETURN), lease_until=until)
        queue.count_rejection(op, op.tx.update(task, held), rejected.reason)
    else:
        reason = f"{rejected.label} was rejected"
        queue.put_back(op, task, tasks.returned_late(task, reason=reason, now=op.now, limits=limits))


def is_decided(op: Operation, entry: EntryId) -> bool:
    """Whether nothing but peers can still change an entry's state."""
    open_checks = [check for check in op.tx.checks_of(entry) if check.state is not CheckState.DONE]
    return op.entry(entry).state is not EntryState.PENDING or (
        bool(open_checks) and all(check.name == CheckName.PEERS for check in open_checks)
    )


def _turned_down(entry: Entry) -> bool:
    """Whether peers or a judge said no, and not a check that a machine can repeat."""
    last = entry.receipts[-1] if entry.receipts else None
    return (
        last is not None and last.verdict is Verdict.FAIL and last.check in {CheckName.PEERS, CheckName.JUDGE}
    )


def _times_turned_down(op: Operation, task: Task, rejected: Entry) -> int:
    """How often results of this author for a task were turned down, this time included."""
    return sum(
        entry.agent == rejected.agent and entry.state is EntryState.REJECTED and _turned_down(entry)
        for entry in op.tx.entries_of(task.id)
    )
