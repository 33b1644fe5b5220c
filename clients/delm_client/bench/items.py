"""One item of each benchmark, and the face that all of them have.

What a solver may see comes from `shown()`, and only from there: answers, gold patches and hidden tests are
fields that graders read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Benchmark(StrEnum):
    """The benchmarks by the names that a user types."""

    LONGBENCH = "longbench"
    SWEBENCH = "swebench"
    HUMANEVAL = "humaneval"
    MBPP = "mbpp"
    EXERCISM = "exercism"
    QUIXBUGS = "quixbugs"


class Grading(StrEnum):
    """How an item is graded."""

    LETTER = "letter"
    """A letter is taken out of the reply and compared."""
    HARNESS = "harness"
    """A patch goes to the official harness, in an environment of its own."""
    TESTS = "tests"
    """The item's tests run in a folder."""


class Item(Protocol):
    """What every item can be asked."""

    @property
    def id(self) -> str:
        """Unique within its data set, and stable between runs."""

    @property
    def benchmark(self) -> Benchmark: ...

    @property
    def grading(self) -> Grading: ...

    def shown(self) -> str:
        """All that a solver may see, as text; never what it is graded by."""


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question about a long text (LongBench-v2)."""

    id: str
    domain: str
    sub_domain: str
    difficulty: str
    length: str
    question: str
    choices: Mapping[str, str]
    """`A` to `D`."""
    context: str = field(repr=False)
    answer: str = field(repr=False)
    """The right letter. Graders only."""

    benchmark = Benchmark.LONGBENCH
    grading = Grading.LETTER

    def shown(self) -> str:
        """The question and its choices; the context goes beside it, whole or in chunks."""
        listed = "\n".join(f"({letter}) {text.strip()}" for letter, text in self.choices.items())
        return f"{self.question.strip()}\n{listed}"


@dataclass(frozen=True, slots=True)
class Instance:
    """A reported issue and the commit at which to solve it (SWE-bench)."""

    id: str
    repo: str
    base_commit: str
    problem_statement: str
    version: str = ""
    difficulty: str = ""
    created_at: str = ""
    image: str = ""
    environment_setup_commit: str = ""
    hints_text: str = field(default="", repr=False)
    """Comments under the issue. Official submissions may not use them."""
    patch: str = field(default="", repr=False)
    """The gold patch. Graders only."""
    test_patch: str = field(default="", repr=False)
    fail_to_pass: tuple[str, ...] = field(default=(), repr=False)
    pass_to_pass: tuple[str, ...] = field(default=(), repr=False)
    eval_script: str = field(default="", repr=False)
    log_parser: str = ""
    eval_type: str = ""

    benchmark = Benchmark.SWEBENCH
    grading = Grading.HARNESS

    def shown(self) -> str:
        """The issue as it was reported; no hints, no tests."""
        return self.problem_statement


@dataclass(frozen=True, slots=True)
class Exercise:
    """A small program to write or repair until its tests pass.

    Paths are relative to the project folder, with `/`.
    """

    id: str
    benchmark: Benchmark
    statement: str
    """What is asked, in the words of the data set."""
    files: Mapping[str, str] = field(repr=False)
    """What a solver starts with: the stub or the faulty program."""
    tests: Mapping[str, str] = field(repr=False)
    """The tests that decide; grading puts them back as they are here."""
    solution: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A program that passes, where the data set has one. Graders only."""

    grading = Grading.TESTS

    def shown(self) -> str:
        """The statement and the files to change."""
        parts = [f"--- {path}\n{text}" for path, text in sorted(self.files.items())]
        return "\n\n".join([self.statement, *parts])
