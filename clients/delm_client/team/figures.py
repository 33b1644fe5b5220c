"""The figures of a report: per agent and in all, from the events and from what the board says at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from delm_client.team import economics
from delm_client.team.record import Line, TeamFacts
from delm_client.team.spans import Activity, Span, awaiting_gate_s, waiting_share
from delm_client.team.tally import Tally
from delm_client.team.view import AgentView, EntryView, Trouble, View, exit_text

OUTCOMES = {
    "finished": "Finished",
    "stalled": "Stalled",
    "cancelled": "Cancelled",
    "budget": "Stopped: the budget is spent",
    "timeout": "Stopped: the time is up",
    "interrupted": "Interrupted",
    "no agent left": "Stopped: no agent was left",
    "": "No end is recorded",
}
RELIED_ON = ("admitted", "suspect", "pending", "superseded")


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """An agent's part; times in seconds."""

    label: str
    harness: str
    model: str
    state: str
    ended: str
    attempts: int
    tasks: int
    tools: int
    admitted: int
    rejected: int
    spent: Tally
    times: Mapping[Activity, float]
    share: float | None
    awaiting_gate_s: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Troubles of one kind: when it first happened, and how often."""

    first: Trouble
    count: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a report tells; `lasted_s` up to the latest event where there is no end."""

    facts: TeamFacts
    view: View
    outcome: str
    good: bool
    lasted_s: float
    agents: tuple[AgentFigures, ...]
    spent: Tally
    times: Mapping[Activity, float]
    share: float | None
    entries: tuple[EntryView, ...]
    status: Mapping[str, Any]
    stats: Mapping[str, Any]
    wrong: tuple[Wrong, ...]
    notes: tuple[Wrong, ...]

    @property
    def awaiting_gate_s(self) -> float:
        """How long agents waited for decisions on entries of their own, in all."""
        return sum(agent.awaiting_gate_s for agent in self.agents)

    @property
    def relied_on(self) -> list[EntryView]:
        """Entries that are, may become, or were replaced as, a part of the context."""
        return [entry for entry in self.entries if entry.state in RELIED_ON]

    @property
    def refused(self) -> list[EntryView]:
        """Entries that the gate refused, or let through and took back."""
        return [entry for entry in self.entries if entry.state not in RELIED_ON]

    @property
    def admitted(self) -> int:
        """How many entries stand at the end."""
        return sum(entry.state == "admitted" for entry in self.entries)

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many were refused or taken back, by the check or the reason that its own words begin with."""
        return Counter(_cause(entry) for entry in self.refused)


def figures(facts: TeamFacts, lines: Sequence[Line]) -> Figures:
    """The figures of a team, whatever is missing in what is known of it."""
    view = View(facts)
    for line in lines:
        view.hear(line)
    status = economics.of_run(facts.status, facts.run)
    spent = view.times()
    return Figures(
        facts=facts,
        view=view,
        outcome=OUTCOMES.get(facts.outcome, facts.outcome),
        good=facts.outcome == "finished",
        lasted_s=max(0.0, view.ended_at - view.started_at),
        agents=tuple(_agent(view, agent) for agent in view.agents.values()),
        spent=view.spent,
        times=spent,
        share=waiting_share(spent),
        entries=tuple(_entries(view, status)),
        status=status,
        stats=economics.of_run(facts.stats, facts.run),
        wrong=_counted(view.troubles),
        notes=_counted(view.notes),
    )


def _agent(view: View, agent: AgentView) -> AgentFigures:
    spans, spent = view.spans(agent.label), view.times(agent.label)
    models = view.facts.models if view.facts else {}
    return AgentFigures(
        label=agent.label,
        harness=agent.harness,
        model=models.get(agent.label, ""),
        state=agent.state.value,
        ended=exit_text(agent.ended) if agent.ended and not agent.alive else "",
        attempts=agent.attempts,
        tasks=len(agent.tasks),
        tools=agent.tools,
        admitted=agent.admitted,
        rejected=agent.rejected,
        spent=agent.spent,
        times=spent,
        share=waiting_share(spent),
        awaiting_gate_s=awaiting_gate_s(spans),
        spans=spans,
    )


def _entries(view: View, status: Mapping[str, Any]) -> list[EntryView]:
    """Every entry that was heard of, in the order of their labels; the board's last word counts."""
    found = dict(view.entries)
    latest = status.get("latest")
    for row in latest if isinstance(latest, list) else ():
        try:
            told = {name: str(row[name]) for name in EntryView.__slots__ if name != "at"}
            found[told["entry"]] = EntryView(**told, at=float(row.get("decided_at") or row["proposed_at"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return sorted(found.values(), key=lambda entry: (_number(entry.entry), entry.entry))


def _number(label: str) -> int:
    digits = label[1:]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def _cause(entry: EntryView) -> str:
    check, colon, _ = entry.reason.partition(": ")
    return check if colon and check.isidentifier() else entry.state


def _counted(troubles: Sequence[Trouble]) -> tuple[Wrong, ...]:
    """The same trouble of the same agent once, with how often it came."""
    first: dict[tuple[str, str, str], Trouble] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in troubles:
        key = (one.agent, one.what, one.text)
        first.setdefault(key, one)
        counts[key] += 1
    return tuple(Wrong(one, counts[key]) for key, one in first.items())


# -- as JSON -------------------------------------------------------------------------------------


def as_json(found: Figures) -> dict[str, Any]:
    """The figures as JSON values; seconds, US dollars, and null for what is not known."""
    facts, view = found.facts, found.view
    return {
        "run": facts.run,
        "goal": facts.goal,
        "simulated": facts.simulated,
        "outcome": facts.outcome,
        "answer": facts.answer,
        "started_at": view.started_at,
        "ended_at": facts.ended_at or None,
        "lasted_s": round(found.lasted_s, 3),
        "branch": facts.branch,
        "base": facts.base,
        "head": facts.head,
        "commits": [
            {"sha": one.sha, "author": one.author, "subject": one.subject, "entry": one.entry}
            for one in facts.commits
        ],
        "tasks": view.tasks,
        "context": {"version": view.version, "admitted": found.admitted, "growth": view.growth},
        "entries": [_entry_json(entry) for entry in found.entries],
        "refusals": dict(found.refusals),
        "agents": [_agent_json(agent) for agent in found.agents],
        "total": {
            **_spent_json(found.spent),
            **_times_json(found.times, found.share),
            "waiting_for_gate_s": round(found.awaiting_gate_s, 3),
        },
        "troubles": [_wrong_json(one) for one in found.wrong],
        "notes": [_wrong_json(one) for one in found.notes],
        "unread_events": view.unread,
        "stats": dict(found.stats),
        "provenance": {
            "command": facts.command,
            "version": facts.version,
            "policy": facts.policy,
            "commands": dict(facts.commands),
            "repository": facts.repository,
            "board": facts.board,
        },
    }


def _agent_json(agent: AgentFigures) -> dict[str, Any]:
    return {
        "agent": agent.label,
        "harness": agent.harness,
        "model": agent.model,
        "state": agent.state,
        "ended": agent.ended,
        "attempts": agent.attempts,
        "tasks": agent.tasks,
        "tools": agent.tools,
        "admitted": agent.admitted,
        "rejected": agent.rejected,
        **_spent_json(agent.spent),
        **_times_json(agent.times, agent.share),
        "waiting_for_gate_s": round(agent.awaiting_gate_s, 3),
        "spans": [_span_json(span) for span in agent.spans],
    }


def _span_json(span: Span) -> dict[str, Any]:
    return {
        "activity": span.activity.value,
        "start": span.start,
        "end": span.end,
        "task": span.task,
        "awaits": span.awaits,
    }


def _spent_json(spent: Tally) -> dict[str, Any]:
    """Null for counts that nobody reported; where some did, what they reported is a lower bound."""
    return {
        "input_tokens": spent.input_tokens if spent.counted else None,
        "output_tokens": spent.output_tokens if spent.counted else None,
        "cached_tokens": spent.cached_tokens if spent.counted else None,
        "tokens_are_complete": spent.counted and not spent.partial,
        "cost_usd": spent.cost_usd,
        "cost_usd_at_least": spent.known_usd,
    }


def _times_json(spent: Mapping[Activity, float], share: float | None) -> dict[str, Any]:
    times = {f"{activity.value}_s": round(value_s, 3) for activity, value_s in spent.items()}
    return {**times, "waiting_share": None if share is None else round(share, 4)}


def _entry_json(entry: EntryView) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in EntryView.__slots__}


def _wrong_json(one: Wrong) -> dict[str, Any]:
    first = one.first
    return {"at": first.at, "agent": first.agent, "what": first.what, "text": first.text, "count": one.count}
