"""What moved a run's head, read from the receipts of the checks that moved it."""

from collections.abc import Mapping, Sequence

from delm_mcp.domain.model import Change, Check, ContextChange, Entry, EntryId, Kind
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
    seen = (changes_from(check.receipt.get("changes")) for check in reversed(_ran(tx, entry.id)))
    return next((changes for changes in seen if changes), None)


def moves(tx: Tx, told: Sequence[ContextChange], entries: Mapping[EntryId, Entry], reader: str) -> list[Move]:
    """The latest patches of peers among the changes that a reader is told of, oldest first."""
    rows = {change.entry: entries[change.entry] for change in told if change.what is Change.ADMITTED}
    patches = [entry for entry in rows.values() if entry.admitted_as and entry.agent != reader]
    found = []
    for entry in patches[-MOVES:]:
        tested = [check.receipt.get("tested_head", "") for check in _ran(tx, entry.id)]
        found.append(Move(entry, next(filter(None, reversed(tested)), entry.commit), entry.admitted_as))
    return found


def _ran(tx: Tx, entry: EntryId) -> list[Check]:
    return [check for check in tx.checks_of(entry) if check.name == CheckName.COMMAND]
