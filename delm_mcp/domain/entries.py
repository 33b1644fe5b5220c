"""The life of an entry as one table."""

from dataclasses import replace
from enum import StrEnum

from delm_mcp.domain.model import Entry, EntryState
from delm_mcp.errors import Illegal


class Event(StrEnum):
    """What can happen to an entry."""

    ADMIT = "admit"
    REJECT = "reject"
    SUPERSEDE = "supersede"
    DOUBT = "doubt"  # disputed, a parent fell, or its inputs changed
    CLEAR = "clear"
    RETRACT = "retract"


S, E = EntryState, Event

TRANSITIONS: dict[EntryState, dict[Event, EntryState]] = {
    S.PENDING: {E.ADMIT: S.ADMITTED, E.REJECT: S.REJECTED},
    S.ADMITTED: {E.SUPERSEDE: S.SUPERSEDED, E.DOUBT: S.SUSPECT, E.RETRACT: S.RETRACTED},
    S.SUSPECT: {E.CLEAR: S.ADMITTED, E.RETRACT: S.RETRACTED, E.SUPERSEDE: S.SUPERSEDED},
    S.REJECTED: {},
    S.SUPERSEDED: {},
    S.RETRACTED: {},
}


def transition(entry: Entry, event: Event) -> Entry:
    """The entry after the event.

    Raises:
        Illegal: The event does not go with the entry's state; says which ones do.
    """
    allowed = TRANSITIONS[entry.state]
    if event not in allowed:
        names = ", ".join(allowed) or "nothing"
        raise Illegal(f"{entry.label} is {entry.state}, so it cannot {event}.", f"Possible now: {names}.")
    return replace(entry, state=allowed[event])
