"""Runs: opening, opening again, ending, and describing them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from delm_mcp.board import adding, queue
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Added, Queued, Updated
from delm_mcp.board.identity import Seat, clean_name, label_id
from delm_mcp.board.operation import Operation, closed
from delm_mcp.domain.model import (
    UNFINISHED,
    Caller,
    Command,
    EntryState,
    Kind,
    Role,
    Run,
    RunId,
    RunState,
    Source,
    TaskId,
    TaskKind,
    TaskState,
)
from delm_mcp.domain.policy import Policy, dump
from delm_mcp.domain.text import fenced, shortened
from delm_mcp.errors import Conflict, InvalidInput, NotAllowed, RunClosed

MAX_GOAL = 4_000
MAX_SOURCE = 20_000_000
STANDARD = Policy()


@dataclass(frozen=True, slots=True)
class Opening:
    """What a run is opened with: snapshotted, and never read again from files that agents can edit.

    Attributes:
        sources: `(name, text)` of the documents that quotes are checked against.
        repo: The main worktree of the repository, empty for a run without one.
        base: The full commit that the run starts from.
    """

    goal: str = ""
    commands: tuple[Command, ...] = ()
    policy: Policy = STANDARD
    sources: tuple[tuple[str, str], ...] = ()
    repo: str = ""
    base: str = ""
    run: str = ""


def open_run(op: Operation, caller: Caller, opening: Opening) -> Run:
    """Open a run.

    Raises:
        InvalidInput: No goal, a name that is taken, or something over its limit.
        NotAllowed: The token is for named runs only.
    """
    if caller.runs:
        raise NotAllowed("This token is for named runs only.", f"Yours: {', '.join(sorted(caller.runs))}.")
    if not opening.goal.strip() or len(opening.goal) > MAX_GOAL:
        raise InvalidInput(f"A goal has 1 to {MAX_GOAL} characters; this one has {len(opening.goal)}.")
    names = [command.name for command in opening.commands]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(
            f"Two commands are called {twice[0]!r}.", "Name them: --check lint=... --check test=..."
        )
    run_id = clean_name(opening.run, "a run's name") if opening.run else op.ids.run_id()
    if op.tx.run(RunId(run_id)) is not None:
        raise InvalidInput(f"There is a run {run_id!r} already.", "Choose another name, or leave it out.")
    run = op.tx.insert(
        Run(
            RunId(run_id),
            opening.goal.strip(),
            policy=dump(opening.policy),
            commands=opening.commands,
            repo=opening.repo,
            base=opening.base,
            head=opening.base,
            opened_at=op.now,
            opened_by=caller.principal,
        )
    )
    for name, text in opening.sources:
        add_source(op, run, name, text)
    return run


def add_source(op: Operation, run: Run, name: str, text: str) -> Source:
    """Register a document that quotes are checked against.

    Raises:
        InvalidInput: A name that is taken, or a text over the limit.
    """
    if len(text) > MAX_SOURCE:
        raise InvalidInput(f"The source {name!r} has {len(text)} characters; the limit is {MAX_SOURCE}.")
    if any(source.name == name for source in op.tx.sources(run.id)):
        raise InvalidInput(f"Run {run.id} has a source {name!r} already.", "Register it under another name.")
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return op.tx.insert(Source(0, run.id, name, digest, text, op.now))


def reopen(op: Operation, run: Run) -> Run:
    """Open a stalled run again, because it has new work; its rounds stay used up."""
    return op.tx.update(run, replace(run, state=RunState.OPEN, reason="", ended_at=0.0))


def cancel_run(op: Operation, caller: Caller, run: str, reason: str) -> Run:
    """Cancel a run and everything unfinished in it.

    Raises:
        NotAllowed: The caller is not an owner.
        RunClosed: It is over already.
    """
    if caller.role is not Role.OWNER:
        raise NotAllowed("Only an owner may cancel a run.", "Ask for a token with the role owner.")
    found = op.run(run)
    if found.state not in {RunState.OPEN, RunState.STALLED}:
        raise RunClosed(*closed(found))
    reason = fenced(shortened(reason, 1000))
    for task in op.tx.tasks(found.id, UNFINISHED):
        queue.cancel(op, task, reason)
    found = op.run(run)
    return op.tx.update(found, replace(found, state=RunState.CANCELLED, reason=reason, ended_at=op.now))


def allow_judging(
    op: Operation, caller: Caller, run: Run, *, usd: float | None, tokens: int | None
) -> Policy:
    """Let the judge of a run spend up to so much in all; None leaves a bound as it is.

    Raises:
        NotAllowed: The caller is not an owner.
        RunClosed: It is over already.
        Conflict: The run has no judge.
    """
    if caller.role is not Role.OWNER:
        raise NotAllowed("Only an owner may change what a run's judge may spend.")
    if run.state not in {RunState.OPEN, RunState.STALLED}:
        raise RunClosed(*closed(run))
    policy = op.policy(run)
    if not policy.judge.model:
        raise Conflict(
            f"Run {run.id} has no judge.", "A judge is named by the policy that a run is opened with."
        )
    changes = {"spend_usd": usd, "spend_tokens": tokens}
    judge = policy.judge.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )
    policy = policy.model_copy(update={"judge": judge})
    op.tx.update(run, replace(run, policy=dump(policy)))
    return policy


# -- adding tasks ----------------------------------------------------------------------------------


def add_from_outside(op: Operation, run: Run, new: Sequence[NewTask]) -> Queued:
    """Queue tasks without a lease; new work opens a stalled run again."""
    if run.state is not RunState.STALLED:
        run = op.open_run(run.id)
    added = adding.add(op, run, new)
    run = op.run(run.id)
    if run.state is RunState.STALLED and any(not task.existed for task in added):
        run = reopen(op, run)
    return queued(op, run, None, added)


def add_under_lease(op: Operation, seat: Seat, new: Sequence[NewTask], *, split: bool) -> Queued:
    """Queue tasks as the holder of one: beside it, as its parts, or as the answer to a decide task.

    Raises:
        Conflict: All rounds of the run are used up.
    """
    assert seat.task is not None  # noqa: S101 - by_lease always gives one
    if split and seat.task.kind is TaskKind.VERIFY:
        raise Conflict(
            f"{seat.task.label} is answered with a verdict, not divided.", "Call verify, or leave split out."
        )
    if seat.task.kind is not TaskKind.DECIDE:
        added = adding.add(op, seat.run, new, parent=seat.task.id)
        if split:
            adding.split(op, seat, added)
        return queued(op, seat.run, seat, added)
    limits = op.policy(seat.run).limits
    if seat.run.rounds >= limits.max_rounds:
        raise Conflict(
            f"All {limits.max_rounds} rounds of run {seat.run.id} are used up.",
            "Propose the answer, or update_task action=fail to let the run stall.",
        )
    added = adding.add(op, seat.run, new, parent=seat.task.id)
    queue.finish(op, seat.task, result=0, agent=seat.agent.name)
    home = op.run(seat.run.id)
    return queued(op, op.tx.update(home, replace(home, rounds=home.rounds + 1)), seat, added)


# -- answers about queued tasks --------------------------------------------------------------------


def queued(op: Operation, run: Run, seat: Seat | None, added: Sequence[Added]) -> Queued:
    """The answer to `add_tasks`."""
    news, version = op.news(run, seat.agent if seat else None)
    return Queued(
        run=run.id,
        run_state=run.state,
        tasks=tuple(added),
        version=version,
        news=news,
        next=f"claim_task(run={run.id})" if run.state is RunState.OPEN else f"Stop: {run.reason}.",
    )


def remembered_queue(answer: Queued) -> str:
    """What is kept of an answer to `add_tasks`."""
    return json.dumps([answer.run, [[task.id, task.existed] for task in answer.tasks]])


def is_over(op: Operation, kept: str) -> bool:
    """Whether the run of a remembered answer has ended."""
    return op.run(json.loads(kept)[0]).state in {RunState.FINISHED, RunState.CANCELLED}


def queued_before(op: Operation, kept: str) -> Queued:
    """The answer to `add_tasks` given again, with the tasks as they are now."""
    run, rows = json.loads(kept)
    added = []
    for label, existed in rows:
        task = op.tx.task(TaskId(label_id(label, "T")))
        added.append(Added(label, task.state if task else TaskState.CANCELLED, existed))
    return queued(op, op.run(run), None, added)


def updated_before(op: Operation, label: str) -> Updated:
    """The answer to `update_task` given again."""
    task = op.tx.task(TaskId(label_id(label, "T")))
    assert task is not None  # noqa: S101 - a remembered task is never deleted
    return Updated(task=label, state=task.state, version=op.run(task.run).version, next="claim_task")


# -- describing ------------------------------------------------------------------------------------


def summary(op: Operation, run: Run) -> dict[str, Any]:
    """A run in figures, for `status`."""
    head = op.tx.log_head(run.id)
    counts = op.tx.entry_counts(run.id)
    states = {state.value: sum(n for (_, of), n in counts.items() if of is state) for state in EntryState}
    last = op.tx.entries(run.id, [EntryState.ADMITTED], 1, newest=True)
    answer = last[0] if last and last[0].kind is Kind.ANSWER else None
    return {
        "run": run.id,
        "goal": run.goal,
        "state": run.state.value,
        "reason": run.reason,
        "version": run.version,
        "base": run.base,
        "head": run.head,
        "commands": [command.name for command in run.commands],
        "opened_at": run.opened_at,
        "ended_at": run.ended_at,
        "rounds": run.rounds,
        "tasks": {state.value: count for state, count in op.tx.task_counts(run.id).items()},
        "entries": {state: count for state, count in states.items() if count},
        "open_checks": op.tx.open_checks(run.id),
        "answer": answer.gist if answer else "",
        "log": {"rows": head.seq if head else 0, "head": head.hash if head else ""},
    }
