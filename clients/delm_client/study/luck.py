"""What differs between seeds, drawn once a seed and the same for every topology and number of agents."""

import random
from dataclasses import dataclass, fields

from delm_client.study.errors import StudyError


@dataclass(frozen=True, slots=True)
class Mistakes:
    """How often an agent misjudges an edit, as it would with flaky tests. Assumed, never found out."""

    missed: float = 0.0
    """Probability that it takes an edit that repairs for one that does not."""
    imagined: float = 0.0
    """Probability that it takes an edit that does not repair for one that does."""

    def __bool__(self) -> bool:
        return self.missed > 0 or self.imagined > 0

    def checked(self) -> "Mistakes":
        """The same, or a StudyError."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise StudyError(f"{field.name} is {value:g}: a probability lies between 0 and 1.")
        return self


class Luck:
    """Common random numbers: a topology asks for the draws that it needs, and finds those of its rivals."""

    def __init__(self, seed: int, mistakes: Mistakes | None = None) -> None:
        self.seed = seed
        self.mistakes = mistakes or Mistakes()
        self._drawn: dict[tuple[int, str, int], list[float]] = {}

    def order(self, what: str, count: int) -> list[int]:
        """A permutation; the same for the same words."""
        order = list(range(count))
        random.Random(f"{self.seed} {what}").shuffle(order)  # noqa: S311 - a study must repeat itself
        return order

    def share(self, what: str) -> float:
        """A number in [0, 1)."""
        return random.Random(f"{self.seed} {what}").random()  # noqa: S311

    def seems(self, agent: int, program: str, space: int, trial: int, passes: bool) -> bool:
        """Whether the agent takes this edit for one that repairs."""
        if not self.mistakes:
            return passes
        drawn = self._drawn.setdefault((agent, program, space), [])
        if len(drawn) <= trial:
            chance = random.Random(f"{self.seed} eyes {agent} {program} {space}")  # noqa: S311
            drawn[:] = [chance.random() for _ in range(max(trial + 1, 2 * len(drawn), 16))]
        if passes:
            return drawn[trial] >= self.mistakes.missed
        return drawn[trial] < self.mistakes.imagined
