"""What every topology has in common: agents that do tasks, die, and keep accounts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import floor, inf
from typing import ClassVar

from delm_client.simulate.accounts import Agent, Doing, Outcome, Tokens
from delm_client.simulate.assumptions import Assumptions
from delm_client.simulate.clock import Action, Clock, Outage
from delm_client.simulate.world import Task, World


@dataclass(frozen=True, slots=True)
class Failures:
    """What breaks: agents at any time of the ideal makespan (all work / agents), others at a share of it.

    Outages last seconds, or for ever.
    """

    dying: float = 0.0  # share of the agents (at least one, never all) that die
    server_s: float = 0.0
    orchestrator_s: float = 0.0
    at: float = 0.3


class Team(ABC):
    """Agents on one bag of tasks. A subclass says who does what when."""

    name: ClassVar[str]
    shares: ClassVar[bool] = False  # whether agents learn of peers' dead ends

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        self.world = world
        self.given = given
        self.failures = failures or Failures()
        self.clock = Clock()
        self.agents = [Agent(index) for index in range(agents)]
        self.tokens = Tokens()
        self.left = len(world.tasks)
        self.alive = agents
        self.context: list[bool] = []  # for each entry, whether it is true
        self.told: set[int] = set()  # families whose dead end the context names
        self.redoing: set[int] = set()  # tasks whose first result was false
        self._completed: set[int] = set()  # tasks that somebody has worked through
        self.false_standing = 0
        self._discovered: set[int] = set()  # families whose dead end somebody has run into
        self._last_s = 0.0
        self.ideal_s = world.work_s / agents

    @abstractmethod
    def start(self) -> None:
        """Give every agent something to do, or let it wait."""

    def serial_s(self) -> float:
        """How long the one place that everybody needs was busy."""
        return 0.0

    def bereaved(self, agent: Agent, task: Task | None) -> None:
        """An agent died, holding this task. Without anybody who notices, it stays undone."""
        return

    def run(self) -> Outcome:
        """Until every task is done, or until nobody can go on."""
        for agent in self._dying():
            death_s = self.world.deaths[agent.index] * self.ideal_s
            self.clock.at(death_s, lambda agent=agent: self._die(agent))  # type: ignore[misc]
        self.start()
        self.clock.run(lambda: self.left == 0)
        now = self.clock.now
        for agent in self.agents:
            self.close(agent)
        spent = [sum(agent.spent[doing] for agent in self.agents) for doing in Doing]
        return Outcome(
            len(self.agents),
            self._last_s,
            now,
            self.left,
            self.false_standing,
            {doing.name.lower(): spent[doing] for doing in Doing},
            self.serial_s(),
            self.tokens,
        )

    def close(self, agent: Agent) -> None:
        """The run has ended: what the agent was doing counts until now."""
        agent.switch(agent.doing, self.clock.now)

    def outage(self, seconds: float) -> Outage | None:
        """The outage that lasts so long, if any."""
        from_s = self.failures.at * self.ideal_s
        return Outage(from_s, from_s + seconds) if seconds else None

    def later(self, agent: Agent, seconds: float, then: Action) -> None:
        """Go on after so many seconds, unless the agent is dead by then."""
        self.clock.after(seconds, lambda: None if agent.dead else then())

    def turn(self, agent: Agent, turns: float, doing: Doing, then: Action) -> None:
        """Turns of the agent's model that are no part of a task."""
        agent.switch(doing, self.clock.now)
        self.later(agent, turns * self.given.turn_s, then)

    def knows(self, agent: Agent, family: int) -> bool:
        """Whether the agent would avoid this family's dead end."""
        return family in agent.found or (self.shares and family in self.told)

    def work(self, agent: Agent, task: Task, then: Action) -> None:
        """Do a task: what is new in it, then what is done in vain, then `then`."""
        given = self.given
        agent.task = task
        family = int(task.family * given.families)
        dead = task.dead_end < given.dead_ends
        skipped = given.dead_share if dead and self.knows(agent, family) else 0.0
        vain = given.dead_share if dead and not skipped and family in self._discovered else 0.0
        once = 1.0 - skipped
        misled = self._misled(task)
        share = once * (2 if misled else 1)
        self.tokens.attempt(task, share)
        self.reads(agent, task.calls * share)
        fresh = 0.0 if task.index in self._completed else once - vain

        def end() -> None:
            if dead:
                agent.found.add(family)
                self._discovered.add(family)
            self._completed.add(task.index)
            agent.task = None
            then()

        agent.switch(Doing.WORK if fresh else Doing.REDONE, self.clock.now)
        if 0 < fresh < share:
            self.later(agent, task.seconds * fresh, lambda: agent.switch(Doing.REDONE, self.clock.now))
        self.later(agent, task.seconds * share, end)

    def reads(self, agent: Agent, calls: float) -> None:
        """What of the context an agent takes along into so many calls; nothing where nothing is shared."""
        return

    def settle(self, task: Task) -> None:
        """A result is final, and peers can read it."""
        true = task.index in self.redoing or task.falseness >= self.given.false_results
        self.false_standing += not true
        self.context.append(true)
        if task.dead_end < self.given.dead_ends:
            self.told.add(int(task.family * self.given.families))
        self.left -= 1
        self._last_s = self.clock.now

    def _misled(self, task: Task) -> bool:
        """Whether it rests on an entry that turns out false."""
        if not self.shares or not self.context or task.resting >= self.given.rests:
            return False
        return not self.context[int(task.parent * len(self.context))]

    def _dying(self) -> list[Agent]:
        if not self.failures.dying:
            return []
        count = min(max(floor(self.failures.dying * len(self.agents)), 1), len(self.agents) - 1)
        return [
            self.agents[index * len(self.agents) // count] for index in range(count)
        ]  # spread over groups

    def _die(self, agent: Agent) -> None:
        self.alive -= 1
        task, agent.task = agent.task, None
        busy = agent.doing in (Doing.WORK, Doing.REDONE, Doing.VERIFY)
        agent.switch(Doing.DEAD, self.clock.now, Doing.LOST if busy else None)
        self.bereaved(agent, task)


FOREVER = inf
