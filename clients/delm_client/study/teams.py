"""What every topology has in common: agents that replay recorded scopes, one edit after the other.

Nothing runs here. An agent's time is the recorded time of the tests that it would have run, and what these
say is what they said. A topology decides who searches which scope, who learns of what, and who checks a
repair.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from delm_client.simulate.clock import Action, Clock, Station
from delm_client.study.luck import Luck
from delm_client.study.recording import Program, Space

NEVER = -1


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds beside those of the tests. `gate_s` and `call_s` are measured by `--real`, else assumed."""

    call_s: float = 0.02
    """A call of the board: to claim, to propose, to give up."""
    gate_s: float = 2.0
    """From a proposed patch to its verdict, one after another: a checkout, the suite, the news."""
    check_s: float = 1.0
    """The whole suite, run by an agent or an orchestrator that has no gate."""
    others_first_s: float = 10.0
    """So long a program that was given up is kept from who did, `author_first_s` of `delm-run demo`."""
    lease_s: float = 30.0
    """Until somebody notices that an agent is gone; as `delm-run demo` has it."""
    stretch: float = 1.0
    """Seconds by the clock for a recorded second of tests; in use where programs are `stretched`."""


@dataclass(frozen=True, slots=True)
class Work:
    """A scope of a program, by their places."""

    program: int
    space: int
    start_only: bool = False
    """Whether only the start is paid: every scope is ruled out."""


@dataclass(slots=True)
class Flight:
    """What an agent is running: which edits of a scope from when on, and what it pays before them."""

    work: Work
    since_s: float
    first: int
    until: int
    before_s: float
    start_tests: int
    control: bool


@dataclass(slots=True)
class Worker:
    """One agent of the replay."""

    index: int
    warm: int = NEVER
    """The program whose test server it has; a new claim of the same program starts a new one."""
    program: int = NEVER
    """The program that it has as its task."""
    cursor: int = 0
    flight: Flight | None = None
    dead: bool = False
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replayed run came to. Programs by name; times in seconds, those of agents summed up."""

    agents: int
    makespan_s: float
    tests: int
    edits: int
    repeated: int
    """Edits that a peer had run before."""
    saved_tests: int
    """Tests of the scopes that were skipped because a peer's `fail` entry rules them out."""
    checks: int
    gated_s: float
    """From proposal to verdict, summed over the patches that went through a gate."""
    busy_s: float
    repaired: frozenset[str]
    right: frozenset[str]
    """Of those, where the held-out tests pass, too."""
    false: frozenset[str]
    """Taken for repaired, and are not."""
    story: tuple[tuple[float, int, int], ...]
    """After each decision: seconds, tests so far, programs repaired so far."""
    log: tuple[tuple[float, int, Work, int], ...]
    """Every edit that was run: when it ended, by whom, where."""


class Team(ABC):
    """Agents on some programs. A subclass says who searches what."""

    name: ClassVar[str]

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        self.programs = programs
        self.luck = luck
        self.costs = costs
        self.clock = Clock()
        self.workers = [Worker(index) for index in range(agents)]
        self.checker = Station(self.clock)
        self.fails: set[tuple[int, int]] = set()
        """Scopes that a shared `fail` entry rules out."""
        self.open = set(range(len(programs)))
        self.repaired: dict[int, tuple[int, int]] = {}
        """Where the accepted edit of a program is: scope and place."""
        self.false: set[int] = set()
        self.over = False
        self.checks = self.tests = self.saved_tests = 0
        self.gated_s = 0.0
        self._seen: dict[tuple[int, int, int], int] = {}
        self._story: list[tuple[float, int, int]] = []
        self._log: list[tuple[float, int, Work, int]] = []
        self.idle: list[Worker] = []

    # -- what a topology says --------------------------------------------------------------------

    @abstractmethod
    def choose(self, worker: Worker) -> Work | None:
        """The next scope of an agent; None when it has nothing to do now."""

    def exhausted(self, worker: Worker, work: Work) -> None:
        """The agent has been through a scope and found no edit that repairs."""
        self.go(worker)

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """The agent holds an edit for a repair: it runs the whole suite itself, and goes by that."""
        self.checks += 1
        self.later(worker, self.costs.check_s, lambda: self.judged(worker, work, trial))

    def gate(self, worker: Worker, work: Work, trial: int) -> None:
        """Propose a patch. The server checks one after another, and whether the author lives or not."""
        self.checks += 1
        since_s = self.clock.now

        def judged() -> None:
            self.gated_s += self.clock.now - since_s
            self.judged(worker, work, trial)

        self.later(worker, self.costs.call_s, lambda: self.checker.ask(self.costs.gate_s, judged))

    def judged(self, worker: Worker, work: Work, trial: int) -> None:
        """The suite has spoken: the program is repaired, or the search goes on behind the edit."""
        if work.program in self.open and self.space(work).trials[trial].passes:
            self.solve(work, trial)
        if work.program in self.open:
            self.fly(worker, work, trial + 1)
        else:
            self.left(worker, work.program)

    def left(self, worker: Worker, program: int) -> None:
        """The agent is done with a program."""
        worker.program = NEVER
        self.go(worker)

    # -- what they all do ------------------------------------------------------------------------

    def run(self, dying: tuple[int, float] = (NEVER, inf)) -> Outcome:
        """Replay until every program is decided, or nobody can go on; one agent may die at a time."""
        if dying[0] != NEVER:
            self.clock.at(dying[1], lambda: self.die(self.workers[dying[0]]))
        self.start()
        self.clock.run(lambda: self.over)
        for worker in self.workers:
            self.settle(worker)
        self._log.sort(key=lambda line: line[:2])
        return self._outcome()

    def start(self) -> None:
        """Everybody begins."""
        for worker in self.workers:
            self.go(worker)

    def space(self, work: Work) -> Space:
        """The recorded scope."""
        return self.programs[work.program].spaces[work.space]

    def go(self, worker: Worker) -> None:
        """The agent asks what to do, and does it."""
        if worker.dead or self.over:
            return
        work = self.choose(worker)
        if work is None:
            self.idle.append(worker)
        else:
            self.fly(worker, work, 0)

    def wake(self) -> None:
        """Whoever has nothing to do asks again."""
        idle, self.idle = self.idle, []
        for worker in idle:
            self.go(worker)

    def before_s(self, worker: Worker, work: Work) -> float:
        """What it costs to get to this scope, beside the start of a test server."""
        return 0.0

    def fly(self, worker: Worker, work: Work, first: int) -> None:
        """Run the edits of a scope from one on, until one seems to repair or none is left."""
        if worker.dead or self.over:
            return
        before_s, start_tests = (self.before_s(worker, work) if first == 0 else 0.0), 0
        if self.starts(worker, work):
            worker.warm = work.program
            before_s += self.programs[work.program].start_s
            start_tests = self.programs[work.program].start_tests
        space = self.space(work)
        until = 0 if work.start_only else len(space.trials)
        name = self.programs[work.program].name
        seconds = before_s
        for place in range(first, until):
            seconds += space.trials[place].seconds
            if self.luck.seems(worker.index, name, work.space, place, space.trials[place].passes):
                worker.flight = Flight(
                    work, self.clock.now, first, place + 1, before_s, start_tests, control=False
                )
                self.later(worker, seconds, lambda place=place: self._landed(worker, place))  # type: ignore[misc]
                return
        control = not work.start_only
        worker.flight = Flight(work, self.clock.now, first, until, before_s, start_tests, control)
        self.later(worker, seconds + control * space.control_s, lambda: self._landed(worker, NEVER))

    def starts(self, worker: Worker, work: Work) -> bool:
        """Whether the agent has to start a test server for this scope."""
        return worker.warm != work.program

    def _landed(self, worker: Worker, place: int) -> None:
        flight = worker.flight
        if flight is None:
            return
        self.settle(worker)
        if place == NEVER:
            self.exhausted(worker, flight.work)
        else:
            self.found(worker, flight.work, place)

    def settle(self, worker: Worker) -> None:
        """Count what the agent has run by now, whether it was done or is cut off."""
        flight, worker.flight = worker.flight, None
        if flight is None:
            return
        worker.busy_s += self.clock.now - flight.since_s
        tests, ended = self._by_now(flight)
        self.tests += tests
        for place, at_s in enumerate(ended, flight.first):
            key = (flight.work.program, flight.work.space, place)
            self._seen[key] = self._seen.get(key, 0) + 1
            self._log.append((at_s, worker.index, flight.work, place))

    def _by_now(self, flight: Flight) -> tuple[int, list[float]]:
        """The tests that were executed, and when each edit that was run ended."""
        left_s = self.clock.now - flight.since_s + 1e-9 - flight.before_s
        if left_s < 0:
            return 0, []
        space = self.space(flight.work)
        tests, ended = flight.start_tests, list[float]()
        for trial in space.trials[flight.first : flight.until]:
            left_s -= trial.seconds
            if left_s < 0:
                return tests, ended
            tests += trial.tests
            ended.append(self.clock.now - left_s)
        if flight.control and left_s >= space.control_s:
            tests += space.control_tests
        return tests, ended

    def solve(self, work: Work, trial: int, true: bool = True) -> None:
        """A program counts as repaired by this edit, truly or not."""
        if true:
            self.repaired[work.program] = (work.space, trial)
        else:
            self.false.add(work.program)
        self.decide(work.program)

    def decide(self, program: int) -> None:
        """Nothing more is to be done about a program."""
        self.open.discard(program)
        flying = (worker.flight for worker in self.workers)
        tests = self.tests + sum(self._by_now(flight)[0] for flight in flying if flight is not None)
        self._story.append((self.clock.now, tests, len(self.repaired)))
        self.over = not self.open

    def later(self, worker: Worker, seconds: float, then: Action) -> None:
        """Go on after so many seconds, unless the agent is dead by then."""
        self.clock.after(seconds, lambda: None if worker.dead else then())

    def die(self, worker: Worker) -> None:
        """An agent is gone, with what it was doing."""
        self.settle(worker)
        worker.dead = True
        self.idle = [other for other in self.idle if other is not worker]
        self.bereaved(worker, worker.program)

    def bereaved(self, worker: Worker, program: int) -> None:
        """What becomes of the program that a dead agent had."""
        return

    def _outcome(self) -> Outcome:
        chosen = {
            program: self.programs[program].spaces[space].trials[trial]
            for program, (space, trial) in self.repaired.items()
        }
        return Outcome(
            agents=len(self.workers),
            makespan_s=self.clock.now,
            tests=self.tests,
            edits=sum(self._seen.values()),
            repeated=sum(count - 1 for count in self._seen.values()),
            saved_tests=self.saved_tests,
            checks=self.checks,
            gated_s=self.gated_s,
            busy_s=sum(worker.busy_s for worker in self.workers),
            repaired=frozenset(self.programs[program].name for program in chosen),
            right=frozenset(self.programs[program].name for program, trial in chosen.items() if trial.right),
            false=frozenset(self.programs[program].name for program in self.false),
            story=tuple(self._story),
            log=tuple(self._log),
        )
