"""The net effect of the changes between two versions of the context, entry by entry."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from delm_mcp.domain.model import Change, ContextChange, Entry, EntryId, EntryState
from delm_mcp.domain.rendering import title
from delm_mcp.domain.text import fenced

LIVE = (EntryState.ADMITTED, EntryState.SUSPECT)
_AFTER = {
    Change.ADMITTED: EntryState.ADMITTED,
    Change.CLEARED: EntryState.ADMITTED,
    Change.SUSPECT: EntryState.SUSPECT,
    Change.SUPERSEDED: EntryState.SUPERSEDED,
    Change.RETRACTED: EntryState.RETRACTED,
}


class Effect(StrEnum):
    """What became of one entry between two versions."""

    NEW = "new"  # live now, and not before
    SUSPECT = "suspect"  # relied on before, in doubt now
    CLEARED = "cleared"  # in doubt before, relied on now
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    PASSED = "came and went"  # admitted and gone again in between
    SAME = "as before"  # in doubt and out of it again


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry before and after. A state is None for what was not in the context yet.

    Attributes:
        changes: What happened to it in between, in order.
    """

    entry: EntryId
    was: EntryState | None
    now: EntryState
    changes: tuple[ContextChange, ...]

    @property
    def effect(self) -> Effect:
        if self.was not in LIVE:
            return Effect.NEW if self.now in LIVE else Effect.PASSED
        if self.now is self.was:
            return Effect.SAME
        if self.now is EntryState.ADMITTED:
            return Effect.CLEARED
        return Effect(self.now.value)

    @property
    def note(self) -> str:
        """Why it is as it is now, if anybody said."""
        return self.changes[-1].note


def standing(changes: Iterable[ContextChange]) -> dict[EntryId, EntryState]:
    """The state of every entry after these changes, which begin with the first."""
    return {change.entry: _AFTER[change.what] for change in changes if change.what in _AFTER}


def differences(
    before: Mapping[EntryId, EntryState], between: Iterable[ContextChange]
) -> tuple[Difference, ...]:
    """What the changes between two versions come to, in the order of entries.

    Args:
        before: The states at the earlier version, see `standing`.
        between: All changes after it, up to the later one, in order.
    """
    touched: dict[EntryId, list[ContextChange]] = defaultdict(list)
    for change in between:
        if change.what in _AFTER:
            touched[change.entry].append(change)
    return tuple(
        Difference(entry, before.get(entry), _AFTER[changes[-1].what], tuple(changes))
        for entry, changes in sorted(touched.items())
    )


_MARKS = {
    Effect.NEW: "+",
    Effect.CLEARED: "+",
    Effect.SUSPECT: "?",
    Effect.SUPERSEDED: "~",
    Effect.RETRACTED: "!",
    Effect.PASSED: "-",
    Effect.SAME: "=",
}


def difference_line(found: Difference, entry: Entry) -> str:
    """A difference as one line, with the marks of the context; `-` came and went, `=` is as it was."""
    effect, doubted = found.effect, found.now is EntryState.SUSPECT
    said = f" {effect}"
    if effect is Effect.NEW:
        said = " new, but in doubt" if doubted else ""
    elif effect in {Effect.PASSED, Effect.SAME}:
        said += f", {found.now}"
    who = f"{title(entry)} by {entry.agent}" if effect is Effect.NEW else entry.label
    mark = "?" if effect is Effect.NEW and doubted else _MARKS[effect]
    note = f" ({found.note})" if found.note else ""
    return f"{mark} {who}{said}: {fenced(entry.gist)}{note}"
