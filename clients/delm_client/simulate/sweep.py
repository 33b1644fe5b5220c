"""Runs the parts over seeds, in processes, and puts the seeds together."""

import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import active_children, get_context

from delm_client.simulate.accounts import READINGS, Outcome
from delm_client.simulate.assumptions import Assumptions, Prices
from delm_client.simulate.intervals import Estimate, estimate, ratio
from delm_client.simulate.parts import PARTS, Case, Plan
from delm_client.simulate.topologies import TOPOLOGIES
from delm_client.simulate.traces import Trace
from delm_client.simulate.world import World, draw, mean_task_s

Measures = dict[str, float]
PAIRED = {"slower": "makespan_s", "slower_repaired": "repaired_s"}
Key = tuple[str, str, int, float | str]  # part, topology, agents, x


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that decides what a simulation gives."""

    trace: Trace
    plan: Plan
    given: Assumptions
    prices: Prices
    parts: tuple[str, ...]

    @property
    def seeds(self) -> range:
        """One simulated world each."""
        return range(self.plan.first_seed, self.plan.first_seed + self.plan.seeds)

    @property
    def task_s(self) -> float:
        """The seconds of a task, on average."""
        return mean_task_s(self.trace, self.plan.subtasks)

    def cases(self, part: str) -> list[Case]:
        """The runs of a part, for one seed; what a small plan would ask twice is asked once."""
        asked = PARTS[part].cases(self.plan, self.given, self.trace)
        return list({(case.topology, case.agents, case.x): case for case in asked}.values())


@dataclass(frozen=True, slots=True)
class Row:
    """One simulated run. `makespan_s` is missing where not every task was done."""

    key: Key
    seed: int
    measures: Measures


@dataclass(frozen=True, slots=True)
class Cell:
    """One case over all seeds; `beside_delm` has times over DeLM's, seed by seed, where both finished."""

    key: Key
    measures: dict[str, Estimate]
    beside_delm: dict[str, Estimate]

    def figure(self, name: str) -> Estimate | None:
        """A measure, or `slower`: the makespan over DeLM's. None for what never ended."""
        if name in PAIRED:
            return self.beside_delm.get(PAIRED[name])
        return self.measures.get(name)


def measures(outcome: Outcome, work_s: float, tasks: int, prices: Prices) -> Measures:
    """The figures of a run: shares are of agents' time, tokens of the whole run, costs a task."""
    found: Measures = {
        "finished": 1 - outcome.unfinished / tasks,
        "waiting": outcome.waiting,
        "redone": outcome.redone,
        "overhead": outcome.overhead,
        "busy": outcome.serial_s / outcome.horizon_s if outcome.horizon_s else 0.0,
        "false_standing": outcome.false_standing / tasks,
        "orchestrator_tokens": outcome.tokens.orchestrator_carried,
        "orchestrator_read": outcome.tokens.orchestrator_read,
    }
    if not outcome.unfinished:
        found["makespan_s"] = outcome.makespan_s
        found["speed_up"] = work_s / outcome.makespan_s
        # As if false results were found at the end and done again, spread over all agents.
        found["repaired_s"] = outcome.makespan_s + outcome.false_standing * work_s / tasks / outcome.agents
    for reading in READINGS:
        found[f"read_{reading}"] = outcome.tokens.read[reading]
        found[f"carried_{reading}"] = outcome.tokens.carried[reading]
        found[f"usd_{reading}_cached"] = outcome.tokens.usd(prices, reading, cached=True) / tasks
        found[f"usd_{reading}_uncached"] = outcome.tokens.usd(prices, reading, cached=False) / tasks
    return found


def simulate(case: Case, world: World, prices: Prices) -> Row:
    """One run."""
    outcome = TOPOLOGIES[case.topology](world, case.given, case.agents, case.failures).run()
    key = (case.part, case.topology, case.agents, case.x)
    return Row(key, world.seed, measures(outcome, world.work_s, len(world.tasks), prices))


def run(study: Study, workers: int, told: Callable[[], None]) -> list[Row]:
    """Every part for every seed; `told` is called after each. The rows do not depend on `workers`."""
    jobs = [(part, seed) for part in study.parts for seed in study.seeds]
    if workers == 1:
        _begin(study)
        done = {}
        for job in jobs:
            done[job] = _job(*job)
            told()
        return [row for job in jobs for row in done[job]]
    # Spawned, not forked: the progress bar has a thread.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (study,))
    try:
        with _uninterrupted():
            futures = {pool.submit(_job, *job): job for job in jobs}
        done = {}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            told()
    except KeyboardInterrupt:
        for child in active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [row for job in jobs for row in done[job]]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C: their launcher does, a moment later."""
    came: list[int] = []
    # They inherit the mask; this process needs a handler too, since another thread may take the signal.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    ours = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if ours else None
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if came:
        raise KeyboardInterrupt


def cells(rows: Sequence[Row]) -> list[Cell]:
    """The seeds of each case put together, in the order of the cases."""
    grouped: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.key].append(row)
    return [_cell(key, grouped) for key in grouped]


def _cell(key: Key, grouped: dict[Key, list[Row]]) -> Cell:
    rows = grouped[key]
    names = dict.fromkeys(name for row in rows for name in row.measures)
    put = {name: estimate([row.measures[name] for row in rows if name in row.measures]) for name in names}
    part, _, agents, x = key
    other = {row.seed: row.measures for row in grouped.get((part, "delm", agents, x), ())}
    beside = {name: _beside(rows, other, name) for name in PAIRED.values()}
    return Cell(key, put, {name: found for name, found in beside.items() if found})


def _beside(rows: Sequence[Row], other: dict[int, Measures], name: str) -> Estimate | None:
    pairs = [
        (row.measures[name], other[row.seed][name])
        for row in rows
        if name in row.measures and name in other.get(row.seed, ())
    ]
    return ratio([mine for mine, _ in pairs], [its for _, its in pairs]) if pairs else None


_STUDY: list[Study] = []  # of this process


def _begin(study: Study) -> None:
    _STUDY[:] = [study]
    _world.cache_clear()


def _job(part: str, seed: int) -> list[Row]:
    study = _STUDY[0]
    return [simulate(case, _world(seed, case.tasks), study.prices) for case in study.cases(part)]


@lru_cache(maxsize=8)
def _world(seed: int, tasks: int) -> World:
    study = _STUDY[0]
    return draw(study.trace, seed, tasks, study.plan.subtasks)
