"""When a run has nothing left to do, and what happens then.

There is no planner and no main agent: once nothing is leased, submitted, being checked, or ready for
an agent that is there, exactly one `decide` task appears. Its holder adds tasks (another round) or
proposes the answer. The bounds on rounds and on attempts make every run end.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from delm_mcp.domain.model import Agent, Task, TaskKind
from delm_mcp.domain.policy import Limits
from delm_mcp.domain.text import fenced

DECIDE_SUBJECT = "Decide: is the goal reached?"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a run is busy with: tasks leased or submitted, checks, and what the ready tasks need."""

    moving: int
    open_checks: int
    ready_needs: Sequence[tuple[str, ...]]


def is_live(agent: Agent, now: float, limits: Limits) -> bool:
    """Whether an agent was seen recently enough to be counted on."""
    return now - agent.seen_at <= limits.agent_live_s


def takeable(needs: Sequence[str], agents: Iterable[Agent], now: float, limits: Limits) -> bool:
    """Whether a live agent's tags cover what a task needs; a task that needs nothing is anybody's."""
    return not needs or any(is_live(agent, now, limits) and set(needs) <= set(agent.tags) for agent in agents)


def drained(activity: Activity, agents: Callable[[], Sequence[Agent]], now: float, limits: Limits) -> bool:
    """Whether nothing moves and nobody who is there could move it.

    Args:
        agents: Gives the run's agents; asked only when tags decide.
    """
    if activity.moving or activity.open_checks or () in activity.ready_needs:
        return False
    if not activity.ready_needs:
        return True
    here = agents()
    return not any(takeable(needs, here, now, limits) for needs in activity.ready_needs)


def _lacking(task: Task) -> str:
    if task.kind is TaskKind.VERIFY:
        return f"a principal who is independent of E{task.about}"
    return ", ".join(task.needs) or "others"


def decide_detail(goal: str, stuck: Sequence[Task]) -> str:
    """What the decide task asks of its holder."""
    text = (
        f"Goal: {fenced(goal)}\n"
        "Every task that can be done is done. Read the context, then either add_tasks with this lease "
        "(what is still missing), or propose_update kind=answer with this lease, completes=true and "
        "derived_from the entries that it rests on."
    )
    if stuck:
        listed = "; ".join(f"{task.label} ({task.state}, needs {_lacking(task)})" for task in stuck)
        text += f"\nNobody here can take: {listed}. An answer ends the run without them."
    return text
