"""Replays a recording through every topology, number of agents and seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from delm_client.simulate.sweep import Key, Measures, Row
from delm_client.study.division import DIVISIONS
from delm_client.study.kills import ORDERS, executed
from delm_client.study.luck import Luck, Mistakes
from delm_client.study.recording import Program, Suite, stretched
from delm_client.study.swarm import SWARMS
from delm_client.study.teams import NEVER, Costs, Outcome

DIVIDED = ("independent", "central", "central-async", "delm", "delm-silent", "delm-open")
CROWDED = ("independent", "context", "central", "central-async", "delm", "delm-open", "delm-strict")
IMAGINED = 20
"""Edits that seem to repair and do not are this much rarer than edits that repair and seem not to."""
CURVE_STEPS = 24
LOSSES_WEIGHT = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is replayed."""

    agents: tuple[int, ...] = (1, 2, 4, 8)
    seeds: int = 20
    first_seed: int = 1
    team: int = 4
    """Agents in the parts that sweep something else."""
    weights: tuple[float, ...] = (1, 3, 10, 30, 100)
    missed: tuple[float, ...] = (0, 0.02, 0.05, 0.1, 0.2)

    @property
    def range(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that decides what a replay gives."""

    programs: Sequence[Program]
    suite: Suite
    costs: Costs
    plan: Plan = field(default_factory=Plan)


def replay(study: Study, told: Callable[[int], None]) -> list[Row]:
    """All parts for all seeds; `told` is called with each seed before it is replayed."""
    rows: list[Row] = []
    for seed in study.plan.range:
        told(seed)
        for part in PARTS.values():
            rows += part.rows(study, seed)
    return rows


@dataclass(frozen=True, slots=True)
class Part:
    """A question, what its plots have at the bottom, and the rows of one seed that answer it."""

    question: str
    x: str
    rows: Callable[[Study, int], Iterator[Row]]


def divided(
    study: Study, seed: int, topology: str, agents: int, costs: Costs, dies: tuple[int, float] = (NEVER, 0.0)
) -> Outcome:
    """One run in which programs are the tasks."""
    return DIVISIONS[topology](study.programs, Luck(seed), costs, agents).run(dies)


def crowded(
    study: Study, seed: int, topology: str, agents: int, costs: Costs, mistakes: Mistakes | None = None
) -> list[Outcome]:
    """One run for each program, all agents on it."""
    return [
        SWARMS[topology]([program], Luck(seed, mistakes), costs, agents).run() for program in study.programs
    ]


def measures(outcomes: Sequence[Outcome]) -> Measures:
    """The figures of runs one after another."""
    makespan_s = sum(one.makespan_s for one in outcomes)
    agents = outcomes[0].agents
    repaired = sum(len(one.repaired) for one in outcomes)
    right = sum(len(one.right) for one in outcomes)
    edits = sum(one.edits for one in outcomes)
    return {
        "makespan_s": makespan_s,
        "tests": sum(one.tests for one in outcomes),
        "edits": edits,
        "repeated": sum(one.repeated for one in outcomes) / edits if edits else 0.0,
        "saved_tests": sum(one.saved_tests for one in outcomes),
        "saved": _share(sum(one.saved_tests for one in outcomes), sum(one.tests for one in outcomes)),
        "checks": sum(one.checks for one in outcomes),
        "waiting": 1 - sum(one.busy_s for one in outcomes) / (agents * makespan_s) if makespan_s else 0.0,
        "repaired": repaired,
        "right": right,
        "false": sum(len(one.false) for one in outcomes),
    }


def _share(saved: int, spent: int) -> float:
    """Of the tests that would have been executed, those that were not."""
    return saved / (saved + spent) if saved else 0.0


def _beside(found: Measures, single: Measures, alone: Measures) -> Measures:
    """Ratios with the same seed: over one agent, and over as many that know nothing of each other."""
    if not found["makespan_s"]:
        return found
    if found.get("repairable_s"):
        found["faster_repairable"] = alone["repairable_s"] / found["repairable_s"]
    return {
        **found,
        "speed_up": single["makespan_s"] / found["makespan_s"],
        "faster": alone["makespan_s"] / found["makespan_s"],
        "fewer": found["tests"] / alone["tests"] if alone["tests"] else 1.0,
    }


def _rows(
    part: str,
    seed: int,
    xs: Sequence[float],
    topologies: Sequence[str],
    run: Callable[[str, float], tuple[int, Measures]],
) -> Iterator[Row]:
    """Every topology at every x; the first topology is what the others are beside."""
    for x in xs:
        _, single = run("single", x)
        alone: Measures = {}
        for topology in topologies:
            agents, found = run(topology, x)
            alone = alone or found
            key: Key = (part, topology, agents, x)
            yield Row(key, seed, _beside(found, single, alone))


def _programs(study: Study, seed: int) -> Iterator[Row]:
    def run(topology: str, x: float) -> tuple[int, Measures]:
        agents = 1 if topology == "single" else int(x)
        return agents, measures([divided(study, seed, topology, agents, study.costs)])

    yield from _rows("programs", seed, study.plan.agents, DIVIDED, run)


def _swarm(study: Study, seed: int) -> Iterator[Row]:
    def run(topology: str, x: float) -> tuple[int, Measures]:
        agents = 1 if topology == "single" else int(x)
        return agents, measures(crowded(study, seed, topology, agents, study.costs))

    yield from _rows("swarm", seed, study.plan.agents, CROWDED, run)


def _search(study: Study, seed: int) -> Iterator[Row]:
    free = Costs(call_s=0, gate_s=0, check_s=0)
    bare = replace(
        study, programs=[replace(program, start_s=0.0, start_tests=0) for program in study.programs]
    )

    def run(topology: str, x: float) -> tuple[int, Measures]:
        agents = 1 if topology == "single" else int(x)
        outcomes = crowded(bare, seed, topology, agents, free)
        found = measures(outcomes)
        found["repairable_s"] = sum(
            outcome.makespan_s
            for program, outcome in zip(bare.programs, outcomes, strict=True)
            if program.repairable
        )
        for order in ORDERS:
            found[f"tests_{order}"] = sum(
                executed(program, outcome)[order]
                for program, outcome in zip(bare.programs, outcomes, strict=True)
            )
        return agents, found

    yield from _rows("search", seed, study.plan.agents, ("independent", "context", "central", "delm"), run)


def _weight(study: Study, seed: int) -> Iterator[Row]:
    def run(topology: str, x: float) -> tuple[int, Measures]:
        heavy = replace(study, programs=[stretched(program, x) for program in study.programs])
        agents = 1 if topology == "single" else study.plan.team
        return agents, measures([divided(heavy, seed, topology, agents, study.costs)])

    topologies = ("independent", "central", "central-async", "delm", "delm-open")
    yield from _rows("weight", seed, study.plan.weights, topologies, run)


def _losses(study: Study, seed: int) -> Iterator[Row]:
    """With tests that are slower than recorded: else agents mostly wait for the gate when they die."""
    luck = Luck(seed)
    study = replace(study, programs=[stretched(program, LOSSES_WEIGHT) for program in study.programs])
    work_s = divided(study, seed, "single", 1, study.costs).makespan_s

    def run(topology: str, x: float) -> tuple[int, Measures]:
        agents = 1 if topology == "single" else int(x)
        usual = measures([divided(study, seed, topology, agents, study.costs)])
        if agents == 1:
            return agents, usual
        dies = (agents - 1, luck.share("death") * work_s / agents)
        found = measures([divided(study, seed, topology, agents, study.costs, dies)])
        found["longer"] = found["makespan_s"] / usual["makespan_s"]
        found["more_tests"] = found["tests"] - usual["tests"]
        more = found["saved_tests"] - usual["saved_tests"]
        found["saved_more"] = more / (found["tests"] + found["saved_tests"])
        return agents, found

    several = [agents for agents in study.plan.agents if agents > 1]
    yield from _rows("losses", seed, several, ("independent", "central", "delm", "delm-silent"), run)


def _mistakes(study: Study, seed: int) -> Iterator[Row]:
    def run(topology: str, x: float) -> tuple[int, Measures]:
        agents = 1 if topology == "single" else study.plan.team
        mistakes = Mistakes(x, x / IMAGINED)
        return agents, measures(crowded(study, seed, topology, agents, study.costs, mistakes))

    topologies = ("independent", "delm", "delm-open", "delm-strict")
    yield from _rows("mistakes", seed, study.plan.missed, topologies, run)


def _curve(study: Study, seed: int) -> Iterator[Row]:
    """Programs repaired by the time that so many tests were executed."""
    most = sum(space.tests for program in study.programs for space in program.spaces)
    grid = [round(most * step / CURVE_STEPS) for step in range(CURVE_STEPS + 1)]
    for topology in ("independent", "central", "delm"):
        story = divided(study, seed, topology, study.plan.team, study.costs).story
        for tests in grid:
            repaired = max((done for _, spent, done in story if spent <= tests), default=0)
            yield Row(("curve", topology, study.plan.team, tests), seed, {"repaired": repaired})


PARTS = {
    "programs": Part("A program for each task: what does a team gain?", "agents", _programs),
    "curve": Part("How many tests does a repair cost?", "tests executed by the team", _curve),
    "swarm": Part("All agents on one program: what do shared `fail` entries save?", "agents", _swarm),
    "search": Part("The search alone, without starts, calls and checks", "agents", _search),
    "weight": Part(
        "What if tests took longer, and the gate did not?", "times the recorded seconds (assumed)", _weight
    ),
    "losses": Part(
        f"An agent dies: what do its `fail` entries save? (tests {LOSSES_WEIGHT:g} times as slow: assumed)",
        "agents",
        _losses,
    ),
    "mistakes": Part(
        "Agents that misjudge edits (assumed): what does checking buy?",
        "probability that an agent misses a repair",
        _mistakes,
    ),
}
