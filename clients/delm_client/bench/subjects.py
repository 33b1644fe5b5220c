"""A benchmark as the runner sees it: something that can be answered, graded, estimated and summed up.

The runner knows items, attempts, caps and folders; what a team does with an item, and what its result means,
is a `Subject`'s. `subject_of` finds the one of a benchmark.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from delm_client.bench.errors import DataError
from delm_client.bench.forms import Ask
from delm_client.bench.items import Benchmark, Item
from delm_client.bench.policies import written

Habits = TypeVar("Habits")


class Topology(StrEnum):
    """The ways of working together, by the names that a user types."""

    SINGLE = "single"
    INDEPENDENT = "independent"
    CENTRAL = "central"
    DELM = "delm"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Team:
    """Who works on an item, and under which policy of the board.

    Attributes:
        policy: A preset; that of the file, where there is one.
        file: The policy's file in the run's folder, by its name; empty for a preset.
    """

    topology: Topology
    agents: int
    policy: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One attempt at one item.

    Attributes:
        ask: Gives each agent, by name, its way to the model.
        folder: Where the attempt may leave what belongs to it, such as its board; not made yet.
        patches: Where patches are kept, below the run's folder; not made yet.
        run_folder: The run's own, for names that are relative to it.
    """

    item: Item
    team: Team
    ask: Callable[[str], Ask]
    folder: Path
    patches: Path
    run_folder: Path

    def rules(self, settings: Mapping[str, Any]) -> str:
        """The TOML of the board's policy, with these settings where the user's file has none of its own."""
        return written(self.run_folder, self.team.policy, self.team.file, settings)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a team came to.

    Attributes:
        reply: What is graded, a text or a patch; empty when there is none, which is wrong.
        replies: Each agent's own, where each has one.
        ended: `answered`, or why there is no answer.
        board: With `delm`, the run on its board, and what became of what was proposed.
        agents: More on each agent, in the order of `replies`.
    """

    reply: str
    ended: str = "answered"
    replies: tuple[str, ...] = ()
    board: Mapping[str, object] = field(default_factory=dict)
    agents: tuple[Mapping[str, object], ...] = ()


Row = Mapping[str, Any]
Estimated = tuple[int, int, int]
"""Calls, tokens in, tokens out."""


class Subject(Protocol):
    """One benchmark, with the habits that a run chose for its agents."""

    @property
    def habits(self) -> Any:
        """A dataclass of what may differ between runs; kept in the run's configuration."""

    @property
    def topologies(self) -> Sequence[Topology]:
        """Those that it can be run in."""

    @property
    def groups(self) -> Sequence[str]:
        """The fields of its rows by which results are broken down."""

    @property
    def max_tokens(self) -> int:
        """Of one answer of the model, where the user names no number."""

    @property
    def scripted(self) -> str:
        """The scripted model that stands in for one here: `--model scripted:NAME`."""

    @property
    def on_top(self) -> str:
        """What an estimate leaves out, as a sentence."""

    async def answer(self, scene: Scene) -> Outcome:
        """Let the team work on the item.

        Raises:
            OverLimit: A cap is reached; `cut_short` says what there is by then.
            BenchError, BoardError, OSError: It could not be run, which says nothing about the answer.
        """

    async def cut_short(self, scene: Scene, why: str) -> Outcome:
        """What there is when a cap of the item ended the work; raises what `answer` does."""

    async def row(self, scene: Scene, outcome: Outcome | None) -> dict[str, Any]:
        """What the item's result says, graded: `right` (None where it is judged later), the groups, and more.

        Args:
            outcome: None where the item could not be run; nothing is graded then, and nothing raised.

        Raises:
            BenchError: It cannot be graded here; says nothing about the answer.
        """

    def estimate(self, item: Item, team: Team) -> Estimated:
        """What the item will take, roughly."""

    def sums(self, done: Sequence[Row]) -> dict[str, Any]:
        """What results add to the counts, over the rows that were run; `each_agent` among it."""


def subject_of(benchmark: str, wishes: Mapping[str, Any]) -> Subject:
    """The subject of a benchmark, with the habits among the wishes that it knows.

    Raises:
        DataError: There is no such benchmark, or it cannot be run; says what can.
    """
    from delm_client.bench.exercises.subject import Exercises
    from delm_client.bench.longbench.subject import LongBench
    from delm_client.bench.registry import named

    match named(benchmark):
        case Benchmark.LONGBENCH:
            return LongBench.wished(wishes)
        case Benchmark.SWEBENCH:
            raise DataError(
                "swebench cannot be run by this command yet. "
                "`python -m delm_client.bench swebench` checks its data."
            )
        case _:
            return Exercises.wished(wishes)


def known_to(habits: type[Habits], wishes: Mapping[str, Any]) -> Habits:
    """Habits with those of the wishes that they know; the rest is for other benchmarks."""
    return habits(**{name: value for name, value in wishes.items() if name in habits.__annotations__})
