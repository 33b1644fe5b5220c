"""The parts of a question's text that agents read one at a time, and the documents that quotes are checked
against.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from delm_client.bench.items import Question
from delm_client.bench.longbench.split import chunks, documents

DOCUMENTS_MAX = 200
"""Beyond so many found documents the signs were wrong, and the whole text is one source."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one document: what one task reads.

    Attributes:
        number: From 1, in the order of the text.
        source: The name of its document, which the board knows as a source.
    """

    number: int
    source: str
    text: str = field(repr=False)


def parts_of(question: Question, chunk_tokens: int) -> tuple[Part, ...]:
    """The question's text in parts of at most `chunk_tokens`."""
    return _parts(question.context, chunk_tokens)


@lru_cache(maxsize=64)
def _parts(raw: str, chunk_tokens: int) -> tuple[Part, ...]:
    many = len(documents(raw)) > DOCUMENTS_MAX
    return tuple(
        Part(number, source_name(0 if many else chunk.document), chunk.of(raw))
        for number, chunk in enumerate(chunks(raw, chunk_tokens), 1)
        if chunk.of(raw).strip()
    )


def sources_of(question: Question) -> Iterator[tuple[str, str]]:
    """Its documents as name and text."""
    raw = question.context
    found = documents(raw)
    if len(found) > DOCUMENTS_MAX:
        yield source_name(0), raw
        return
    for number, document in enumerate(found):
        yield source_name(number), document.of(raw)


def source_name(number: int) -> str:
    """`document-001.txt` for the first one."""
    return f"document-{number + 1:03}.txt"
