"""What an engine is: rows in, rows out, one transaction an operation.

A `Store` runs operations, a `Tx` is what an operation sees: row operations typed with the domain's
dataclasses. Policy stays out: an engine finds, inserts and updates rows, and knows nothing of when
that is allowed. Only what must be one atomic statement to stay fast (the next ready task) is a
query of its own.

Everything an operation inserts or updates is written to the run's log by the engine, in the same
transaction; `journal` defines how.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NewType, Protocol, TypeVar

from delm_mcp.domain.model import (
    Agent,
    Check,
    CheckId,
    ContextChange,
    Entry,
    EntryId,
    EntryState,
    LogRow,
    Run,
    RunId,
    RunState,
    Source,
    Task,
    TaskId,
    TaskState,
    Token,
    Vote,
)

T = TypeVar("T")
Cursor = NewType("Cursor", int)
"""Counts the commits that one process knows of; means nothing to another process."""
Row = TypeVar("Row", Run, Agent, Task, Entry, Check, Source, ContextChange, Token, Vote)


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What an engine says of itself, for `status`."""

    engine: str
    engine_version: str
    durability: str
    location: str
    schema: int
    warnings: tuple[str, ...] = ()


class Tx(Protocol):
    """One transaction. A read-only one raises on the writing methods.

    Methods that find one row return None when there is none; lists are in the order of ids.
    """

    # Writing. `insert` ignores the row's id (except a run's) and returns the row with the new one.
    def insert(self, row: Row) -> Row: ...
    def update(self, old: Row, new: Row) -> Row:
        """Write the fields in which `new` differs; the rows have one id."""

    def depend(self, task: Task, needs: Task) -> bool:
        """Make a task wait for another; False when it already did."""

    def remember(self, scope: str, request_id: str, fingerprint: str, answer: str) -> None:
        """Keep the answer of a request, for whoever sends it again."""

    def observe(self, run: RunId, key: str, outcome: str) -> None:
        """Keep what a command showed on a tree; derived data, not in the log."""

    # Runs and agents.
    def run(self, run: RunId) -> Run | None: ...
    def runs(self, state: RunState | None = None, limit: int = -1) -> list[Run]:
        """Runs, the newest last; with a limit, the newest ones."""

    def homes(self, principal: str, agent: str) -> list[Run]:
        """The runs in which a principal has an agent of this name, the newest last."""

    def agent(self, run: RunId, name: str) -> Agent | None: ...
    def agents(self, run: RunId) -> list[Agent]: ...
    def sources(self, run: RunId) -> list[Source]: ...

    # Tasks.
    def task(self, task: TaskId) -> Task | None: ...
    def tasks(self, run: RunId, states: Sequence[TaskState] = (), limit: int = -1) -> list[Task]: ...
    def task_counts(self, run: RunId) -> dict[TaskState, int]: ...
    def same_subject(self, run: RunId, subject_key: str, copy_of: int) -> Task | None:
        """The unfinished task with this normalised subject (and copy number)."""

    def leased_to(self, run: RunId, agent: str) -> Task | None: ...
    def favoured(self, run: RunId, agent: str) -> Task | None:
        """The ready task that this agent may claim first."""

    def next_ready(
        self, run: RunId, tags: frozenset[str], agent: str, now: float, latest: float
    ) -> Task | None:
        """The ready work of the highest rank, oldest first, among that whose needs the tags cover.

        It favours nobody and does not shun the agent at `now` (nor beyond `latest`, see `expired`).
        O(log n) in the tasks, linear in the distinct sets of needs.
        """

    def next_verify(self, run: RunId, principal: str) -> Task | None:
        """The ready verify task of the highest rank, oldest first, that this principal may take.

        Not of its own entry, nor of one that it disputed, has judged in this round, or is judging.
        """

    def verifications(self, entry: EntryId) -> list[Task]:
        """The unfinished verify tasks about an entry."""

    def decision(self, run: RunId) -> Task | None:
        """The run's ready decide task; never among what `next_ready` and `favoured` find."""

    def expired(self, run: RunId, now: float, latest: float, limit: int) -> list[Task]:
        """Leased tasks whose lease ended before `now`, longest first; and those whose lease ends after
        `latest`, which no lease can unless the clock was set back."""

    def next_expiry(self, run: RunId) -> float:
        """When the next lease or favour ends; infinity when there is none."""

    def ready_needs(self, run: RunId) -> list[tuple[str, ...]]:
        """The distinct sets of needs among the ready work."""

    def needed_by(self, task: TaskId) -> list[Task]:
        """Tasks that wait for this one."""

    def waits_for(self, task: TaskId) -> list[Task]: ...

    # Entries and the context.
    def entry(self, entry: EntryId) -> Entry | None: ...
    def entries(
        self, run: RunId, states: Sequence[EntryState] = (), limit: int = -1, *, newest: bool = False
    ) -> list[Entry]:
        """Entries, oldest first; with `newest`, a limit leaves out the oldest."""

    def headlines(self, entries: Collection[EntryId]) -> dict[EntryId, Entry]:
        """These entries with what one line shows of them; their other fields are at their defaults."""

    def outlines(self, run: RunId, states: Sequence[EntryState] = ()) -> list[Entry]:
        """Entries as `entries` finds them, without their texts: summary, raw and evidence are empty."""

    def entry_counts(self, run: RunId) -> dict[tuple[str, EntryState], int]:
        """How many entries each agent has in each state."""

    def entries_of(self, task: TaskId) -> list[Entry]: ...
    def live_with_key(self, run: RunId, key: str) -> Entry | None: ...
    def live_with_gist(self, run: RunId, gist_key: str) -> Entry | None: ...
    def derived_from(self, entry: EntryId) -> list[Entry]:
        """Entries that name this one as a parent."""

    def descendants(self, entry: EntryId) -> list[Entry]:
        """Everything that derives from an entry, however deep, each once; parents before children."""

    def ancestors(self, entry: EntryId) -> list[Entry]:
        """Everything that an entry derives from, however deep, each once; parents before children."""

    def suspect_ancestors(self, entry: EntryId) -> int:
        """How many of `ancestors` are suspect."""

    def executed(self, run: RunId) -> list[Entry]:
        """The admitted facts and fails that a command stands behind."""

    def votes(self, entry: EntryId) -> list[Vote]:
        """Verdicts and disputes about an entry, oldest first."""

    def votes_in(self, run: RunId) -> list[Vote]: ...

    def matching(self, run: RunId, words: Sequence[str], limit: int) -> list[EntryId]:
        """Entries whose gist has all these words, newest first."""

    def changes(
        self, run: RunId, after: int, upto: int, limit: int = -1, reader: str = ""
    ) -> list[ContextChange]:
        """Changes with `after < version <= upto` that everybody, or this reader, may see; oldest first."""

    def changes_of(self, entry: EntryId) -> list[ContextChange]:
        """Everything that the context's versions did to an entry, oldest first."""

    # Checks.
    def check(self, check: CheckId) -> Check | None: ...
    def checks_of(self, entry: EntryId) -> list[Check]: ...
    def next_check(self, names: Sequence[str], repo: str, now: float, latest: float) -> Check | None:
        """The oldest check that nobody runs.

        It waits (past the pause in its `lease_until`, if any), or its worker's lease ended or ends beyond
        `latest` (see `expired`). A `command` only where no other is running in its run, and only of a
        run in this repository (`*` for any).
        """

    def checks_moved_at(self, run: RunId, name: str) -> float:
        """When a check of this name last ended in a run; 0 for never."""

    def open_checks(self, run: RunId) -> int: ...
    def checks_open(self, run: RunId, name: str) -> list[Check]: ...
    def next_look(self, name: str) -> float:
        """When the pause of a waiting check of this name ends next; infinity when none waits."""

    def checks_in(self, run: RunId, name: str) -> list[Check]:
        """All checks of one name in a run, done or not."""

    def observed(self, run: RunId, key: str) -> str | None: ...

    # Requests, tokens, the log.
    def remembered(self, scope: str, request_id: str) -> tuple[str, str] | None:
        """`(fingerprint, answer)` of a request that was answered."""

    def tokens(self) -> list[Token]: ...
    def token_with(self, sha256: str) -> Token | None: ...
    def log(self, run: RunId, after: int = 0, limit: int = -1) -> list[LogRow]: ...
    def log_head(self, run: RunId) -> LogRow | None: ...
    def dump(self, run: RunId) -> dict[str, dict[str, dict[str, Any]]]:
        """The logged tables of a run, as `journal.replay` builds them: table -> id -> fields."""


class Store(Protocol):
    """An open board. Entered once; every method may be called from any number of tasks."""

    async def write(self, op: str, actor: str, now: float, action: Callable[[Tx], T]) -> T:
        """Run `action` in a transaction, and return once its effect is durable.

        `action` may run while its caller is cancelled: then it is kept whole or not at all. An
        exception from it undoes everything it did, and only that.

        Raises:
            StoreError: The engine could not keep it.
        """

    async def read(self, action: Callable[[Tx], T]) -> T:
        """Run `action` on one consistent snapshot; never waits for writers."""

    def committed(self) -> Cursor:
        """A cursor that changes with every commit seen so far."""

    async def wait(self, since: Cursor, timeout_s: float) -> bool:
        """Return True once something was committed after the cursor, by any process."""

    async def status(self) -> StoreStatus: ...

    async def backup(self, target: Path) -> None:
        """Copy the board into a new file, while others work on it."""

    async def check_integrity(self) -> str:
        """`ok`, or what the engine finds wrong with its own file."""


Opener = Callable[[], AbstractAsyncContextManager[Store]]
