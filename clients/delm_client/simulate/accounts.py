"""Where time and tokens went."""

from dataclasses import dataclass, field
from enum import IntEnum

from delm_client.simulate.assumptions import Assumptions, Prices
from delm_client.simulate.world import Task

READINGS = ("full", "windowed", "delta")


class Doing(IntEnum):
    """What an agent does at a time."""

    WORK = 0  # a task, for the first time
    REDONE = 1  # what a peer had done or found, or what was false
    LOST = 2  # work that died with its agent
    VERIFY = 3
    COORDINATE = 4  # turns to claim and propose
    WAIT = 5  # for an orchestrator, a server, a check, a peer, or the end
    DEAD = 6


@dataclass(slots=True)
class Agent:
    """One agent: what it does since when, and how its time went so far."""

    index: int
    doing: Doing = Doing.WAIT
    since: float = 0.0
    read: int = 0  # entries of the context that it has read
    task: Task | None = None  # what it holds, to work on or to verify
    spent: list[float] = field(default_factory=lambda: [0.0] * len(Doing))
    found: set[int] = field(default_factory=set)  # families whose dead end it knows by itself

    def switch(self, doing: Doing, now: float, was: Doing | None = None) -> None:
        """Do something else from now on; `was` says what the time until now turned out to be."""
        self.spent[self.doing if was is None else was] += now - self.since
        self.doing, self.since = doing, now

    @property
    def dead(self) -> bool:
        """Whether it will never do anything again."""
        return self.doing is Doing.DEAD


@dataclass(slots=True)
class Tokens:
    """What was sent to models. Context is `read` once a delivery, `carried` by each call that sends it."""

    prompt: int = 0  # of the tasks themselves and of turns, without the context
    cached: int = 0
    completion: int = 0
    read: dict[str, int] = field(default_factory=lambda: dict.fromkeys(READINGS, 0))
    carried: dict[str, int] = field(default_factory=lambda: dict.fromkeys(READINGS, 0))
    orchestrator_read: int = 0
    orchestrator_carried: int = 0

    def attempt(self, task: Task, share: float) -> None:
        """The task's own calls, or a share of them."""
        self.prompt += round(task.prompt * share)
        self.cached += round(task.cached * share)
        self.completion += round(task.completion * share)

    def context(self, entries: int, known: int, calls: float, given: Assumptions) -> None:
        """An agent that knew `known` entries starts on `calls` calls when the context has `entries`."""
        for reading, delivered, kept in (
            ("full", entries, entries),
            ("windowed", min(entries, given.window_entries), min(entries, given.window_entries)),
            ("delta", entries - known, entries),
        ):
            self.read[reading] += delivered * given.gist_tokens
            self.carried[reading] += round(kept * given.gist_tokens * max(calls, 1))

    def brief(self, entries: int, calls: float, given: Assumptions) -> None:
        """What an orchestrator tells a worker of earlier results, whatever the reading: a window of them."""
        tokens = min(entries, given.window_entries) * given.gist_tokens
        for reading in READINGS:
            self.read[reading] += tokens
            self.carried[reading] += round(tokens * max(calls, 1))

    def turn(self, prompt: int, cached: int, completion: float) -> None:
        """A call that is no part of a task."""
        self.prompt += prompt
        self.cached += cached
        self.completion += round(completion)

    def usd(self, prices: Prices, reading: str, cached: bool) -> float:
        """What it costs, with the provider's prefix cache or with every call paid in full."""
        fresh = self.prompt + self.carried[reading] + self.orchestrator_carried
        kept = 0
        if cached:
            kept = self.cached + self.carried[reading] - self.read[reading]
            kept += self.orchestrator_carried - self.orchestrator_read
        paid = (fresh - kept) * prices.prompt + kept * prices.cached + self.completion * prices.completion
        return paid / 1e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulated run came to. Times are seconds; those of agents are sums over all agents."""

    agents: int
    makespan_s: float  # until the last result that there is
    horizon_s: float  # until nothing more happens: agents' times add up to agents x this
    unfinished: int  # tasks
    false_standing: int  # false results that nobody noticed
    spent_s: dict[str, float]
    serial_s: float  # what an orchestrator, or the check on the head, was busy
    tokens: Tokens

    @property
    def waiting(self) -> float:
        """The share of agents' time that was spent on waiting."""
        return self._share(Doing.WAIT)

    @property
    def redone(self) -> float:
        """The share of agents' time that was spent on what had been done, or was lost."""
        return self._share(Doing.REDONE) + self._share(Doing.LOST)

    @property
    def overhead(self) -> float:
        """The share of agents' time that was spent on claiming, proposing and verifying."""
        return self._share(Doing.COORDINATE) + self._share(Doing.VERIFY)

    def _share(self, doing: Doing) -> float:
        return self.spent_s[doing.name.lower()] / (self.agents * self.horizon_s) if self.horizon_s else 0.0
