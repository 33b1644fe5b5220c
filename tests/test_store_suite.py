"""What an engine is. Every engine passes this suite; an engine is added by one line in `ENGINES`."""

import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, replace
from math import inf
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from delm_mcp.board import queue
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.operation import Operation
from delm_mcp.domain.model import (
    Agent,
    Change,
    Check,
    CheckId,
    CheckState,
    Command,
    ContextChange,
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Principal,
    Receipt,
    Role,
    Run,
    RunId,
    RunState,
    Source,
    Strength,
    Task,
    TaskId,
    TaskKind,
    TaskState,
    Token,
    Verdict,
)
from delm_mcp.domain.tasks import rank
from delm_mcp.errors import InvalidInput, StoreError
from delm_mcp.store import journal
from delm_mcp.store.base import Store, Tx
from delm_mcp.store.sqlite import SqliteTx, open_sqlite
from tests.boards import desk_in, limits, result

pytestmark = pytest.mark.anyio

Engine = Callable[[Path], AbstractAsyncContextManager[Store]]
ENGINES = [
    pytest.param(lambda folder: open_sqlite(folder / "board.db", synchronous="OFF"), id="sqlite"),
]
RUN = RunId("r-1")
ODD = "tab\t nul\x00 quote'\" «» \u202e 日本 \U0001f600 \r\n end"
LONG = "long " * 100


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    engine: Engine = request.param
    async with engine(tmp_path) as store:
        await write(store, lambda tx: tx.insert(Run(RUN, "goal")))
        yield store


async def write(store: Store, action: Callable[[Tx], Any]) -> Any:
    return await store.write("test", "suite", 5.0, action)


async def put(store: Store, *rows: Any) -> list[Any]:
    """Insert rows in one operation."""

    def action(tx: Tx) -> list[Any]:
        return [tx.insert(row) for row in rows]

    return cast(list[Any], await write(store, action))


def task(subject: str = "mend", **values: Any) -> Task:
    values.setdefault("rank", rank(values.get("kind", TaskKind.WORK), values.get("priority", 0)))
    return Task(**{"id": TaskId(0), "run": RUN, "kind": TaskKind.WORK, "subject": subject, **values})


def entry(gist: str = "a gist", **values: Any) -> Entry:
    return Entry(**{"id": EntryId(0), "run": RUN, "kind": Kind.FACT, "gist": gist, **values})


# -- rows ------------------------------------------------------------------------------------------

EVERY_FIELD: list[Any] = [
    Run(
        RunId("r-2"),
        ODD,
        RunState.STALLED,
        LONG,
        '{"a": 1}',
        (Command("test", ("pytest", "-q", ODD), 1.5), Command("none", ())),
        "/repo",
        "b" * 40,
        "c" * 40,
        3,
        2,
        9,
        "a-b",
        1.25,
        "owner",
        2.5,
    ),
    Agent(0, RUN, ODD, Principal("p"), ("gpu", ODD), 1.0, 2.0, 3, 4),
    task(
        ODD,
        kind=TaskKind.VERIFY,
        detail=LONG,
        state=TaskState.LEASED,
        priority=-7,
        rank=-13,
        needs=("gpu", "web"),
        subject_key="k",
        copy_of=2,
        blocked_by=1,
        attempts=2,
        losses=3,
        agent="a",
        result=4,
        about=5,
        parent=6,
        reason=ODD,
        favours="b",
        favours_until=7.5,
        created_at=0.1,
        claimed_at=0.2,
        ended_at=0.3,
        token="t",
        lease_until=1e12,
    ),
    entry(
        ODD,
        kind=Kind.FAIL,
        summary=LONG,
        raw=ODD,
        scope="s",
        key="k",
        state=EntryState.SUSPECT,
        strength=Strength.EXECUTED,
        agent="a",
        principal=Principal("p"),
        task=7,
        completes=True,
        evidence=(Evidence("quote", ODD, LONG, {"offset": 3, "prefix": ODD, "deep": {"x": [1, None, 2.5]}}),),
        supersedes=(1, 2),
        flags=("odd", ODD),
        receipts=(Receipt("fresh", Verdict.ABSTAIN, ODD, 1.5, 0.25),),
        base_version=4,
        gist_key="g",
        reason="r",
        commit="d" * 40,
        admitted_as="e" * 40,
        proposed_at=1.0,
        decided_at=2.0,
        version=3,
    ),
    Source(0, RUN, ODD, "f" * 64, LONG, 1.0),
    ContextChange(0, RUN, 4, EntryId(1), Change.RETRACTED, ODD, "a-b"),
    Check(
        CheckId(0),
        RUN,
        EntryId(1),
        "command",
        CheckState.RUNNING,
        "pass",
        ODD,
        {"a": [1, {}]},
        3,
        1.0,
        2.0,
        "w",
        3.0,
    ),
    Token(0, ODD, "a" * 64, Role.OBSERVER, ("r-1",), "a-b", 1.0, 2.0, 3.0),
]
BARE: list[Any] = [
    Run(RunId("r-3"), ""),
    Agent(0, RUN, "bare", Principal("")),
    task(""),
    entry(""),
    Source(0, RUN, "", "", ""),
    ContextChange(0, RUN, 0, EntryId(1), Change.ADMITTED),
    Check(CheckId(0), RUN, EntryId(1), "quotes"),
    Token(0, "", "", Role.OWNER),
]


FIND: dict[type, Callable[[Tx, Any], Any]] = {
    Run: lambda tx, row: tx.run(row.id),
    Agent: lambda tx, row: tx.agent(row.run, row.name),
    Task: lambda tx, row: tx.task(row.id),
    Entry: lambda tx, row: tx.entry(row.id),
    Check: lambda tx, row: tx.check(row.id),
    Source: lambda tx, row: next(found for found in tx.sources(row.run) if found.id == row.id),
    ContextChange: lambda tx, row: next(
        found for found in tx.changes(row.run, -1, 99, reader=row.audience) if found.id == row.id
    ),
    Token: lambda tx, row: tx.token_with(row.sha256),
}


def find(tx: Tx, row: Any) -> Any:
    return FIND[type(row)](tx, row)


@pytest.mark.parametrize("row", [*EVERY_FIELD, *BARE], ids=lambda row: type(row).__name__)
async def test_a_row_comes_back_as_it_was_written(store: Store, row: Any) -> None:
    await put(store, entry())
    (kept,) = await put(store, row)
    if not isinstance(row, Run):
        assert kept.id > 0
        assert replace(kept, id=row.id) == row
    found = await store.read(lambda tx: find(tx, kept))
    assert found == kept
    assert [type(getattr(found, item.name)) for item in fields(found)] == [
        type(getattr(kept, item.name)) for item in fields(kept)
    ]


FIXED: dict[type, set[str]] = {
    Run: {"id"},
    Agent: {"id", "run", "name"},
    Task: {"id", "run"},
    Entry: {
        *("id run kind gist summary raw scope key agent principal task completes supersedes".split()),
        *("derived_from base_version commit proposed_at".split()),
    },
    Source: {"id", "run"},
    Check: {"id", "run", "entry"},
    Token: {"id", "sha256"},
}
CHANGING = [
    (old, new) for old in BARE for new in EVERY_FIELD if type(old) is type(new) and type(old) in FIXED
]


@pytest.mark.parametrize(("old", "new"), CHANGING, ids=lambda row: type(row).__name__)
async def test_every_field_that_may_change_is_updated(store: Store, old: Any, new: Any) -> None:
    (kept,) = (await put(store, entry(), old))[1:]
    wanted = {f.name: getattr(new, f.name) for f in fields(new) if f.name not in FIXED[type(new)]}
    changed = replace(kept, **wanted)
    await write(store, lambda tx: tx.update(kept, changed))
    assert await store.read(lambda tx: find(tx, changed)) == changed


async def test_ids_are_never_used_twice(store: Store) -> None:
    (first,) = await put(store, task())

    def fails(tx: Tx) -> None:
        tx.insert(task())
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        await write(store, fails)
    (second,) = await put(store, task())
    assert second.id > first.id


async def test_what_is_not_there_is_none_or_empty(store: Store) -> None:
    def look(tx: Tx) -> list[Any]:
        return [
            tx.run(RunId("r-9")),
            tx.agent(RUN, "nobody"),
            tx.task(TaskId(9)),
            tx.entry(EntryId(9)),
            tx.check(CheckId(9)),
            tx.next_ready(RUN, frozenset(), 0.0, inf),
            tx.decision(RUN),
            tx.leased_to(RUN, ""),
            tx.favoured(RUN, ""),
            tx.live_with_key(RUN, ""),
            tx.live_with_gist(RUN, "x"),
            tx.next_check(["quotes"], "", 0.0, inf),
            tx.remembered("s", "r"),
            tx.observed(RUN, "k"),
            tx.token_with("x"),
            tx.log_head(RunId("r-9")),
        ]

    assert set(await store.read(look)) == {None}
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == inf
    assert await store.read(lambda tx: tx.tasks(RUN)) == []
    assert await store.read(lambda tx: tx.dump(RunId("r-9"))) == {}


# -- transactions ----------------------------------------------------------------------------------


async def test_an_operation_that_raises_leaves_nothing_and_harms_nobody(store: Store) -> None:
    def half(tx: Tx) -> None:
        one = tx.insert(task("one"))
        tx.depend(tx.insert(task("two")), one)
        tx.remember("s", "r", "f", "a")
        tx.observe(RUN, "k", "o")
        raise InvalidInput("no")

    outcomes: list[str] = []

    async def good(number: int) -> None:
        await put(store, task(f"good {number}"))
        outcomes.append("kept")

    async def bad() -> None:
        with pytest.raises(InvalidInput, match="no"):
            await write(store, half)
        outcomes.append("undone")

    before = await store.read(lambda tx: len(tx.log(RUN)))
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(good, number)
            group.start_soon(bad)
    assert sorted(outcomes) == ["kept"] * 10 + ["undone"] * 10
    subjects = [row.subject for row in await store.read(lambda tx: tx.tasks(RUN))]
    assert sorted(subjects) == [f"good {number}" for number in range(10)]
    assert await store.read(lambda tx: tx.remembered("s", "r")) is None
    assert await store.read(lambda tx: tx.observed(RUN, "k")) is None
    assert await store.read(lambda tx: len(tx.log(RUN))) == before + 10


async def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)readonly|read-only|query_only"):
        await store.read(lambda tx: tx.insert(task()))
    assert await store.read(lambda tx: tx.tasks(RUN)) == []


async def test_an_operation_reads_its_own_writes_and_others_see_it_whole(store: Store) -> None:
    def action(tx: Tx) -> list[Task]:
        one = tx.insert(task("one"))
        tx.update(one, replace(one, state=TaskState.DONE))
        return tx.tasks(RUN, [TaskState.DONE])

    assert [row.subject for row in await write(store, action)] == ["one"]


async def test_a_broken_constraint_is_an_error_of_the_store_and_keeps_nothing(store: Store) -> None:
    live = {"key": "k", "state": EntryState.ADMITTED}
    await put(store, entry(**live))
    with pytest.raises(StoreError, match="report this as a bug"):
        await put(store, task("along"), entry("another", **live))
    assert await store.read(lambda tx: tx.tasks(RUN)) == []
    with pytest.raises(StoreError):
        await put(store, Run(RUN, "twice"))


async def test_the_content_of_an_entry_and_the_history_cannot_be_rewritten(store: Store) -> None:
    (kept,) = await put(store, entry())
    with pytest.raises(StoreError, match="immutable"):
        await write(store, lambda tx: tx.update(kept, replace(kept, gist="another gist")))
    (change,) = await put(store, ContextChange(0, RUN, 1, kept.id, Change.ADMITTED))
    with pytest.raises(StoreError, match="append-only"):
        await write(store, lambda tx: tx.update(change, replace(change, note="x")))


async def test_a_commit_moves_the_cursor_and_wakes_who_waits(store: Store) -> None:
    cursor = store.committed()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(put, store, task())
            assert await store.wait(cursor, 10)
    assert store.committed() != cursor


# -- the queue -------------------------------------------------------------------------------------


async def ready(store: Store, *tags: str, now: float = 10.0, latest: float = inf) -> str:
    found = await store.read(lambda tx: tx.next_ready(RUN, frozenset(tags), now, latest))
    return found.subject if found else ""


async def test_the_next_task_is_of_the_highest_rank_and_then_the_oldest(store: Store) -> None:
    await put(
        store,
        task("old"),
        task("young"),
        task("verify", kind=TaskKind.VERIFY),
        task("urgent", priority=1),
        task("later", priority=-1),
        task("busy", priority=9, state=TaskState.LEASED),
        task("decide", priority=9, kind=TaskKind.DECIDE),
    )
    order = []
    while name := await ready(store):
        order.append(name)
        await write(store, _take)
    assert order == ["urgent", "verify", "old", "young", "later"]


def _take(tx: Tx) -> None:
    found = tx.next_ready(RUN, frozenset(), 10.0, inf)
    assert found is not None
    tx.update(found, replace(found, state=TaskState.LEASED))


async def test_only_tasks_whose_needs_are_covered_are_found(store: Store) -> None:
    await put(
        store,
        task("both", needs=("gpu", "web"), priority=3),
        task("gpu", needs=("gpu",), priority=2),
        task("plain"),
        task("odd", needs=("é«",), priority=5),
    )
    assert await ready(store) == "plain"
    assert await ready(store, "gpu") == "gpu"
    assert await ready(store, "web") == "plain"
    assert await ready(store, "gpu", "web", "more") == "both"
    assert await ready(store, "é«") == "odd"
    assert sorted(await store.read(lambda tx: tx.ready_needs(RUN))) == [(), ("gpu",), ("gpu", "web"), ("é«",)]


async def test_a_favoured_agent_goes_first_until_its_time_is_over(store: Store) -> None:
    await put(store, task("kept", favours="a-b", favours_until=20.0, priority=1), task("free"))
    assert await ready(store, now=19.9) == "free"
    assert await ready(store, now=20.0) == "kept"
    assert await ready(store, now=10.0, latest=15.0) == "kept"
    mine = await store.read(lambda tx: tx.favoured(RUN, "a-b"))
    assert mine is not None
    assert mine.subject == "kept"
    assert await store.read(lambda tx: tx.favoured(RUN, "c-d")) is None


async def test_a_decision_is_found_by_its_own_question_only(store: Store) -> None:
    await put(store, task("decide", kind=TaskKind.DECIDE, favours="a-b", favours_until=99.0))
    assert await ready(store) == ""
    assert await store.read(lambda tx: tx.favoured(RUN, "a-b")) is None
    assert await store.read(lambda tx: tx.ready_needs(RUN)) == []
    found = await store.read(lambda tx: tx.decision(RUN))
    assert found is not None
    assert found.subject == "decide"


async def test_expired_leases_come_longest_first_and_within_a_limit(store: Store) -> None:
    leased = {"state": TaskState.LEASED}
    await put(
        store,
        *(task(f"t{until}", lease_until=float(until), **leased) for until in (5, 3, 9, 10, 11)),
        task("ready", lease_until=1.0),
        task("set back", lease_until=9_999.0, **leased),
    )

    async def expired(now: float, limit: int = 9, latest: float = inf) -> list[str]:
        rows = await store.read(lambda tx: tx.expired(RUN, now, latest, limit))
        return [row.subject for row in rows]

    assert await expired(10.0) == ["t3", "t5", "t9"]
    assert await expired(10.0, limit=2) == ["t3", "t5"]
    assert await expired(10.0, latest=100.0) == ["t3", "t5", "t9", "set back"]
    assert await expired(10.0, limit=3, latest=100.0) == ["t3", "t5", "t9"]
    assert await expired(1.0) == []
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == 3.0


async def test_an_agents_lease_and_a_subject_are_found_while_unfinished(store: Store) -> None:
    await put(
        store,
        task("one", subject_key="k", state=TaskState.DONE, agent="a"),
        task("two", subject_key="k", state=TaskState.LEASED, agent="a"),
        task("copy", subject_key="k", copy_of=2, state=TaskState.BLOCKED),
        task("gone", subject_key="z", state=TaskState.CANCELLED),
    )

    def look(tx: Tx) -> list[str]:
        rows = [tx.leased_to(RUN, "a"), tx.same_subject(RUN, "k", 0), tx.same_subject(RUN, "k", 2)]
        assert tx.same_subject(RUN, "z", 0) is None
        assert tx.leased_to(RUN, "b") is None
        return [row.subject for row in rows if row]

    assert await store.read(look) == ["two", "two", "copy"]


async def test_dependencies_are_seen_from_both_ends_and_counted_once(store: Store) -> None:
    one, two, three = await put(store, task("one"), task("two"), task("three"))

    def depend(tx: Tx) -> list[bool]:
        return [tx.depend(three, one), tx.depend(three, two), tx.depend(three, one)]

    assert await write(store, depend) == [True, True, False]
    assert await store.read(lambda tx: [t.id for t in tx.waits_for(three.id)]) == [one.id, two.id]
    assert await store.read(lambda tx: [t.id for t in tx.needed_by(one.id)]) == [three.id]
    assert await store.read(lambda tx: tx.needed_by(three.id)) == []


async def test_tasks_are_listed_and_counted_by_state(store: Store) -> None:
    await put(
        store, task("a"), task("b", state=TaskState.DONE), task("c"), task("d", state=TaskState.BLOCKED)
    )
    some = [TaskState.BLOCKED, TaskState.READY]
    assert await store.read(lambda tx: [t.subject for t in tx.tasks(RUN, some)]) == ["a", "c", "d"]
    assert await store.read(lambda tx: [t.subject for t in tx.tasks(RUN, some, limit=2)]) == ["a", "c"]
    assert await store.read(lambda tx: [t.subject for t in tx.tasks(RUN)]) == ["a", "b", "c", "d"]
    counts = await store.read(lambda tx: tx.task_counts(RUN))
    assert counts == {TaskState.READY: 2, TaskState.DONE: 1, TaskState.BLOCKED: 1}


# -- the context -----------------------------------------------------------------------------------


async def test_live_entries_are_found_by_key_and_by_gist(store: Store) -> None:
    for state in EntryState:
        await put(store, entry(f"is {state}", key=f"k {state}", gist_key=f"g {state}", state=state))

    def live(tx: Tx) -> list[list[str]]:
        keys = [s for s in EntryState if tx.live_with_key(RUN, f"k {s}")]
        gists = [s for s in EntryState if tx.live_with_gist(RUN, f"g {s}")]
        return [list(keys), list(gists)]

    assert await store.read(live) == [["admitted", "suspect"]] * 2
    assert await store.read(lambda tx: tx.live_with_key(RunId("r-2"), "k admitted")) is None


async def test_children_are_found_from_their_parents(store: Store) -> None:
    one, two = await put(store, entry("one"), entry("two"))
    (child,) = await put(store, entry("child", derived_from=(one.id, two.id, one.id)))
    assert await store.read(lambda tx: [e.id for e in tx.derived_from(one.id)]) == [child.id]
    assert await store.read(lambda tx: tx.derived_from(child.id)) == []
    await put(store, entry("rejected", derived_from=(999,), state=EntryState.REJECTED))


async def test_entries_are_listed_by_state_and_by_task(store: Store) -> None:
    await put(store, entry("a", task=3), entry("b", state=EntryState.ADMITTED, task=3), entry("c"))
    assert await store.read(lambda tx: [e.gist for e in tx.entries(RUN)]) == ["a", "b", "c"]
    admitted = [EntryState.ADMITTED]
    assert await store.read(lambda tx: [e.gist for e in tx.entries(RUN, admitted)]) == ["b"]
    assert await store.read(lambda tx: [e.gist for e in tx.entries_of(TaskId(3))]) == ["a", "b"]


async def test_changes_are_a_range_of_versions_in_order_and_for_their_reader(store: Store) -> None:
    (kept,) = await put(store, entry())
    rows = [ContextChange(0, RUN, v, kept.id, Change.ADMITTED, f"{v}{n}") for v in (1, 2, 3) for n in "ab"]
    await put(store, *rows, ContextChange(0, RUN, 4, kept.id, Change.REJECTED, "4", audience="a-b"))

    async def notes(after: int, upto: int, limit: int = -1, reader: str = "") -> list[str]:
        found = await store.read(lambda tx: tx.changes(RUN, after, upto, limit, reader))
        return [change.note for change in found]

    assert await notes(0, 9) == ["1a", "1b", "2a", "2b", "3a", "3b"]
    assert await notes(1, 2) == ["2a", "2b"]
    assert await notes(0, 9, limit=3) == ["1a", "1b", "2a"]
    assert await notes(2, 9, reader="a-b") == ["3a", "3b", "4"]
    assert await notes(2, 9, reader="c-d") == ["3a", "3b"]
    assert await notes(3, 3) == []


async def test_entries_are_found_by_all_of_their_words(store: Store) -> None:
    one, two, _ = await put(
        store, entry("The parser drops commas"), entry("The lexer drops tabs"), entry("Nothing of the kind")
    )

    async def matching(*words: str, limit: int = 9) -> list[int]:
        return cast(list[int], await store.read(lambda tx: tx.matching(RUN, words, limit)))

    assert await matching("drops") == [two.id, one.id]
    assert await matching("DROPS", "parser") == [one.id]
    assert await matching("drops", limit=1) == [two.id]
    assert await matching("parser", "tabs") == []
    assert await matching('"', "drops OR") == []
    assert await matching("NEAR(", "drops") == []


# -- checks, requests, tokens ----------------------------------------------------------------------


async def test_the_next_check_is_the_oldest_that_nobody_runs(store: Store) -> None:
    (kept,) = await put(store, entry())

    def check(name: str = "quotes", **values: Any) -> Check:
        return Check(**{"id": CheckId(0), "run": RUN, "entry": kept.id, "name": name, **values})

    running = {"state": CheckState.RUNNING}
    done, busy, waiting, dead = await put(
        store,
        check(state=CheckState.DONE),
        check(lease_until=20.0, **running),
        check(),
        check(lease_until=5.0, **running),
    )

    async def following(names: list[str], now: float, latest: float = inf) -> int | None:
        found = await store.read(lambda tx: tx.next_check(names, "*", now, latest))
        return found.id if found else None

    assert await following(["quotes"], 10.0) == waiting.id
    assert await following(["command"], 10.0) is None
    assert await following(["quotes"], 21.0) == busy.id
    assert await following(["quotes"], 10.0, latest=15.0) == busy.id
    await write(store, lambda tx: tx.update(waiting, replace(waiting, state=CheckState.DONE)))
    assert await following(["quotes"], 10.0) == dead.id
    assert await store.read(lambda tx: tx.open_checks(RUN)) == 2
    assert await store.read(lambda tx: [c.id for c in tx.checks_of(kept.id)]) == [
        done.id,
        busy.id,
        waiting.id,
        dead.id,
    ]


async def test_commands_run_one_at_a_time_in_a_run_and_in_its_own_repository(store: Store) -> None:
    here, there = Run(RunId("r-2"), "g", repo="/here"), Run(RunId("r-3"), "g", repo="/there")
    (kept,) = (await put(store, here, there, entry()))[2:]

    def command(run: Run, **values: Any) -> Check:
        return Check(CheckId(0), run.id, kept.id, "command", **values)

    running, waiting, other = await put(
        store,
        command(here, state=CheckState.RUNNING, lease_until=20.0),
        command(here),
        command(there),
    )

    async def following(repo: str, now: float) -> int | None:
        found = await store.read(lambda tx: tx.next_check(["quotes", "command"], repo, now, inf))
        return found.id if found else None

    assert await following("/here", 10.0) is None
    assert await following("/there", 10.0) == other.id
    assert await following("*", 10.0) == other.id
    assert await following("/here", 21.0) == running.id
    ended = replace(running, state=CheckState.DONE, ended_at=15.0)
    await write(store, lambda tx: tx.update(running, ended))
    assert await following("/here", 16.0) == waiting.id
    assert await store.read(lambda tx: tx.checks_moved_at(here.id, "command")) == 15.0
    assert await store.read(lambda tx: tx.checks_moved_at(there.id, "command")) == 0.0


async def test_a_request_is_remembered_within_its_scope(store: Store) -> None:
    await write(store, lambda tx: tx.remember("lease/1", "r", ODD, LONG))
    assert await store.read(lambda tx: tx.remembered("lease/1", "r")) == (ODD, LONG)
    assert await store.read(lambda tx: tx.remembered("lease/2", "r")) is None


async def test_an_observation_is_replaced_and_not_logged(store: Store) -> None:
    before = await store.read(lambda tx: len(tx.log(RUN)))
    await write(store, lambda tx: tx.observe(RUN, "k", "one"))
    await write(store, lambda tx: tx.observe(RUN, "k", "two"))
    assert await store.read(lambda tx: tx.observed(RUN, "k")) == "two"
    assert await store.read(lambda tx: len(tx.log(RUN))) == before


async def test_runs_are_listed_newest_last_and_by_state(store: Store) -> None:
    await put(
        store,
        Run(RunId("r-c"), "g", opened_at=3.0),
        Run(RunId("r-b"), "g", RunState.FINISHED, opened_at=2.0),
        Agent(0, RunId("r-c"), "a-b", Principal("p")),
        Agent(0, RunId("r-b"), "a-b", Principal("p")),
        Agent(0, RUN, "a-b", Principal("q")),
    )
    assert await store.read(lambda tx: [run.id for run in tx.runs()]) == ["r-1", "r-b", "r-c"]
    assert await store.read(lambda tx: [run.id for run in tx.runs(limit=2)]) == ["r-b", "r-c"]
    assert await store.read(lambda tx: [run.id for run in tx.runs(RunState.OPEN)]) == ["r-1", "r-c"]
    assert {run.id for run in await store.read(lambda tx: tx.homes("p", "a-b"))} == {"r-b", "r-c"}


# -- the log ---------------------------------------------------------------------------------------


async def test_each_operation_that_changes_a_run_adds_one_chained_row(store: Store) -> None:
    await put(store, Run(RunId("r-2"), "other"))
    one, two = await put(store, task("one"), task("two", detail=LONG))
    await write(store, lambda tx: tx.depend(two, one))
    await put(store, task("elsewhere", run=RunId("r-2")))
    await write(store, lambda tx: tx.update(one, replace(one, state=TaskState.DONE, reason=ODD)))
    await write(store, lambda tx: tx.update(two, replace(two, token="secret", lease_until=7.0)))

    def look(tx: Tx) -> None:
        for run, rows in ((RUN, 4), (RunId("r-2"), 2)):
            log = tx.log(run)
            assert [row.seq for row in log] == list(range(1, rows + 1))
            assert journal.walk(log) is None
            assert journal.differences(journal.replay(log), tx.dump(run)) == []
            assert tx.log_head(run) == log[-1]
            assert tx.log(run, after=1, limit=1) == log[1:2]
        assert all("secret" not in row.changes and LONG not in row.changes for row in tx.log(RUN))

    await store.read(look)


async def test_every_logged_row_replays_into_the_tables(store: Store) -> None:
    await put(store, entry())
    kept = await put(store, *EVERY_FIELD, *BARE)

    def look(tx: Tx) -> None:
        for run in {getattr(row, "run", row.id) for row in kept if not isinstance(row, Token)}:
            assert journal.differences(journal.replay(tx.log(run)), tx.dump(run)) == []

    await store.read(look)


async def test_the_store_says_what_it_is(store: Store) -> None:
    status = await store.status()
    assert status.engine
    assert status.engine_version
    assert status.schema >= 1
    assert await store.check_integrity() == "ok"


# -- SQLite's plans --------------------------------------------------------------------------------


async def test_no_claim_sorts_or_scans_the_tasks(tmp_path: Path) -> None:
    statements: list[str] = []

    def traced(tx: Tx, callback: Callable[[str], object] | None) -> None:
        cast(SqliteTx, tx)._db.set_trace_callback(callback)

    async with desk_in(tmp_path) as desk:
        await desk.open(*(f"task {n}" for n in range(30)), policy=limits(lease_s=60, max_losses=0))
        await desk.store.write("trace", "t", 0.0, lambda tx: traced(tx, statements.append))
        held = [await desk.hold() for _ in range(5)]
        await desk.claim(agent=held[0].agent)
        await desk.admit(held[0], result())
        desk.clock.advance(61)
        for _ in range(26):
            await desk.claim()
        desk.clock.advance(61)
        for _ in range(2):
            await desk.claim()
        await desk.store.write("peek", "t", 0.0, lambda tx: _peek(tx, desk.run, desk.clock()))
        await desk.store.write("trace", "t", 0.0, lambda tx: traced(tx, None))
        decisions = await desk.look(lambda tx: [t for t in tx.tasks(desk.run) if t.kind == "decide"])
        assert len(decisions) == 1
    asked = {s for s in statements if s.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE"))}
    assert len(asked) > 50
    db = sqlite3.connect(desk.path)
    plans = {s: " / ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {s}")) for s in asked}
    db.close()
    linear = ("TEMP B-TREE", "SCAN task", "SCAN checks")
    bad = {_shape(s): plan for s, plan in plans.items() if any(word in plan for word in linear)}
    assert bad == {}, "\n".join(f"{plan}\n    {shape}" for shape, plan in bad.items())


def _shape(statement: str) -> str:
    """A statement without its columns and its values."""
    return re.sub(r"\d+(\.\d+)?|'[^']*'", "?", re.sub(r"SELECT .*? FROM", "SELECT ... FROM", statement))


def _peek(tx: Tx, run: str, now: float) -> None:
    op = Operation(tx, now, RandomIds(1))
    home = op.run(run)
    queue.could_claim(op, home, tx.agents(home.id)[0])
    tx.next_check(["quotes", "command"], "/repo", now, now + 60)
    tx.next_expiry(home.id)
    tx.open_checks(home.id)
