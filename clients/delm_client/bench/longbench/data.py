"""LongBench-v2: loading and checking its questions."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from delm_client.bench.errors import DataError, did_you_mean
from delm_client.bench.hub import hub_rows
from delm_client.bench.items import Question
from delm_client.bench.reading import Row, rows, text_of, unique

HUB = "THUDM/LongBench-v2"
LETTERS = ("A", "B", "C", "D")
MULTI_DOC = "Multi-Document QA"
ALL = "all"
DOMAINS = (
    MULTI_DOC,
    "Single-Document QA",
    "Long In-context Learning",
    "Long-dialogue History Understanding",
    "Code Repository Understanding",
    "Long Structured Data Understanding",
)
FIELDS = (
    "_id", "domain", "sub_domain", "difficulty", "length", "question",
    *(f"choice_{letter}" for letter in LETTERS), "answer", "context",
)  # fmt: skip
INSTEAD = "Without it, download data.json of LongBench-v2 by hand and name that file."


def load(source: Path | None = None, domain: str = MULTI_DOC) -> tuple[Question, ...]:
    """Load the questions of one domain.

    Args:
        source: The official `data.json`, or JSON, JSON Lines or Parquet of its schema; None: the hub.
        domain: One of `DOMAINS`, or `all`.

    Raises:
        DataError: Something is wrong with the file; names the line. Or nothing is in this domain.
        ExtraMissing: The hub is asked and `datasets` is not installed.
    """
    found = rows(source) if source else hub_rows(HUB, "train", instead=INSTEAD)
    questions = parse(found)
    if domain == ALL:
        return questions
    chosen = tuple(question for question in questions if question.domain == domain)
    if not chosen:
        there = Counter(question.domain for question in questions)
        listed = ", ".join(f"{name} ({count})" for name, count in there.most_common())
        hint = did_you_mean(domain, [*there, *DOMAINS, ALL])
        raise DataError(f"No question is of the domain `{domain}`.{hint} There are: {listed}; or `{ALL}`.")
    return chosen


def parse(found: Iterable[Row]) -> tuple[Question, ...]:
    """Check every row and make questions of them. Raises DataError at the first that is wrong."""
    seen: dict[str, str] = {}
    questions = []
    for row in found:
        question = _question(row)
        unique(row.where, seen, question.id)
        questions.append(question)
    return tuple(questions)


def _question(row: Row) -> Question:
    text = {name: text_of(row, name, known=FIELDS) for name in FIELDS}
    if text["answer"] not in LETTERS:
        raise DataError(f"{row.where}: `answer` must be one of A, B, C, D, and is {text['answer']!r}.")
    for name in ("_id", "question", "context"):
        if not text[name].strip():
            raise DataError(f"{row.where}: `{name}` is empty.")
    return Question(
        id=text["_id"],
        domain=text["domain"],
        sub_domain=text["sub_domain"],
        difficulty=text["difficulty"],
        length=text["length"],
        question=text["question"],
        choices={letter: text[f"choice_{letter}"] for letter in LETTERS},
        context=text["context"],
        answer=text["answer"],
    )
