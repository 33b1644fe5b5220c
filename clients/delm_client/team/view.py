"""What is known of a team at a moment: its events, folded. Pure; time comes from the events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from signal import Signals

from delm_client.team.record import (
    Connected,
    Ended,
    Entered,
    Event,
    Faulted,
    Holds,
    Joined,
    Line,
    Noted,
    RunIs,
    Said,
    Spent,
    Started,
    TeamFacts,
    Used,
    checked,
)
from delm_client.team.spans import Activity, Life, Span, times
from delm_client.team.tally import Tally, together

VERIFY = "verify"
GIVEN_UP = "is given up"
"""What the launcher's note says of an agent that it does not start again."""
ASKED = "ended by the launcher"
"""How the reason of an end begins that the launcher wanted."""


class State(StrEnum):
    """What an agent is at."""

    STARTING = "starting"
    JOINED = "joined"
    WORKING = "working"
    VERIFYING = "verifying"
    WAITING = "waiting"
    ENDED = "ended"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong, or that the launcher noted; `agent` is empty for the team's own."""

    at: float
    agent: str
    what: str
    text: str


@dataclass
class AgentView:
    """What is known of one agent."""

    label: str
    harness: str = ""
    attempts: int = 0
    alive: bool = False
    joined: bool = False
    has_held: bool = False
    task: str = ""
    kind: str = ""
    subject: str = ""
    words: str = ""
    tool: str = ""
    tool_detail: str = ""
    used_last: bool = False
    """Whether the tool came after the words."""
    tools: int = 0
    spent: Tally = field(default_factory=Tally)
    ended: Ended | None = None
    given_up: bool = False
    admitted: int = 0
    rejected: int = 0
    pending: dict[str, None] = field(default_factory=dict)
    """Its entries that are not decided on, oldest first."""
    life: Life = field(default_factory=Life)
    tasks: dict[str, str] = field(default_factory=dict)
    """What it has held: subject by task."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.attempts - 1)

    @property
    def state(self) -> State:
        """What it is at."""
        if not self.alive:
            if self.ended is None:
                return State.STARTING
            return State.GIVEN_UP if self.given_up else State.ENDED
        if self.task:
            return State.VERIFYING if self.kind == VERIFY else State.WORKING
        if self.has_held:
            return State.WAITING
        return State.JOINED if self.joined else State.STARTING

    def hear(self, at: float, what: Event) -> None:
        """Take in one event of its own."""
        if not self.alive and self.ended is None:
            # A record that lost its beginning: who is heard of lives.
            self.alive = True
        match what:
            case Started():
                self.alive, self.joined, self.given_up = True, False, False
                self.harness = what.harness
                self.spent.next_process()
                self.attempts = max(self.attempts + 1, what.attempt)
            case Joined():
                self.joined = True
            case Said():
                self.words, self.used_last = what.text, False
            case Used():
                self.tool, self.tool_detail = what.tool, what.detail
                self.tools += 1
                self.used_last = True
            case Spent():
                self.spent.add(what)
            case Holds():
                self._hold(what)
            case Ended():
                self.alive, self.ended = False, what
            case _:
                pass
        self._live_on(at)

    def entered(self, at: float, entry: str, state: str, before: str) -> None:
        """An entry of its own is in this state, after it was in that one (or none)."""
        self.admitted += state == "admitted" and before in {"", "pending"}
        self.rejected += state == "rejected"
        if state == "pending":
            self.pending[entry] = None
        else:
            self.pending.pop(entry, None)
        if self.alive:
            self._live_on(at)

    def _live_on(self, at: float) -> None:
        activity = self._activity()
        match activity:
            case Activity.WAITING:
                self.life.become(activity, at, awaits=next(iter(self.pending), ""))
            case Activity.GONE:
                self.life.become(activity, at)
            case _:
                self.life.become(activity, at, self.task, self.subject)

    def _hold(self, what: Holds) -> None:
        self.task, self.kind, self.subject = what.task, what.kind, what.subject
        if what.task:
            self.has_held = self.joined = True
            self.tasks[what.task] = what.subject

    def _activity(self) -> Activity:
        if not self.alive:
            return Activity.GONE
        if not self.task:
            return Activity.WAITING
        return Activity.VERIFYING if self.kind == VERIFY else Activity.WORKING


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry of the context as it was last heard of; `at` is when its state was told."""

    entry: str
    kind: str
    state: str
    strength: str
    gist: str
    reason: str
    agent: str
    at: float


@dataclass
class View:
    """A team as its events tell it so far.

    Attributes:
        facts: What is known beside the events; may be replaced while they come in.
        verdicts: Every decision on an entry, oldest first; an entry may be decided on more than once.
        growth: The context's size after each change: when, and how many entries are admitted.
        live: How many entries are admitted now.
        unread: Events whose values make no sense.
        now: The latest time that was told.
    """

    facts: TeamFacts | None = None
    agents: dict[str, AgentView] = field(default_factory=dict)
    entries: dict[str, EntryView] = field(default_factory=dict)
    verdicts: list[EntryView] = field(default_factory=list)
    growth: list[tuple[float, int]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    notes: list[Trouble] = field(default_factory=list)
    run_state: str = ""
    run_reason: str = ""
    version: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    live: int = 0
    unread: int = 0
    first: float = 0.0
    now: float = 0.0

    def __post_init__(self) -> None:
        for label, harness in self.facts.agents.items() if self.facts else ():
            self.agents[label] = AgentView(label, harness)

    def hear(self, line: Line) -> None:
        """Take in one event; one whose values make no sense is counted and left out."""
        try:
            at, what = float(line.at), checked(line.what)
        except (TypeError, ValueError, KeyError):
            self.unread += 1
            return
        if not isfinite(at):
            self.unread += 1
            return
        self.first = min(self.first or at, at)
        self.now = max(self.now, at)
        self._take(at, line.agent, what)

    def _take(self, at: float, label: str, what: Event) -> None:
        match what:
            case Entered():
                self._enter(at, label, what)
            case RunIs():
                self.run_state, self.run_reason, self.version = what.state, what.reason, what.version
                self.tasks = dict(what.tasks)
            case Noted():
                self.notes.append(Trouble(at, label, "note", what.text))
                if label in self.agents and not self.agents[label].alive and GIVEN_UP in what.text:
                    self.agents[label].given_up = True
            case _:
                self._note_trouble(at, label, what)
                if label:
                    self.agents.setdefault(label, AgentView(label)).hear(at, what)

    def _note_trouble(self, at: float, label: str, what: Event) -> None:
        match what:
            case Faulted():
                self.troubles.append(Trouble(at, label, "fault", what.text))
            case Connected(ok=False):
                self.troubles.append(Trouble(at, label, "no connection", what.detail))
            case Started() if what.attempt > 1:
                self.troubles.append(Trouble(at, label, "restart", f"attempt {what.attempt}"))
            case Ended() if what.code and not what.reason.startswith(ASKED):
                self.troubles.append(Trouble(at, label, "ended", exit_text(what)))
            case _:
                pass

    def _enter(self, at: float, label: str, what: Entered) -> None:
        before = self.entries.get(what.entry)
        entry = EntryView(
            entry=what.entry,
            kind=what.kind or (before.kind if before else ""),
            state=what.state,
            strength=what.strength or (before.strength if before else ""),
            gist=what.gist or (before.gist if before else ""),
            reason=what.reason,
            agent=label or (before.agent if before else ""),
            at=at,
        )
        self.entries[what.entry] = entry
        if before is not None and before.state == what.state:
            return
        if what.state != "pending":
            self.verdicts.append(entry)
        author = self.agents.get(entry.agent)
        if author is not None:
            author.entered(at, what.entry, what.state, before.state if before else "")
        change = (what.state == "admitted") - (before is not None and before.state == "admitted")
        if change:
            self.live += change
            self.growth.append((at, self.live))

    # -- figures -----------------------------------------------------------------------------------

    @property
    def simulated(self) -> bool:
        """Whether a scripted model answers."""
        return self.facts is not None and self.facts.simulated

    @property
    def started_at(self) -> float:
        """When the team began, in seconds since 1970; 0 where nothing tells."""
        told = self.facts.started_at if self.facts else 0.0
        return min(told, self.first) if told and self.first else told or self.first

    @property
    def ended_at(self) -> float:
        """When it ended, or the latest time that was told."""
        told = self.facts.ended_at if self.facts else 0.0
        return max(told, self.now, self.started_at)

    @property
    def spent(self) -> Tally:
        """What all agents spent; partial where one that was started reported nothing."""
        return together(
            agent.spent for agent in self.agents.values() if agent.attempts or agent.spent.counted
        )

    def spans(self, label: str, end: float = 0.0) -> tuple[Span, ...]:
        """How an agent's time went, up to `end` or the team's end: without gaps, from its first start."""
        return self.agents[label].life.until(end or self.ended_at)

    def times(self, label: str = "", end: float = 0.0) -> Mapping[Activity, float]:
        """Seconds by activity, of an agent or of all."""
        labels = [label] if label else list(self.agents)
        return times(span for one in labels for span in self.spans(one, end))


def exit_text(what: Ended) -> str:
    """How a process ended, for people."""
    how = f"killed by {signal_name(-what.code)}" if what.code < 0 else f"exit code {what.code}"
    return f"{how} ({what.reason})" if what.reason else how


def signal_name(number: int) -> str:
    """What a signal is called, such as `SIGKILL`."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
