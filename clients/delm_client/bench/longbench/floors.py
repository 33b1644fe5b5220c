"""Floors of LongBench-v2's questions: what is right without any model.

`majority`: always giving the commonest right letter of these very questions. `bm25`: the choice of which most
words stand in the passages that BM25 ranks highest. Whoever scores no better has shown nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from delm_client.bench.items import Question
from delm_client.bench.longbench.scoring import score
from delm_client.bench.parts import parts_of
from delm_client.bench.results import cells
from delm_client.bench.statistics import tally

PASSAGE_TOKENS = 512
PASSAGES = 5
K1, B = 1.2, 0.75
"""The usual values of BM25 (Robertson and Zaragoza 2009)."""
_WORD = re.compile(r"\w+")


def floors(questions: Sequence[Question]) -> dict[str, Any]:
    """The floors of these questions, with counts and 95 % intervals.

    Raises:
        ValueError: There are no questions.
    """
    scores = score(questions, {})
    return {
        "items": len(questions),
        "majority_letter": scores.majority_letter,
        "majority": tally(question.answer == scores.majority_letter for question in questions),
        "bm25": tally(by_bm25(question) == question.answer for question in questions),
        "chance": 0.25,
    }


def by_bm25(question: Question) -> str:
    """The letter of the choice that overlaps most with the best passages.

    Passages of `PASSAGE_TOKENS` are ranked for the question and its choices together; what is compared is the
    share of a choice's different words that stand in the first `PASSAGES`. Ties go to the earlier letter.
    """
    passages = [Counter(_words(part.text)) for part in parts_of(question, PASSAGE_TOKENS)]
    asked = set(_words(question.shown()))
    ranked = sorted(zip(bm25(asked, passages), passages, strict=True), key=lambda pair: -pair[0])
    found = set().union(*(passage for _, passage in ranked[:PASSAGES]))

    def overlap(letter: str) -> float:
        words = set(_words(question.choices[letter]))
        return len(words & found) / len(words) if words else 0.0

    return max(sorted(question.choices), key=overlap)


def bm25(query: set[str], passages: Sequence[Counter[str]]) -> list[float]:
    """BM25 of each passage, given as counts of words, for the different words of a query."""
    sizes = [passage.total() for passage in passages]
    usual = sum(sizes) / len(sizes) if sizes else 0.0
    rarity = {}
    for word in query:
        having = sum(word in passage for passage in passages)
        rarity[word] = math.log(1 + (len(passages) - having + 0.5) / (having + 0.5))
    return [
        sum(
            rarity[word] * passage[word] * (K1 + 1) / (passage[word] + K1 * (1 - B + B * size / usual))
            for word in query
            if word in passage
        )
        for passage, size in zip(passages, sizes, strict=True)
    ]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def show_floors(out: Console, found: dict[str, Any]) -> None:
    """Print the table."""
    table = Table("", "right", "of", "rate", "95 %", title=f"floors of {found['items']} items, no model")
    table.add_row(f"always {found['majority_letter']}", *cells(found["majority"]))
    table.add_row(f"BM25 overlap, {PASSAGES} passages of {PASSAGE_TOKENS} tokens", *cells(found["bm25"]))
    table.add_row("chance", "", "", f"{found['chance']:.1%}", "")
    out.print(table)
