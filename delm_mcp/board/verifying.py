"""`verify`: verdicts under a verify task, disputes without one, and patience with peers who do not come."""

from dataclasses import dataclass, replace

from delm_mcp.board import cascading, cases, identity, proposals, queue
from delm_mcp.board.answers import Judged
from delm_mcp.board.identity import Seat, label_id
from delm_mcp.board.operation import Operation
from delm_mcp.board.proposals import Finding
from delm_mcp.domain.admission import DISPUTED
from delm_mcp.domain.axes import Axis, axes
from delm_mcp.domain.model import (
    Agent,
    Caller,
    Check,
    CheckState,
    Entry,
    EntryId,
    EntryState,
    Receipt,
    Run,
    RunState,
    TaskKind,
    Verdict,
    Vote,
    VoteId,
)
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.text import fenced, one_line, shortened, tokens
from delm_mcp.errors import Conflict, InvalidInput, NotAllowed, NotFound

LOOK_AGAIN_S = 5.0  # between looks at whether peers are there, once patience has run out
MAX_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a caller says of an entry; see the verify tool."""

    entry: str
    verdict: str
    reason: str
    fails: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def verify(op: Operation, caller: Caller, opinion: Opinion, *, lease: str, agent: str, run: str) -> Entry:
    """Count a verdict under a verify task's lease, or open a dispute.

    Raises:
        Refused: Unknown entry, verdict or axis; one's own entry; a second verdict or dispute of one
            principal; nothing to judge.
    """
    entry = _named(op, caller, opinion.entry)
    fails = _checked(opinion)
    if lease:
        seat = identity.by_lease(op, caller, lease, agent=agent, run=run)
        if seat.run.id != entry.run:
            raise NotFound(
                f"Run {seat.run.id} has no entry {opinion.entry[:20]}.", "Judge what you were given."
            )
        if seat.task is not None and seat.task.kind is TaskKind.VERIFY and seat.task.about == entry.id:
            cases.insist_independent(op, entry, str(caller.principal))
            return _vote(op, seat, entry, opinion, fails)
        who, home = seat.agent, seat.run
    else:
        home = op.open_run(entry.run)
        if entry.principal == caller.principal:
            cases.insist_independent(op, entry, str(caller.principal))
        if not (agent or caller.agent):
            raise InvalidInput(
                "Nobody is named as the one who disputes.", "Pass your verify task's lease, or agent=..."
            )
        who = identity.touched(op, identity.find_agent(op, caller, home, agent))
    if opinion.verdict != Verdict.FAIL:
        raise Conflict(
            f"Only the lease of a verify task lets you judge {entry.label} as {opinion.verdict}.",
            "claim_task gives you one when an entry needs a verdict; verdict=fail disputes it.",
        )
    return _dispute(op, home, who, entry, opinion, fails)


def judged(op: Operation, entry: Entry, agent: Agent | None) -> Judged:
    """The answer on an entry, as it stands now."""
    run = op.run(entry.run)
    open_case = entry.state in {EntryState.PENDING, EntryState.SUSPECT}
    news, version = op.news(run, agent, besides=entry.id)
    return Judged(
        run=run.id,
        entry=entry.label,
        state=entry.state,
        votes_needed=cases.tally(op, entry).needed if open_case else 0,
        version=version,
        news=news,
        next=f"claim_task(agent={agent.name})" if agent else "claim_task",
    )


def speaker(op: Operation, entry: Entry, agent: str, lease: str) -> Agent | None:
    """The agent that a call about an entry speaks for, if it said which."""
    if agent:
        return op.tx.agent(entry.run, agent)
    task = op.tx.task(identity.lease_task(lease)) if lease else None
    return op.tx.agent(entry.run, task.agent) if task is not None else None


def _named(op: Operation, caller: Caller, label: str) -> Entry:
    found = op.tx.entry(EntryId(label_id(label, "E")))
    if found is None or (caller.runs and found.run not in caller.runs):
        raise NotFound(f"There is no entry {label[:20]}.", "read_context lists the entries of a run.")
    return found


def _checked(opinion: Opinion) -> tuple[Axis, ...]:
    """Raises: InvalidInput: A verdict that says too little, or something that is not known."""
    if opinion.verdict not in list(Verdict):
        raise InvalidInput(
            f"There is no verdict {opinion.verdict[:20]!r}.", f"Verdicts: {', '.join(Verdict)}."
        )
    if not opinion.reason.strip() or len(opinion.reason) > MAX_REASON:
        raise InvalidInput(
            f"A reason has 1 to {MAX_REASON} characters; this one has {len(opinion.reason)}.",
            "Say what you compared, and what you found.",
        )
    fails = axes(opinion.fails)
    if opinion.verdict == Verdict.PASS and fails:
        raise InvalidInput(
            f"pass does not go with fails={', '.join(fails)}.", "Leave fails out, or judge fail."
        )
    if opinion.verdict == Verdict.FAIL and not fails and not opinion.against:
        raise InvalidInput("fail needs the axes that fail.", f"Pass fails=[...]. Axes: {', '.join(Axis)}.")
    return fails


# -- verdicts ------------------------------------------------------------------------------------


def _vote(op: Operation, seat: Seat, entry: Entry, opinion: Opinion, fails: tuple[Axis, ...]) -> Entry:
    """Count a verdict; its verify task is done."""
    assert seat.task is not None  # noqa: S101 - by_lease always gives one
    cases.insist_independent(op, entry, str(seat.agent.principal))
    if opinion.verdict == Verdict.FAIL and not fails:
        raise InvalidInput("fail needs the axes that fail.", f"Pass fails=[...]. Axes: {', '.join(Axis)}.")
    op.tx.insert(
        Vote(
            VoteId(0),
            entry.run,
            entry.id,
            entry.round,
            seat.agent.principal,
            seat.agent.name,
            Verdict(opinion.verdict),
            opinion.reason.strip(),
            tuple(fails),
            task=seat.task.id,
            case_tokens=tokens(cases.brief(op, entry)),
            at=op.now,
        )
    )
    queue.finish(op, seat.task, result=0, agent=seat.agent.name)
    return _counted(op, op.entry(entry.id))


def _counted(op: Operation, entry: Entry) -> Entry:
    """Decide if the verdicts are enough; else see that as many are asked for as are missing."""
    standing = cases.tally(op, entry)
    if standing.outcome is None:
        missing = standing.missing - len(op.tx.verifications(entry.id))
        cases.ask(op, entry, max(0, missing))
        return entry
    cases.close(op, entry, f"the verdict on {entry.label} is in")
    votes = [vote for vote in cases.this_round(op, entry) if vote.verdict is standing.outcome]
    receipt = Receipt(CheckName.PEERS, standing.outcome, "; ".join(_said(vote) for vote in votes), op.now)
    if entry.state is EntryState.SUSPECT:
        return cascading.settle(op, entry, receipt)
    check = op.tx.checks_open(entry.run, CheckName.PEERS)
    return proposals.end_check(
        op, next(row for row in check if row.entry == entry.id), Finding(receipt), quick=False
    )


def _said(vote: Vote) -> str:
    axes_failed = f" ({', '.join(vote.fails)})" if vote.fails else ""
    return f"{vote.agent} says {vote.verdict}{axes_failed}: {fenced(shortened(vote.reason, 500))}"


# -- disputes ------------------------------------------------------------------------------------


def _dispute(
    op: Operation, run: Run, agent: Agent, entry: Entry, opinion: Opinion, fails: tuple[Axis, ...]
) -> Entry:
    """Challenge an entry that peers rely on: suspect at once, with all that rests on it."""
    if entry.principal == agent.principal:
        cases.insist_independent(op, entry, str(agent.principal))
    if entry.state not in cascading.LIVE:
        raise Conflict(f"{entry.label} is {entry.state}, so nobody relies on it.", _instead(entry))
    if any(vote.is_dispute and vote.principal == agent.principal for vote in op.tx.votes(entry.id)):
        raise Conflict(
            f"Your principal has disputed {entry.label} before; that is possible once.",
            "Propose what is right, with evidence and supersedes.",
        )
    against = tuple(dict.fromkeys(label_id(label, "E") for label in opinion.against))
    for label in against:
        _refuse_citation(op, run, entry, label)
    op.tx.insert(
        Vote(
            VoteId(0),
            entry.run,
            entry.id,
            entry.round + 1,
            agent.principal,
            agent.name,
            Verdict.FAIL,
            opinion.reason.strip(),
            tuple(fails),
            against,
            at=op.now,
        )
    )
    named = [*fails, *(f"against it: E{label}" for label in against)]
    note = (
        f"disputed by {agent.name} ({', '.join(named)}): {fenced(shortened(one_line(opinion.reason), 300))}"
    )
    return cascading.doubt(op, entry, DISPUTED, note)


def _instead(entry: Entry) -> str:
    if entry.state is EntryState.PENDING:
        return "Its verdict is still open; claim_task may give it to you."
    return "read_context shows what is live."


def _refuse_citation(op: Operation, run: Run, entry: Entry, label: int) -> None:
    """Raises: NotFound, Conflict: What cannot stand against an entry."""
    cited = op.tx.entry(EntryId(label))
    if cited is None or cited.run != run.id:
        raise NotFound(
            f"against names E{label}, which this run does not have.", "read_context shows what it has."
        )
    if cited.state is not EntryState.ADMITTED:
        raise Conflict(f"against names E{label}, which is {cited.state}.", "Cite what is admitted.")
    if cited.id == entry.id or any(row.id == entry.id for row in op.tx.ancestors(cited.id)):
        raise Conflict(
            f"E{label} rests on {entry.label} itself, so it would fall with it.",
            "Cite something independent.",
        )


# -- patience ------------------------------------------------------------------------------------


def look_again(op: Operation, check: Check) -> None:
    """A proposal has waited for peers as long as its run's policy has patience: are any there?

    Where enough independent principals are, it waits on for their verdicts. Where not, `no_peers` decides.
    """
    row = op.tx.check(check.id)
    if row is None or row.state is CheckState.DONE or row.lease_until > op.now:
        return
    entry, run = op.entry(row.entry), op.run(row.run)
    if run.state is not RunState.OPEN:
        over = Receipt(CheckName.PEERS, Verdict.ABSTAIN, f"run {run.id} is {run.state}", op.now)
        cases.close(op, entry, over.reason)
        proposals.end_check(op, row, Finding(over), quick=False)
        return
    peers = op.policy(run).peers
    standing = cases.tally(op, entry)
    asked = len(op.tx.verifications(entry.id))
    if peers.no_peers == "wait" and asked < standing.missing:
        cases.ask(op, entry, standing.missing - asked)
    there = len(cases.independent(op, run, entry))
    if peers.no_peers == "wait" or min(there, asked) >= standing.needed:
        later = op.now + min(LOOK_AGAIN_S, max(peers.peer_wait_s, 0.05))
        op.tx.update(row, replace(row, lease_until=later))
        return
    cases.close(op, entry, "nobody came to judge it")
    outcome = "admitted without it" if peers.no_peers == "attest" else "rejected"
    reason = (
        f"{standing.needed} of {peers.approvals} approvals missing after {op.now - row.created_at:.0f} s, "
        f"and {there or 'no'} other principal there to give them; by policy it is {outcome}"
    )
    proposals.end_check(
        op, row, Finding(Receipt(CheckName.PEERS, Verdict.ABSTAIN, reason, op.now)), quick=False
    )


def retract(op: Operation, caller: Caller, label: str, reason: str) -> Entry:
    """Take an entry out of the context as the run's owner.

    Raises:
        NotAllowed: Only an owner may.
        Conflict: It is not live, or its run is over.
    """
    if caller.role != "owner":
        raise NotAllowed("Only an owner may retract an entry.", "Dispute it with verify instead.")
    entry = _named(op, caller, label)
    op.open_run(entry.run)
    if entry.state not in cascading.LIVE:
        raise Conflict(f"{entry.label} is {entry.state}, so nobody relies on it.", _instead(entry))
    return cascading.retract(op, entry, f"by the owner: {fenced(shortened(reason, 1000))}")
