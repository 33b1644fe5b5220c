"""One operation on the board: a transaction, the time, and what every use case needs of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from delm_mcp.board.heads import moves
from delm_mcp.board.ids import Ids
from delm_mcp.domain.model import Agent, Change, ContextChange, Entry, EntryId, Run, RunId, RunState, Task
from delm_mcp.domain.policy import Policy, parse
from delm_mcp.domain.rendering import news_line
from delm_mcp.domain.text import tokens
from delm_mcp.domain.travel import Reach
from delm_mcp.errors import NotFound, RequestReused, RunClosed
from delm_mcp.store.base import Tx

NEWS_TOKENS = 400
NEWS_ROWS = 60


@dataclass(slots=True)
class Operation:
    """A transaction with the time at which it happens, and the version that it makes, if any.

    `reach` is how those who are answered get at the commits of the run's repository.
    """

    tx: Tx
    now: float
    ids: Ids
    reach: Reach = field(default_factory=Reach)
    _versions: dict[str, int] = field(default_factory=dict)

    def run(self, run: str) -> Run:
        """The run, as this operation left it so far.

        Raises:
            NotFound: There is no such run.
        """
        found = self.tx.run(RunId(run))
        if found is None:
            known = ", ".join(row.id for row in self.tx.runs()[-5:]) or "none yet"
            raise NotFound(f"There is no run {run[:64]!r} on this board.", f"Runs here: {known}.")
        return found

    def open_run(self, run: str) -> Run:
        """The run, which must be open.

        Raises:
            NotFound: There is no such run.
            RunClosed: It is finished, cancelled or stalled.
        """
        found = self.run(run)
        if found.state is not RunState.OPEN:
            raise RunClosed(*closed(found))
        return found

    def policy(self, run: Run) -> Policy:
        return parse(run.policy)

    def entry(self, entry: int) -> Entry:
        """Raises: NotFound: There is no such entry."""
        found = self.tx.entry(EntryId(entry))
        if found is None:
            raise NotFound(f"There is no entry E{entry}.", "read_context lists the entries of a run.")
        return found

    def publish(self, entry: Entry, what: Change, note: str = "", audience: str = "") -> int:
        """Write one line of the context's history; the whole operation is one version.

        Returns:
            The version.
        """
        run = self.run(entry.run)
        version = self._versions.get(run.id)
        if version is None:
            version = self._versions[run.id] = run.version + 1
            self.tx.update(run, replace(run, version=version))
        self.tx.insert(ContextChange(0, run.id, version, entry.id, what, note, audience))
        return version

    def latest(self, lease_s: float) -> float:
        """No lease given by now can end after this; one that does was given before the clock was set back."""
        return self.now + 2 * lease_s

    def news(self, run: Run, agent: Agent | None, *, besides: int = 0) -> tuple[tuple[str, ...], int]:
        """Lines about what changed since the agent's last acknowledged version, within a bound.

        Args:
            besides: An entry that the answer is about anyway.

        Returns:
            The lines, and the version that they reach (a version boundary, so that acknowledging it
            loses nothing).
        """
        if agent is None:
            return (), run.version
        after = agent.acked
        lines: list[str] = []
        told: list[ContextChange] = []
        used, shown = 0, after
        changes, reached = self.whole_versions(run, after, run.version, NEWS_ROWS, reader=agent.name)
        entries = self.tx.headlines({change.entry for change in changes})
        for change in changes:
            if used > NEWS_TOKENS and change.version > shown:
                reached = shown
                break
            if change.entry == besides:
                continue
            text = news_line(change, entries[change.entry], agent.name).rstrip("\n")
            lines.append(text)
            told.append(change)
            used += tokens(text)
            shown = change.version
        lines += self.head_news(run, told, entries, agent.name)
        if reached < run.version:
            lines.append(f"more: read_context since={reached}")
        return tuple(lines), reached

    def head_news(
        self, run: Run, told: Sequence[ContextChange], entries: Mapping[EntryId, Entry], reader: str
    ) -> tuple[str, ...]:
        """How to take the patches of peers that a reader is told of, on one line; nothing without any."""
        moved = moves(self.tx, told, entries, reader)
        return (self.reach.news(run.id, run.head, moved),) if moved else ()

    def whole_versions(
        self, run: Run, after: int, upto: int, limit: int, reader: str = ""
    ) -> tuple[list[ContextChange], int]:
        """About `limit` changes, never part of a version, and the version that they reach."""
        rows = self.tx.changes(run.id, after, upto, limit, reader)
        if limit < 0 or len(rows) < limit:
            return rows, upto
        last = rows[-1].version
        whole = [row for row in rows if row.version < last]
        if whole:
            return whole, last - 1
        return self.tx.changes(run.id, after, last, reader=reader), last


def closed(run: Run) -> tuple[str, str]:
    """Why nothing can be done in a run that is not open, and what would work."""
    why = f": {run.reason}" if run.reason else ""
    problem = f"Run {run.id} is {run.state}{why}."
    if run.state is RunState.STALLED:
        return problem, "Its owner can add tasks, which opens it again."
    return problem, "Stop, or open a new run with add_tasks(goal=..., tasks=[...])."


class Once:
    """A write that happens once: sent again, it is answered as the first time.

    Args:
        scope: Within what the id is unique, e.g. a lease.
        content: What was asked for; without a `given` id, the content is the id.
        given: The caller's `request_id`, or empty.

    Attributes:
        answered: What was answered the first time, or None if this is the first time.

    Raises:
        RequestReused: The id was used before with other content.
    """

    def __init__(self, op: Operation, tool: str, scope: str, content: str, given: str) -> None:
        self._op, self._scope = op, scope
        self._fingerprint = hashlib.sha256(
            f"{tool}\0{scope}\0{content}".encode("utf-8", "replace")
        ).hexdigest()
        self._id = f"{tool}:{given}" if given else self._fingerprint
        before = op.tx.remembered(scope, self._id)
        if before is not None and before[0] != self._fingerprint:
            raise RequestReused(
                f"request_id {given[:40]!r} was used before with other content.", "Use a new request_id."
            )
        self.answered = before[1] if before else None

    def answer(self, text: str) -> None:
        """Keep what is needed to answer again."""
        self._op.tx.remember(self._scope, self._id, self._fingerprint, text)


def seconds(value: float) -> float:
    """A duration for an answer."""
    return round(max(0.0, value), 1)


def labels(tasks: Sequence[Task], limit: int = 8) -> str:
    """Task labels for a sentence."""
    listed = ", ".join(task.label for task in tasks[:limit])
    return listed + (f" and {len(tasks) - limit} more" if len(tasks) > limit else "")
