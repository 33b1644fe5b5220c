"""What a proposal is answered with: how it stands, what it clashes with, and what to do next."""

from delm_mcp.board import cases
from delm_mcp.board.answers import Proposed
from delm_mcp.board.operation import Operation
from delm_mcp.domain import rendering
from delm_mcp.domain.model import CheckState, Entry, EntryId, EntryState, Kind, Run, RunState, TaskId
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.text import one_line


def proposed(op: Operation, entry: Entry, *, replayed: bool) -> Proposed:
    """The answer on an entry, as it stands now."""
    run = op.run(entry.run)
    agent = op.tx.agent(run.id, entry.agent)
    task = op.tx.task(TaskId(entry.task)) if entry.task else None
    news, version = op.news(run, agent, besides=entry.id)
    rejected = entry.state is EntryState.REJECTED
    moves = entry.kind is Kind.PATCH and bool(run.head and run.commands)
    return Proposed(
        run=run.id,
        entry=entry.label,
        state=entry.state,
        strength=entry.strength,
        reasons=(entry.reason,) if rejected else _awaited(op, entry),
        conflicts=_conflicts(op, entry) if rejected else (),
        warnings=entry.flags,
        head=run.head if moves else "",
        to_head=op.reach.to_head(run.id, run.head) if moves and entry.state is not EntryState.PENDING else "",
        task_state=task.state if task else "",
        replayed=replayed,
        version=version,
        news=news,
        next=_after_proposal(entry, run, replayed, lost=task is not None and not task.token),
    )


def _awaited(op: Operation, entry: Entry) -> tuple[str, ...]:
    """What a pending entry waits for."""
    if entry.state is not EntryState.PENDING:
        return ()
    open_checks = [check for check in op.tx.checks_of(entry.id) if check.state is not CheckState.DONE]
    return tuple(
        f"peers: {cases.tally(op, entry).needed} more approvals of other principals"
        if check.name == CheckName.PEERS
        else f"{check.name}: {one_line(check.reason) or 'not finished'}"
        for check in open_checks
    )


def _conflicts(op: Operation, entry: Entry) -> tuple[str, ...]:
    """The live entries that stand in the way, so that their author need not look them up."""
    found = [op.tx.live_with_key(entry.run, entry.key) if entry.key else None]
    found.append(op.tx.live_with_gist(entry.run, entry.gist_key) if entry.gist_key else None)
    named = [op.tx.entry(EntryId(label)) for label in (*entry.supersedes, *entry.derived_from)]
    found += [row for row in named if row and row.run == entry.run and row.state is not EntryState.ADMITTED]
    unique = {row.id: row for row in found if row is not None and row.id != entry.id}
    return tuple(rendering.unfold(row, "gist").rstrip("\n") for row in unique.values())


def _after_proposal(entry: Entry, run: Run, replayed: bool, *, lost: bool) -> str:
    if run.state is not RunState.OPEN:
        return "Stop: the run is finished."
    match entry.state:
        case EntryState.PENDING:
            return f"claim_task(agent={entry.agent}): the verdict on {entry.label} comes as news."
        case EntryState.REJECTED if lost:
            return f"The task is no longer yours: claim_task(agent={entry.agent})"
        case EntryState.REJECTED:
            again = (
                " (This call was answered before; to have it judged again, pass a new request_id.)"
                if replayed
                else ""
            )
            return f"Mend what the reasons say and propose again with the same lease.{again}"
    return f"claim_task(agent={entry.agent})" if entry.completes else "Go on with your task."
