"""Finding a quote in its source, as a W3C TextQuoteSelector would."""

import re
from bisect import bisect_right
from typing import Any

CONTEXT = 32  # characters of prefix and suffix that are kept with a quote
MIN_QUOTE = 8  # characters; anything shorter stands in almost every text

_WORD = re.compile(r"\S+")


def locate(source: str, exact: str) -> dict[str, Any] | None:
    """Where a quote stands in its source.

    White space is folded, because quotes are wrapped differently from their sources; everything
    else must be the same character for character. Linear in the source.

    Returns:
        `{"offset", "length", "prefix", "suffix", "count"}` of the first place, in characters of the
        source, or None when it is not there.
    """
    wanted = " ".join(exact.split())
    if not wanted:
        return None
    words = [(match.start(), match.group()) for match in _WORD.finditer(source)]
    folded = " ".join(word for _, word in words)
    place = folded.find(wanted)
    if place < 0:
        return None
    starts: list[int] = []
    position = 0
    for _, word in words:
        starts.append(position)
        position += len(word) + 1

    def original(folded_place: int) -> int:
        index = bisect_right(starts, folded_place) - 1
        return words[index][0] + folded_place - starts[index]

    start, end = original(place), original(place + len(wanted) - 1) + 1
    return {
        "offset": start,
        "length": end - start,
        "prefix": source[max(0, start - CONTEXT) : start],
        "suffix": source[end : end + CONTEXT],
        "count": folded.count(wanted),
    }


def nearest(source: str, exact: str) -> str:
    """The line of the source that shares most words with a quote that is not there."""
    wanted = set(exact.casefold().split())
    best, score = "", 0
    for line in source.splitlines():
        shared = len(wanted & set(line.casefold().split()))
        if shared > score:
            best, score = line.strip(), shared
    return best
