"""Doubt and retraction: what happens to an entry, and to everything that rests on it.

A dispute or a retraction reaches all that derives from the entry, however deep, in the same operation and
so in the same context version. Each suspect entry keeps why it is one (`Entry.doubts`):

    disputed   somebody disputes it
    inputs     a command stood behind it, and the files that the command depends on changed at head
    E5         it derives from E5, which was put in doubt or retracted

Clearing E5 takes the doubt `E5` away from all that derives from it, because then nothing changed. A
retraction leaves it: what derives from E5 is verified again, parents before children, and is cleared or
retracted in turn. What has nothing else behind it falls at once. Superseding does not cascade.
"""

from collections.abc import Sequence
from dataclasses import replace

from delm_mcp.board import cases, queue
from delm_mcp.board.operation import Operation
from delm_mcp.domain import entries, staleness
from delm_mcp.domain.admission import DISPUTED
from delm_mcp.domain.model import (
    Change,
    CheckState,
    Entry,
    EntryState,
    Receipt,
    Run,
    TaskId,
    TaskState,
    Verdict,
)
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.text import shortened

INPUTS = "inputs"
LIVE = (EntryState.ADMITTED, EntryState.SUSPECT)


def doubt(op: Operation, entry: Entry, why: str, note: str) -> Entry:
    """Make a live entry suspect, and everything that derives from it; put all of it to the question.

    Args:
        why: `DISPUTED` or `INPUTS`.
        note: What readers are told, in our voice; text of agents in it is fenced.
    """
    shaken = [_suspect(op, entry, why, note)]
    heard = f"{entry.label}, which it rests on, is suspect"
    shaken += [_suspect(op, child, entry.label, heard) for child in _live_descendants(op, entry)]
    _question(op, shaken)
    return op.entry(entry.id)


def _live_descendants(op: Operation, entry: Entry) -> list[Entry]:
    return [child for child in op.tx.descendants(entry.id) if child.state in LIVE]


def _suspect(op: Operation, entry: Entry, why: str, note: str) -> Entry:
    """One more doubt about an entry. Verdicts that were given without knowing of it do not count."""
    if why in entry.doubts and why != DISPUTED:
        return entry
    doubts = tuple(dict.fromkeys((*entry.doubts, why)))
    if entry.state is EntryState.SUSPECT:
        cases.close(op, entry, f"a new doubt about {entry.label}")
        return op.tx.update(entry, replace(entry, doubts=doubts, round=entry.round + 1))
    op.publish(entry, Change.SUSPECT, note)
    moved = entries.transition(entry, entries.Event.DOUBT)
    return op.tx.update(entry, replace(moved, doubts=doubts, round=entry.round + 1, reason=note))


def _question(op: Operation, shaken: Sequence[Entry]) -> None:
    """Ask for verdicts, once all are marked, so that each waits for what it rests on.

    An entry in doubt only for its inputs is run again by the server, and nobody has to judge it.
    """
    for entry in shaken:
        row = op.entry(entry.id)
        if row.doubts != (INPUTS,) and not op.tx.verifications(row.id):
            cases.open_doubt(op, row)


def settle(op: Operation, entry: Entry, receipt: Receipt) -> Entry:
    """A verdict on a suspect entry: by peers or the judge on all of it, by a command on its inputs."""
    entry = op.tx.update(entry, replace(entry, receipts=(*entry.receipts, receipt)))
    if receipt.verdict is Verdict.FAIL:
        return retract(op, entry, f"{receipt.check}: {receipt.reason}")
    if receipt.check == CheckName.COMMAND:
        if receipt.verdict is Verdict.PASS:
            return dispel(op, entry, INPUTS, "the server ran it again")
        cases.ask(op, entry, op.policy(op.run(entry.run)).peers.asked)
        return entry
    if receipt.verdict is not Verdict.PASS:
        # The judge could not tell, so peers are asked.
        cases.ask(op, entry, op.policy(op.run(entry.run)).peers.asked)
        return entry
    if INPUTS in entry.doubts and _runs_again(op, entry):
        return op.tx.update(entry, replace(entry, doubts=(INPUTS,)))
    return _clear(op, entry, f"{receipt.check}: verified again")


def _runs_again(op: Operation, entry: Entry) -> bool:
    return any(
        check.name == CheckName.COMMAND and check.state is not CheckState.DONE
        for check in op.tx.checks_of(entry.id)
    )


def dispel(op: Operation, entry: Entry, why: str, note: str) -> Entry:
    """Take one doubt away; without any left the entry may be relied on again."""
    if why not in entry.doubts:
        return entry
    left = tuple(doubt for doubt in entry.doubts if doubt != why)
    if not left:
        return _clear(op, entry, note)
    entry = op.tx.update(entry, replace(entry, doubts=left))
    if left != (INPUTS,):
        cases.advance(op, entry)
    return entry


def _clear(op: Operation, entry: Entry, note: str) -> Entry:
    entry = _restore(op, entry, note)
    cleared = {entry.label}
    for child in op.tx.descendants(entry.id):
        if child.state is not EntryState.SUSPECT:
            continue
        left = tuple(doubt for doubt in child.doubts if doubt not in cleared)
        if not left:
            cleared.add(child.label)
            _restore(op, child, f"{entry.label} was cleared")
            continue
        _go_on(op, op.tx.update(child, replace(child, doubts=left)))
    return entry


def _go_on(op: Operation, entry: Entry) -> None:
    """Something that an entry rests on was settled. For its inputs alone nobody has to judge it."""
    if entry.state is EntryState.SUSPECT and (entry.doubts != (INPUTS,) or op.tx.verifications(entry.id)):
        cases.advance(op, entry)


def _restore(op: Operation, entry: Entry, note: str) -> Entry:
    """Into what may be relied on, without a look at what derives from it."""
    cases.close(op, entry, f"{entry.label} was cleared")
    op.publish(entry, Change.CLEARED, note)
    cleared = entries.transition(entry, entries.Event.CLEAR)
    return op.tx.update(entry, replace(cleared, doubts=(), reason=""))


def supersede(op: Operation, old: Entry, heir: Entry) -> None:
    """Replace a live entry; what derives from it is told, not doubted."""
    cases.close(op, old, f"{old.label} was superseded by {heir.label}")
    moved = entries.transition(old, entries.Event.SUPERSEDE)
    op.tx.update(old, replace(moved, doubts=(), reason=f"by {heir.label}"))
    heirs = [child.label for child in op.tx.derived_from(old.id) if child.state is EntryState.ADMITTED]
    note = f"by {heir.label}" + (f"; {', '.join(heirs)} derive from it" if heirs else "")
    op.publish(old, Change.SUPERSEDED, note)
    if old.state is EntryState.SUSPECT:
        for child in op.tx.descendants(old.id):
            _go_on(op, child)


def retract(op: Operation, entry: Entry, reason: str) -> Entry:
    """Take a live entry out of the context; its task is open again, and what rests on it is in doubt."""
    entry = _fall(op, entry, reason)
    shaken = []
    heard = f"{entry.label}, which it rests on, was retracted"
    for child in _live_descendants(op, entry):
        if _stands_on_nothing(op, child):
            _fall(op, child, f"nothing else stands behind it than what was retracted ({entry.label})")
        else:
            shaken.append(_suspect(op, child, entry.label, heard))
    _question(op, shaken)
    for row in shaken:
        _go_on(op, op.entry(row.id))
    return op.entry(entry.id)


def _stands_on_nothing(op: Operation, entry: Entry) -> bool:
    """Whether an entry cites nothing itself, and all that it derives from was retracted."""
    parents = [op.entry(label) for label in entry.derived_from]
    return not entry.evidence and all(parent.state is EntryState.RETRACTED for parent in parents)


def _fall(op: Operation, entry: Entry, reason: str) -> Entry:
    cases.close(op, entry, f"{entry.label} was retracted")
    note = shortened(reason, 400)
    if entry.admitted_as:
        note += f"; its commit {entry.admitted_as[:12]} is still part of head"
    op.publish(entry, Change.RETRACTED, note)
    fallen = replace(
        entries.transition(entry, entries.Event.RETRACT), doubts=(), reason=shortened(reason, 4000)
    )
    entry = op.tx.update(entry, fallen)
    task = op.tx.task(TaskId(entry.task)) if entry.task else None
    if task is not None and task.state is TaskState.DONE and task.result == entry.id:
        queue.reopen(op, task, f"{entry.label} was retracted: {reason}")
    return entry


# -- inputs that change ----------------------------------------------------------------------------


def head_moved(op: Operation, run: Run, patch: Entry) -> None:
    """A patch moved head: what commands showed there is shown again, or in doubt.

    The patch's own check ran the commands on the new head, so mostly the answer is known.
    """
    ran = staleness.ran_for(op.tx.checks_of(patch.id))
    for entry in op.tx.executed(run.id):
        names = staleness.stale(entry, staleness.ran_for(op.tx.checks_of(entry.id)), ran)
        if not names:
            continue
        if all(ran.outcomes.get(name) is staleness.expected(entry) for name in names):
            note = f"still so at head {run.head[:12]} ({', '.join(names)} ran there for {patch.label})"
            row = op.entry(entry.id)
            receipt = Receipt(CheckName.COMMAND, Verdict.PASS, note, op.now)
            op.tx.update(row, replace(row, receipts=(*row.receipts, receipt)))
            continue
        # Read again: a doubt about an entry before it in this loop may have reached it.
        doubt(op, op.entry(entry.id), INPUTS, f"{patch.label} changed what {', '.join(names)} depends on")
        cases.queue_check(op, entry, CheckName.COMMAND)
