"""Tasks: claiming, keeping, giving up, finishing, and deciding when a run is drained."""

from dataclasses import replace

from delm_mcp.board import cases
from delm_mcp.board.answers import Claim, Earlier, TaskView
from delm_mcp.board.identity import Seat, label_id
from delm_mcp.board.operation import Operation, seconds
from delm_mcp.domain import drain, tasks
from delm_mcp.domain.model import (
    Agent,
    EntryState,
    Run,
    RunState,
    Task,
    TaskId,
    TaskKind,
    TaskState,
)
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.text import fenced, one_line, shortened
from delm_mcp.errors import Conflict, NotAllowed, NotFound

EXPIRE_SLICE = 64  # expired leases returned before a claim; more wait for the next one
EARLIER = 5
COUNTED = 20


# -- claiming ------------------------------------------------------------------------------------


def claim(op: Operation, run: Run, agent: Agent, wanted: str = "") -> Claim:
    """Lease a task to an agent: the one that it holds, the one that it asks for, or the next."""
    if run.state is not RunState.OPEN:
        return _over(op, run, agent)
    limits = op.policy(run).limits
    held = op.tx.leased_to(run.id, agent.name)
    if held is not None and op.now >= tasks.lease_ceiling(held, limits):
        _lose(op, held)
    elif held is not None:
        kept = op.tx.update(held, tasks.renewed(held, now=op.now, limits=limits))
        return _claimed(op, run, agent, kept, reclaimed=True)
    expire(op, run)
    run = op.run(run.id)  # the last loss of a decide task stalls its run
    if run.state is not RunState.OPEN:
        return _over(op, run, agent)
    task = _asked_for(op, run, agent, wanted) if wanted else _next(op, run, agent)
    if task is None:
        return _nothing(op, run, agent, _why_nothing(op, run, agent))
    leased = tasks.claimed(task, agent=agent.name, token=op.ids.token(), now=op.now, limits=limits)
    return _claimed(op, run, agent, op.tx.update(task, leased), reclaimed=False)


def could_claim(op: Operation, run: Run, agent: Agent) -> bool:
    """Whether a claim would do more than answer "nothing ready"; reads only."""
    return bool(
        run.state is not RunState.OPEN
        or op.tx.favoured(run.id, agent.name)
        or _ready(op, run, agent)
        or _ended(op, run, limit=1)
        or (_is_drained(op, run) and _may_decide(op, op.tx.decision(run.id), agent))
    )


def in_reach(op: Operation, run: Run, agent: Agent) -> Task | None:
    """The task that a claim would give, as far as it can be told without changing anything."""
    ended = _ended(op, run, limit=1)
    return (
        op.tx.favoured(run.id, agent.name)
        or _ready(op, run, agent)
        or (ended[0] if ended else op.tx.decision(run.id))
    )


def _ready(op: Operation, run: Run, agent: Agent) -> Task | None:
    """The next task that this agent may take and that is kept for nobody; verifying goes first."""
    latest = op.now + 2 * op.policy(run).limits.author_first_s
    work = op.tx.next_ready(run.id, frozenset(agent.tags), agent.name, op.now, latest)
    verify = op.tx.next_verify(run.id, agent.principal)
    return verify if verify and (work is None or verify.rank > work.rank) else work


def _ended(op: Operation, run: Run, limit: int) -> list[Task]:
    return op.tx.expired(run.id, op.now, op.latest(op.policy(run).limits.lease_s), limit)


def _may_decide(op: Operation, decision: Task | None, agent: Agent) -> bool:
    """The agent that finished last goes first, for a while; no decision yet can be had at once."""
    return decision is None or decision.favours in {"", agent.name} or decision.favours_until <= op.now


def _next(op: Operation, run: Run, agent: Agent) -> Task | None:
    """The task that waits for this agent, or the next one that its tags cover."""
    found = op.tx.favoured(run.id, agent.name) or _ready(op, run, agent)
    if found is None and _is_drained(op, run):
        decision = op.tx.decision(run.id) or _open_decision(op, run)
        return decision if _may_decide(op, decision, agent) else None
    return found


def _asked_for(op: Operation, run: Run, agent: Agent, wanted: str) -> Task:
    task = op.tx.task(TaskId(label_id(wanted, "T")))
    if task is None or task.run != run.id:
        raise NotFound(f"Run {run.id} has no task {wanted[:20]}.", "read_context view=queue lists its tasks.")
    if task.state is not TaskState.READY:
        holder = f" by {task.agent}" if task.state is TaskState.LEASED else ""
        raise Conflict(
            f"{task.label} is {task.state}{holder}.", "Call claim_task without task for the next one."
        )
    if task.kind is TaskKind.DECIDE and not _is_drained(op, run):
        raise Conflict(
            f"{task.label} is not due, because there is open work.", "Call claim_task without task."
        )
    missing = set(task.needs) - set(agent.tags)
    if missing:
        raise NotAllowed(
            f"{task.label} needs {', '.join(sorted(missing))}, which your tags do not cover.",
            "Claim with tags=[...] if you have that, or claim another task.",
        )
    kept = task.favours not in {"", agent.name} or task.shuns == agent.name
    if kept and task.favours_until > op.now:
        raise Conflict(
            f"{task.label} is kept for {task.favours or 'somebody else'} "
            f"for {seconds(task.favours_until - op.now)} s.",
            "Claim another, or come back.",
        )
    if task.kind is TaskKind.VERIFY:
        cases.insist_independent(op, op.entry(task.about), agent.principal)
        cases.insist_not_judging(op, task, agent.principal)
    return task


def _claimed(op: Operation, run: Run, agent: Agent, task: Task, *, reclaimed: bool) -> Claim:
    news, version = op.news(run, agent)
    if not reclaimed:
        op.tx.update(agent, replace(agent, told=version))
    return Claim(
        run=run.id,
        agent=agent.name,
        task=TaskView(
            task.label,
            task.kind,
            task.subject,
            task.detail,
            earlier(op, task),
            about=f"E{task.about}" if task.about else "",
            case=cases.brief(op, op.entry(task.about)) if task.kind is TaskKind.VERIFY else "",
        ),
        lease=task.lease,
        expires_s=seconds(task.lease_until - op.now),
        reclaimed=reclaimed,
        version=version,
        news=news,
        next=_advice(task, agent),
    )


def _advice(task: Task, agent: Agent) -> str:
    if task.kind is TaskKind.DECIDE:
        return (
            f"add_tasks(lease={task.lease}, tasks=[...]) if something is missing, else "
            f"propose_update(lease={task.lease}, kind=answer, completes=true, derived_from=[...])"
        )
    if task.kind is TaskKind.VERIFY:
        return (
            f"Judge the case, then verify(lease={task.lease}, entry=E{task.about}, "
            "verdict=pass|fail|abstain, reason=..., fails=[the axes that fail])"
        )
    return (
        f"Do the task. Then propose_update(lease={task.lease}, completes=true, ...). "
        f"Pass agent={agent.name} in calls without a lease."
    )


def earlier(op: Operation, task: Task) -> tuple[Earlier, ...]:
    """Refused proposals for a task, newest last, so that nobody repeats them."""
    refused = [
        entry
        for entry in op.tx.entries_of(task.id)
        if entry.state in {EntryState.REJECTED, EntryState.RETRACTED}
    ]
    return tuple(
        Earlier(
            entry.label,
            entry.kind,
            shortened(entry.gist, 300),
            shortened(one_line(entry.reason), 400),
            entry.flags,
        )
        for entry in refused[-EARLIER:]
    )


def _over(op: Operation, run: Run, agent: Agent) -> Claim:
    why = f": {run.reason}" if run.reason else ""
    return _nothing(op, run, agent, f"run {run.id} is {run.state}{why}")


def _nothing(op: Operation, run: Run, agent: Agent, reason: str) -> Claim:
    news, version = op.news(run, agent)
    over = run.state is not RunState.OPEN
    return Claim(
        run=run.id,
        agent=agent.name,
        run_state=run.state,
        reason=reason,
        version=version,
        news=news,
        next="Stop: there is nothing left to do." if over else f"claim_task(agent={agent.name}, wait_s=25)",
        retry_at=op.tx.next_expiry(run.id),
        patient=not over and _worth_waiting(op, run, agent),
    )


def _worth_waiting(op: Operation, run: Run, agent: Agent) -> bool:
    """Whether something comes about by itself, so that even a lone agent should wait for it."""
    endless = op.policy(run).peers.no_peers == "wait"
    names = (CheckName.JUDGE,) if endless else (CheckName.PEERS, CheckName.JUDGE)
    return any(op.tx.checks_open(run.id, name) for name in names) or _comes_back(op, run, agent)


def _comes_back(op: Operation, run: Run, agent: Agent) -> bool:
    """Whether what this agent gave up is all that is left, and nobody else has taken it so far."""
    if op.tx.tasks(run.id, [TaskState.LEASED], limit=1):
        return False
    ready = op.tx.tasks(run.id, [TaskState.READY], limit=COUNTED)
    return any(task.shuns == agent.name and task.favours_until > op.now for task in ready)


def _why_nothing(op: Operation, run: Run, agent: Agent) -> str:
    """One sentence on what the queue is busy with; counts a little and no more, as many may ask."""
    busy = []
    for state in (TaskState.LEASED, TaskState.SUBMITTED, TaskState.BLOCKED):
        count = len(op.tx.tasks(run.id, [state], limit=COUNTED + 1))
        if count:
            busy.append(f"{count if count <= COUNTED else f'more than {COUNTED}'} {state}")
    stuck = [needs for needs in op.tx.ready_needs(run.id) if not set(needs) <= set(agent.tags)]
    if stuck:
        busy.append("ready ones need " + " or ".join("+".join(needs) for needs in stuck[:4]))
    waiting = op.tx.checks_open(run.id, CheckName.PEERS)
    if waiting:
        listed = ", ".join(f"E{check.entry}" for check in waiting[:4])
        patience_s = max(0.0, min(check.lease_until for check in waiting) - op.now)
        busy.append(f"{listed} await the verdict of a peer (looked at again in {seconds(patience_s):g} s)")
    kept = [
        task for task in op.tx.tasks(run.id, [TaskState.READY], limit=COUNTED) if task.favours_until > op.now
    ]
    busy += [
        f"{task.label} is kept for {task.favours or f'others than {task.shuns}'}"
        for task in kept[:3]
        if task.kind is not TaskKind.DECIDE
    ]
    decision = op.tx.decision(run.id)
    if decision and not _may_decide(op, decision, agent):
        busy.append("the decision is kept for the agent that finished last")
    return "nothing is ready for you: " + (", ".join(busy) or "the queue is empty")


# -- leases that end -----------------------------------------------------------------------------


def expire(op: Operation, run: Run) -> int:
    """Return expired leases to the queue, a slice at a time; says how many."""
    ended = _ended(op, run, EXPIRE_SLICE)
    for task in ended:
        _lose(op, task)
    return len(ended)


def _lose(op: Operation, task: Task) -> None:
    """A lease ended without a word of its holder."""
    reason = f"{task.agent} did not come back"
    limits = op.policy(op.run(task.run)).limits
    put_back(op, task, tasks.lost(task, tasks.Event.EXPIRE, reason=reason, limits=limits))


def put_back(op: Operation, task: Task, after: Task) -> Task:
    """Put a task back after its lease, with all that follows if that was its last time.

    A decision that is no longer due is cancelled instead.
    """
    if task.kind is TaskKind.DECIDE and not only_decision_open(op, op.run(task.run), task):
        return cancel(op, task, "there is open work again")
    op.tx.update(task, after)
    _if_failed(op, after)
    _settle_needs(op, after)
    return after


def give_up(op: Operation, seat: Seat, note: str) -> Task:
    """The holder says that it cannot do the task; an attempt is used."""
    assert seat.task is not None  # noqa: S101 - by_lease always gives one
    reason = _said(seat, note) or f"{seat.agent.name} gave it up"
    limits = op.policy(seat.run).limits
    after = _given_up(op, seat.task, reason)
    last = seat.task.kind is TaskKind.DECIDE and seat.run.rounds >= limits.max_rounds
    if last and after.state is TaskState.READY:
        after = replace(
            tasks.transition(after, tasks.Event.EXHAUST), reason=f"all rounds are used up; {reason}"
        )
    return put_back(op, seat.task, after)


def release(op: Operation, seat: Seat, note: str) -> Task:
    """The holder hands the task on."""
    assert seat.task is not None  # noqa: S101 - by_lease always gives one
    return hand_on(op, seat.task, _said(seat, note) or f"{seat.agent.name} handed it on")


def hand_on(op: Operation, task: Task, reason: str) -> Task:
    """A leased task goes back for anybody; a loss is counted, so that nobody passes it round for ever."""
    limits = op.policy(op.run(task.run)).limits
    after = replace(tasks.lost(task, tasks.Event.RELEASE, reason=reason, limits=limits), token="")
    return put_back(op, task, after)


def count_rejection(op: Operation, task: Task, reason: str) -> Task:
    """A proposal under this lease was refused; too many of them count as giving the task up."""
    limits = op.policy(op.run(task.run)).limits
    if task.rejections + 1 < limits.max_rejections:
        return op.tx.update(task, replace(task, rejections=task.rejections + 1))
    spent = replace(task, rejections=0)
    why = f"{limits.max_rejections} proposals refused, last: {shortened(reason, 300)}"
    return put_back(op, task, _given_up(op, spent, why))


def _given_up(op: Operation, task: Task, reason: str) -> Task:
    limits = op.policy(op.run(task.run)).limits
    after = tasks.given_up(task, reason=reason, now=op.now, limits=limits)
    return _unless_alone(op, after, task.agent)


def _unless_alone(op: Operation, task: Task, agent: str) -> Task:
    """A task that an agent is kept from, if anybody else is there to take it; decisions are anybody's."""
    limits = op.policy(op.run(task.run)).limits
    others = [other for other in op.tx.agents(task.run) if other.name != agent]
    able = any(drain.is_live(one, op.now, limits) and set(task.needs) <= set(one.tags) for one in others)
    return task if able and task.kind is TaskKind.WORK else tasks.for_anybody(task)


def _said(seat: Seat, note: str) -> str:
    """An agent's note as others read it: fenced, because it is not our voice."""
    return f"{seat.agent.name} says {fenced(shortened(note, 500))}" if note.strip() else ""


def _if_failed(op: Operation, task: Task) -> None:
    """A failed task takes its dependants with it; a decide task that failed stalls its run."""
    if task.state is not TaskState.FAILED:
        return
    op.tx.update(task, replace(task, ended_at=op.now))
    cancel_dependants(op, task)
    if task.kind is TaskKind.DECIDE:
        stall(op, op.run(task.run), f"nobody could decide: {task.reason}")


def cancel_dependants(op: Operation, task: Task) -> None:
    """Cancel everything that waits for a task which will never be done."""
    waiting = [task]
    while waiting:
        gone = waiting.pop()
        for dependant in op.tx.needed_by(gone.id):
            if dependant.state in {TaskState.BLOCKED, TaskState.READY}:
                reason = f"{gone.label} {gone.state}: {gone.reason}"
                waiting.append(cancel(op, dependant, shortened(reason, 300)))


def cancel(op: Operation, task: Task, reason: str) -> Task:
    return op.tx.update(task, tasks.cancelled(task, reason=reason, now=op.now))


def finish(op: Operation, task: Task, *, result: int, agent: str) -> Task:
    """Done: its dependants lose a blocker, and its agent is the one that finished last."""
    done = op.tx.update(task, tasks.finished(task, result=result, now=op.now))
    for dependant in op.tx.needed_by(task.id):
        _rebalance(op, dependant)
    run = op.run(task.run)
    op.tx.update(run, replace(run, last_finisher=agent))
    return done


def _rebalance(op: Operation, task: Task) -> None:
    """Let a task that has not begun wait for exactly those of its needs that are not done."""
    if task.state not in {TaskState.BLOCKED, TaskState.READY}:
        return
    left = sum(needed.state is not TaskState.DONE for needed in op.tx.waits_for(task.id))
    if left == task.blocked_by:
        return
    event = tasks.Event.BLOCK if left else tasks.Event.UNBLOCK
    op.tx.update(task, replace(tasks.transition(task, event), blocked_by=left))


def reopen(op: Operation, task: Task, reason: str) -> None:
    """Its result was retracted: it is to be done again, and what has not begun waits for it again."""
    limits = op.policy(op.run(task.run)).limits
    after = op.tx.update(task, tasks.reopened(task, reason=shortened(reason, 400), limits=limits))
    _if_failed(op, after)
    _settle_needs(op, after)
    for dependant in op.tx.needed_by(task.id):
        _rebalance(op, dependant)


def _settle_needs(op: Operation, task: Task) -> None:
    if task.state is not TaskState.READY or task.kind is not TaskKind.WORK:
        return
    for need in op.tx.waits_for(task.id):
        if need.state in {TaskState.FAILED, TaskState.CANCELLED}:
            gone = cancel(op, task, shortened(f"{need.label} {need.state}: {need.reason}", 300))
            cancel_dependants(op, gone)
            return
    _rebalance(op, task)


def pass_on(op: Operation, task: Task, reason: str) -> Task:
    """A result was turned down by peers once too often: somebody else goes first, if anybody is there."""
    limits = op.policy(op.run(task.run)).limits
    after = tasks.passed_on(task, reason=reason, now=op.now, limits=limits)
    return put_back(op, task, _unless_alone(op, after, task.agent))


# -- drained -------------------------------------------------------------------------------------


def _is_drained(op: Operation, run: Run, besides: int = 0) -> bool:
    """Whether nothing moves, apart from the task `besides`, and nobody who is there could move it."""
    limits = op.policy(run).limits
    moving = op.tx.tasks(run.id, [TaskState.LEASED, TaskState.SUBMITTED], limit=2)
    activity = drain.Activity(
        moving=sum(task.id != besides for task in moving),
        open_checks=op.tx.open_checks(run.id),
        ready_needs=op.tx.ready_needs(run.id),
    )
    if not drain.drained(activity, lambda: op.tx.agents(run.id), op.now, limits):
        return False
    # A verify task that no independent principal is there to take keeps nobody from deciding.
    live = {agent.principal for agent in op.tx.agents(run.id) if drain.is_live(agent, op.now, limits)}
    return not any(op.tx.next_verify(run.id, principal) for principal in live)


def only_decision_open(op: Operation, run: Run, decision: Task) -> bool:
    """Whether a run is drained but for its decide task."""
    return _is_drained(op, run, besides=decision.id)


def _open_decision(op: Operation, run: Run) -> Task:
    """A decide task, kept for the agent that finished last for a little while."""
    limits = op.policy(run).limits
    grace = limits.decide_grace_s if run.last_finisher else 0.0
    stuck = op.tx.tasks(run.id, [TaskState.READY, TaskState.BLOCKED], limit=20)
    return op.tx.insert(
        Task(
            TaskId(0),
            run.id,
            TaskKind.DECIDE,
            drain.DECIDE_SUBJECT,
            drain.decide_detail(run.goal, stuck),
            rank=tasks.rank(TaskKind.DECIDE, 0),
            favours=run.last_finisher if grace else "",
            favours_until=op.now + grace if grace else 0.0,
            created_at=op.now,
        )
    )


def stall(op: Operation, run: Run, reason: str) -> Run:
    """Nobody can go on; the owner, or whoever adds tasks, can open the run again."""
    return op.tx.update(run, replace(run, state=RunState.STALLED, reason=reason, ended_at=op.now))
