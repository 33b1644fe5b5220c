"""What is counted of a run: the shapes that `economics` fills and `stats` prints."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from delm_mcp.domain.model import Check, Entry, Task, Vote


@dataclass(frozen=True, slots=True)
class Rows:
    """What is counted: of one run, or of several together. Entries need not have their texts.

    Attributes:
        checks: Those that a server or peers had to do with; see `policy.OUTSIDE`.
    """

    entries: Sequence[Entry] = ()
    tasks: Sequence[Task] = ()
    checks: Sequence[Check] = ()
    votes: Sequence[Vote] = ()


@dataclass(frozen=True, slots=True)
class Proposals:
    """What was proposed, and what became of it.

    Attributes:
        admitted: Ever admitted, whatever became of it then.
        live, suspect, superseded, retracted: What became of them.
        by_strength: The admitted ones by what stood behind them.
        attested_only: Admitted with nothing but their author's word.
        without_peers: Admitted although the policy asked for peers, because none was there.
        refused: The others, by the check that refused them; `run` where the run had moved on.
        could_not_check: Those among the refused whose check could not run or tell.
    """

    total: int
    admitted: int
    rejected: int
    pending: int
    live: int
    suspect: int
    superseded: int
    retracted: int
    by_strength: dict[str, int]
    attested_only: int
    without_peers: int
    refused: dict[str, int]
    could_not_check: int


@dataclass(frozen=True, slots=True)
class Saved:
    """False starts that the board made visible.

    Attributes:
        same_gist: Proposals refused because a live entry says exactly that.
        same_key: Proposals refused because their key has a live entry.
        skipped: Tasks whose work was not done, or done otherwise, because of a `fail`; see `skipped`.
    """

    same_gist: int
    same_key: int
    skipped: int

    @property
    def duplicates(self) -> int:
        return self.same_gist + self.same_key


@dataclass(frozen=True, slots=True)
class Judging:
    """What asking models has cost.

    Attributes:
        bills: Answers, or attempts, that came with a bill.
        uncounted: Bills without tokens, from servers that do not count.
        unknown_costs: Bills without a price.
        usd: The sum of the known costs; None when no cost is known.
    """

    bills: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    usd: float | None = None
    unknown_costs: int = 0


@dataclass(frozen=True, slots=True)
class Verifying:
    """What verifying took.

    Attributes:
        asked: Verify tasks; each asks for one verdict.
        done: Those that ended with a verdict, `abstained` among them.
        closed: Those that nobody had to do any more.
        lost: Leases of verify tasks that ended without a verdict.
        agents_s: From claim to verdict, over all done: how long agents held them.
        server_s: How long a server took for the checks of each name.
        untimed: Checks of a server whose duration is not kept (the entry was decided without them).
        case_tokens: The size of the cases that verifiers judged from.
    """

    asked: int
    done: int
    abstained: int
    closed: int
    open: int
    lost: int
    agents_s: float
    server_s: dict[str, float]
    untimed: int
    judge: Judging
    case_tokens: int


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from proposal to admission."""

    count: int
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Disputes:
    """Challenges of admitted entries, and what came of them.

    Attributes:
        moot: The entry went for another reason before there was a verdict.
    """

    total: int = 0
    upheld: int = 0
    dismissed: int = 0
    open: int = 0
    moot: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """The economics of a run, or of several.

    Attributes:
        admission: By the slowest thing that had to be waited for (`peers`, `judge`, `command`, `quotes`,
            or `board` for what the board decides itself), and `all`.
        retractions: The gate's misses, by what caught them: `dispute`, `parents` (what it rests on
            fell), `command` (run again at a later head), `owner`.
    """

    proposals: Proposals
    saved: Saved
    verifying: Verifying
    admission: dict[str, Times] = field(default_factory=dict)
    disputes: Disputes = Disputes()
    retractions: dict[str, int] = field(default_factory=dict)
