"""Topologies in which all agents work on one program at a time, a scope being what they share out.

Scopes are searched in random orders, of which each agent has its own: in the solver's order, agents that know
nothing of each other would do the same at the same time, and having several would help nothing.
"""

from collections import deque
from collections.abc import Sequence

from delm_client.study.luck import Luck
from delm_client.study.recording import Program
from delm_client.study.teams import Costs, Team, Work, Worker


class Crowd(Team):
    """Agents that know nothing of each other; each searches all scopes.

    They are stopped when one has a repair or has been through everything, which flatters them. With mistakes,
    when all have been through: one may find what another missed.
    """

    name = "independent"

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        super().__init__(programs, luck, costs, agents)
        (self.program,) = programs
        spaces = len(self.program.spaces)
        self.orders = [
            luck.order(f"agent {worker.index} {self.program.name}", spaces) for worker in self.workers
        ]
        self._through = 0

    def choose(self, worker: Worker) -> Work | None:
        """The next scope in its own order."""
        order = self.orders[worker.index]
        while worker.cursor < len(order):
            worker.cursor += 1
            place = order[worker.cursor - 1]
            if (0, place) not in self.fails:
                return Work(0, place)
            self.saved_tests += self.program.spaces[place].tests
        self._through += 1
        if not self.luck.mistakes or self._through == len(self.workers):
            self.decide(0)
        return None


class One(Crowd):
    """One agent."""

    name = "single"


class Readers(Crowd):
    """A shared context without a queue: agents skip the scopes that a peer's `fail` entry rules out, but
    two may be in the same one at the same time. Nobody checks an entry.
    """

    name = "context"

    def exhausted(self, worker: Worker, work: Work) -> None:
        """Tell peers."""

        def told() -> None:
            if self.space(work).whole:
                self.fails.add((work.program, work.space))
            self.go(worker)

        self.later(worker, self.costs.call_s, told)


class Claims(Team):
    """DeLM: each scope is a task that is claimed; its result is a `fail` entry, or a patch for the gate.

    The entry is admitted as it is: the policy `standard` asks for evidence, and re-runs patches only.
    """

    name = "delm"

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        super().__init__(programs, luck, costs, agents)
        (self.program,) = programs
        self.ready = deque(luck.order(f"agent 0 {self.program.name}", len(self.program.spaces)))
        self.left_over = len(self.ready)

    def start(self) -> None:
        """A program without a suspicious place is decided at once."""
        if not self.left_over:
            self.decide(0)
        super().start()

    def choose(self, worker: Worker) -> Work | None:
        """The head of the queue."""
        return Work(0, self.ready.popleft()) if self.ready else None

    def before_s(self, worker: Worker, work: Work) -> float:
        """A claim."""
        return self.costs.call_s

    def exhausted(self, worker: Worker, work: Work) -> None:
        """The `fail` entry completes the task."""

        def told() -> None:
            self.fails.add((work.program, work.space))
            self.closed()
            self.go(worker)

        self.later(worker, self.costs.call_s, told)

    def closed(self) -> None:
        """One scope less."""
        self.left_over -= 1
        if not self.left_over and self.open:
            self.decide(0)

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Propose the patch, and wait for the gate."""
        self.gate(worker, work, trial)


class OpenClaims(Claims):
    """DeLM without the gate: a patch counts as soon as it is proposed."""

    name = "delm-open"

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Propose, and be believed."""
        true = self.space(work).trials[trial].passes
        self.later(worker, self.costs.call_s, lambda: self.solve(work, trial, true) if self.open else None)


class StrictClaims(Claims):
    """DeLM whose `fail` entries are re-run by one peer before they count; with one agent there is none."""

    name = "delm-strict"

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        super().__init__(programs, luck, costs, agents)
        self._pending: deque[tuple[Work, int]] = deque()
        self._verifies: set[int] = set()

    def choose(self, worker: Worker) -> Work | None:
        """A peer's entry to verify, else the head of the queue."""
        for pair in self._pending:
            if pair[1] != worker.index:
                self._pending.remove(pair)
                self._verifies.add(worker.index)
                return pair[0]
        return super().choose(worker)

    def exhausted(self, worker: Worker, work: Work) -> None:
        """Hand the entry to a peer, or confirm it."""
        if worker.index in self._verifies or len(self.workers) == 1:
            self._verifies.discard(worker.index)
            super().exhausted(worker, work)
            return

        def told() -> None:
            self._pending.append((work, worker.index))
            self.go(worker)
            self.wake()

        self.later(worker, self.costs.call_s, told)


class Scatter(Claims):
    """An orchestrator in rounds: a scope for each worker, then it waits for the slowest, and checks."""

    name = "central"

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        super().__init__(programs, luck, costs, agents)
        self._given: dict[int, Work] = {}
        self._away = 0
        self._results: list[tuple[Work, int]] = []

    def start(self) -> None:
        """The first round."""
        if not self.left_over:
            self.decide(0)
            return
        self._round()

    def before_s(self, worker: Worker, work: Work) -> float:
        """Being told costs nothing."""
        return 0.0

    def _round(self) -> None:
        count = min(len(self.workers), len(self.ready))
        self._given = {index: Work(0, self.ready.popleft()) for index in range(count)}
        self._away = count
        for worker in self.workers[:count]:
            self.go(worker)

    def choose(self, worker: Worker) -> Work | None:
        """What it was given."""
        return self._given.pop(worker.index, None)

    def exhausted(self, worker: Worker, work: Work) -> None:
        """Come back with nothing."""
        self._returned()

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Come back with an edit."""
        self._results.append((work, trial))
        self._returned()

    def _returned(self) -> None:
        self._away -= 1
        if self._away:
            return
        if self._results:
            work, trial = self._results[0]
            self.checks += 1
            self.clock.after(self.costs.check_s, lambda: self.solve(work, trial))
        elif self.ready:
            self._round()
        else:
            self.decide(0)


class Dealt(Claims):
    """An orchestrator that hands the next scope to whoever is free; it costs no time of its own."""

    name = "central-async"

    def before_s(self, worker: Worker, work: Work) -> float:
        """Being told costs nothing."""
        return 0.0

    def exhausted(self, worker: Worker, work: Work) -> None:
        """Come back for the next."""
        self.closed()
        self.go(worker)

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """The orchestrator runs the suite."""
        self.checks += 1
        self.checker.ask(self.costs.check_s, lambda: self.judged(worker, work, trial))


SWARMS: dict[str, type[Team]] = {
    team.name: team for team in (One, Crowd, Readers, Scatter, Dealt, Claims, OpenClaims, StrictClaims)
}
