"""Anchors: where a quote stands in a raw text, as a W3C TextQuoteSelector.

A model quotes with other spaces, quotation marks, dashes and line breaks than a PDF has. An anchor finds the
place nonetheless, and its `exact` is the raw text's own, so that whoever checks character for character
agrees.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict

CONTEXT = 32
"""Characters of prefix and suffix."""
PLACES_MAX = 1000

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
# A hyphen is a piece of its own, because a word may be joined there.
_PIECE = re.compile(
    rf"(?P<space>\s[\s{_INVISIBLE}]*)|(?P<ascii>[!-,.-~](?: ?[!-,.-~])*(?![^\x00-\x7f]))|(?P<one>.)",
    re.DOTALL,
)
_ENDS = re.compile(rf"\A[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+\Z")
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad](?:[^\S\n]*\n\s*)?(?=[^\W\d_])")
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
    }
)


class Selector(TypedDict):
    """What the W3C's Web Annotation Data Model calls a TextQuoteSelector."""

    type: str
    exact: str
    prefix: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """`raw[start:end] == exact`, what stands before and behind it, and in how many places it could be."""

    start: int
    end: int
    exact: str
    prefix: str
    suffix: str
    places: int

    @property
    def selector(self) -> Selector:
        return Selector(type="TextQuoteSelector", exact=self.exact, prefix=self.prefix, suffix=self.suffix)


def anchor(raw: str, quote: str, *, prefix: str = "", suffix: str = "") -> Anchor | None:
    """Find a quote, first as it is, then with spaces and signs made alike, then without hyphens inside words.

    Where it stands in several places, the one whose surroundings are most like `prefix` and `suffix` is
    taken, and the first among equals. Case always counts. None where it is not there, or is blank.
    """
    if not quote.strip():
        return None
    places = _verbatim(raw, quote) or _alike(raw, quote, joined=False) or _alike(raw, quote, joined=True)
    if not places:
        return None
    start, end = max(places, key=lambda place: _likeness(raw, place, prefix, suffix))
    return Anchor(
        start=start,
        end=end,
        exact=raw[start:end],
        prefix=raw[max(0, start - CONTEXT) : start],
        suffix=raw[end : end + CONTEXT],
        places=len(places),
    )


def resolve(raw: str, selector: Selector) -> tuple[int, int] | None:
    """Where a selector points to; None where its text is not there any more."""
    found = anchor(raw, selector["exact"], prefix=selector["prefix"], suffix=selector["suffix"])
    return (found.start, found.end) if found else None


def alike(text: str) -> str:
    """A text as the second step compares it: single spaces, plain quotes and dashes, no ligatures."""
    return _Folded(_trimmed(text), joined=False).text


def _trimmed(text: str) -> str:
    return _ENDS.sub("", text)


def _likeness(raw: str, place: tuple[int, int], prefix: str, suffix: str) -> int:
    """How many characters beside a place are as wanted, counted outwards."""
    if not prefix and not suffix:
        return 0
    before = alike(raw[max(0, place[0] - 2 * len(prefix)) : place[0]])[::-1]
    behind = alike(raw[place[1] : place[1] + 2 * len(suffix)])
    return _shared(before, alike(prefix)[::-1]) + _shared(behind, alike(suffix))


def _shared(left: str, right: str) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _verbatim(raw: str, quote: str) -> list[tuple[int, int]]:
    return [(place, place + len(quote)) for place in _places(raw, quote)]


def _alike(raw: str, quote: str, *, joined: bool) -> list[tuple[int, int]]:
    wanted = _Folded(_trimmed(quote), joined=joined).text
    if not wanted.strip():
        return []
    folded = _folded(raw, joined=joined)
    spans = (folded.span(place, place + len(wanted)) for place in _places(folded.text, wanted))
    return [span for span in spans if span]


def _places(text: str, wanted: str) -> Iterator[int]:
    place = text.find(wanted)
    for _ in range(PLACES_MAX):
        if place < 0:
            return
        yield place
        place = text.find(wanted, place + 1)


class _Folded:
    """A folded text; each of its characters knows the raw span that it came from."""

    def __init__(self, raw: str, *, joined: bool) -> None:
        hidden = (
            {place for found in _HYPHEN.finditer(raw) for place in range(*found.span())} if joined else ()
        )
        parts: list[str] = []
        self._starts, self._ends = array("I"), array("I")
        for start, end, text in _pieces(raw):
            if start in hidden:
                continue
            if len(text) == end - start and text.isascii():
                self._starts.extend(range(start, end))
                self._ends.extend(range(start + 1, end + 1))
            else:
                self._starts.extend([start] * len(text))
                self._ends.extend([end] * len(text))
            parts.append(text)
        self.text = "".join(parts)

    def span(self, first: int, last: int) -> tuple[int, int] | None:
        """The raw span of `text[first:last]`; None where it begins or ends inside one raw character."""
        start, end = self._starts[first], self._ends[last - 1]
        cut = (first and self._starts[first - 1] == start) or (
            last < len(self.text) and self._ends[last] == end
        )
        return None if cut else (start, end)


@lru_cache(maxsize=4)  # one team works on a few contexts, and anchors many quotes in each
def _folded(raw: str, *, joined: bool) -> _Folded:
    return _Folded(raw, joined=joined)


def _pieces(raw: str) -> Iterator[tuple[int, int, str]]:
    """The raw text in pieces and what they fold to: runs of blanks, of ASCII; one letter and its marks."""
    place = 0
    while place < len(raw):
        found = _PIECE.match(raw, place)
        assert found  # noqa: S101  # one of the three always matches
        end = found.end()
        if found["space"]:
            yield place, end, " "
        elif found["ascii"]:
            yield place, end, found["ascii"].translate(_PLAIN)
        else:
            while end < len(raw) and (unicodedata.combining(raw[end]) or raw[end] in _INVISIBLE):
                end += 1
            visible = "".join(char for char in raw[place:end] if char not in _INVISIBLE)
            yield place, end, unicodedata.normalize("NFKD", visible.translate(_PLAIN)).translate(_PLAIN)
        place = end
