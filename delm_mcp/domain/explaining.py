"""Why an entry stands as it does: the tree of what is behind it, as text and as facts, within a budget.

Under an entry hangs what `dossiers` says of it, and then the entries that it rests on, each with the same
under it. A tree is cut breadth first, so what is near is shown before what is far, and by whole lines.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from delm_mcp.domain.dossiers import Dossier, Line, about, headline
from delm_mcp.domain.model import EntryId
from delm_mcp.domain.text import CHARACTERS_PER_TOKEN

ENTRIES_MAX = 300
DEPTH_MAX = 24  # entries in a row; what is deeper is asked for by its own label
CUT_TOKENS = 60  # kept free for the line that says what is not shown
INDENT = 3

_ENTRY = "rests_on"
_ABOVE, _BELOW = "(see above)", "(see below)"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A tree within its budget.

    Attributes:
        tree: What is shown, for whoever draws it.
        text: The same, drawn, with `note` at its end.
        facts: The facts behind the lines, nested, within the same budget as JSON; `cut` says what is
            not among them.
        note: What is not shown, and which call shows it; empty when all is.
        more: That call; empty when all is shown.
    """

    tree: Line
    text: str
    facts: dict[str, Any]
    note: str
    more: str


def explain(
    entry: EntryId,
    dossier_of: Callable[[EntryId], Dossier],
    *,
    now: float,
    budget_tokens: int,
    budget_max: int,
) -> Explanation:
    """The tree behind an entry.

    Args:
        dossier_of: Finds what is known of an entry.
        now: Seconds since the epoch, to say how long something has waited.
        budget_tokens: What the text may take, and the facts as JSON likewise. The entry's own line is
            always shown.
        budget_max: The largest budget that a reader can ask for.
    """
    grown = _grow(entry, dossier_of, now, budget_max)
    shown = _cut(grown, [spot.text_chars for spot in grown.spots], budget_tokens, budget_max)
    kept = _cut(grown, [spot.json_chars for spot in grown.spots], budget_tokens, budget_max)
    tree = _pointing(_pruned(grown, shown.count))
    text = "".join(f"{line}\n" for line in drawn(tree)) + (f"{shown.note}\n" if shown.note else "")
    facts = _nested(_pruned(grown, kept.count)) | ({"cut": kept.note} if kept.note else {})
    return Explanation(tree, text, facts, shown.note, shown.more)


def drawn(line: Line, before: str = "", below: str = "") -> Iterator[str]:
    """The tree as lines, with its branches before them."""
    yield before + line.text
    for number, child in enumerate(line.below, 1):
        last = number == len(line.below)
        yield from drawn(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


# -- growing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seed:
    """A line that is still to be placed: under which spot, how far in, and of which entry it is the line."""

    line: Line
    above: int
    indent: int
    entry: EntryId | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class _Spot:
    """A line in its place, and its size as text with its branches and as JSON."""

    line: Line
    above: int
    entry: EntryId | None
    text_chars: int
    json_chars: int


class _Grown:
    """The tree in breadth-first order, as far as the bounds let it grow.

    Attributes:
        ends: The spots of entries under which it was not let grow further.
    """

    def __init__(self) -> None:
        self.spots: list[_Spot] = []
        self.ends: set[int] = set()
        self.chars = 0

    def place(self, seed: _Seed) -> int:
        line = seed.line
        facts = sum(len(json.dumps(fact, ensure_ascii=False)) + 2 for fact in line.facts)
        chars = INDENT * seed.indent + len(line.text) + 1
        self.spots.append(
            _Spot(line, seed.above, seed.entry, chars, facts + (len(line.section) + 6 if facts else 0))
        )
        self.chars += chars
        return len(self.spots) - 1


def _grow(root: EntryId, dossier_of: Callable[[EntryId], Dossier], now: float, budget_max: int) -> _Grown:
    grown = _Grown()
    known = {root: dossier_of(root)}
    waiting = deque([_Seed(headline(known[root].entry), -1, 0, root, 1)])
    while waiting:
        seed = waiting.popleft()
        spot, indent = grown.place(seed), seed.indent + 1
        if seed.entry is None:
            waiting += [_Seed(line, spot, indent) for line in seed.line.below]
            continue
        waiting += [_Seed(line, spot, indent) for line in about(known[seed.entry], now)]
        parents = [EntryId(label) for label in dict.fromkeys(known[seed.entry].entry.derived_from)]
        too_large = grown.chars > budget_max * CHARACTERS_PER_TOKEN or len(known) + len(parents) > ENTRIES_MAX
        if parents and (too_large or seed.depth >= DEPTH_MAX):
            grown.ends.add(spot)
            continue
        for parent in parents:
            if parent in known:
                waiting.append(_Seed(_mention(parent), spot, indent))
                continue
            known[parent] = dossier_of(parent)
            line = headline(known[parent].entry, "rests on ")
            waiting.append(_Seed(line, spot, indent, parent, seed.depth + 1))
    return grown


def _mention(entry: EntryId) -> Line:
    """An entry that has its own line elsewhere; where that is, is known once the tree is drawn."""
    return Line(_ENTRY, f"rests on E{entry} {_ABOVE}", ({"entry": f"E{entry}", "again": True},))


# -- cutting -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cut:
    """How many lines are kept, what is said of the others, and the call that shows them."""

    count: int
    note: str = ""
    more: str = ""


def _cut(grown: _Grown, sizes: Sequence[int], budget_tokens: int, budget_max: int) -> _Cut:
    """Keep as many lines as fit, at least the entry's own."""
    needed = -(-sum(sizes) // CHARACTERS_PER_TOKEN)
    if not grown.ends and needed <= budget_tokens:
        return _Cut(len(sizes))
    count = max(1, _fitting(sizes, budget_tokens - CUT_TOKENS))
    total = f"more than {len(sizes)}" if grown.ends else f"{len(sizes)}"
    label, larger, says = grown.spots[0].entry, needed, "shows all"
    if grown.ends or needed > budget_max:
        larger, says = min(needed + CUT_TOKENS, budget_max), "shows more"
    if larger <= budget_tokens:  # a larger budget would not help
        label, larger, says = _unfinished(grown, count), budget_tokens, "goes on there"
    more = f"read_context(view=why, entries=[E{label}], budget_tokens={larger})"
    return _Cut(count, f"(cut: {count} of {total} lines, the nearest first; {more} {says})", more)


def _fitting(sizes: Iterable[int], budget_tokens: int) -> int:
    used, count = 0, 0
    for size in sizes:
        used += size
        if used > budget_tokens * CHARACTERS_PER_TOKEN:
            break
        count += 1
    return count


def _unfinished(grown: _Grown, count: int) -> EntryId | None:
    """The nearest entry of which not all is shown; the root only if there is no other."""
    short = grown.ends | {spot.above for spot in grown.spots[count:]}
    found = (spot.entry for place, spot in enumerate(grown.spots[:count]) if place and place in short)
    return next((entry for entry in found if entry is not None), grown.spots[0].entry)


def _pruned(grown: _Grown, count: int) -> Line:
    """The tree of the first `count` lines."""
    below: list[list[Line]] = [[] for _ in range(count)]
    for place in range(count - 1, 0, -1):
        spot = grown.spots[place]
        below[spot.above].append(replace(spot.line, below=tuple(reversed(below[place]))))
    return replace(grown.spots[0].line, below=tuple(reversed(below[0])))


def _pointing(tree: Line) -> Line:
    """The tree with every mention saying where the entry's own line is, in the order of drawing."""
    seen: set[str] = set()

    def look(line: Line) -> Line:
        if line.section == _ENTRY and "again" not in line.facts[0]:
            seen.add(line.facts[0]["entry"])
        elif line.section == _ENTRY and line.facts[0]["entry"] not in seen:
            return replace(line, text=line.text.replace(_ABOVE, _BELOW))
        return replace(line, below=tuple(look(child) for child in line.below))

    return look(tree)


def _nested(line: Line) -> dict[str, Any]:
    """A line's facts, with those of the lines below it under the names of their sections."""
    facts = dict(line.facts[0])
    for child in line.below:
        if not child.facts:
            continue
        if not child.section:
            facts |= child.facts[0]
        elif child.below:
            facts.setdefault(child.section, []).append(_nested(child))
        else:
            facts.setdefault(child.section, []).extend(child.facts)
    return facts
