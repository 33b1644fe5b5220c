"""What the board answers. Surfaces translate these, and add nothing to them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What every answer has.

    Attributes:
        version: The context version that `news` reaches; pass it back as `since` or `base_version`.
        news: Lines about what changed since the version that the caller last acknowledged.
        next: The call to make now.
    """

    version: int = 0
    news: tuple[str, ...] = ()
    next: str = ""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A proposal for the same task that was refused, and why."""

    entry: str
    kind: str
    gist: str
    reason: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as its holder sees it; a verify task is `about` an entry, and its verdict rests on `case`."""

    id: str
    kind: str
    subject: str
    detail: str
    earlier: tuple[Earlier, ...] = ()
    about: str = ""
    case: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Answer):
    """A task with its lease, or why there is none (`task` is None).

    `retry_at` and `patient` (something comes by itself, so waiting is right) are for the server only.
    """

    run: str
    agent: str
    task: TaskView | None = None
    lease: str = ""
    expires_s: float = 0.0
    reclaimed: bool = False
    run_state: str = "open"
    reason: str = ""
    retry_at: float = field(default=0.0, repr=False)
    patient: bool = field(default=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed(Answer):
    """What became of a proposal so far; `to_head` says how its author gets at `head`."""

    run: str
    entry: str
    state: str
    strength: str
    reasons: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    head: str = ""
    to_head: str = ""
    task_state: str = ""
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Answer):
    """What became of an entry after a verdict; `votes_needed` is how many approvals are missing."""

    run: str
    entry: str
    state: str
    votes_needed: int = 0


@dataclass(frozen=True, slots=True)
class Added:
    """A task that was queued, or the unfinished one with the same subject."""

    id: str
    state: str
    existed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Answer):
    """Tasks that were added to a run."""

    run: str
    tasks: tuple[Added, ...]
    run_state: str = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated(Answer):
    """A task after its holder kept it or gave it up."""

    task: str
    state: str
    expires_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Answer):
    """What was read. `version_read` is where the next read goes on; `more` that it should."""

    run: str
    text: str
    version_read: int
    more: bool = False
    run_state: str = "open"
    items: tuple[dict[str, object], ...] = ()
