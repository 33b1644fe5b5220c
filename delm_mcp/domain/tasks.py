"""The life of a task as one table, and what each event does to the row.

The table is the whole rule: an event that is not in a state's row is refused, and the task is left
as it was. The README's diagram is generated from it (`python -m delm_mcp.domain.tasks`).
"""

from dataclasses import replace
from enum import StrEnum

from delm_mcp.domain.model import Task, TaskKind, TaskState
from delm_mcp.domain.policy import Limits
from delm_mcp.domain.text import gist_key
from delm_mcp.errors import Illegal

MAX_PRIORITY = 100


class Event(StrEnum):
    """What can happen to a task."""

    UNBLOCK = "unblock"  # the last task that it waited for is done
    BLOCK = "block"  # it was given something to wait for
    CLAIM = "claim"
    REVIVE = "revive"  # the holder of an expired lease came back first
    EXPIRE = "expire"  # a loss
    RELEASE = "release"  # a loss, handed on by its holder
    GIVE_UP = "give_up"  # an attempt
    EXHAUST = "exhaust"  # no losses or attempts are left
    SPLIT = "split"  # it waits for the parts that its holder made of it
    SUBMIT = "submit"  # a result was proposed and is being checked
    RETURN = "return"  # refused within the call that proposed it: the lease stays
    REJECT = "reject"  # refused later: its author first, no attempt used
    FINISH = "finish"
    REOPEN = "reopen"  # its result was retracted
    CANCEL = "cancel"


S, E = TaskState, Event

TRANSITIONS: dict[TaskState, dict[Event, TaskState]] = {
    S.BLOCKED: {E.UNBLOCK: S.READY, E.BLOCK: S.BLOCKED, E.CANCEL: S.CANCELLED},
    S.READY: {
        E.BLOCK: S.BLOCKED,
        E.CLAIM: S.LEASED,
        E.REVIVE: S.LEASED,
        E.EXHAUST: S.FAILED,
        E.CANCEL: S.CANCELLED,
    },
    S.LEASED: {
        E.EXPIRE: S.READY,
        E.RELEASE: S.READY,
        E.GIVE_UP: S.READY,
        E.SPLIT: S.BLOCKED,
        E.SUBMIT: S.SUBMITTED,
        E.FINISH: S.DONE,
        E.CANCEL: S.CANCELLED,
    },
    S.SUBMITTED: {
        E.RETURN: S.LEASED,
        E.REJECT: S.READY,
        E.FINISH: S.DONE,
        E.CANCEL: S.CANCELLED,
    },
    S.DONE: {E.REOPEN: S.READY},
    S.FAILED: {},
    S.CANCELLED: {},
}


def transition(task: Task, event: Event) -> Task:
    """The task after the event.

    Raises:
        Illegal: The event does not go with the task's state; says which ones do.
    """
    allowed = TRANSITIONS[task.state]
    if event not in allowed:
        names = ", ".join(allowed) or "nothing"
        raise Illegal(f"{task.label} is {task.state}, so it cannot {event}.", f"Possible now: {names}.")
    return replace(task, state=allowed[event])


def claimed(task: Task, *, agent: str, token: str, now: float, limits: Limits) -> Task:
    """Leased to an agent under a fresh token, which fences every earlier holder."""
    return replace(
        transition(task, Event.CLAIM),
        agent=agent,
        token=token,
        claimed_at=now,
        lease_until=now + limits.lease_s,
        favours="",
        favours_until=0.0,
        shuns="",
    )


def lease_ceiling(task: Task, limits: Limits) -> float:
    """The moment past which no renewal carries a lease."""
    return task.claimed_at + limits.lease_max_s


def renewed(task: Task, *, now: float, limits: Limits) -> Task:
    """Leased for another `lease_s`, up to the ceiling; an expired lease is revived."""
    until = min(now + limits.lease_s, lease_ceiling(task, limits))
    if task.state is TaskState.READY:
        # After an expiry the loss is taken back; after a late rejection there was none.
        losses = task.losses if task.favours else max(0, task.losses - 1)
        revived = replace(transition(task, Event.REVIVE), losses=losses, lease_until=until)
        return replace(revived, favours="", favours_until=0.0, shuns="")
    return replace(task, lease_until=until)


def lost(task: Task, event: Event, *, reason: str, limits: Limits) -> Task:
    """Back in the queue after an expiry or a release; failed once `max_losses` are used up."""
    after = replace(transition(task, event), losses=task.losses + 1, lease_until=0.0, reason=reason)
    if after.losses > limits.max_losses:
        return replace(transition(after, Event.EXHAUST), reason=f"lost {after.losses} times; last: {reason}")
    return after


def given_up(task: Task, *, reason: str, now: float, limits: Limits) -> Task:
    """Back in the queue for somebody else; failed once `max_attempts` are used up."""
    after = _attempted(transition(task, Event.GIVE_UP), reason, limits)
    return _for_others(after, task.agent, now, limits)


def _for_others(task: Task, agent: str, now: float, limits: Limits) -> Task:
    """A ready task that an agent may not claim for a while, lest it use up all attempts by itself."""
    if task.state is not TaskState.READY:
        return task
    return replace(task, shuns=agent, favours="", favours_until=now + limits.author_first_s)


def for_anybody(task: Task) -> Task:
    """A task that is kept for nobody and from nobody."""
    return replace(task, shuns="", favours="", favours_until=0.0)


def _attempted(task: Task, reason: str, limits: Limits) -> Task:
    """A ready task with one attempt more; nobody's lease of it counts any longer."""
    after = replace(task, attempts=task.attempts + 1, lease_until=0.0, token="", reason=reason)
    if after.attempts >= limits.max_attempts:
        return replace(
            transition(after, Event.EXHAUST), reason=f"given up {after.attempts} times; last: {reason}"
        )
    return after


def returned_late(task: Task, *, reason: str, now: float, limits: Limits) -> Task:
    """Ready again after its result was refused; its author goes first, and no attempt is used.

    After `max_rejections` it counts as given up, and goes to whoever comes.
    """
    back = replace(
        transition(task, Event.REJECT), rejections=task.rejections + 1, reason=reason, lease_until=0.0
    )
    if back.rejections < limits.max_rejections:
        return replace(back, favours=task.agent, favours_until=now + limits.author_first_s)
    return _attempted(replace(back, rejections=0), reason, limits)


def passed_on(task: Task, *, reason: str, now: float, limits: Limits) -> Task:
    """Ready for somebody else, after peers turned its author's results down too often; an attempt is used."""
    back = replace(transition(task, Event.REJECT), rejections=0)
    return _for_others(_attempted(back, reason, limits), task.agent, now, limits)


def reopened(task: Task, *, reason: str, limits: Limits) -> Task:
    """Ready again because its result was retracted; that it was done counts as an attempt."""
    return _attempted(
        replace(transition(task, Event.REOPEN), result=0, ended_at=0.0, agent=""), reason, limits
    )


def finished(task: Task, *, result: int, now: float) -> Task:
    """Done, with the entry that finished it (0 for a decide task answered with more tasks)."""
    return replace(transition(task, Event.FINISH), result=result, ended_at=now, lease_until=0.0, reason="")


def cancelled(task: Task, *, reason: str, now: float) -> Task:
    """Not to be done any more; whoever holds it has lost it."""
    return replace(transition(task, Event.CANCEL), reason=reason, ended_at=now, lease_until=0.0)


def rank(kind: TaskKind, priority: int) -> int:
    """What the queue sorts by, highest first: priority, and at equal priority `verify` ahead."""
    return priority * 2 + (1 if kind is TaskKind.VERIFY else 0)


def subject_key(subject: str) -> str:
    """The normalised subject by which unfinished tasks are told apart."""
    return gist_key(subject)


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> ready", "    [*] --> blocked"]
    for state, row in TRANSITIONS.items():
        for target in dict.fromkeys(row.values()):
            events = ", ".join(event for event, to in row.items() if to is target)
            lines.append(f"    {state} --> {target}: {events}")
    lines += [f"    {state} --> [*]" for state in (S.DONE, S.FAILED, S.CANCELLED)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())  # noqa: T201 - the command that regenerates the README's diagram
