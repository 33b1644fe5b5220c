"""Topologies in which a program is a task, as `delm-run demo` has it: one agent searches all of it.

Everybody searches a program in the order of the solver, so two agents on one program do the same twice.
"""

from collections import Counter, deque
from collections.abc import Sequence
from heapq import heapify, heappush

from delm_client.study.luck import Luck
from delm_client.study.recording import Program
from delm_client.study.teams import NEVER, Costs, Team, Work, Worker


class Alone(Team):
    """Agents that know nothing of each other; each goes through all programs in an order of its own.

    They are stopped when somebody has decided each program, which flatters them: none of them could know.
    """

    name = "independent"

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        super().__init__(programs, luck, costs, agents)
        self._todo = [deque(luck.order(f"agent {worker.index}", len(programs))) for worker in self.workers]
        self._own: list[set[int]] = [set() for _ in self.workers]

    def choose(self, worker: Worker) -> Work | None:
        """The next scope of its program, or the first of its next one."""
        while True:
            if worker.program == NEVER:
                if not self._todo[worker.index]:
                    return None
                worker.program, worker.cursor = self._todo[worker.index].popleft(), 0
            if worker.cursor < len(self.programs[worker.program].spaces):
                worker.cursor += 1
                return Work(worker.program, worker.cursor - 1)
            if worker.program in self.open:
                self.decide(worker.program)
            worker.program = NEVER
            if self.over:
                return None

    def judged(self, worker: Worker, work: Work, trial: int) -> None:
        """Its own check counts for itself, whatever a peer has done with the program."""
        if not self.space(work).trials[trial].passes:
            self.fly(worker, work, trial + 1)
            return
        if work.program in self.open:
            self.solve(work, trial)
        self.left(worker, work.program)


class Single(Alone):
    """One agent."""

    name = "single"


class Queue(Team):
    """DeLM: who is free claims the next program; scopes without a repair become `fail` entries; patches pass
    the gate, one after another, and their author waits for the verdict.
    """

    name = "delm"
    shares = True
    attempts_max = 2
    """As `delm-run demo` has it: a program that was given up is tried once more, by somebody else first."""

    def __init__(
        self,
        programs: Sequence[Program],
        luck: Luck,
        costs: Costs,
        agents: int,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__(programs, luck, costs, agents)
        queued = luck.order("agent 0", len(programs)) if order is None else order
        self._place = {program: place for place, program in enumerate(queued)}
        self._ready = list(enumerate(queued))
        heapify(self._ready)
        self._given_up: Counter[int] = Counter()
        self._kept_from: dict[int, int] = {}

    def take(self, worker: Worker) -> int:
        """The oldest program of the queue that is not kept from this worker; NEVER when there is none."""
        free = [each for each in self._ready if self._kept_from.get(each[1]) != worker.index]
        if not free:
            return NEVER
        first = min(free)
        self._ready.remove(first)
        heapify(self._ready)
        self._kept_from.pop(first[1], None)
        return first[1]

    def put_back(self, program: int) -> None:
        """Back into its old place."""
        heappush(self._ready, (self._place[program], program))

    def choose(self, worker: Worker) -> Work | None:
        """The next scope of its program that no `fail` entry rules out, or a program from the queue.

        Whoever finds all of them ruled out has started all the same.
        """
        while True:
            fresh = worker.program == NEVER
            if fresh:
                worker.program, worker.cursor = self.take(worker), 0
                if worker.program == NEVER:
                    return None
            spaces = self.programs[worker.program].spaces
            while worker.cursor < len(spaces):
                place = worker.cursor
                worker.cursor += 1
                if (worker.program, place) not in self.fails:
                    return Work(worker.program, place)
                self.saved_tests += spaces[place].tests
            if fresh:
                return Work(worker.program, len(spaces) - 1, start_only=True)
            self.give_up(worker)
            if self.over:
                return None

    def give_up(self, worker: Worker) -> None:
        """No edit is left: the program goes back to the queue, or is decided if that was its last attempt."""
        program, worker.program, worker.warm = worker.program, NEVER, NEVER
        self._given_up[program] += 1
        if self._given_up[program] < self.attempts_max:
            if any(other is not worker and not other.dead for other in self.workers):
                self._keep_from(worker, program)
            self.put_back(program)
            self.wake()
        else:
            self.decide(program)

    def _keep_from(self, worker: Worker, program: int) -> None:
        """Others have a while to take it before it comes back to who gave it up."""
        self._kept_from[program] = worker.index

        def comes_back() -> None:
            if self._kept_from.get(program) == worker.index:
                del self._kept_from[program]
                self.wake()

        self.clock.after(self.costs.others_first_s, comes_back)

    def before_s(self, worker: Worker, work: Work) -> float:
        """A claim and a read of the context before a program's first scope."""
        return 2 * self.costs.call_s if self.starts(worker, work) else 0.0

    def exhausted(self, worker: Worker, work: Work) -> None:
        """Tell peers, then go on; after the last scope, give the task up, which is a call, too."""
        space = self.space(work)
        tells = self.shares and not work.start_only
        if tells and space.whole and not any(trial.passes for trial in space.trials):
            self.fails.add((work.program, work.space))
        last = work.space == len(self.programs[work.program].spaces) - 1
        self.later(worker, self.costs.call_s * (tells + last), lambda: self.go(worker))

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Propose the patch, and wait for the gate."""
        self.gate(worker, work, trial)

    def bereaved(self, worker: Worker, program: int) -> None:
        """Its lease ends by itself, and the program is claimed again."""
        if program == NEVER:
            return

        def expired() -> None:
            if program in self.open:
                self.put_back(program)
                self.wake()

        self.clock.after(self.costs.lease_s, expired)


class Open(Queue):
    """DeLM without the gate: a patch counts as soon as it is proposed."""

    name = "delm-open"

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Propose, and go on."""

        def proposed() -> None:
            self.solve(work, trial, self.space(work).trials[trial].passes)
            self.left(worker, work.program)

        self.later(worker, self.costs.call_s, proposed)


class Silent(Queue):
    """DeLM without `fail` entries: they are neither proposed nor read."""

    name = "delm-silent"
    shares = False


class Dealer(Queue):
    """An orchestrator that hands out the next program to whoever is free, and checks what comes back itself,
    one after another. It costs no time of its own, and workers do not wait for its checks.
    """

    name = "central-async"
    shares = False
    attempts_max = 1

    def before_s(self, worker: Worker, work: Work) -> float:
        """Being told costs nothing."""
        return 0.0

    def exhausted(self, worker: Worker, work: Work) -> None:
        """Go on."""
        self.go(worker)

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Hand it in, and take the next program."""
        self.checks += 1
        self.checker.ask(self.costs.check_s, lambda: self.merged(work, trial))
        worker.program = NEVER
        self.go(worker)

    def merged(self, work: Work, trial: int) -> None:
        """The orchestrator has checked a result; here every one is true."""
        self.solve(work, trial)


class Rounds(Dealer):
    """An orchestrator in rounds: a program for each worker, then it waits for the slowest, and checks."""

    name = "central"

    def __init__(self, programs: Sequence[Program], luck: Luck, costs: Costs, agents: int) -> None:
        super().__init__(programs, luck, costs, agents)
        self._left = 0
        self._results: list[tuple[Work, int]] = []
        self._lost: list[int] = []
        self._decided: list[int] = []

    def start(self) -> None:
        """The first round."""
        self._round()

    def _round(self) -> None:
        for program in self._lost:
            self.put_back(program)
        self._lost.clear()
        alive = [worker for worker in self.workers if not worker.dead]
        pairs = [(worker, self.take(worker)) for worker in alive[: len(self._ready)]]
        self._left = len(pairs)
        for worker, program in pairs:
            worker.program, worker.cursor = program, 0
        for worker, _ in pairs:
            self.go(worker)

    def choose(self, worker: Worker) -> Work | None:
        """The next scope of the program that it was given."""
        if worker.program == NEVER:
            return None
        if worker.cursor < len(self.programs[worker.program].spaces):
            worker.cursor += 1
            return Work(worker.program, worker.cursor - 1)
        self._decided.append(worker.program)
        worker.program = NEVER
        self._returned()
        return None

    def found(self, worker: Worker, work: Work, trial: int) -> None:
        """Hand it in, and wait for the others."""
        self._results.append((work, trial))
        worker.program = NEVER
        self._returned()

    def bereaved(self, worker: Worker, program: int) -> None:
        """The orchestrator waits as long as a lease lasts, and gives the program to somebody else."""
        if program == NEVER:
            return
        self._lost.append(program)
        self.clock.after(self.costs.lease_s, self._returned)

    def _returned(self) -> None:
        self._left -= 1
        if self._left:
            return
        results, self._results = self._results, []
        decided, self._decided = self._decided, []
        for program in decided:
            self.decide(program)
        if self.over:
            return
        self.checks += len(results)

        def checked() -> None:
            for work, trial in results:
                self.merged(work, trial)
            if not self.over:
                self._round()

        self.clock.after(len(results) * self.costs.check_s, checked)


DIVISIONS: dict[str, type[Team]] = {
    team.name: team for team in (Single, Alone, Rounds, Dealer, Queue, Silent, Open)
}
