"""What an engine keeps and finds for verification: verify tasks, votes, lineage, and checks by peers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.domain.model import (
    UNFINISHED,
    Agent,
    Change,
    Check,
    CheckId,
    CheckState,
    ContextChange,
    EntryId,
    EntryState,
    Kind,
    Principal,
    Run,
    RunId,
    Strength,
    Task,
    TaskKind,
    TaskState,
    Verdict,
    Vote,
    VoteId,
)
from delm_mcp.errors import StoreError
from delm_mcp.store import journal
from delm_mcp.store.base import Store, Tx
from tests.engines import ENGINES, LONG, ODD, RUN, entry, opened, put, task, write

pytestmark = pytest.mark.anyio

OTHER = RunId("r-2")


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, tmp_path) as store:
        yield store


def verify(subject: str, about: int, **values: Any) -> Task:
    return task(subject, kind=TaskKind.VERIFY, about=about, **values)


def vote(about: int, by: str, **values: Any) -> Vote:
    """A verdict under a verify task; a dispute with `task=0`."""
    usual = {"id": VoteId(0), "run": RUN, "entry": EntryId(about), "round": 0, "verdict": Verdict.PASS}
    said = {"principal": Principal(by), "agent": f"{by}-1", "reason": "compared", "task": 1}
    return Vote(**{**usual, **said, **values})


async def team(store: Store, *principals: str) -> None:
    """An agent for each principal, called `ada-1` and so on."""
    await put(store, *(Agent(0, RUN, f"{name}-1", Principal(name)) for name in principals))


async def offered(store: Store, principal: str, run: RunId = RUN) -> str:
    """What a principal would be given to judge."""
    found = await store.read(lambda tx: tx.next_verify(run, principal))
    return found.subject if found else ""


# -- who may take which verify task ----------------------------------------------------------------


async def test_a_verify_task_is_never_offered_to_the_author_of_its_entry(store: Store) -> None:
    (made,) = await put(store, entry(principal="ada"))
    await put(store, verify("judge it", made.id))
    assert await offered(store, "ada") == ""
    assert await offered(store, "bob") == "judge it"
    assert await offered(store, "bob", OTHER) == ""


async def test_a_challenger_is_not_offered_the_entry_in_any_round(store: Store) -> None:
    (made,) = await put(store, entry(principal="ada", round=3))
    await put(store, verify("judge it", made.id), vote(made.id, "cyd", task=0, round=1))
    assert await offered(store, "cyd") == ""
    assert await offered(store, "bob") == "judge it"


async def test_who_has_judged_in_this_round_is_passed_over_and_who_did_in_an_earlier_one_is_not(
    store: Store,
) -> None:
    (made,) = await put(store, entry(principal="ada", round=2))
    await put(
        store, verify("judge it", made.id), vote(made.id, "bob", round=2), vote(made.id, "cyd", round=1)
    )
    assert await offered(store, "bob") == ""
    assert await offered(store, "cyd") == "judge it"


async def test_an_abstention_counts_as_having_judged(store: Store) -> None:
    (made,) = await put(store, entry(principal="ada"))
    await put(store, verify("judge it", made.id), vote(made.id, "bob", verdict=Verdict.ABSTAIN))
    assert await offered(store, "bob") == ""


async def test_a_principal_judges_an_entry_with_one_agent_at_a_time(store: Store) -> None:
    await team(store, "bob", "cyd")
    await put(store, Agent(0, RUN, "bob-2", Principal("bob")))
    one, two = await put(store, entry("one", principal="ada"), entry("two", principal="ada"))
    held = verify("held", one.id, state=TaskState.LEASED, agent="bob-2")
    await put(store, held, verify("the same", one.id), verify("another", two.id))
    assert await offered(store, "bob") == "another"
    assert await offered(store, "cyd") == "the same"


@pytest.mark.parametrize("state", [state for state in TaskState if state is not TaskState.LEASED])
async def test_only_a_lease_counts_as_judging(store: Store, state: TaskState) -> None:
    await team(store, "bob")
    (made,) = await put(store, entry(principal="ada"))
    await put(store, verify("before", made.id, state=state, agent="bob-1"), verify("now", made.id))
    assert await offered(store, "bob") == ("before" if state is TaskState.READY else "now")


async def test_verify_tasks_come_by_rank_then_age_and_only_ready_ones(store: Store) -> None:
    await team(store, "bob")
    made = await put(store, *(entry(f"entry {n}", principal="ada") for n in range(6)))
    ids = [row.id for row in made]
    await put(
        store,
        verify("old", ids[0]),
        verify("young", ids[1]),
        verify("urgent", ids[2], priority=1),
        verify("blocked", ids[3], priority=9, state=TaskState.BLOCKED, blocked_by=1),
        verify("done", ids[4], priority=9, state=TaskState.DONE),
        verify("later", ids[5], priority=-1),
        task("work", priority=9),
        task("decide", priority=9, kind=TaskKind.DECIDE),
    )
    order = []
    while name := await offered(store, "bob"):
        order.append(name)
        await write(store, _leased_to_bob)
    assert order == ["urgent", "old", "young", "later"]


def _leased_to_bob(tx: Tx) -> None:
    found = tx.next_verify(RUN, "bob")
    assert found is not None
    tx.update(found, replace(found, state=TaskState.LEASED, agent="bob-1"))


async def test_the_verify_tasks_of_an_entry_are_found_until_they_are_finished(store: Store) -> None:
    one, two = await put(store, entry("one"), entry("two"))
    await put(store, *(verify(f"{state}", one.id, state=state) for state in TaskState), verify("x", two.id))
    found = await store.read(lambda tx: [row.subject for row in tx.verifications(one.id)])
    assert sorted(found) == sorted(state.value for state in UNFINISHED)


# -- work beside them ------------------------------------------------------------------------------


async def ready(store: Store, agent: str, now: float, latest: float = inf) -> str:
    found = await store.read(lambda tx: tx.next_ready(RUN, frozenset(), agent, now, latest))
    return found.subject if found else ""


async def test_a_shunned_agent_is_passed_over_until_its_time_is_over(store: Store) -> None:
    await put(store, task("turned down", shuns="ada-1", favours_until=20.0, priority=1), task("free"))
    assert await ready(store, "ada-1", 19.9) == "free"
    assert await ready(store, "bob-1", 19.9) == "turned down"
    assert await ready(store, "ada-1", 20.0) == "turned down"
    assert await ready(store, "ada-1", 10.0, latest=15.0) == "turned down"
    assert await store.read(lambda tx: tx.favoured(RUN, "ada-1")) is None
    assert await store.read(lambda tx: tx.favoured(RUN, "")) is None


async def test_shunning_and_favouring_end_at_the_next_expiry(store: Store) -> None:
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == inf
    await put(store, task("plain"), task("over", state=TaskState.DONE, shuns="a", favours_until=1.0))
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == inf
    await put(store, task("shunned", shuns="a", favours_until=20.0))
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == 20.0
    await put(store, task("favoured", favours="a", favours_until=15.0))
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == 15.0
    await put(store, task("leased", state=TaskState.LEASED, lease_until=12.0))
    assert await store.read(lambda tx: tx.next_expiry(RUN)) == 12.0


async def test_what_ready_work_needs_says_nothing_of_verify_and_decide_tasks(store: Store) -> None:
    (made,) = await put(store, entry())
    await put(
        store,
        verify("judge", made.id),
        task("decide", kind=TaskKind.DECIDE, needs=("web",)),
        task("blocked", state=TaskState.BLOCKED, needs=("rare",)),
    )
    assert await store.read(lambda tx: tx.ready_needs(RUN)) == []
    await put(store, task("gpu", needs=("gpu",)), task("gpu too", needs=("gpu",)), task("any"))
    assert sorted(await store.read(lambda tx: tx.ready_needs(RUN))) == [(), ("gpu",)]
    assert await ready(store, "a", 0.0) == "any"


# -- votes -----------------------------------------------------------------------------------------


async def test_a_vote_comes_back_as_it_was_written(store: Store) -> None:
    (made,) = await put(store, entry())
    said = {"agent": ODD, "verdict": Verdict.FAIL, "reason": LONG + ODD, "fails": ("drift", "support")}
    more = {"against": (7, 8), "task": 5, "case_tokens": 6_000, "at": 1.5, "round": 3}
    full, bare = vote(made.id, ODD, **said, **more), vote(made.id, "bare", task=0, reason="")
    kept = await put(store, full, bare)
    assert [replace(row, id=VoteId(0)) for row in kept] == [full, bare]
    assert await store.read(lambda tx: tx.votes(made.id)) == kept
    found = await store.read(lambda tx: tx.votes_in(RUN))
    assert found == kept
    assert [(type(row.verdict), row.is_dispute) for row in found] == [(Verdict, False), (Verdict, True)]


async def test_votes_are_listed_by_entry_and_by_run_oldest_first(store: Store) -> None:
    await put(store, Run(OTHER, "other"))
    one, two, far = await put(store, entry("one"), entry("two"), entry("far", run=OTHER))
    a, b, c, d = await put(
        store, vote(one.id, "a"), vote(two.id, "a"), vote(one.id, "b"), vote(far.id, "a", run=OTHER)
    )
    assert await store.read(lambda tx: tx.votes(one.id)) == [a, c]
    assert await store.read(lambda tx: tx.votes_in(RUN)) == [a, b, c]
    assert await store.read(lambda tx: tx.votes_in(OTHER)) == [d]
    assert await store.read(lambda tx: tx.votes(EntryId(99))) == []


async def test_a_vote_cannot_be_changed(store: Store) -> None:
    (made,) = await put(store, entry())
    (kept,) = await put(store, vote(made.id, "bob"))
    with pytest.raises(StoreError, match="append-only"):
        await write(store, lambda tx: tx.update(kept, replace(kept, verdict=Verdict.FAIL)))
    assert await store.read(lambda tx: tx.votes(made.id)) == [kept]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ({"task": 0, "round": 1}, {"task": 0, "round": 2}, False),  # one dispute, whatever the round
        ({"task": 4, "round": 1}, {"task": 5, "round": 1}, False),  # one verdict a round
        ({"task": 4, "round": 1}, {"task": 5, "round": 2}, True),
        ({"task": 0, "round": 1}, {"task": 5, "round": 1}, True),
        ({"task": 4, "round": 1}, {"task": 5, "round": 1, "by": "cyd"}, True),
        ({"task": 0, "round": 1}, {"task": 0, "round": 1, "by": "cyd"}, True),
    ],
)
async def test_one_dispute_a_principal_and_entry_and_one_verdict_a_round(
    store: Store, first: dict[str, Any], second: dict[str, Any], both: bool
) -> None:
    one, two = await put(store, entry("one"), entry("two"))
    await put(store, vote(one.id, "bob", **first), vote(two.id, "bob", **first))
    again = vote(one.id, **{"by": "bob", **second})
    if both:
        await put(store, again)
        return
    with pytest.raises(StoreError, match="report this as a bug"):
        await put(store, again)
    assert len(await store.read(lambda tx: tx.votes(one.id))) == 1


# -- what derives from what ------------------------------------------------------------------------


async def became(store: Store, label: int, state: EntryState) -> None:
    def change(tx: Tx) -> None:
        row = tx.entry(EntryId(label))
        assert row is not None
        tx.update(row, replace(row, state=state))

    await write(store, change)


async def family(store: Store) -> dict[str, int]:
    """A root with two children, a grandchild of both, one more below it, and a stranger."""
    made: dict[str, int] = {}
    for name, *parents in (
        ["root"], ["left", "root"], ["right", "root"], ["both", "left", "right", "left"],
        ["last", "both", "root"], ["stranger"],
    ):  # fmt: skip
        (row,) = await put(store, entry(name, derived_from=tuple(made[parent] for parent in parents)))
        made[name] = row.id
    return made


async def test_all_that_derives_from_an_entry_comes_once_and_parents_first(store: Store) -> None:
    made = await family(store)

    async def below(name: str) -> list[str]:
        rows = await store.read(lambda tx: tx.descendants(EntryId(made[name])))
        return [row.gist for row in rows]

    assert await below("root") == ["left", "right", "both", "last"]
    assert await below("left") == ["both", "last"]
    assert await below("last") == await below("stranger") == []


async def test_all_that_an_entry_derives_from_comes_once_and_parents_first(store: Store) -> None:
    made = await family(store)

    async def above(name: str) -> list[str]:
        rows = await store.read(lambda tx: tx.ancestors(EntryId(made[name])))
        return [row.gist for row in rows]

    assert await above("last") == ["root", "left", "right", "both"]
    assert await above("right") == ["root"]
    assert await above("root") == await above("stranger") == []


async def test_lineage_goes_through_entries_in_any_state(store: Store) -> None:
    made = await family(store)
    await became(store, made["left"], EntryState.SUPERSEDED)
    await became(store, made["right"], EntryState.RETRACTED)
    below = await store.read(lambda tx: tx.descendants(EntryId(made["root"])))
    assert [(row.gist, row.state.value) for row in below] == [
        ("left", "superseded"), ("right", "retracted"), ("both", "pending"), ("last", "pending"),
    ]  # fmt: skip


async def test_suspect_ancestors_are_counted_once_each(store: Store) -> None:
    made = await family(store)

    async def counts() -> list[int]:
        listed = [EntryId(label) for label in made.values()]
        return await store.read(lambda tx: [tx.suspect_ancestors(label) for label in listed])

    assert await counts() == [0, 0, 0, 0, 0, 0]
    for name in ("root", "left", "last"):
        await became(store, made[name], EntryState.SUSPECT)
    assert await counts() == [0, 1, 1, 2, 2, 0]


async def test_lineage_does_not_lead_into_another_run(store: Store) -> None:
    await put(store, Run(OTHER, "other"))
    (far,) = await put(store, entry("far", run=OTHER))
    (odd,) = await put(store, entry("odd", derived_from=(far.id, 999), state=EntryState.REJECTED))
    assert await store.read(lambda tx: tx.descendants(far.id)) == []
    assert await store.read(lambda tx: tx.ancestors(odd.id)) == []
    assert await store.read(lambda tx: tx.derived_from(far.id)) == []


async def test_a_long_chain_is_followed_to_its_end(store: Store) -> None:
    def chain(tx: Tx) -> list[int]:
        made = [tx.insert(entry("link 0")).id]
        for number in range(1, 300):
            made.append(tx.insert(entry(f"link {number}", derived_from=(made[-1],))).id)
        return [int(label) for label in made]

    made = await write(store, chain)
    assert await store.read(lambda tx: [e.id for e in tx.descendants(EntryId(made[0]))]) == made[1:]
    assert await store.read(lambda tx: [e.id for e in tx.ancestors(EntryId(made[-1]))]) == made[:-1]


async def test_admitted_facts_and_fails_behind_which_a_command_stands_are_found(store: Store) -> None:
    await put(store, Run(OTHER, "other"))
    usual = {"state": EntryState.ADMITTED, "strength": Strength.EXECUTED}
    await put(
        store,
        entry("fact", **usual),
        entry("patch", **{**usual, "kind": Kind.PATCH}),
        entry("fail", **{**usual, "kind": Kind.FAIL}),
        entry("answer", **{**usual, "kind": Kind.ANSWER}),
        entry("quoted", **{**usual, "strength": Strength.QUOTED}),
        entry("elsewhere", **{**usual, "run": OTHER}),
        *(entry(f"{state}", **{**usual, "state": state}) for state in EntryState if state != "admitted"),
    )
    assert await store.read(lambda tx: [row.gist for row in tx.executed(RUN)]) == ["fact", "fail"]


async def test_what_versions_did_to_an_entry_is_listed_oldest_first(store: Store) -> None:
    one, two = await put(store, entry("one"), entry("two"))
    for version, (row, what) in enumerate(
        [(one, Change.ADMITTED), (two, Change.REJECTED), (one, Change.SUSPECT), (one, Change.CLEARED)], 1
    ):
        reader = "a-b" if what is Change.REJECTED else ""
        await put(store, ContextChange(0, RUN, version, row.id, what, audience=reader))
    found = await store.read(lambda tx: [(c.version, c.what.value) for c in tx.changes_of(one.id)])
    assert found == [(1, "admitted"), (3, "suspect"), (4, "cleared")]
    assert [c.audience for c in await store.read(lambda tx: tx.changes_of(two.id))] == ["a-b"]


async def test_doubts_and_rounds_of_an_entry_and_who_a_task_shuns_are_kept_and_logged(store: Store) -> None:
    (made, todo) = await put(store, entry(), task())
    doubted = replace(made, state=EntryState.SUSPECT, doubts=("disputed", "E5", ODD), round=7)
    shunning = replace(todo, shuns=ODD)

    def change(tx: Tx) -> None:
        tx.update(made, doubted)
        tx.update(todo, shunning)

    await write(store, change)
    await put(store, vote(made.id, "bob", reason=LONG))

    def look(tx: Tx) -> None:
        assert (tx.entry(made.id), tx.task(todo.id)) == (doubted, shunning)
        log = tx.log(RUN)
        assert journal.walk(log) is None
        assert journal.differences(journal.replay(log), tx.dump(RUN)) == []
        assert {"entry", "task", "vote"} <= set(tx.dump(RUN))

    await store.read(look)


# -- checks by peers -------------------------------------------------------------------------------


def check(about: int, name: str = "peers", **values: Any) -> Check:
    return Check(**{"id": CheckId(0), "run": RUN, "entry": EntryId(about), "name": name, **values})


async def test_patience_with_peers_may_be_longer_than_any_lease(store: Store) -> None:
    (made,) = await put(store, entry())
    (asked,) = await put(store, check(made.id, lease_until=1_000.0))

    async def following(now: float, latest: float) -> int | None:
        found = await store.read(lambda tx: tx.next_check(["quotes", "peers"], "/repo", now, latest))
        return found.id if found else None

    assert await following(10.0, latest=70.0) is None
    assert await following(1_000.0, latest=1_060.0) is None
    assert await following(1_000.1, latest=1_060.0) == asked.id
    (quick,) = await put(store, check(made.id, "quotes", lease_until=1_000.0))
    assert await following(10.0, latest=70.0) == quick.id
    await put(store, check(made.id, lease_until=5.0))
    assert await following(10.0, latest=1_001.0) == asked.id + 2


async def test_checks_of_one_name_are_listed_open_and_all(store: Store) -> None:
    await put(store, Run(OTHER, "other"))
    (made,) = await put(store, entry())
    waiting, running, done, _, _ = await put(
        store,
        check(made.id),
        check(made.id, state=CheckState.RUNNING),
        check(made.id, state=CheckState.DONE),
        check(made.id, "judge"),
        check(made.id, run=OTHER),
    )
    assert await store.read(lambda tx: tx.checks_open(RUN, "peers")) == [waiting, running]
    assert await store.read(lambda tx: tx.checks_in(RUN, "peers")) == [waiting, running, done]
    assert await store.read(lambda tx: tx.checks_open(RUN, "quotes")) == []
    assert await store.read(lambda tx: tx.open_checks(RUN)) == 3


async def test_the_next_look_at_a_check_is_when_the_first_pause_ends(store: Store) -> None:
    (made,) = await put(store, entry())
    assert await store.read(lambda tx: tx.next_look("peers")) == inf
    await put(
        store,
        check(made.id, lease_until=30.0),
        check(made.id, lease_until=20.0),
        check(made.id, lease_until=5.0, state=CheckState.DONE),
        check(made.id, lease_until=6.0, state=CheckState.RUNNING),
        check(made.id, "judge", lease_until=7.0),
    )
    assert await store.read(lambda tx: tx.next_look("peers")) == 20.0
