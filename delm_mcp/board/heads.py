"""What moved a run's head, read from the receipts of the checks that moved it."""

from collections.abc import Mapping, Sequence

from delm_mcp.domain.model import Change, ContextChange, Entry, EntryId, Kind
from delm_mcp.domain.patches import Changes, changes_from
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.travel import Move
from delm_mcp.store.base import Tx

MOVES = 3
"""How many patches a line about head names."""


def changes_of(tx: Tx, entry: Entry) -> Changes | None:
    """What a patch changes at head, as the last check by command saw it; None before there was one."""
    if entry.kind is not Kind.PATCH:
        return None
    ran = [check for check in tx.checks_of(entry.id) if check.name == CheckName.COMMAND]
    seen = (changes_from(check.receipt.get("changes")) for check in reversed(ran))
    return next((changes for changes in seen if changes), None)


def moves(tx: Tx, told: Sequence[ContextChange], entries: Mapping[EntryId, Entry], reader: str) -> list[Move]:
    """The latest patches of peers among the changes that a reader is told of, oldest first."""
    rows = {change.entry: entries[change.entry] for change in told if change.what is Change.ADMITTED}
    patches = [entry for entry in rows.values() if entry.admitted_as and entry.agent != reader]
    seen = ((entry, changes_of(tx, entry)) for entry in patches[-MOVES:])
    return [
        Move(entry.label, changes.commit, changes.head, entry.admitted_as)
        for entry, changes in seen
        if changes
    ]
