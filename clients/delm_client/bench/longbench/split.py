"""Documents and chunks of a context, as spans of its raw text.

The contexts of LongBench-v2 are texts out of PDF and Word files, put together without a delimiter that could
be relied upon. What there is was found by reading 24 of them:

* text of a PDF: pages parted by three line ends, and each document's page numbers start anew;
* text of a Word file: paragraphs parted by two line ends, documents and some sections by more;
* each document begins with the same line as the first one does (`Legal case analysis`);
* some people wrote a heading of their own: `News II`, `The second case: ...`.

So documents are found by signs, and may be missed or cut in two; nothing that is built on them may need them
to be right. Chunks are the unit to work with: never larger than asked for, never across a border.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from delm_client.bench.longbench.pages import PAGES_MIN, Page, numbered_anew, pages, runs_on

BYTES_PER_TOKEN = 4
"""UTF-8 bytes that are counted as one token: about right for English, on the safe side for other scripts."""
DOCUMENT_MIN = 800
"""Characters. Wide gaps that follow each other more closely part paragraphs, not documents."""
NEAR = 300
"""Characters. Two signs as near as this say the same: the first one counts."""
OPENING_LINES, OPENING_MIN, OPENING_TIMES = 6, 12, 20
"""How many lines at the start are looked for again; how long such a line is; how often it may come."""
CHUNK_TOKENS = 1000

BLANKS_MAX = 80
_BLANK_ABOVE = re.compile(r"\n[^\S\n]*\n[^\S\n]*$")
_GAP = re.compile(r"\n[^\S\n]*\n\s*")
_WORDS = "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|next|last"
_KINDS = "article|case|document|doc|file|news|paper|passage|report|source|story|text"
_HEADING = re.compile(
    rf"(?im)^[ \t#*\[(<=-]*(?:(?:the\s+)?(?:{_WORDS})\s+(?:{_KINDS})\b|"
    rf"(?:{_KINDS})\s*(?:no\.?\s*|\#\s*)?(?:\d{{1,3}}|[ivx]{{1,5}}|[a-z])[ \t]*(?:[\])>:.=*#-]|$))"
)
_RULE = re.compile(r"(?m)^[ \t]*([-=*_#~])(?:[ \t]?\1){9,}[ \t]*$")
_CUTS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"[.!?][\"')\]\u201d\u2019]*\s+|[\u3002\uff01\uff1f]\s*"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """`raw[start:end]`, in characters."""

    start: int
    end: int

    def of(self, raw: str) -> str:
        return raw[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Document(Span):
    """A stretch that is taken for one document."""

    sign: str
    """Why it is taken to begin here: `start`, `heading`, `rule`, `opening`, `pages`, `gap`."""


@dataclass(frozen=True, slots=True)
class Chunk(Span):
    """A stretch of one document that fits into a given number of tokens."""

    document: int
    """Which of the documents it is of, from 0."""


def tokens(text: str) -> int:
    """An estimate of a text's size that needs no tokenizer: UTF-8 bytes by four, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def documents(raw: str) -> tuple[Document, ...]:
    """Cut a context where signs say that a document begins; together they cover all of it."""
    if not raw:
        return ()
    found = pages(raw)
    signs = dict([*_openings(raw, found), *_headings(raw)])
    # What somebody wrote is better than what the layout suggests.
    signs |= dict.fromkeys(numbered_anew(found, surely=bool(signs)), "pages")
    if not signs:
        signs = dict(_wide_gaps(raw))
    first, last = len(raw) - len(raw.lstrip()), len(raw.rstrip())
    begins: list[int] = []
    for begin in sorted(signs):
        if first < begin < last and begin - (begins[-1] if begins else 0) > NEAR:
            begins.append(begin)
    edges = [0, *begins, len(raw)]
    return tuple(
        Document(start, end, signs[start] if start else "start") for start, end in itertools.pairwise(edges)
    )


def chunks(raw: str, max_tokens: int = CHUNK_TOKENS) -> tuple[Chunk, ...]:
    """Cut a context into chunks of at most `max_tokens`, at the ends of paragraphs where that can be.

    In their order they give the raw text again, character for character. Within a document, a chunk goes up
    to the last paragraph that fits; where that is too large, to the last line, sentence, word or character.

    Raises:
        ValueError: `max_tokens` is less than 1.
    """
    if max_tokens < 1:
        raise ValueError(f"A chunk needs room for 1 token at least, not {max_tokens}.")
    return tuple(
        Chunk(start, end, number)
        for number, document in enumerate(documents(raw))
        for start, end in _packed(raw, document, max_tokens * BYTES_PER_TOKEN)
    )


def _packed(raw: str, document: Document, bytes_max: int) -> Iterator[tuple[int, int]]:
    start = document.start
    while start < document.end:
        limit = _limit(raw, start, document.end, bytes_max)
        end = limit if limit == document.end else _cut(raw, start, limit)
        yield start, end
        start = end


def _limit(raw: str, start: int, end: int, bytes_max: int) -> int:
    """How far a chunk can reach: a character takes between one and four bytes."""
    window = raw[start : min(end, start + bytes_max)]
    data = window.encode("utf-8", "surrogatepass")
    if len(data) <= bytes_max:
        return start + len(window)
    kept = bytes_max
    while data[kept] & 0xC0 == 0x80:  # inside a character
        kept -= 1
    return start + len(data[:kept].decode("utf-8", "surrogatepass"))


def _cut(raw: str, start: int, limit: int) -> int:
    """The best place to end a chunk: a good one in its second half, else any, else the limit."""
    last = 0
    for pattern in _CUTS:
        for found in pattern.finditer(raw, start + 1, limit):
            last = max(last, found.end())
        if last > (start + limit) // 2:
            return last
    return last or limit


def _headings(raw: str) -> Iterator[tuple[int, str]]:
    """Headings and rules that somebody wrote between documents: only where they come at least twice."""
    for pattern, sign in ((_HEADING, "heading"), (_RULE, "rule")):
        # A heading inside a paragraph is only a line that begins like one.
        found = [match.start() for match in pattern.finditer(raw) if _opens_paragraph(raw, match.start())]
        far = [
            begin for begin, after in zip(found, [*found[1:], len(raw)], strict=False) if after - begin > NEAR
        ]
        if len(far) > 1 and len(far) == len(found):
            yield from ((begin, sign) for begin in far)


def _opens_paragraph(raw: str, place: int) -> bool:
    """Whether a blank line is above, or nothing at all."""
    above = raw[max(0, place - BLANKS_MAX) : place]
    return place == 0 or bool(_BLANK_ABOVE.search(above)) or (len(above) == place and not above.strip())


def _openings(raw: str, found: list[Page]) -> Iterator[tuple[int, str]]:
    """A line of the text's beginning that comes again, far apart, atop a page or behind a blank line.

    A running head comes again too, but on pages whose numbers go on.
    """
    lines = [line for line in raw.lstrip()[:4000].split("\n") if line.strip()][:OPENING_LINES]
    for line in lines if len(found) >= PAGES_MIN else lines[:1]:
        if len(line.strip()) < OPENING_MIN or not re.search(r"[^\W\d_]", line):
            continue
        again = [match.start() for match in re.finditer(rf"(?m)^{re.escape(line)}$", raw)]
        far = all(after - begin > 2 * DOCUMENT_MIN for begin, after in itertools.pairwise(again))
        begins = [_top(raw, found, place) for place in again[1:]]
        if 1 < len(again) <= OPENING_TIMES and far and None not in begins:
            yield from ((begin, "opening") for begin in begins if begin is not None)
            return


def _top(raw: str, found: list[Page], place: int) -> int | None:
    """Where what this line opens begins: its page, if that is not numbered on, or its paragraph."""
    if len(found) >= PAGES_MIN:
        number = max(number for number, page in enumerate(found) if page.start <= place or not number)
        page = found[number]
        anew = number == 0 or not runs_on(found[number - 1], page)
        return page.start if place - page.start <= NEAR and anew else None
    return place if _opens_paragraph(raw, place) else None


def _wide_gaps(raw: str) -> Iterator[tuple[int, str]]:
    """Empty paragraphs, in texts whose paragraphs are parted by blank lines: what Word files give."""
    gaps = [(match.end(), match.group().count("\n")) for match in _GAP.finditer(raw)]
    usual = sum(lines == 2 for _, lines in gaps)
    wide = [end for end, lines in gaps if lines >= 4]
    wider = [end for end, lines in gaps if lines >= 6]
    if len(wider) > 1:
        wide = wider
    if not wide and gaps and raw.count("\n") < 2 * len(raw) / DOCUMENT_MIN:
        wide = [end for end, _ in gaps]  # no blank line but between whole texts
    elif usual < 2 * len(wide) or 8 * usual < raw.count("\n"):
        return
    kept = 0
    for begin, after in zip(wide, [*wide[1:], len(raw)], strict=False):
        if begin - kept >= DOCUMENT_MIN and after - begin >= DOCUMENT_MIN:
            yield begin, "gap"
        kept = begin
