"""Reading: the context, entries unfolded, the queue, and what stands behind an entry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from delm_mcp.board.answers import Reading
from delm_mcp.board.heads import changes_of
from delm_mcp.board.identity import label_id
from delm_mcp.board.operation import Operation, seconds
from delm_mcp.domain import rendering
from delm_mcp.domain.differences import Difference, differences, standing
from delm_mcp.domain.dossiers import Dossier
from delm_mcp.domain.drain import is_live
from delm_mcp.domain.explaining import Explanation, explain
from delm_mcp.domain.model import (
    UNFINISHED,
    Agent,
    ContextChange,
    Entry,
    EntryId,
    Kind,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
)
from delm_mcp.domain.text import CHARACTERS_PER_TOKEN, clipped, fenced, one_line, shortened, tokens
from delm_mcp.errors import InvalidInput, NotFound

VIEWS = ("context", "queue", "why")
LEVELS = ("gist", "summary", "raw")
MAX_BUDGET = 60_000
QUEUE_TASKS = 200
MATCHES = 1_000
LINE_TOKENS = 20  # of a short gist


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asks for; see the read_context tool."""

    since: int = 0
    at: int = 0
    view: str = "context"
    entries: tuple[str, ...] = ()
    level: str = "gist"
    kind: str = ""
    query: str = ""
    budget_tokens: int = 2000


def read(op: Operation, run: Run, agent: Agent | None, wanted: Wanted) -> Reading:
    """Answer a read.

    Raises:
        InvalidInput: An unknown view, level or kind, or a version out of range; says what there is.
        NotFound: An entry that the run does not have.
    """
    _refuse_odd(run, wanted)
    if wanted.view == "queue":
        return _queue(op, run, agent)
    if wanted.entries or wanted.view == "why":
        return _entries(op, run, agent, wanted)
    return _context(op, run, agent, wanted)


def _refuse_odd(run: Run, wanted: Wanted) -> None:
    if wanted.view not in VIEWS:
        raise InvalidInput(f"There is no view {wanted.view[:20]!r}.", f"Views: {', '.join(VIEWS)}.")
    if wanted.level not in LEVELS:
        raise InvalidInput(f"There is no level {wanted.level[:20]!r}.", f"Levels: {', '.join(LEVELS)}.")
    if wanted.kind and wanted.kind not in list(Kind):
        raise InvalidInput(f"There is no kind {wanted.kind[:20]!r}.", f"Kinds: {', '.join(Kind)}.")
    for name, version in (("since", wanted.since), ("at", wanted.at)):
        _refuse_unknown(run, name, version)
    if not 1 <= wanted.budget_tokens <= MAX_BUDGET:
        raise InvalidInput(
            f"budget_tokens={wanted.budget_tokens} is too small or too large.", f"Pass 1 to {MAX_BUDGET}."
        )


def _refuse_unknown(run: Run, name: str, version: int) -> None:
    if not 0 <= version <= run.version:
        raise InvalidInput(
            f"{name}={version} is not a version of this context.", f"Versions: 0 to {run.version}."
        )


def _context(op: Operation, run: Run, agent: Agent | None, wanted: Wanted) -> Reading:
    upto = wanted.at or run.version
    # A budget bounds how many changes are worth fetching; where lines are shorter, a page is smaller.
    limit = -1 if wanted.kind or wanted.query else wanted.budget_tokens // LINE_TOKENS + 2
    wants = _filter(op, run, wanted)
    changes, reached = op.whole_versions(run, wanted.since, upto, limit)
    entries = op.tx.headlines({change.entry for change in changes})
    seen = rendering.view(
        changes,
        entries.__getitem__,
        upto=reached,
        budget_tokens=wanted.budget_tokens,
        wanted=wants,
    )
    more = seen.more or reached < upto
    # What is acknowledged by passing `version` back is what was really told: everything up to
    # `version_read` here, but only the news beside a filtered view.
    news, version = _own_news(op, run, agent, wanted, seen.version_read), seen.version_read
    if wanted.kind or wanted.query:
        news, version = op.news(run, agent)
    elif agent is not None:
        told = [change for change in changes if change.version <= seen.version_read]
        news += op.head_news(run, told, entries, agent.name)
    following = f"read_context(since={seen.version_read})" if more else ""
    return Reading(
        run=run.id,
        run_state=run.state,
        text=seen.text,
        version_read=seen.version_read,
        more=more,
        version=version,
        news=news,
        next=following or _go_on(op, run, agent),
        items=_matching(changes, entries, seen.version_read, wants) if wanted.kind or wanted.query else (),
    )


def _go_on(op: Operation, run: Run, agent: Agent | None) -> str:
    if run.state is not RunState.OPEN:
        return f"Stop: the run is {run.state}."
    held = op.tx.leased_to(run.id, agent.name) if agent is not None else None
    if held is None:
        return "claim_task"
    if held.kind is TaskKind.VERIFY:
        return f"Judge E{held.about}: verify(lease, entry=E{held.about}, verdict, reason)."
    return f"Go on with {held.label}."


def _filter(op: Operation, run: Run, wanted: Wanted) -> Callable[[Entry], bool]:
    matches: set[EntryId] | None = None
    if wanted.query:
        words = [word for word in wanted.query.split() if any(char.isalnum() for char in word)][:16]
        matches = set(op.tx.matching(run.id, words, MATCHES)) if words else set()
    return lambda entry: (
        (not wanted.kind or entry.kind == wanted.kind) and (matches is None or entry.id in matches)
    )


def _matching(
    changes: list[ContextChange],
    entries: dict[EntryId, Entry],
    upto: int,
    wants: Callable[[Entry], bool],
) -> tuple[dict[str, Any], ...]:
    """The entries that a filtered view shows, each once."""
    shown = {c.entry: entries[c.entry] for c in changes if c.version <= upto and wants(entries[c.entry])}
    return tuple(rendering.facts(entry) for entry in shown.values())


def _own_news(op: Operation, run: Run, agent: Agent | None, wanted: Wanted, upto: int) -> tuple[str, ...]:
    """Verdicts on the reader's own work; the rest of the news is the text itself."""
    if agent is None:
        return ()
    own = [c for c in op.tx.changes(run.id, wanted.since, upto, reader=agent.name) if c.audience]
    return tuple(rendering.news_line(c, op.entry(c.entry), agent.name).rstrip("\n") for c in own)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is said of one entry; `more` is the call that shows what was cut."""

    text: str
    item: dict[str, Any]
    more: str = ""


def _entries(op: Operation, run: Run, agent: Agent | None, wanted: Wanted) -> Reading:
    if not wanted.entries:
        raise InvalidInput("view=why needs entries=[E12].", "Name the entry to explain.")
    pieces: list[_Piece] = []
    left: list[str] = []
    room = wanted.budget_tokens
    for label in wanted.entries:
        entry = op.tx.entry(EntryId(label_id(label, "E")))
        if entry is None or entry.run != run.id:
            raise NotFound(f"Run {run.id} has no entry {label[:20]}.", "read_context lists its entries.")
        piece = (
            _explained(op, entry, room) if wanted.view == "why" else _unfolded(op, entry, wanted.level, room)
        )
        if pieces and piece.more:
            left.append(entry.label)
            continue
        pieces.append(piece)
        room = max(1, room - tokens(piece.text))
    news, version = op.news(run, agent)
    view = "view=why, " if wanted.view == "why" else ""
    following = f"read_context({view}entries=[{', '.join(left)}])" if left else pieces[0].more
    return Reading(
        run=run.id,
        run_state=run.state,
        text="".join(piece.text for piece in pieces),
        version_read=run.version,
        more=bool(following),
        version=version,
        news=news,
        next=following or _go_on(op, run, agent),
        items=tuple(piece.item for piece in pieces),
    )


def _unfolded(op: Operation, entry: Entry, level: str, room_tokens: int) -> _Piece:
    """An entry at a level, within its budget; a cut is shown with what would show the rest."""
    changes = changes_of(op.tx, entry) if level == "raw" else None
    text = rendering.unfold(entry, level, changes)
    if tokens(text) <= room_tokens:
        diff = {"commit": changes.commit, "diff": changes.text, "diff_base": changes.head} if changes else {}
        return _Piece(text, {**rendering.facts(entry), **diff})
    needed = min(tokens(text), MAX_BUDGET)
    kept = clipped(text, room_tokens * CHARACTERS_PER_TOKEN)
    cut = f"(cut: {tokens(text)} tokens in all; ask with budget_tokens={needed})"
    more = f"read_context(entries=[{entry.label}], level={level}, budget_tokens={needed})"
    return _Piece(f"{kept}\n{cut}\n", rendering.facts(entry), more)


def _explained(op: Operation, entry: Entry, room_tokens: int) -> _Piece:
    """What stands behind an entry, within its budget."""
    found = explanation(op, entry.id, room_tokens)
    return _Piece(found.text, found.facts, found.more)


def explanation(op: Operation, entry: EntryId, budget_tokens: int = MAX_BUDGET) -> Explanation:
    """The tree behind an entry: its history, evidence, receipts, verdicts, disputes, and what it rests on.

    Raises:
        NotFound: There is no such entry.
    """
    return explain(
        entry,
        lambda label: dossier(op, op.entry(label)),
        now=op.now,
        budget_tokens=budget_tokens,
        budget_max=MAX_BUDGET,
    )


def dossier(op: Operation, entry: Entry) -> Dossier:
    """All that the board knows of an entry."""
    votes = op.tx.votes(entry.id)
    return Dossier(
        entry,
        changes=op.tx.changes_of(entry.id),
        checks=op.tx.checks_of(entry.id),
        votes=votes,
        verifications=op.tx.verifications(entry.id),
        cited=op.tx.headlines({EntryId(label) for vote in votes for label in vote.against}),
    )


def compare(op: Operation, run: Run, since: int, upto: int) -> list[tuple[Difference, Entry]]:
    """What changed between two versions on balance, in the order of entries.

    Args:
        upto: The later version; 0 for the newest.

    Raises:
        InvalidInput: One is no version of the context, or they are the wrong way round.
    """
    last = upto or run.version
    _refuse_unknown(run, "from", since)
    _refuse_unknown(run, "to", last)
    if since > last:
        raise InvalidInput(f"Version {since} comes after {last}.", "Name the earlier one first.")
    before = standing(op.tx.changes(run.id, 0, since))
    found = differences(before, op.tx.changes(run.id, since, last))
    entries = op.tx.headlines({difference.entry for difference in found})
    return [(difference, entries[difference.entry]) for difference in found]


def _queue(op: Operation, run: Run, agent: Agent | None) -> Reading:
    """The queue in words and as rows: unfinished tasks first, then agents, then what was refused."""
    counts = op.tx.task_counts(run.id)
    rows = op.tx.tasks(run.id, UNFINISHED, limit=QUEUE_TASKS)
    summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no tasks"
    lines = [f"run {run.id} {run.state}: {summary}"]
    lines += [_task_line(op, task) for task in rows]
    limits = op.policy(run).limits
    for other in op.tx.agents(run.id):
        seen = "here" if is_live(other, op.now, limits) else "gone"
        lines.append(f"agent {other.name} {seen}, seen {seconds(op.now - other.seen_at):g} s ago")
    news, version = op.news(run, agent)
    return Reading(
        run=run.id,
        run_state=run.state,
        text="\n".join(lines) + "\n",
        version_read=run.version,
        more=sum(counts.get(state, 0) for state in UNFINISHED) > len(rows),
        version=version,
        news=news,
        next=_go_on(op, run, agent),
        items=tuple(_task_item(task) for task in rows),
    )


def _task_line(op: Operation, task: Task) -> str:
    parts = [f"{task.label} {task.state}"]
    if task.state is TaskState.LEASED:
        parts.append(f"by {task.agent}, {seconds(task.lease_until - op.now):g} s left")
    if task.state is TaskState.BLOCKED:
        parts.append(
            "after " + ", ".join(t.label for t in op.tx.waits_for(task.id) if t.state is not TaskState.DONE)
        )
    if task.needs:
        parts.append(f"needs {'+'.join(task.needs)}")
    if task.reason:
        parts.append(f"({shortened(one_line(task.reason), 120)})")
    return f"{' '.join(parts)}: {fenced(shortened(task.subject, 160))}"


def _task_item(task: Task) -> dict[str, Any]:
    return {
        "task": task.label,
        "kind": task.kind.value,
        "state": task.state.value,
        "subject": task.subject,
        "agent": task.agent,
        "priority": task.priority,
        "attempts": task.attempts,
        "losses": task.losses,
    }
