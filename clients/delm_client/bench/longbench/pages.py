"""Where documents begin in text that came out of PDF files: where the page numbers start anew."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

PAGES_MIN = 3
EDGE_LINES = 4
"""How many lines at a page's top and bottom may hold its number."""
LINE_MAX = 300
"""Characters of a line that are looked at; what is longer is no head and no foot of a page."""
HEAD = 3000
"""Characters of a page in which a title page shows itself."""

# Three line ends, and two more for every paragraph that is empty: Word files have even numbers of them.
_BREAK = re.compile(r"(?<!\n)\n{3}(?:\n\n)*(?!\n)[^\S\n]*|\f\s*")
_OF = re.compile(
    r"(?im)(?:^|\s)(?:page\s+)?(\d{1,3})\s*(?:/|of)\s*(\d{1,3})\s*$|"
    r"\u7b2c\s*(\d{1,3})\s*\u9875\s*\u5171\s*(\d{1,3})\s*\u9875"
)
_NUMBER = re.compile(r"^\W{0,3}(?:\d{4,7}-)?(\d{1,6})\W{0,3}$")
_BESIDE = re.compile(r"(?:^|\s\s+|\s)(?:\d{4,7}-)?(\d{1,6})$|^(\d{1,6})\s")
_TITLE_PAGE = re.compile(
    r"(?im)^\W{0,3}(?:(?:abstract|summary|a\s?b\s?s\s?t\s?r\s?a\s?c\s?t)"
    r"\b\s*(?:$|[.:\u2014\u2013-])|article\s+history|received\W)"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and what its edges say about its number."""

    start: int
    text: str
    of: tuple[int, int] | None
    """`(3, 8)` for `3/8`, `Page 3 of 8`."""
    numbers: frozenset[int]
    """Every number at its edges that could be the page's own."""
    is_title: bool


def pages(raw: str) -> list[Page]:
    """The pages of a text; only one where it has no page breaks."""
    found, start = [], 0
    for end in (*(match.end() for match in _BREAK.finditer(raw)), len(raw)):
        if raw[start:end].strip():
            found.append(_page(start, raw[start:end]))
            start = end
    return found


def numbered_anew(found: list[Page], *, surely: bool = False) -> Iterator[int]:
    """Where a page begins whose number says that it is the first of its document.

    Args:
        surely: Only where it says so in the form `1/6`.
    """
    if len(found) < PAGES_MIN:
        return
    for number in range(1, len(found)):
        if _is_first(found, number) and (found[number].of or not surely):
            yield found[number].start


def _page(start: int, text: str) -> Page:
    lines = [line.strip()[:LINE_MAX] for line in text.strip().splitlines() if line.strip()]
    edges = list(dict.fromkeys([*lines[:EDGE_LINES], *lines[-EDGE_LINES:]]))
    of = next((pair for line in reversed(edges) if (pair := _counter(line))), None)
    numbers = frozenset(int(found[1]) for line in edges if (found := _NUMBER.match(line)))
    beside = frozenset(
        int(found[1] or found[2]) for line in (*lines[:2], *lines[-2:]) if (found := _BESIDE.search(line))
    )
    return Page(start, text, of, numbers | beside, bool(_TITLE_PAGE.search(text[:HEAD])))


def _counter(line: str) -> tuple[int, int] | None:
    found = _OF.search(line)
    if not found:
        return None
    number, total = (int(group) for group in found.groups() if group)
    return (number, total) if 1 <= number <= total else None


def _is_first(found: list[Page], number: int) -> bool:
    before, page = found[number - 1], found[number]
    if page.of or before.of:
        return _counted_anew(before, page)
    if runs_on(before, page):
        return False
    ran = number > 1 and runs_on(found[number - 2], before)
    runs = number + 1 < len(found) and runs_on(page, found[number + 1])
    return (ran and runs) or (page.is_title and not before.is_title)


def _counted_anew(before: Page, page: Page) -> bool:
    if before.of and page.of:
        same = before.of[1] == page.of[1] and page.of[0] == before.of[0] + 1
        return not same and page.of[0] == 1
    if before.of:
        return before.of[0] == before.of[1]
    return page.of is not None and page.of[0] == 1


def runs_on(before: Page, page: Page) -> bool:
    """Whether some number at the edges is the next one."""
    return any(number + 1 in page.numbers for number in before.numbers)
