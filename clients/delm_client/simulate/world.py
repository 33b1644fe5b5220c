"""What happens, drawn once a seed and the same for every topology, number of agents and assumption.

Draws are uniform numbers; assumptions are thresholds on them. So two simulations of one seed differ by what
is compared and by nothing else (common random numbers).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from delm_client.simulate.traces import Call, Trace

MOST_AGENTS = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work: seconds and tokens of its calls, and the luck that it will have (in [0, 1))."""

    index: int
    seconds: float
    calls: int
    prompt: int
    cached: int
    completion: int
    first_prompt: int
    last_prompt: int
    dead_end: float
    family: float
    falseness: float
    catching: float
    resting: float
    parent: float


@dataclass(frozen=True, slots=True)
class World:
    """The tasks as they are queued, and when agents would die (shares of the ideal makespan)."""

    seed: int
    tasks: tuple[Task, ...]
    deaths: tuple[float, ...]

    @property
    def work_s(self) -> float:
        """Seconds of all tasks together."""
        return sum(task.seconds for task in self.tasks)


def draw(trace: Trace, seed: int, tasks: int, subtasks: int = 1) -> World:
    """`tasks` tasks from instances drawn with replacement, each cut into `subtasks` runs of calls.

    A short instance gives fewer pieces. That pieces can be done side by side is an assumption.
    """
    chance = random.Random(f"{seed} tasks")  # noqa: S311 - a simulation must repeat itself
    luck = random.Random(f"{seed} luck")  # noqa: S311
    made: list[Task] = []
    while len(made) < tasks:
        calls = trace.instances[chance.randrange(len(trace.instances))]
        for piece in pieces(calls, subtasks):
            if len(made) < tasks:
                made.append(_task(len(made), piece, luck))
    chance.shuffle(made)
    deaths = random.Random(f"{seed} deaths")  # noqa: S311
    return World(seed, tuple(made), tuple(deaths.random() for _ in range(MOST_AGENTS)))


def pieces(calls: Sequence[Call], count: int) -> list[Sequence[Call]]:
    """Consecutive calls in at most `count` pieces of about as many calls."""
    size = ceil(len(calls) / count)
    return [calls[start : start + size] for start in range(0, len(calls), size)]


def mean_task_s(trace: Trace, subtasks: int) -> float:
    """The seconds of a task, on average."""
    count = sum(len(pieces(calls, subtasks)) for calls in trace.instances)
    return trace.mean_instance_s * len(trace.instances) / count


def order_of(world: World, agent: int) -> Iterator[Task]:
    """The order in which an agent that knows of no other would do the tasks; drawn as far as needed."""
    chance = random.Random(f"{world.seed} order {agent}")  # noqa: S311
    moved: dict[int, int] = {}  # a shuffle that keeps only what it has moved
    for left in range(len(world.tasks), 0, -1):
        chosen = int(chance.random() * left)
        yield world.tasks[moved.get(chosen, chosen)]
        moved[chosen] = moved.get(left - 1, left - 1)


def _task(index: int, calls: Sequence[Call], luck: random.Random) -> Task:
    return Task(
        index,
        sum(call.seconds for call in calls),
        len(calls),
        sum(call.prompt for call in calls),
        sum(call.cached for call in calls),
        sum(call.completion for call in calls),
        calls[0].prompt,
        calls[-1].prompt,
        *(luck.random() for _ in range(6)),
    )
