"""What an engine keeps: every row as it was written, the context, and the log of it all."""

from collections.abc import AsyncIterator, Callable
from dataclasses import fields, replace
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest

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
from delm_mcp.errors import InvalidInput
from delm_mcp.store import journal
from delm_mcp.store.base import Store, Tx
from tests.engines import ENGINES, LONG, ODD, RUN, entry, opened, put, task, write

pytestmark = pytest.mark.anyio


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, tmp_path) as store:
        yield store


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
            tx.next_ready(RUN, frozenset(), "", 0.0, inf),
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
