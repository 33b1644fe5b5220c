"""DeLM: a queue and a shared context on a server; peers claim, propose and, behind the gate, verify."""

from collections import deque
from functools import partial

from delm_client.simulate.accounts import Agent, Doing
from delm_client.simulate.assumptions import Assumptions
from delm_client.simulate.clock import Station
from delm_client.simulate.topologies.base import Failures, Team
from delm_client.simulate.world import Task, World


class Delm(Team):
    """With the gate: what is proposed counts once the server's checks and one peer have passed it.

    Idle agents are woken at once and pay no turns for waiting.
    """

    name = "delm"
    shares = True
    gate = True

    def __init__(
        self, world: World, given: Assumptions, agents: int, failures: Failures | None = None
    ) -> None:
        super().__init__(world, given, agents, failures)
        outage = self.outage(self.failures.server_s)
        self.server = Station(self.clock, outage)
        self.head = Station(self.clock, outage)  # the merge queue: one check on the moved head after another
        self.ready = deque(world.tasks)
        self.pending: deque[tuple[Task, int]] = deque()  # to verify, and who may not
        self.idle: deque[Agent] = deque()
        self._authors: dict[int, int] = {}  # of what is being verified

    def start(self) -> None:
        """Everybody claims."""
        for agent in self.agents:
            self._claim(agent)

    def serial_s(self) -> float:
        """Server and merge queue."""
        return self.server.busy_s + self.head.busy_s

    def reads(self, agent: Agent, calls: float) -> None:
        """The context as it is now, in each of the ways to read it."""
        self.tokens.context(len(self.context), agent.read, calls, self.given)
        agent.read = len(self.context)

    def bereaved(self, agent: Agent, task: Task | None) -> None:
        """The lease ends by itself, and the task is claimed again."""
        if self.alive == 1:
            pending, self.pending = self.pending, deque()
            for unjudged, _ in pending:
                self._admit_unjudged(unjudged)
        if task is None:
            return
        author = self._authors.pop(task.index, None)

        def expired() -> None:
            if author is None:
                self.ready.appendleft(task)
            elif self.alive == 1:
                self._admit_unjudged(task)
            else:
                self.pending.appendleft((task, author))
            self._wake()

        expiry = partial(
            self.server.ask, self.given.claim_s, expired
        )  # nobody retakes it while the server is down
        self.clock.after(self.given.lease_s, expiry)

    def _claim(self, agent: Agent) -> None:
        def asked() -> None:
            agent.switch(Doing.WAIT, self.clock.now)
            self.server.ask(self.given.claim_s, lambda: None if agent.dead else self._take(agent))

        self.turn(agent, self.given.claim_turns, Doing.COORDINATE, asked)

    def _take(self, agent: Agent) -> None:
        """The next verify task of somebody else, else the next task, else wait."""
        for index, (task, author) in enumerate(self.pending):
            if author != agent.index:
                del self.pending[index]
                self._authors[task.index] = author
                self._verify(agent, task)
                return
        if self.ready:
            task = self.ready.popleft()
            if self.given.claim_turns:
                self.tokens.turn(task.first_prompt, 0, self.given.turn_tokens)
            self.work(agent, task, lambda: self._propose(agent, task))
            return
        agent.switch(Doing.WAIT, self.clock.now)
        self.idle.append(agent)

    def _propose(self, agent: Agent, task: Task) -> None:
        given = self.given
        agent.task = task  # a proposal that dies with its agent is done again
        if given.propose_turns:
            self.tokens.turn(task.last_prompt, task.last_prompt, given.turn_tokens)

        def asked() -> None:
            agent.switch(Doing.WAIT, self.clock.now)
            self.server.ask(given.propose_s, lambda: None if agent.dead else proposed())

        def proposed() -> None:
            agent.task = None
            if self.gate:
                checked = partial(self.head.ask, given.check_s, lambda: self._checked(task, agent))
                self.clock.after(given.gate_s, checked)
            else:
                self.settle(task)
            self._claim(agent)

        self.turn(agent, given.propose_turns, Doing.COORDINATE, asked)

    def _checked(self, task: Task, author: Agent) -> None:
        if self.alive == 1:
            self._admit_unjudged(task)
            return
        self.pending.append((task, author.index))
        self._wake()

    def _admit_unjudged(self, task: Task) -> None:
        """Nobody is left who could judge it: the policy admits it, marked so."""
        self.clock.after(self.given.peer_wait_s, lambda: self.settle(task))

    def _verify(self, agent: Agent, task: Task) -> None:
        given = self.given
        agent.task = task
        calls = given.claim_turns + given.verdict_turns
        read = given.preamble_tokens + given.case_tokens
        self.tokens.turn(round(read * calls), round(read * max(calls - 1, 0)), calls * given.turn_tokens)

        def judged() -> None:
            agent.switch(Doing.WAIT, self.clock.now)
            self.server.ask(given.propose_s, lambda: None if agent.dead else decided())

        def decided() -> None:
            agent.task = None
            del self._authors[task.index]
            false = task.falseness < given.false_results and task.index not in self.redoing
            if false and task.catching < given.caught:
                self.redoing.add(task.index)
                self.ready.appendleft(task)
                self._wake()
            else:
                self.settle(task)
            self._claim(agent)

        self.turn(agent, given.verdict_turns, Doing.VERIFY, judged)

    def _wake(self) -> None:
        """Somebody who waits may take what has come; the author of it may not."""
        for _ in range(len(self.idle)):
            agent = self.idle.popleft()
            if agent.dead:
                continue
            before = len(self.idle)
            self._take(agent)
            if len(self.idle) == before:
                return


class DelmOpen(Delm):
    """Without the gate: what is proposed counts at once."""

    name = "delm-open"
    gate = False
