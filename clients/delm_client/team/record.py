"""What happens to a team, as events: told by agents, the board and the launcher; kept as JSON lines.

`events.jsonl` in the team's folder is the one source of the live view, of `delm-run attach`, of the report:
`{"at": <seconds since 1970>, "agent": "claude-1" or "", "event": "said", ...fields}`.
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Started:
    """A process was started for an agent; `attempt` counts from 1."""

    event: ClassVar[str] = "started"
    harness: str
    pid: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Connected:
    """Whether the client says that it reached the board's server; the board's own word is `Joined`."""

    event: ClassVar[str] = "connected"
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """The board has seen the agent."""

    event: ClassVar[str] = "joined"


@dataclass(frozen=True, slots=True)
class Said:
    """Words of the agent's model."""

    event: ClassVar[str] = "said"
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """The agent calls a tool; `detail` is its first words (a command, a path), cut short."""

    event: ClassVar[str] = "used"
    tool: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens since the last such event; `input_tokens` includes the cached ones.

    `cost_usd` is what the client itself reports, and None where it reports none: unknown is not 0.
    """

    event: ClassVar[str] = "spent"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Faulted:
    """The client reports an error, such as a refused key or an unreachable model."""

    event: ClassVar[str] = "faulted"
    text: str


@dataclass(frozen=True, slots=True)
class Holds:
    """What the agent holds on the board from now on; an empty task: nothing."""

    event: ClassVar[str] = "holds"
    task: str = ""
    kind: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent's process is gone: its exit code (negative: a signal), and why, as far as is known."""

    event: ClassVar[str] = "ended"
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entered:
    """An entry of the context was proposed or changed its state."""

    event: ClassVar[str] = "entered"
    entry: str
    kind: str
    state: str
    strength: str = ""
    gist: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunIs:
    """The run's state, its context's version and its queue's counts (`done`, `ready` ...)."""

    event: ClassVar[str] = "run"
    state: str
    version: int
    tasks: Mapping[str, int]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """The launcher has something to say."""

    event: ClassVar[str] = "noted"
    text: str


Event = Started | Connected | Joined | Said | Used | Spent | Faulted | Holds | Ended | Entered | RunIs | Noted
KINDS: Mapping[str, type[Event]] = {
    kind.event: kind
    for kind in (
        Started, Connected, Joined, Said, Used, Spent, Faulted, Holds, Ended, Entered, RunIs, Noted,
    )
}  # fmt: skip


_SHAPES: Mapping[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in KINDS.items()}


def checked(what: Event) -> Event:
    """The event with values of its types: a client's own output is not to be trusted with that.

    Raises:
        ValueError: A value is of another type, such as a number where text belongs.
    """
    values = {one.name: getattr(what, one.name) for one in fields(what)}
    found: Event = _SHAPES[what.event].validate_python(values)
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the record: when, of which agent (empty: of the run), and what."""

    at: float
    agent: str
    what: Event

    def as_json(self) -> dict[str, Any]:
        """The line as JSON values."""
        return {"at": self.at, "agent": self.agent, "event": self.what.event, **asdict(self.what)}


def line_of(row: Mapping[str, Any]) -> Line | None:
    """A line from its JSON values; None for a kind that this version does not know.

    Raises:
        KeyError, TypeError, ValueError: It lacks a field, or a value is of another type.
    """
    kind = KINDS.get(row["event"])
    if kind is None:
        return None
    known = {one.name for one in fields(kind)}
    given = {name: value for name, value in row.items() if name in known}
    return Line(float(row["at"]), str(row["agent"]), _SHAPES[kind.event].validate_python(given))


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of the result: whose entry it is, if it is one."""

    sha: str
    author: str
    subject: str
    entry: str = ""


@dataclass(frozen=True, slots=True)
class TeamFacts:
    """What is known of a team beside its events; `team.json` in its folder.

    Attributes:
        run: The run on the board.
        goal: What the team was to reach.
        repository: The main worktree of the repository.
        board: The board's file.
        base: The commit from which all started.
        agents: Each agent's harness by label, such as `{"claude-1": "claude"}`.
        models: The model by label; empty where the client chose.
        policy: The preset or file.
        commands: The run's named commands, as words.
        started_at: Seconds since 1970.
        ended_at: 0 while it is under way.
        outcome: Empty while under way; `finished`, `stalled`, `cancelled` (the run's own end), or `budget`,
            `timeout`, `interrupted`, `no agent left` (ours).
        head: The last commit that passed its checks; empty where nothing was admitted.
        branch: The branch that points at it; empty where there is none.
        answer: The run's answer, or its reason for having none.
        commits: From base to head, oldest first.
        status: The run as `delm-mcp status --json` gives it at the end.
        stats: As `delm-mcp stats --json` gives them at the end.
        command: The command line that started the team.
        version: Of delm-mcp.
        simulated: Whether a scripted model answered in place of a real one; every view and report says so.
        carried: Whether `base` is a commit of the user's uncommitted work.
    """

    run: str
    goal: str
    repository: str
    board: str
    base: str
    agents: Mapping[str, str]
    models: Mapping[str, str]
    policy: str
    commands: Mapping[str, str]
    started_at: float
    ended_at: float = 0.0
    outcome: str = ""
    head: str = ""
    branch: str = ""
    answer: str = ""
    commits: tuple[Commit, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    version: str = ""
    simulated: bool = False
    carried: bool = False

    @property
    def take(self) -> str:
        """What a user types to get the result; empty where nothing was admitted.

        Where uncommitted work was carried along, git refuses to merge over the same work in the user's files.
        """
        result = self.branch or self.head
        if result and self.carried:
            return f"git diff --binary {self.base[:12]} {shlex.quote(result)} | git apply"
        return f"git merge {shlex.quote(result)}" if result else ""
