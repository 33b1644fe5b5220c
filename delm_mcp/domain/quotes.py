"""Finding a quote in its source, as a W3C TextQuoteSelector would."""

import re
from typing import Any

CONTEXT = 32  # characters of prefix and suffix that are kept with a quote
MIN_QUOTE = 8  # characters; anything shorter stands in almost every text


def locate(source: str, exact: str) -> dict[str, Any] | None:
    """Where a quote stands in its source.

    White space is folded, because quotes are wrapped differently from their sources; everything
    else must be the same character for character.

    Returns:
        `{"offset", "length", "prefix", "suffix", "count"}` of the first place, in characters of the
        source, or None when it is not there.
    """
    words = exact.split()
    if not words:
        return None
    pattern = re.compile(r"\s+".join(re.escape(word) for word in words))
    places = pattern.finditer(source)
    first = next(places, None)
    if first is None:
        return None
    start, end = first.span()
    return {
        "offset": start,
        "length": end - start,
        "prefix": source[max(0, start - CONTEXT) : start],
        "suffix": source[end : end + CONTEXT],
        "count": 1 + sum(1 for _ in places),
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
