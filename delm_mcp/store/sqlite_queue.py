"""The SQLite engine's queries of the queue: which task is next, for whom, and what waits for what."""

import json
import sqlite3
from collections.abc import Sequence
from math import inf
from typing import Any, TypeVar

from delm_mcp.domain.model import UNFINISHED, EntryId, RunId, Task, TaskId, TaskState
from delm_mcp.store.rows import TASK, Table

R = TypeVar("R")
_UNFINISHED = ", ".join(f"'{state}'" for state in UNFINISHED)

# Each step seeks the next distinct set of needs in the index, so a million ready tasks with three
# sets of needs cost three seeks.
_READY_NEEDS = """
WITH RECURSIVE distinct_needs (needs) AS (
    SELECT min(needs) FROM task WHERE run = :run AND state = 'ready' AND kind = 'work'
    UNION ALL
    SELECT (SELECT min(needs) FROM task
            WHERE run = :run AND state = 'ready' AND kind = 'work' AND needs > distinct_needs.needs)
    FROM distinct_needs WHERE distinct_needs.needs IS NOT NULL
)
SELECT needs FROM distinct_needs WHERE needs IS NOT NULL
"""

# Independence is counted per principal: not the author, nobody who disputed the entry, nobody who has
# judged it in this round or is judging it now.
_MAY_JUDGE = """
NOT EXISTS (SELECT 1 FROM entry WHERE entry.id = task.about AND entry.principal = :principal)
AND NOT EXISTS (
    SELECT 1 FROM vote JOIN entry ON entry.id = vote.entry WHERE vote.entry = task.about
    AND vote.principal = :principal AND (vote.task = 0 OR vote.round = entry.round))
AND NOT EXISTS (
    SELECT 1 FROM task AS held INDEXED BY task_about
    JOIN agent ON agent.run = held.run AND agent.name = held.agent
    WHERE held.about = task.about AND held.kind = 'verify' AND held.state = 'leased'
    AND held.state IN ('blocked', 'ready', 'leased', 'submitted') AND agent.principal = :principal)
"""


class Queries:
    """Reading rows of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def _one(self, table: Table[R], where: str, *values: Any) -> R | None:
        row = self._db.execute(f"{table.select} {where}", values).fetchone()
        return table.decode(row) if row else None

    def _all(self, table: Table[R], where: str, *values: Any) -> list[R]:
        return table.decode_all(self._db.execute(f"{table.select} {where}", values).fetchall())


class QueueQueries(Queries):
    """The tasks of a run; see `base.Tx`."""

    def task(self, task: TaskId) -> Task | None:
        return self._one(TASK, "WHERE id = ?", task)

    def tasks(self, run: RunId, states: Sequence[TaskState] = (), limit: int = -1) -> list[Task]:
        # A query a state, because each is then a range of one index, read no further than the limit.
        listed = states or tuple(TaskState)
        where = "INDEXED BY task_state WHERE run = ? AND state = ? ORDER BY id LIMIT ?"
        found = [task for state in listed for task in self._all(TASK, where, run, state, limit)]
        found.sort(key=lambda task: task.id)
        return found if limit < 0 else found[:limit]

    def task_counts(self, run: RunId) -> dict[TaskState, int]:
        rows = self._db.execute("SELECT state, count(*) FROM task WHERE run = ? GROUP BY state", (run,))
        return {TaskState(state): count for state, count in rows.fetchall()}

    def same_subject(self, run: RunId, subject_key: str, copy_of: int) -> Task | None:
        where = f"WHERE run = ? AND subject_key = ? AND copy_of = ? AND state IN ({_UNFINISHED}) LIMIT 1"
        return self._one(TASK, where, run, subject_key, copy_of)

    def leased_to(self, run: RunId, agent: str) -> Task | None:
        where = "INDEXED BY task_agent WHERE run = ? AND agent = ? AND state = 'leased' LIMIT 1"
        return self._one(TASK, where, run, agent)

    def favoured(self, run: RunId, agent: str) -> Task | None:
        where = (
            "INDEXED BY task_favours WHERE run = ? AND favours = ? "
            "AND state = 'ready' AND favours <> '' AND kind <> 'decide' "
            "ORDER BY id LIMIT 1"
        )
        return self._one(TASK, where, run, agent)

    def next_ready(
        self, run: RunId, tags: frozenset[str], agent: str, now: float, latest: float
    ) -> Task | None:
        best: Task | None = None
        for needs in self.ready_needs(run):
            if not tags.issuperset(needs):
                continue
            head = self._one(
                TASK,
                "INDEXED BY task_ready WHERE run = ? AND state = 'ready' AND kind = 'work' AND needs = ? "
                "AND ((favours = '' AND shuns <> ?) OR favours_until <= ? OR favours_until > ?) "
                "ORDER BY rank DESC, id LIMIT 1",
                run,
                json.dumps(list(needs), separators=(",", ":"), ensure_ascii=False),
                agent,
                now,
                latest,
            )
            if head and (best is None or (-head.rank, head.id) < (-best.rank, best.id)):
                best = head
        return best

    def next_verify(self, run: RunId, principal: str) -> Task | None:
        where = (
            "INDEXED BY task_verify WHERE run = :run AND state = 'ready' AND kind = 'verify' "
            f"AND {_MAY_JUDGE} ORDER BY rank DESC, id LIMIT 1"
        )
        row = self._db.execute(f"{TASK.select} {where}", {"run": run, "principal": principal}).fetchone()
        return TASK.decode(row) if row else None

    def verifications(self, entry: EntryId) -> list[Task]:
        open_about = f"INDEXED BY task_about WHERE about = ? AND kind = 'verify' AND state IN ({_UNFINISHED})"
        return self._all(TASK, f"{open_about} ORDER BY id", entry)

    def decision(self, run: RunId) -> Task | None:
        return self._one(
            TASK, "WHERE run = ? AND state = 'ready' AND kind = 'decide' ORDER BY id LIMIT 1", run
        )

    def expired(self, run: RunId, now: float, latest: float, limit: int) -> list[Task]:
        # Two ranges of one index; as one condition with OR it would read every leased task.
        leased = "INDEXED BY task_lease WHERE run = ? AND state = 'leased' AND lease_until"
        ended = self._all(TASK, f"{leased} < ? ORDER BY lease_until LIMIT ?", run, now, limit)
        return ended + self._all(
            TASK, f"{leased} > ? ORDER BY lease_until LIMIT ?", run, latest, limit - len(ended)
        )

    def next_expiry(self, run: RunId) -> float:
        ends = self._db.execute(
            "SELECT (SELECT min(lease_until) FROM task WHERE run = :run AND state = 'leased'), "
            "(SELECT min(favours_until) FROM task "
            "WHERE run = :run AND state = 'ready' AND favours_until > 0)",
            {"run": run},
        ).fetchone()
        return min((end for end in ends if end is not None), default=inf)

    def ready_needs(self, run: RunId) -> list[tuple[str, ...]]:
        rows = self._db.execute(_READY_NEEDS, {"run": run}).fetchall()
        return [tuple(json.loads(needs)) for (needs,) in rows]

    def needed_by(self, task: TaskId) -> list[Task]:
        return self._all(TASK, "JOIN dep ON dep.task = task.id WHERE dep.needs = ? ORDER BY dep.task", task)

    def waits_for(self, task: TaskId) -> list[Task]:
        return self._all(TASK, "JOIN dep ON dep.needs = task.id WHERE dep.task = ? ORDER BY dep.needs", task)
