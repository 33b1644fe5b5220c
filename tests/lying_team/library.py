"""The documents and the repository, as any member of the team reads them: by itself, from the disk."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.outside import git

DOCUMENTS = Path(__file__).parent / "documents"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")


@dataclass(frozen=True)
class Passage:
    """Whole sentences of a source, with what stands above them.

    Attributes:
        ref: The source's name, without a commit.
        above: Its title, and the heading of the section.
        sentences: As they stand, each on one line.
    """

    ref: str
    above: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


class Library:
    """What can be read: the documents of this folder, and the repository's files as its main branch has
    them.
    """

    def __init__(self, repository: Path) -> None:
        self._sections: dict[str, list[Passage]] = {
            path.name: _sections(path.name, path.read_text(encoding="utf-8"))
            for path in sorted(DOCUMENTS.iterdir())
        }
        for name in git(repository, "ls-tree", "--name-only", "HEAD").splitlines():
            self._sections[name] = _sections(name, git(repository, "show", f"HEAD:{name}"))

    def find(self, ref: str, quote: str) -> Passage | None:
        """The whole sentences around a quote; None where the source does not have it, or is unknown."""
        wanted = " ".join(quote.split())
        for section in self._sections.get(ref.partition("@")[0], []):
            start = section.text.find(wanted) if wanted else -1
            if start >= 0:
                return Passage(section.ref, section.above, _around(section, start, start + len(wanted)))
        return None

    def sentences(self) -> list[Passage]:
        """Every sentence of every source, for searching."""
        return [
            Passage(section.ref, section.above, (sentence,))
            for sections in self._sections.values()
            for section in sections
            for sentence in section.sentences
        ]


def _around(section: Passage, start: int, end: int) -> tuple[str, ...]:
    """The sentences that a stretch of a section's text touches."""
    touched, place = [], 0
    for sentence in section.sentences:
        if place < end and start < place + len(sentence):
            touched.append(sentence)
        place += len(sentence) + 1
    return tuple(touched)


def _sections(ref: str, text: str) -> list[Passage]:
    """A source's paragraphs, each with the headings above it; every line of a settings file is a sentence."""
    title, heading = "", ""
    found: list[Passage] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        folded = " ".join(paragraph.split())
        if (paragraph.startswith("#") and "\n" not in paragraph) or folded.isupper():
            title, heading = (title or folded), folded
            continue
        if re.fullmatch(r"\d+\. \w+", folded):
            heading = folded
            continue
        lines = ref.endswith(".ini")
        sentences = paragraph.splitlines() if lines else _SENTENCE_END.split(folded)
        above = " ".join(dict.fromkeys((title, heading)))
        found.append(Passage(ref, above, tuple(" ".join(sentence.split()) for sentence in sentences)))
    return found
