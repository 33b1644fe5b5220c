"""Who is calling, in which run, and with which lease."""

import hmac
import re
from dataclasses import dataclass, replace

from delm_mcp.board import cases
from delm_mcp.board.operation import Operation, closed
from delm_mcp.domain import tasks
from delm_mcp.domain.model import Agent, Caller, Role, Run, RunId, RunState, Task, TaskId, TaskKind, TaskState
from delm_mcp.domain.text import fenced, shortened
from delm_mcp.errors import Conflict, InvalidInput, LeaseLost, NotAllowed, NotFound, RunClosed

MAX_TAGS = 20
_LEASE = re.compile(r"T([0-9]{1,15})\.([a-z0-9]{4,32})")
_LABEL = re.compile(r"([TE])?([0-9]{1,15})")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
HOW_TO_OPEN = 'Open one with `delm-mcp init "goal" --task "..."`, or add_tasks(goal="...", tasks=[...]).'


@dataclass(frozen=True, slots=True)
class Seat:
    """A caller's place: its run, the agent that it speaks for, and the task that it holds."""

    run: Run
    agent: Agent
    task: Task | None = None


def label_id(text: str | int, letter: str) -> int:
    """The id behind a label such as `T7` or `E12`.

    Raises:
        InvalidInput: It is not such a label.
    """
    match = _LABEL.fullmatch(str(text).strip())
    if match is None or match.group(1) not in {None, letter}:
        raise InvalidInput(f"{str(text)[:40]!r} is not a label like {letter}12.", "Copy it from an answer.")
    return int(match.group(2))


def may_write(caller: Caller) -> None:
    """Raises: NotAllowed: The caller may only read."""
    if caller.role is Role.OBSERVER:
        raise NotAllowed("This token may only read.", "Ask the owner for a token with the role agent.")


def may_enter(caller: Caller, run: str) -> None:
    """Raises: NotFound: The run is outside the caller's scope, which is told like one that is not there."""
    if caller.runs and run not in caller.runs:
        raise NotFound(
            f"There is no run {run[:64]!r} for this token.", f"Yours: {', '.join(sorted(caller.runs))}."
        )


def find_run(op: Operation, caller: Caller, run: str, agent: str, *, reading: bool = False) -> Run:
    """The run that a call without a lease means; when nothing is open, a reader gets the last one.

    Raises:
        NotFound: None is open, or the named one is not there; says how to open one.
        InvalidInput: Several are open; lists them.
    """
    if run:
        may_enter(caller, run)
        return op.run(run)
    if agent:
        homes = [
            row for row in op.tx.homes(caller.principal, agent) if not caller.runs or row.id in caller.runs
        ]
        if homes:
            return next((row for row in reversed(homes) if row.state is RunState.OPEN), homes[-1])
    usable = _mine(op, caller, RunState.OPEN)
    if len(usable) == 1:
        return usable[0]
    if usable:
        listed = "; ".join(f"{row.id} {fenced(shortened(row.goal, 60))}" for row in usable[-8:])
        raise InvalidInput(f"Several runs are open: {listed}.", "Pass run=... to say which.")
    past = _mine(op, caller, None)
    if reading and past:
        return past[-1]
    ended = f" The last one, {past[-1].id}, is {past[-1].state}." if past else ""
    raise NotFound(f"No run is open on this board.{ended}", HOW_TO_OPEN)


def _mine(op: Operation, caller: Caller, state: RunState | None) -> list[Run]:
    """The newest runs in the caller's scope, in a state."""
    if not caller.runs:
        return op.tx.runs(state, limit=9)
    found = [row for name in sorted(caller.runs) if (row := op.tx.run(RunId(name)))]
    return sorted((row for row in found if state in {None, row.state}), key=lambda row: row.opened_at)


def find_agent(op: Operation, caller: Caller, run: Run, name: str) -> Agent:
    """The agent that the caller says it is.

    Raises:
        NotFound: The run has no such agent.
        NotAllowed: It belongs to another principal, or the token is bound to another name.
    """
    if caller.agent and name and name != caller.agent:
        raise NotAllowed(f"This token speaks only for the agent {caller.agent!r}.", "Leave agent out.")
    name = caller.agent or name
    row = op.tx.agent(run.id, name)
    if row is None:
        raise NotFound(
            f"Run {run.id} has no agent {name[:48]!r}.",
            "claim_task without agent gives you a name; use that one.",
        )
    if row.principal != caller.principal:
        raise NotAllowed(
            f"The agent {name!r} belongs to somebody else.",
            "claim_task without agent gives you a name of your own.",
        )
    return row


def clean_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Raises: InvalidInput: A tag that is empty, long or strange."""
    if len(tags) > MAX_TAGS:
        raise InvalidInput(f"{len(tags)} tags are too many; the limit is {MAX_TAGS}.", "Name fewer.")
    for tag in tags:
        if not _NAME.fullmatch(tag):
            raise InvalidInput(
                f"The tag {tag[:48]!r} is not usable.", "Use lower-case letters, digits, . _ and -."
            )
    return tuple(sorted(set(tags)))


def still_valid(op: Operation, caller: Caller) -> None:
    """Raises: NotAllowed: The caller's token was revoked or has expired since the call began."""
    if not caller.token:
        return
    row = op.tx.token_with(caller.token)
    if row is None or row.revoked_at or (row.expires_at and row.expires_at <= op.now):
        raise NotAllowed("This token is not valid any more.", "Ask the owner for a new one.")


def clean_name(name: str, what: str) -> str:
    """Raises: InvalidInput: A name that would not do in a ref, a terminal or a sentence."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")):
        raise InvalidInput(
            f"{name[:48]!r} does not do as {what}.", "Use up to 48 lower-case letters, digits, . _ and -."
        )
    return name


def join(op: Operation, caller: Caller, run: Run, name: str, tags: tuple[str, ...]) -> Agent:
    """The caller's agent for claiming: known by its name, or minted.

    One that is bound to a name may say it before the run knows it: its prompt has told it who it is.
    """
    tags = clean_tags(tags)
    bound = caller.agent
    if (name and name != bound) or (bound and op.tx.agent(run.id, bound)):
        return touched(op, find_agent(op, caller, run, name), tags)
    name = clean_name(bound, "an agent's name") if bound else op.ids.agent_name()
    while not bound and op.tx.agent(run.id, name):
        name = f"{op.ids.agent_name()}-{op.ids.token()[:3]}"
    return op.tx.insert(Agent(0, run.id, name, caller.principal, tags, op.now, op.now))


def touched(op: Operation, agent: Agent, tags: tuple[str, ...] = (), acked: int = 0) -> Agent:
    """The agent, seen now; its read mark never goes back."""
    return op.tx.update(
        agent, replace(agent, seen_at=op.now, tags=tags or agent.tags, acked=max(agent.acked, acked))
    )


def by_lease(
    op: Operation, caller: Caller, lease: str, *, agent: str = "", run: str = "", acknowledges: bool = True
) -> Seat:
    """The seat that a lease gives; showing it renews it, and revives it if nobody took the task since.

    Raises:
        InvalidInput: It does not look like a lease.
        LeaseLost: Wrong, retaken, or its task is not leased any more; says what the task is now.
        Conflict: The task's result is being checked.
        NotAllowed: `agent` or `run` name something else than the lease does.
        RunClosed: The run is not open.
    """
    task = task_of(op, caller, lease)
    home = op.run(task.run)
    if (agent and agent != task.agent) or (run and run != task.run):
        raise NotAllowed(
            f"This lease is of {task.agent} in run {task.run}.",
            "Leave agent and run out; the lease names them.",
        )
    row = op.tx.agent(home.id, task.agent)
    if row is None or not _same_party(caller, row):
        raise NotAllowed("This lease is somebody else's.", "Use your own; claim_task gives you one.")
    if home.state is not RunState.OPEN:
        raise RunClosed(*closed(home))
    return Seat(home, touched(op, row, acked=row.told if acknowledges else 0), _held(op, home, task))


def task_of(op: Operation, caller: Caller, lease: str) -> Task:
    """The task whose current token a lease shows. Changes nothing.

    Raises:
        InvalidInput: It does not look like a lease.
        LeaseLost: It is wrong, or the task was retaken.
    """
    task = op.tx.task(lease_task(lease))
    if task is None or (caller.runs and task.run not in caller.runs):
        raise LeaseLost(f"There is no task behind the lease {lease[:40]!r}.", "Call claim_task.")
    if not task.token or not hmac.compare_digest(task.lease, lease):
        raise LeaseLost(_retaken(task), "Your work on it can no longer be used here. Call claim_task.")
    return task


def _same_party(caller: Caller, agent: Agent) -> bool:
    """Whether a caller may act for the agent whose lease it shows.

    Over stdio a principal is a process: a client whose server was started again comes back as another
    one, and after a crash its lease is what proves who it is. A token is proof by itself, so there both
    must fit.
    """
    if caller.agent and caller.agent != agent.name:
        return False
    both_local = caller.principal.startswith("stdio:") and agent.principal.startswith("stdio:")
    return both_local or caller.principal == agent.principal


def lease_task(lease: str) -> TaskId:
    """The task that a lease names. Raises: InvalidInput: It does not look like a lease."""
    match = _LEASE.fullmatch(lease)
    if match is None:
        raise InvalidInput(
            f"{lease[:40]!r} is not a lease.", "Copy `lease` from your claim_task answer, e.g. T7.k3f9qx."
        )
    return TaskId(int(match.group(1)))


def _retaken(task: Task) -> str:
    if task.state is TaskState.LEASED:
        return f"{task.label} was retaken by {task.agent} after your lease ended, or the lease is wrong."
    return f"This is not a current lease of {task.label}, which is {task.state}."


def _held(op: Operation, run: Run, task: Task) -> Task:
    """The task of a current token, renewed."""
    limits = op.policy(run).limits
    if task.state is TaskState.LEASED:
        if op.now >= tasks.lease_ceiling(task, limits):
            raise LeaseLost(
                f"The lease of {task.label} has reached its ceiling of {limits.lease_max_s:g} s.",
                "Call claim_task.",
            )
        return op.tx.update(task, tasks.renewed(task, now=op.now, limits=limits))
    if task.state is TaskState.READY and op.now < tasks.lease_ceiling(task, limits):
        other = op.tx.leased_to(run.id, task.agent)
        if other is not None:
            raise LeaseLost(
                f"Your lease of {task.label} ended, and you hold {other.label} now.",
                f"Go on with {other.label}.",
            )
        if task.kind is TaskKind.VERIFY:
            holder = op.tx.agent(run.id, task.agent)
            assert holder is not None  # noqa: S101 - whoever held a task is an agent of its run
            cases.insist_independent(op, op.entry(task.about), str(holder.principal))
            cases.insist_not_judging(op, task, str(holder.principal))
        return op.tx.update(task, tasks.renewed(task, now=op.now, limits=limits))
    if task.state is TaskState.SUBMITTED:
        raise Conflict(
            f"{task.label} has a result that is being checked; its verdict comes as news.",
            "Call claim_task for other work.",
        )
    raise LeaseLost(f"{task.label} is {task.state}{_because(task)}.", "Call claim_task.")


def _because(task: Task) -> str:
    if task.state is TaskState.DONE and task.result:
        return f" by E{task.result}"
    return f" ({task.reason})" if task.reason else ""
