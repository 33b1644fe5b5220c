"""Cases: what an entry waits for, and who may judge it.

An entry that other principals have to judge gets verify tasks in the ordinary queue, one for each verdict
that is asked for. For a suspect entry they are blocked for as long as something that it rests on is
suspect too, so entries are verified in the order in which they derive from each other.
"""

from dataclasses import dataclass, replace

from delm_mcp.board.heads import changes_of
from delm_mcp.board.operation import Operation
from delm_mcp.domain import briefing, tasks
from delm_mcp.domain.briefing import Case
from delm_mcp.domain.model import (
    Check,
    CheckId,
    CheckState,
    Entry,
    EntryId,
    EntryState,
    Run,
    Task,
    TaskId,
    TaskKind,
    TaskState,
    Verdict,
    Vote,
)
from delm_mcp.domain.policy import CheckName, PeersPolicy
from delm_mcp.domain.text import shortened
from delm_mcp.errors import Conflict, NotAllowed

CHECK_LEASE_S = 30.0


# -- what an entry waits for ---------------------------------------------------------------------


def queue_check(op: Operation, entry: Entry, name: CheckName, worker: str = "") -> None:
    """Queue a check; `peers` asks for verdicts. A quick one is leased at once to the `worker` named."""
    check = Check(CheckId(0), entry.run, entry.id, name, created_at=op.now)
    if name is CheckName.QUOTES and worker:
        check = replace(
            check, state=CheckState.RUNNING, worker=worker, lease_until=op.now + CHECK_LEASE_S, tries=1
        )
    if name is CheckName.PEERS:
        peers = op.policy(op.run(entry.run)).peers
        check = replace(check, lease_until=op.now + peers.peer_wait_s)
        ask(op, entry, peers.asked)
    op.tx.insert(check)


def ask(op: Operation, entry: Entry, count: int) -> None:
    """Queue verify tasks about an entry, of the priority of the work that it came from."""
    blockers = _suspect_ancestors(op, entry)
    origin = op.tx.task(TaskId(entry.task)) if entry.task else None
    priority = origin.priority if origin else 0
    for _ in range(count):
        op.tx.insert(
            Task(
                TaskId(0),
                entry.run,
                TaskKind.VERIFY,
                f"Verify {entry.label}: {shortened(entry.gist, 200)}",
                state=TaskState.BLOCKED if blockers else TaskState.READY,
                priority=priority,
                rank=tasks.rank(TaskKind.VERIFY, priority),
                blocked_by=blockers,
                about=entry.id,
                created_at=op.now,
            )
        )


def open_doubt(op: Operation, entry: Entry) -> None:
    """Put a suspect entry to the question: to peers, or to the judge where the policy has only that."""
    policy = op.policy(op.run(entry.run))
    names = policy.of(entry.kind)
    if CheckName.JUDGE not in names or CheckName.PEERS in names:
        ask(op, entry, policy.peers.asked)
    elif not _suspect_ancestors(op, entry):
        queue_check(op, entry, CheckName.JUDGE)


def close(op: Operation, entry: Entry, reason: str) -> None:
    """The question is answered or void: nobody has to judge any more, and a verdict under way is void."""
    for task in op.tx.verifications(entry.id):
        op.tx.update(task, tasks.cancelled(task, reason=reason, now=op.now))
    for check in op.tx.checks_of(entry.id):
        if check.name == CheckName.JUDGE and check.state is not CheckState.DONE:
            ended = replace(check, state=CheckState.DONE, verdict=Verdict.ABSTAIN, reason=reason)
            op.tx.update(check, replace(ended, ended_at=op.now, lease_until=0.0))


def advance(op: Operation, entry: Entry) -> None:
    """Something that a suspect entry rests on was settled: it may be its turn."""
    blockers = _suspect_ancestors(op, entry)
    waiting = [task for task in op.tx.verifications(entry.id) if task.state is TaskState.BLOCKED]
    for task in waiting:
        if blockers:
            op.tx.update(task, replace(task, blocked_by=blockers))
        else:
            op.tx.update(task, replace(tasks.transition(task, tasks.Event.UNBLOCK), blocked_by=0))
    busy = op.tx.verifications(entry.id) or any(
        c.state is not CheckState.DONE for c in op.tx.checks_of(entry.id)
    )
    if not busy and not blockers:
        open_doubt(op, entry)


def _suspect_ancestors(op: Operation, entry: Entry) -> int:
    if entry.state is not EntryState.SUSPECT:
        return 0
    return op.tx.suspect_ancestors(entry.id)


# -- who may judge -------------------------------------------------------------------------------


def this_round(op: Operation, entry: Entry) -> list[Vote]:
    """The verdicts that count now; disputes are not among them."""
    return [vote for vote in op.tx.votes(entry.id) if vote.round == entry.round and not vote.is_dispute]


def barred(op: Operation, entry: Entry) -> set[str]:
    """The principals that may not judge an entry: its author, who disputed it, who has judged it."""
    votes = op.tx.votes(entry.id)
    return {str(entry.principal)} | {
        str(vote.principal) for vote in votes if vote.is_dispute or vote.round == entry.round
    }


def insist_independent(op: Operation, entry: Entry, principal: str) -> None:
    """Raises: NotAllowed, Conflict: This principal may not judge the entry; says why."""
    other = "claim_task gives you other work."
    if entry.principal == principal:
        raise NotAllowed(
            f"{entry.label} is your own entry, or of an agent of your principal.",
            f"Somebody else judges it; {other}",
        )
    for vote in op.tx.votes(entry.id):
        if vote.principal == principal and vote.is_dispute:
            raise NotAllowed(f"You disputed {entry.label}, so somebody else judges it.", other.capitalize())
        if vote.principal == principal and vote.round == entry.round:
            raise Conflict(f"Your principal has judged {entry.label} already.", other.capitalize())


def insist_not_judging(op: Operation, task: Task, principal: str) -> None:
    """Raises: Conflict: Another agent of this principal judges the same entry now."""
    for other in op.tx.verifications(EntryId(task.about)):
        holder = op.tx.agent(other.run, other.agent) if other.state is TaskState.LEASED else None
        if other.id != task.id and holder is not None and holder.principal == principal:
            raise Conflict(f"{holder.name}, of your principal, judges E{task.about} already.", "claim_task.")


@dataclass(frozen=True, slots=True)
class Tally:
    """How a vote stands: the outcome if there is one, else how many verdicts are missing."""

    outcome: Verdict | None
    needed: int
    missing: int


def tally(op: Operation, entry: Entry) -> Tally:
    """Count the verdicts of this round: `approvals` of `asked` must pass."""
    return counted(op.policy(op.run(entry.run)).peers, this_round(op, entry))


def counted(peers: PeersPolicy, votes: list[Vote]) -> Tally:
    """Where a vote stands under a policy; abstentions count for nothing."""
    passes = sum(vote.verdict is Verdict.PASS for vote in votes)
    fails = sum(vote.verdict is Verdict.FAIL for vote in votes)
    needed = peers.approvals - passes
    if needed <= 0:
        return Tally(Verdict.PASS, 0, 0)
    if fails > peers.asked - peers.approvals:
        return Tally(Verdict.FAIL, 0, 0)
    return Tally(None, needed, peers.asked - passes - fails)


# -- what they are given -------------------------------------------------------------------------


def brief(op: Operation, entry: Entry, budget_tokens: int = briefing.CASE_TOKENS) -> str:
    """The case of an entry, as its verifier reads it."""
    disputes = [vote for vote in op.tx.votes(entry.id) if vote.is_dispute]
    cited = {label for vote in disputes for label in vote.against}
    rows = {label: op.tx.entry(EntryId(label)) for label in {*entry.derived_from, *cited}}
    fallen = [row for row in op.tx.ancestors(entry.id) if row.state is EntryState.RETRACTED]
    return briefing.brief(
        Case(
            entry,
            parents=[row for label in entry.derived_from if (row := rows[label])],
            fallen=fallen,
            disputes=disputes,
            cited=[row for label in sorted(cited) if (row := rows[label])],
            changes=changes_of(op.tx, entry),
        ),
        budget_tokens,
    )


def independent(op: Operation, run: Run, entry: Entry) -> set[str]:
    """The principals of live agents that could judge an entry now."""
    limits = op.policy(run).limits
    since = op.now - limits.agent_live_s
    return {str(agent.principal) for agent in op.tx.agents(run.id) if agent.seen_at >= since} - barred(
        op, entry
    )
