"""A main agent that assigns tasks and merges results, in four ways. It works beside the N agents."""

from collections import deque
from functools import partial
from math import ceil

from delm_client.simulate.accounts import Agent, Doing
from delm_client.simulate.assumptions import Assumptions
from delm_client.simulate.clock import Action, BatchStation, Station
from delm_client.simulate.topologies.base import Failures, Team
from delm_client.simulate.world import Task, World


class Orchestrated(Team):
    """What the four have in common: workers ask for work, and an orchestrator reads what they report."""

    shares = True

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        self.ready = deque(world.tasks)
        self.waiting: deque[Agent] = deque()
        self._unread = 0

    @property
    def half_s(self) -> float:
        """Seconds of the orchestrator's calls to assign a task, or to merge a result."""
        return self.given.orchestrator_calls * self.given.turn_s / 2

    def reads(self, agent: Agent, calls: float) -> None:
        """Workers get what the orchestrator tells them."""
        self.tokens.brief(len(self.context), calls, self.given)

    def settle(self, task: Task) -> None:
        """The orchestrator has merged it, and will read its report along from now on."""
        super().settle(task)
        self._unread += 1

    def think(self, calls: float, items: int = 1) -> None:
        """Tokens of the orchestrator's calls: all reports so far, each time."""
        given = self.given
        tokens = given.preamble_tokens + len(self.context) * given.report_tokens
        self.tokens.orchestrator_carried += round(tokens * calls)
        self.tokens.orchestrator_read += self._unread * given.report_tokens
        self._unread = 0
        self.tokens.completion += round(calls * given.turn_tokens) + (items - 1) * given.turn_tokens

    def bereaved(self, agent: Agent, task: Task | None) -> None:
        """The orchestrator notices after the time of a lease, and gives the task to somebody else."""
        if task is not None:
            self.clock.after(self.given.lease_s, lambda: self.returned(task))

    def returned(self, task: Task) -> None:
        """A task is to be given again."""
        self.ready.appendleft(task)
        while self.waiting:
            agent = self.waiting.popleft()
            if not agent.dead:
                self.wants(agent)
                return

    def wants(self, agent: Agent) -> None:
        """An agent has nothing to do."""
        agent.switch(Doing.WAIT, self.clock.now)
        if self.ready:
            agent.task = self.ready.popleft()
            self.assign(agent, agent.task)
        else:
            self.waiting.append(agent)

    def assign(self, agent: Agent, task: Task) -> None:
        """Ask the orchestrator for this task, then begin."""
        raise NotImplementedError

    def report(self, agent: Agent, task: Task) -> None:
        """Hand the result to the orchestrator, then want more."""
        raise NotImplementedError

    def begin(self, agent: Agent, task: Task) -> None:
        """The orchestrator has assigned it."""
        if not agent.dead:
            self.work(agent, task, lambda: self.report(agent, task))

    def start(self) -> None:
        """Everybody wants something."""
        for agent in self.agents:
            self.wants(agent)


class Central(Orchestrated):
    """Each task costs the one orchestrator its calls, in the order of asking. There are no rounds."""

    name = "central"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        self.orchestrator = Station(self.clock, self.outage(self.failures.orchestrator_s))

    def serial_s(self) -> float:
        """The orchestrator's time."""
        return self.orchestrator.busy_s

    def assign(self, agent: Agent, task: Task) -> None:
        """Half of the calls."""

        def served() -> None:
            self.think(self.given.orchestrator_calls / 2)
            self.begin(agent, task)

        self.orchestrator.ask(self.half_s, served)

    def report(self, agent: Agent, task: Task) -> None:
        """The other half. The worker need not wait for it, but its next task stands in line behind it."""

        def merged() -> None:
            self.think(self.given.orchestrator_calls / 2)
            self.settle(task)

        self.orchestrator.ask(self.half_s, merged)
        self.wants(agent)


class Batched(Orchestrated):
    """One turn of the orchestrator serves everybody who waits: assignments and merges alike."""

    name = "central-batched"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        outage = self.outage(self.failures.orchestrator_s)
        self.orchestrator = BatchStation(self.clock, self.half_s, given.item_s, outage)
        self._counted = 0

    def serial_s(self) -> float:
        """The orchestrator's time."""
        return self.orchestrator.busy_s

    def assign(self, agent: Agent, task: Task) -> None:
        """In the next turn."""
        self._ask(lambda: self.begin(agent, task))

    def report(self, agent: Agent, task: Task) -> None:
        """In the next turn, together with the wish for more."""
        self._ask(lambda: self.settle(task))
        self.wants(agent)

    def _ask(self, then: Action) -> None:
        def served() -> None:
            if self.orchestrator.turns > self._counted:
                self._counted = self.orchestrator.turns
                self.think(self.given.orchestrator_calls / 2)
            else:
                self.tokens.completion += self.given.turn_tokens
            then()

        self.orchestrator.ask(served)


class Rounds(Orchestrated):
    """Scatter and gather: plan a task for each agent, wait for the slowest, merge all, plan again."""

    name = "central-rounds"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        self.orchestrator = Station(self.clock, self.outage(self.failures.orchestrator_s))
        self._out = 0
        self._results: list[Task] = []

    def serial_s(self) -> float:
        """The orchestrator's time."""
        return self.orchestrator.busy_s

    def start(self) -> None:
        """Plan the first round."""
        alive = [agent for agent in self.agents if not agent.dead]
        pairs = [(agent, self.ready.popleft()) for agent in alive[: len(self.ready)]]
        if not pairs:
            return
        self._out = len(pairs)
        for agent, task in pairs:
            agent.task = task

        def planned() -> None:
            self.think(self.given.orchestrator_calls / 2, len(pairs))
            for agent, task in pairs:
                self.begin(agent, task)

        self.orchestrator.ask(self._turn_s(len(pairs)), planned)

    def report(self, agent: Agent, task: Task) -> None:
        """Wait for the others."""
        agent.switch(Doing.WAIT, self.clock.now)
        self._results.append(task)
        self._one_less()

    def returned(self, task: Task) -> None:
        """The round went on without the dead one: its task is for the next."""
        self.ready.appendleft(task)
        self._one_less()

    def _one_less(self) -> None:
        self._out -= 1
        if self._out:
            return
        results, self._results = self._results, []

        def merged() -> None:
            self.think(self.given.orchestrator_calls / 2, len(results))
            for task in results:
                self.settle(task)
            self.start()

        self.orchestrator.ask(self._turn_s(max(len(results), 1)), merged)

    def _turn_s(self, items: int) -> float:
        return self.half_s + self.given.item_s * (items - 1)


class Hierarchical(Orchestrated):
    """Middle managers orchestrate groups of agents; the root gives each a block of tasks at a time.

    One turn of the root serves all managers who wait, and names a block as shortly as a task.
    """

    name = "central-hierarchical"

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        outage = self.outage(self.failures.orchestrator_s)
        self.root = BatchStation(self.clock, 2 * self.half_s, given.item_s, outage)
        count = ceil(agents / given.group)
        self.managers = [Station(self.clock) for _ in range(count)]
        self.blocks: list[deque[Task]] = [deque() for _ in range(count)]
        self._wanting: list[list[Agent]] = [[] for _ in range(count)]
        self._asked = [False] * count
        self._merged = [0] * count

    def serial_s(self) -> float:
        """The root's time: managers come in any number."""
        return self.root.busy_s

    def wants(self, agent: Agent) -> None:
        """A manager gives from its block; when that is empty, it asks the root for another one."""
        agent.switch(Doing.WAIT, self.clock.now)
        group = agent.index // self.given.group
        if self.blocks[group]:
            agent.task = self.blocks[group].popleft()
            self.assign(agent, agent.task)
            return
        self._wanting[group].append(agent)
        self._ask_root(group)

    def assign(self, agent: Agent, task: Task) -> None:
        """Half of a manager's calls."""

        def served() -> None:
            self._manage(agent)
            self.begin(agent, task)

        self._manager(agent).ask(self.half_s, served)

    def report(self, agent: Agent, task: Task) -> None:
        """The other half."""

        def merged() -> None:
            self._manage(agent)
            self.settle(task)
            self._merged[agent.index // self.given.group] += 1

        self._manager(agent).ask(self.half_s, merged)
        self.wants(agent)

    def bereaved(self, agent: Agent, task: Task | None) -> None:
        """A manager without workers gives its block back."""
        super().bereaved(agent, task)
        group = agent.index // self.given.group
        first = group * self.given.group
        if all(worker.dead for worker in self.agents[first : first + self.given.group]):
            self._strand(group)

    def _strand(self, group: int) -> None:
        block, self.blocks[group] = self.blocks[group], deque()
        for orphan in block:
            self.clock.after(self.given.lease_s, partial(self.returned, orphan))

    def returned(self, task: Task) -> None:
        """Back to the root."""
        self.ready.appendleft(task)
        for group, wanting in enumerate(self._wanting):
            if any(not agent.dead for agent in wanting):
                self._ask_root(group)
                return

    def _ask_root(self, group: int) -> None:
        if self._asked[group] or not self.ready:
            return
        self._asked[group] = True
        # A fair share of what is left, at most one for each agent of the group: the end stays balanced.
        workers = min(self.given.group, len(self.agents) - group * self.given.group)
        size = min(workers, ceil(len(self.ready) * workers / len(self.agents)))
        block = [self.ready.popleft() for _ in range(size)]

        def served() -> None:
            self._asked[group] = False
            self.think(self.given.orchestrator_calls)
            self.blocks[group].extend(block)
            wanting, self._wanting[group] = self._wanting[group], []
            alive = [agent for agent in wanting if not agent.dead]
            for agent in alive:
                self.wants(agent)
            if not alive:
                self._strand(group)

        self.root.ask(served)

    def _manager(self, agent: Agent) -> Station:
        return self.managers[agent.index // self.given.group]

    def _manage(self, agent: Agent) -> None:
        """Tokens of a manager's calls: the reports of its own group."""
        given = self.given
        calls = given.orchestrator_calls / 2
        reports = self._merged[agent.index // given.group] * given.report_tokens
        self.tokens.orchestrator_carried += round((given.preamble_tokens + reports) * calls)
        self.tokens.orchestrator_read += given.report_tokens
        self.tokens.completion += round(calls * given.turn_tokens)
