"""What an engine is: transactions, the queue, checks and requests. Every engine passes this suite."""

from collections.abc import AsyncIterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import anyio
import pytest

from delm_mcp.domain.model import (
    Agent,
    Change,
    Check,
    CheckId,
    CheckState,
    ContextChange,
    EntryState,
    Principal,
    Run,
    RunId,
    RunState,
    Task,
    TaskKind,
    TaskState,
)
from delm_mcp.errors import InvalidInput, StoreError
from delm_mcp.store.base import Store, Tx
from tests.engines import ENGINES, LONG, ODD, RUN, entry, opened, put, task, write

pytestmark = pytest.mark.anyio


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, tmp_path) as store:
        yield store


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
    found = await store.read(lambda tx: tx.next_ready(RUN, frozenset(tags), "ada", now, latest))
    return found.subject if found else ""


async def test_the_next_task_is_of_the_highest_rank_and_then_the_oldest(store: Store) -> None:
    await put(
        store,
        task("old"),
        task("young"),
        task("verify", priority=9, kind=TaskKind.VERIFY),
        task("urgent", priority=1),
        task("later", priority=-1),
        task("busy", priority=9, state=TaskState.LEASED),
        task("decide", priority=9, kind=TaskKind.DECIDE),
    )
    order = []
    while name := await ready(store):
        order.append(name)
        await write(store, _take)
    assert order == ["urgent", "old", "young", "later"]


def _take(tx: Tx) -> None:
    found = tx.next_ready(RUN, frozenset(), "ada", 10.0, inf)
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
