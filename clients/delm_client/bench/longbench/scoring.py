"""Answers out of replies, and scores with their counts and floors."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from delm_client.bench.items import Question

BRACKETED = re.compile(r"The correct answer is \(([A-D])\)")
BARE = re.compile(r"The correct answer is ([A-D])")
GROUPS = ("sub_domain", "length", "difficulty")


def extract_answer(reply: str) -> str | None:
    """The letter that a reply gives, by the official rule; None where it gives none in that form.

    Asterisks are taken out, then `The correct answer is (X)` is looked for, then that without parentheses.
    """
    plain = reply.replace("*", "")
    found = BRACKETED.search(plain) or BARE.search(plain)
    return found.group(1) if found else None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of `total` were right; `answered` is how many gave a letter at all."""

    right: int
    answered: int
    total: int

    @property
    def accuracy(self) -> float:
        """Right ones of all, between 0 and 1: what is empty or unreadable counts as wrong."""
        return self.right / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy over all and by group: `by["length"]["short"]`."""

    overall: Tally
    by: Mapping[str, Mapping[str, Tally]]
    majority: Tally
    """What always giving the commonest right letter of these questions would score."""
    majority_letter: str

    @property
    def sub_domain_mean(self) -> float:
        """The mean of the sub-domains' accuracies, each counted alike: what the DeLM paper reports."""
        tallies = self.by["sub_domain"].values()
        return sum(tally.accuracy for tally in tallies) / len(tallies) if tallies else 0.0


def score(questions: Iterable[Question], replies: Mapping[str, str]) -> Scores:
    """Grade replies, by question id; a question without a reply is wrong.

    Upstream leaves out empty replies, which shrinks the denominator and flatters whoever fails to answer.

    Raises:
        ValueError: There are no questions, or a reply to a question that is not among them.
    """
    asked = list(questions)
    strangers = set(replies) - {question.id for question in asked}
    if strangers or not asked:
        raise ValueError(
            f"Replies to unknown questions: {sorted(strangers)[:3]}" if asked else "No questions."
        )
    letters = {question.id: extract_answer(replies.get(question.id, "")) for question in asked}
    by: dict[str, dict[str, Tally]] = {}
    for group in GROUPS:
        members: dict[str, list[Question]] = defaultdict(list)
        for question in asked:
            members[getattr(question, group)].append(question)
        by[group] = {name: _tally(inside, letters) for name, inside in sorted(members.items())}
    # Ties go to the earlier letter, so that the floor is the same every time.
    letter, count = max(
        sorted(Counter(question.answer for question in asked).items()), key=lambda pair: pair[1]
    )
    return Scores(
        overall=_tally(asked, letters),
        by=by,
        majority=Tally(right=count, answered=len(asked), total=len(asked)),
        majority_letter=letter,
    )


def _tally(questions: list[Question], letters: Mapping[str, str | None]) -> Tally:
    return Tally(
        right=sum(letters[question.id] == question.answer for question in questions),
        answered=sum(letters[question.id] is not None for question in questions),
        total=len(questions),
    )
