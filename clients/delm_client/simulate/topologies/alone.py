"""Agents without anybody between them: one alone, many who know nothing of each other, a split made once."""

from delm_client.simulate.accounts import Agent, Doing
from delm_client.simulate.assumptions import Assumptions
from delm_client.simulate.topologies.base import Failures, Team
from delm_client.simulate.world import Task, World, order_of


class Single(Team):
    """One agent does everything, however many there could be."""

    name = "single"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, 1, failures)
        self._todo = list(reversed(world.tasks))

    def start(self) -> None:
        """The first task."""
        self._next(self.agents[0])

    def _next(self, agent: Agent) -> None:
        if not self._todo:
            agent.switch(Doing.WAIT, self.clock.now)
            return
        task = self._todo.pop()

        def end() -> None:
            self.settle(task)
            self._next(agent)

        self.work(agent, task, end)


class Independent(Team):
    """Nobody knows what peers do: each goes through all tasks in an order of its own, until all are done."""

    name = "independent"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        self._done: set[int] = set()
        self._todo = [order_of(world, agent) for agent in range(agents)]

    def start(self) -> None:
        """Everybody begins somewhere."""
        for agent in self.agents:
            self._next(agent)

    def _next(self, agent: Agent) -> None:
        task = next(self._todo[agent.index], None)
        if task is None:
            agent.switch(Doing.WAIT, self.clock.now)
            return
        self.work(agent, task, lambda: self._end(agent, task))

    def _end(self, agent: Agent, task: Task) -> None:
        if task.index in self._done:
            agent.switch(Doing.WAIT, self.clock.now, Doing.REDONE)
        else:
            self._done.add(task.index)
            self.settle(task)
        self._next(agent)

    def close(self, agent: Agent) -> None:
        """Whoever is still at work repeats what a peer has done."""
        agent.switch(agent.doing, self.clock.now, Doing.REDONE if agent.doing is Doing.WORK else None)


class Split(Team):
    """Tasks are dealt out once, in turn; nobody takes over what another has not done."""

    name = "split"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        self._todo = [list(reversed(world.tasks[agent::agents])) for agent in range(agents)]

    def start(self) -> None:
        """Everybody begins with its first."""
        for agent in self.agents:
            self._next(agent)

    def _next(self, agent: Agent) -> None:
        if not self._todo[agent.index]:
            agent.switch(Doing.WAIT, self.clock.now)
            return
        task = self._todo[agent.index].pop()

        def end() -> None:
            self.settle(task)
            self._next(agent)

        self.work(agent, task, end)
