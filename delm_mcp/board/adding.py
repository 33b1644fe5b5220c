"""Tasks: adding them, making them wait for each other, and splitting one into parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from delm_mcp.board.answers import Added
from delm_mcp.board.identity import Seat, clean_tags, label_id
from delm_mcp.board.operation import Operation, labels
from delm_mcp.domain import tasks
from delm_mcp.domain.model import Run, Task, TaskId, TaskKind, TaskState
from delm_mcp.errors import Conflict, InvalidInput, NotFound

MAX_TASKS_A_CALL = 100
MAX_COPIES = 16
MAX_SUBJECT = 300
MAX_DETAIL = 20_000
MAX_AFTER = 50


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to queue. `after` names tasks (`T7`) or earlier ones of the same call (`#1`)."""

    subject: str
    detail: str = ""
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    priority: int = 0
    copies: int = 1


def add(
    op: Operation, run: Run, new: Sequence[NewTask], *, parent: int = 0, limit: int = MAX_TASKS_A_CALL
) -> list[Added]:
    """Queue tasks, deduplicated by subject among the unfinished ones.

    Raises:
        InvalidInput: A field out of bounds, a label that means nothing, a cycle.
        Conflict: It waits for something that will never be done, or the run has no room.
    """
    if not 0 < len(new) <= limit:
        raise InvalidInput(f"{len(new)} tasks in one call; 1 to {limit} are possible.", "Send them in parts.")
    added: list[Added] = []
    groups: list[list[Task]] = []
    for number, item in enumerate(new, 1):
        _refuse_odd(item, number)
        blockers = [task for label in item.after for task in _resolve(op, run, label, groups)]
        group = [
            _add_one(op, run, item, copy, blockers, parent)
            for copy in (range(1, item.copies + 1) if item.copies > 1 else (0,))
        ]
        groups.append([task for task, _ in group])
        added += [Added(task.label, task.state, existed) for task, existed in group]
    fresh = sum(not item.existed for item in added)
    limits = op.policy(run).limits
    run = op.run(run.id)
    if run.tasks_count + fresh > limits.max_tasks:
        raise Conflict(
            f"Run {run.id} has {run.tasks_count} tasks; {fresh} more would pass its {limits.max_tasks}.",
            "Add fewer, or finish with what there is.",
        )
    op.tx.update(run, replace(run, tasks_count=run.tasks_count + fresh))
    return added


def _refuse_odd(item: NewTask, number: int) -> None:
    if not tasks.subject_key(item.subject):
        raise InvalidInput(f"Task {number} has no subject.", "Say in one line what is to be done.")
    for name, text, limit in (("subject", item.subject, MAX_SUBJECT), ("detail", item.detail, MAX_DETAIL)):
        if len(text) > limit:
            raise InvalidInput(
                f"Task {number}: {name} has {len(text)} characters; the limit is {limit}.", "Shorten it."
            )
    if abs(item.priority) > tasks.MAX_PRIORITY:
        raise InvalidInput(
            f"Task {number}: priority {item.priority} is not within ±{tasks.MAX_PRIORITY}.", "Choose another."
        )
    if not 1 <= item.copies <= MAX_COPIES:
        raise InvalidInput(
            f"Task {number}: copies {item.copies} is not within 1 to {MAX_COPIES}.", "Choose another."
        )
    if len(item.after) > MAX_AFTER:
        raise InvalidInput(
            f"Task {number} waits for {len(item.after)} tasks; the limit is {MAX_AFTER}.", "Name fewer."
        )
    clean_tags(item.needs)


def _resolve(op: Operation, run: Run, label: str, groups: list[list[Task]]) -> list[Task]:
    """The tasks that an `after` means."""
    if label.startswith("#"):
        place = int(label[1:]) if re.fullmatch(r"#[0-9]{1,4}", label) else 0
        if 1 <= place <= len(groups):
            return groups[place - 1]
        raise InvalidInput(
            f"after {label[:20]!r} does not name an earlier task of this call.",
            "#1 is the first task of the call; a task cannot wait for itself or a later one.",
        )
    task = op.tx.task(TaskId(label_id(label, "T")))
    if task is None or task.run != run.id:
        raise NotFound(
            f"after names {label[:20]}, which run {run.id} does not have.",
            "read_context view=queue lists them.",
        )
    if task.kind is not TaskKind.WORK:
        raise Conflict(
            f"after names {task.label}, which is a {task.kind} task.", "Only work can be waited for."
        )
    if task.state in {TaskState.FAILED, TaskState.CANCELLED}:
        raise Conflict(
            f"after names {task.label}, which is {task.state} and will never be done.", "Leave it out."
        )
    return [task]


def _add_one(
    op: Operation, run: Run, item: NewTask, copy: int, blockers: list[Task], parent: int
) -> tuple[Task, bool]:
    key = tasks.subject_key(item.subject)
    same = op.tx.same_subject(run.id, key, copy)
    if same is not None:
        return block(op, same, blockers), True
    task = op.tx.insert(
        Task(
            TaskId(0),
            run.id,
            TaskKind.WORK,
            item.subject.strip(),
            item.detail,
            priority=item.priority,
            rank=tasks.rank(TaskKind.WORK, item.priority),
            needs=clean_tags(item.needs),
            subject_key=key,
            copy_of=copy,
            parent=parent,
            created_at=op.now,
        )
    )
    return block(op, task, blockers, new=True), False


def block(op: Operation, task: Task, blockers: Sequence[Task], *, new: bool = False) -> Task:
    """Make a task wait; for one that has begun already, only what is done can be named.

    Args:
        new: Nothing waits for the task yet, so it cannot close a cycle.

    Raises:
        InvalidInput: It would wait for itself, directly or through others.
        Conflict: The task has begun.
    """
    count = task.blocked_by
    for blocker in {row.id: row for row in blockers}.values():
        if blocker.id == task.id or (not new and _reaches(op, blocker, task)):
            raise InvalidInput(
                f"{task.label} would wait for itself through {blocker.label}.", "Leave that one out of after."
            )
        if blocker.state is TaskState.DONE:
            continue
        if task.state not in {TaskState.BLOCKED, TaskState.READY}:
            raise Conflict(f"{task.label} is {task.state} already, so it cannot wait for {blocker.label}.")
        count += op.tx.depend(task, blocker)
    if count == task.blocked_by:
        return task
    return op.tx.update(task, replace(tasks.transition(task, tasks.Event.BLOCK), blocked_by=count))


def _reaches(op: Operation, start: Task, goal: Task) -> bool:
    """Whether `start` waits for `goal`, directly or through others."""
    seen, waiting = {start.id}, [start]
    while waiting:
        for task in op.tx.waits_for(waiting.pop().id):
            if task.id == goal.id:
                return True
            if task.id not in seen and task.state is not TaskState.DONE:
                seen.add(task.id)
                waiting.append(task)
    return False


def split(op: Operation, seat: Seat, parts: Sequence[Added]) -> Task:
    """Let a task wait for the parts that its holder made of it; the lease ends."""
    assert seat.task is not None  # noqa: S101 - by_lease always gives one
    children = [child for part in parts if (child := op.tx.task(TaskId(label_id(part.id, "T"))))]
    open_children = list(
        {child.id: child for child in children if child.state is not TaskState.DONE}.values()
    )
    if not open_children:
        raise Conflict(
            f"All parts of {seat.task.label} are done already.", "Propose its result instead of splitting it."
        )
    for child in open_children:
        if child.id == seat.task.id or _reaches(op, child, seat.task):
            raise InvalidInput(
                f"{child.label} waits for {seat.task.label} itself.", "Split it into other parts."
            )
        op.tx.depend(seat.task, child)
    waiting = replace(
        tasks.transition(seat.task, tasks.Event.SPLIT),
        blocked_by=sum(need.state is not TaskState.DONE for need in op.tx.waits_for(seat.task.id)),
        reason=f"split into {labels(open_children)}",
        token="",
        lease_until=0.0,
    )
    return op.tx.update(seat.task, waiting)
