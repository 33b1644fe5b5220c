"""The parts of a simulation: which topologies meet under which conditions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from delm_client.simulate.assumptions import Assumptions
from delm_client.simulate.topologies import FOREVER, TOPOLOGIES, Failures
from delm_client.simulate.traces import Trace
from delm_client.simulate.world import mean_task_s

RIVALS = ("central", "central-rounds", "central-batched", "central-hierarchical")


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a simulation is."""

    agents: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    team: int = 32  # agents in the parts that sweep something else
    tasks: int = 1000
    subtasks: int = 1
    seeds: int = 20
    first_seed: int = 1
    coarse: bool = False  # every other value of what is swept

    def thin(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """The values to sweep."""
        return values[::2] if self.coarse else values


@dataclass(frozen=True, slots=True)
class Case:
    """One simulated run, but for its seed: `x` is what its part sweeps."""

    part: str
    topology: str
    agents: int
    tasks: int
    x: float | str
    given: Assumptions
    failures: Failures = field(default_factory=Failures)


@dataclass(frozen=True, slots=True)
class Part:
    """A question, and the runs that answer it."""

    name: str
    question: str
    x: str
    cases: Callable[[Plan, Assumptions, Trace], list[Case]]


def _scale(plan: Plan, given: Assumptions, trace: Trace) -> list[Case]:
    return [
        Case("scale", topology, agents, plan.tasks, agents, given)
        for agents in plan.agents
        for topology in TOPOLOGIES
    ]


def _reading(plan: Plan, given: Assumptions, trace: Trace) -> list[Case]:
    steps = plan.thin((0.05, 0.1, 0.2, 0.5, 1.0, 2.0))
    return [
        Case("reading", topology, plan.team, tasks, tasks, given)
        for tasks in (max(round(plan.tasks * step), 10) for step in steps)
        for topology in ("single", "central", "delm")
    ]


def _orchestrator(plan: Plan, given: Assumptions, trace: Trace) -> list[Case]:
    mean_s = mean_task_s(trace, plan.subtasks)
    return [
        Case(
            "orchestrator",
            topology,
            plan.team,
            plan.tasks,
            100 * calls * given.turn_s / mean_s,
            _with(given, orchestrator_calls=calls),
        )
        for calls in plan.thin((0.5, 1, 2, 4, 8, 16, 32))
        for topology in (*RIVALS, "delm")
    ]


def _swept(
    part: str, name: str, values: tuple[float, ...], *topologies: str
) -> Callable[[Plan, Assumptions, Trace], list[Case]]:
    """Cases that differ in one assumption."""

    def cases(plan: Plan, given: Assumptions, trace: Trace) -> list[Case]:
        return [
            Case(part, topology, plan.team, plan.tasks, value, _with(given, **{name: value}))
            for value in plan.thin(values)
            for topology in topologies
        ]

    return cases


FAILURES = {
    "nothing": Failures(),
    "1 agent of 10 dies": Failures(dying=0.1),
    "half of them die": Failures(dying=0.5),
    "server down for 5 min": Failures(server_s=300),
    "orchestrator down for 5 min": Failures(orchestrator_s=300),
    "server down for good": Failures(server_s=FOREVER),
    "orchestrator down for good": Failures(orchestrator_s=FOREVER),
}


def _failures(plan: Plan, given: Assumptions, trace: Trace) -> list[Case]:
    return [
        Case("failures", topology, plan.team, plan.tasks, name, given, failures)
        for name, failures in FAILURES.items()
        for topology in ("split", "independent", "central", "central-batched", "central-hierarchical", "delm")
    ]


def _with(given: Assumptions, **changed: Any) -> Assumptions:
    return replace(given, **changed)


PARTS = {
    part.name: part
    for part in (
        Part("scale", "How does the makespan fall with the number of agents?", "agents", _scale),
        Part("reading", "What does it cost that everybody reads the context?", "tasks", _reading),
        Part(
            "orchestrator",
            "How much may an orchestrator cost a task?",
            "orchestrator's share of a task's time, %",
            _orchestrator,
        ),
        Part(
            "dead-ends",
            "What is it worth to tell each other of dead ends?",
            "probability that a task runs into a dead end",
            _swept(
                "dead-ends",
                "dead_ends",
                (0, 0.1, 0.2, 0.4, 0.6, 0.8),
                "split",
                "central",
                "central-batched",
                "delm",
                "delm-open",
            ),
        ),
        Part(
            "gate",
            "From how many false results on does the gate pay?",
            "probability that a result is false at first",
            _swept(
                "gate",
                "false_results",
                (0, 0.02, 0.05, 0.1, 0.2, 0.4),
                "central-batched",
                "delm",
                "delm-open",
            ),
        ),
        Part(
            "verifying",
            "How much may verifying cost?",
            "turns of the verifying peer",
            _swept(
                "verifying", "verdict_turns", (1, 2, 4, 8, 16, 32), "central-batched", "delm", "delm-open"
            ),
        ),
        Part(
            "merge-queue",
            "When is the check on the moved head DeLM's own orchestrator?",
            "seconds of the check, one at a time",
            _swept("merge-queue", "check_s", (0, 0.6, 2, 5, 10, 20, 60), "split", "central-batched", "delm"),
        ),
        Part("failures", "What does a failure cost?", "what fails", _failures),
    )
}
