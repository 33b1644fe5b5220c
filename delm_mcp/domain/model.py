"""The nouns of the board: one frozen dataclass for each row, one enum for each set of states.

Times are seconds since the epoch, passed in by the caller. Labels are what agents see: `T7` is the
task with id 7, `E12` the entry with id 12; ids are unique on a board, so a label needs no run.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

RunId = NewType("RunId", str)
TaskId = NewType("TaskId", int)
EntryId = NewType("EntryId", int)
CheckId = NewType("CheckId", int)
VoteId = NewType("VoteId", int)
Principal = NewType("Principal", str)
Version = NewType("Version", int)


class RunState(StrEnum):
    OPEN = "open"
    STALLED = "stalled"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class TaskKind(StrEnum):
    WORK = "work"
    VERIFY = "verify"
    DECIDE = "decide"


class TaskState(StrEnum):
    BLOCKED = "blocked"
    READY = "ready"
    LEASED = "leased"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (TaskState.BLOCKED, TaskState.READY, TaskState.LEASED, TaskState.SUBMITTED)


class EntryState(StrEnum):
    PENDING = "pending"
    ADMITTED = "admitted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    SUSPECT = "suspect"
    RETRACTED = "retracted"


class Kind(StrEnum):
    """What an entry says."""

    FACT = "fact"
    FAIL = "fail"
    PATCH = "patch"
    ANSWER = "answer"


class Strength(StrEnum):
    """The strongest thing that stands behind an entry, weakest first."""

    ATTESTED = "attested"
    JUDGED = "judged"
    QUOTED = "quoted"
    EXECUTED = "executed"


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    ABSTAIN = "abstain"


class CheckState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


class Change(StrEnum):
    """What a context version did to one entry."""

    ADMITTED = "admitted"
    SUPERSEDED = "superseded"
    SUSPECT = "suspect"
    CLEARED = "cleared"
    RETRACTED = "retracted"
    REJECTED = "rejected"  # only its author hears of it; it takes a version so that it can be acknowledged


class Role(StrEnum):
    OWNER = "owner"
    AGENT = "agent"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as the transport established it.

    `runs` empty means every run; `agent` not empty means that no other name may be used; `token` is
    the digest of the token that was shown, if any.
    """

    principal: Principal
    role: Role = Role.AGENT
    runs: frozenset[str] = frozenset()
    agent: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that the run's owner named; evidence can cite it, agents cannot change it."""

    name: str
    argv: tuple[str, ...]
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Run:
    """One problem that a team works on. `policy` is JSON, `version` the context version."""

    id: RunId
    goal: str
    state: RunState = RunState.OPEN
    reason: str = ""
    policy: str = "{}"
    commands: tuple[Command, ...] = ()
    repo: str = ""
    base: str = ""
    head: str = ""
    version: int = 0
    rounds: int = 0
    tasks_count: int = 0
    last_finisher: str = ""
    opened_at: float = 0.0
    opened_by: str = ""
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Agent:
    """One worker in a run.

    `acked` is the context version that it last acknowledged, `told` the one that the answer with its
    lease reached: showing the lease proves that the answer arrived.
    """

    id: int
    run: RunId
    name: str
    principal: Principal
    tags: tuple[str, ...] = ()
    joined_at: float = 0.0
    seen_at: float = 0.0
    acked: int = 0
    told: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work.

    `token` outlives the lease: whoever shows it revives an expired lease until somebody else has
    claimed the task. `favours` is the agent that may claim first, `shuns` the one that may not, both
    until `favours_until`. A verify task is about the entry `about`.
    """

    id: TaskId
    run: RunId
    kind: TaskKind
    subject: str
    detail: str = ""
    state: TaskState = TaskState.READY
    priority: int = 0
    rank: int = 0
    needs: tuple[str, ...] = ()
    subject_key: str = ""
    copy_of: int = 0
    blocked_by: int = 0
    attempts: int = 0
    losses: int = 0
    rejections: int = 0
    agent: str = ""
    result: int = 0
    about: int = 0
    parent: int = 0
    reason: str = ""
    favours: str = ""
    favours_until: float = 0.0
    created_at: float = 0.0
    claimed_at: float = 0.0
    ended_at: float = 0.0
    token: str = ""
    lease_until: float = 0.0
    shuns: str = ""

    @property
    def label(self) -> str:
        return f"T{self.id}"

    @property
    def lease(self) -> str:
        return f"T{self.id}.{self.token}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that an entry rests on.

    Attributes:
        type: `quote`, `command`, `artifact` or `url`.
        ref: A source (`path@commit`, a source's name or sha256), a command's name, an artifact's
            name, or an address.
        text: The exact quoted text, the commit, the artifact's content, or a note.
        at: Where the server found it: `{offset, length, source, prefix, suffix}` for a quote; `{base}`
            for a patch's text that does not say on which commit it was made.
    """

    type: str
    ref: str
    text: str = ""
    at: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one check said of one entry."""

    check: str
    verdict: Verdict
    reason: str = ""
    at: float = 0.0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One update to the context; its content is immutable once proposed.

    `round` counts how often it was put in doubt, so that verdicts of an earlier round do not count.
    `doubts` says why it is suspect: `disputed`, `inputs`, or the label of an entry that it rests on.
    """

    id: EntryId
    run: RunId
    kind: Kind
    gist: str
    summary: str = ""
    raw: str = ""
    scope: str = ""
    key: str = ""
    state: EntryState = EntryState.PENDING
    strength: Strength = Strength.ATTESTED
    agent: str = ""
    principal: Principal = Principal("")
    task: int = 0
    completes: bool = False
    evidence: tuple[Evidence, ...] = ()
    supersedes: tuple[int, ...] = ()
    derived_from: tuple[int, ...] = ()
    base_version: int = 0
    gist_key: str = ""
    flags: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    reason: str = ""
    commit: str = ""
    admitted_as: str = ""
    proposed_at: float = 0.0
    decided_at: float = 0.0
    version: int = 0
    round: int = 0
    doubts: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"E{self.id}"


@dataclass(frozen=True, slots=True)
class Check:
    """One slow verification, queued for the server's workers and leased like a task."""

    id: CheckId
    run: RunId
    entry: EntryId
    name: str
    state: CheckState = CheckState.WAITING
    verdict: str = ""
    reason: str = ""
    receipt: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    created_at: float = 0.0
    ended_at: float = 0.0
    worker: str = ""
    lease_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Vote:
    """What one principal said of another's entry: a verdict under a verify task, or a dispute.

    Attributes:
        round: The entry's round that it counts in.
        fails: The axes along which the entry fails.
        against: The entries that a dispute cites.
        task: The verify task; 0 for a dispute.
        case_tokens: The size of what the verifier was given to judge from.
    """

    id: VoteId
    run: RunId
    entry: EntryId
    round: int
    principal: Principal
    agent: str
    verdict: Verdict
    reason: str
    fails: tuple[str, ...] = ()
    against: tuple[int, ...] = ()
    task: int = 0
    case_tokens: int = 0
    at: float = 0.0

    @property
    def is_dispute(self) -> bool:
        return self.task == 0


@dataclass(frozen=True, slots=True)
class Source:
    """A document that quotes are checked against, registered by the run's owner."""

    id: int
    run: RunId
    name: str
    sha256: str
    text: str
    added_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ContextChange:
    """One line of the context's history; several may share a version."""

    id: int
    run: RunId
    version: int
    entry: EntryId
    what: Change
    note: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A right to call over HTTP; only the hash of the secret is kept."""

    id: int
    name: str
    sha256: str
    role: Role
    runs: tuple[str, ...] = ()
    agent: str = ""
    created_at: float = 0.0
    expires_at: float = 0.0
    revoked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class LogRow:
    """One operation in a run's history. `hash` covers everything else and the row before."""

    run: RunId
    seq: int
    version: int
    at: float
    op: str
    actor: str
    changes: str
    prev: str
    hash: str
