"""Calls about runs, agents and tasks that cannot be: a clear error, and a board as it was."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delm_mcp.board.adding import MAX_TASKS_A_CALL, NewTask
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.errors import (
    Conflict,
    InvalidInput,
    LeaseLost,
    NotAllowed,
    NotFound,
    RunClosed,
)
from tests.boards import ADA, BOB, OBSERVER, Desk, desk_in, fact, limits, refused, result

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two")
        yield desk
        await desk.audit()


# -- runs ------------------------------------------------------------------------------------------


async def test_an_unknown_run_is_named_beside_those_that_exist(desk: Desk) -> None:
    async with refused(desk, NotFound, "'r-none'", desk.run):
        await desk.claim(run="r-none")
    async with refused(desk, NotFound, "'r-none'"):
        await desk.add("x", run="r-none")
    async with refused(desk, NotFound, "'r-none'"):
        await desk.board.propose_update(ADA, fact(), agent="a-b", run="r-none")


async def test_without_a_run_the_error_says_how_to_open_one(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as empty:
        async with refused(empty, NotFound, "No run is open", "delm-mcp init", "add_tasks(goal="):
            await empty.board.claim_task(ADA)
        async with refused(empty, NotFound, "No run is open"):
            await empty.board.add_tasks(ADA, [NewTask("x")])


async def test_with_several_open_runs_one_must_be_named(desk: Desk) -> None:
    first = desk.run
    await desk.open("three")
    async with refused(desk, InvalidInput, "Several runs are open", first, desk.run, "run="):
        await desk.board.claim_task(ADA)


async def test_a_token_for_one_run_sees_no_other(desk: Desk) -> None:
    bound = Caller(Principal("ada"), runs=frozenset({"r-mine"}))
    async with refused(desk, NotFound, f"no run '{desk.run}' for this token", "r-mine"):
        await desk.claim(bound)
    held = await desk.hold(BOB)
    async with refused(desk, LeaseLost, "no task behind"):
        await desk.propose(held, fact(), bound)


async def test_a_token_for_named_runs_opens_none(desk: Desk) -> None:
    bound = Caller(Principal("ada"), runs=frozenset({desk.run}))
    async with refused(desk, NotAllowed, "named runs only", desk.run):
        await desk.board.add_tasks(bound, [NewTask("x")], goal="Another")


@pytest.mark.parametrize("goal", [" ", "g" * 4001])
async def test_a_goal_has_bounds(desk: Desk, goal: str) -> None:
    async with refused(desk, InvalidInput, "1 to 4000 characters"):
        await desk.board.add_tasks(ADA, [NewTask("x")], goal=goal)


async def test_a_goal_and_a_lease_exclude_each_other(desk: Desk) -> None:
    held = await desk.hold()
    async with refused(desk, InvalidInput, "goal opens a new run"):
        await desk.board.add_tasks(ADA, [NewTask("x")], goal="Another", lease=held.lease)


async def test_nothing_is_done_in_a_finished_run(desk: Desk) -> None:
    await desk.set_run(state="finished", reason="answered by E1")
    async with refused(desk, RunClosed, "is finished: answered by E1", "open a new run"):
        await desk.claim()
    async with refused(desk, RunClosed, "is finished"):
        await desk.add("three")


async def test_a_lease_in_a_finished_run_carries_no_right(desk: Desk) -> None:
    held = await desk.hold()
    await desk.set_run(state="finished", reason="answered by E1")
    async with refused(desk, RunClosed, "is finished"):
        await desk.propose(held, result())
    async with refused(desk, RunClosed, "is finished"):
        await desk.board.update_task(ADA, lease=held.lease, action="renew")
    async with refused(desk, RunClosed, "is finished"):
        await desk.board.propose_update(ADA, fact(), agent=held.agent, run=desk.run)
    stop = await desk.claim(agent=held.agent)
    assert stop.task is None
    assert stop.next.startswith("Stop")


# -- agents and roles ------------------------------------------------------------------------------


async def test_an_unknown_agent_is_told_how_to_get_a_name(desk: Desk) -> None:
    async with refused(desk, NotFound, "has no agent 'a-b'", "claim_task without agent"):
        await desk.claim(agent="a-b")
    async with refused(desk, NotFound, "has no agent 'a-b'"):
        await desk.board.propose_update(ADA, fact(), agent="a-b", run=desk.run)
    async with refused(desk, NotFound, "has no agent 'a-b'"):
        await desk.read(agent="a-b")


async def test_an_agent_of_another_principal_is_not_lent(desk: Desk) -> None:
    held = await desk.hold()
    async with refused(desk, NotAllowed, "belongs to somebody else"):
        await desk.claim(BOB, agent=held.agent)
    async with refused(desk, NotAllowed, "belongs to somebody else"):
        await desk.board.propose_update(BOB, fact(), agent=held.agent, run=desk.run)


async def test_one_that_is_bound_to_a_name_may_say_it_from_the_first_call_on(desk: Desk) -> None:
    bound = Caller(Principal("ada"), agent="fixed-name")
    claim = await desk.board.claim_task(bound, agent="fixed-name", run=desk.run)
    assert claim.agent == "fixed-name"
    assert (await desk.board.claim_task(bound, agent="fixed-name", run=desk.run)).lease == claim.lease


async def test_a_token_bound_to_a_name_speaks_for_no_other(desk: Desk) -> None:
    bound = Caller(Principal("ada"), agent="fixed-name")
    other = await desk.hold()
    mine = await desk.hold(bound)
    assert mine.agent == "fixed-name"
    async with refused(desk, NotAllowed, "only for the agent 'fixed-name'"):
        await desk.claim(bound, agent=other.agent)
    async with refused(desk, NotAllowed, "This lease is somebody else's"):
        await desk.propose(other, fact(), bound)


async def test_an_author_must_be_named(desk: Desk) -> None:
    async with refused(desk, InvalidInput, "Nobody is named", "lease"):
        await desk.board.propose_update(ADA, fact(), run=desk.run)


async def test_an_observer_may_only_read(desk: Desk) -> None:
    async with refused(desk, NotAllowed, "may only read"):
        await desk.claim(OBSERVER)
    async with refused(desk, NotAllowed, "may only read"):
        await desk.add("x", caller=OBSERVER)
    async with refused(desk, NotAllowed, "may only read"):
        await desk.board.propose_update(OBSERVER, fact(), agent="a-b")
    async with refused(desk, NotAllowed, "may only read"):
        await desk.board.update_task(OBSERVER, lease="T1.abcd", action="renew")
    async with refused(desk, NotAllowed, "may only read"):
        await desk.board.verify(OBSERVER, Opinion("E1", "pass", "fine"))
    assert (await desk.read(OBSERVER, view="queue")).text


@pytest.mark.parametrize(
    "tags", [("Upper",), ("",), ("a b",), ("x" * 60,), tuple(f"t{n}" for n in range(21))]
)
async def test_odd_tags_are_refused(desk: Desk, tags: tuple[str, ...]) -> None:
    async with refused(desk, InvalidInput, "tag"):
        await desk.claim(tags=tags)


# -- tasks -----------------------------------------------------------------------------------------


async def test_an_unknown_task_is_not_claimed(desk: Desk) -> None:
    async with refused(desk, NotFound, "has no task T99", "view=queue"):
        await desk.claim(task="T99")
    async with refused(desk, InvalidInput, "not a label like T12"):
        await desk.claim(task="E1")


async def test_a_task_of_another_run_is_unknown_here(desk: Desk) -> None:
    first = desk.run
    other = await desk.open("elsewhere")
    async with refused(desk, NotFound, f"{first} has no task {other.tasks[0].id}"):
        await desk.claim(run=first, task=other.tasks[0].id)


async def test_a_task_that_is_held_is_not_claimed_twice(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    async with refused(desk, Conflict, f"T1 is leased by {held.agent}"):
        await desk.claim(BOB, task="T1")


async def test_tags_that_do_not_cover_a_task_are_named(desk: Desk) -> None:
    queued = await desk.add(NewTask("render", needs=("gpu", "cuda")))
    async with refused(desk, NotAllowed, "needs cuda, which your tags do not cover", "tags="):
        await desk.claim(task=queued.tasks[0].id, tags=("gpu",))
    assert (await desk.hold(task=queued.tasks[0].id, tags=("gpu", "cuda"))).task


@pytest.mark.parametrize("wait_s", [-1, 25.1, float("nan")])
async def test_a_wait_has_bounds(desk: Desk, wait_s: float) -> None:
    async with refused(desk, InvalidInput, "0 to 25"):
        await desk.claim(wait_s=wait_s)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (NewTask(" "), "has no subject"),
        (NewTask("s" * 301), "subject has 301 characters; the limit is 300"),
        (NewTask("s", detail="d" * 20_001), "detail has 20001 characters"),
        (NewTask("s", priority=101), "priority 101 is not within"),
        (NewTask("s", copies=0), "copies 0 is not within"),
        (NewTask("s", copies=17), "copies 17 is not within"),
        (NewTask("s", needs=("No Way",)), "tag"),
        (NewTask("s", after=("T-1",)), "not a label like T12"),
        (NewTask("s", after=("#0",)), "does not name an earlier task"),
        (NewTask("s", after=("#1",)), "cannot wait for itself"),
        (NewTask("s", after=("#2",)), "does not name an earlier task"),
    ],
)
async def test_an_odd_task_is_refused_with_all_of_its_call(desk: Desk, new: NewTask, words: str) -> None:
    async with refused(desk, InvalidInput, words):
        await desk.add(new)
    shifted = NewTask(new.subject, new.detail, tuple(a.replace("#2", "#3") for a in new.after))
    if "#1" not in new.after and new.subject == "s" and new.after:
        async with refused(desk, InvalidInput):
            await desk.add("fine", shifted)


@pytest.mark.parametrize("count", [0, MAX_TASKS_A_CALL + 1])
async def test_a_call_takes_a_bounded_number_of_tasks(desk: Desk, count: int) -> None:
    async with refused(desk, InvalidInput, f"1 to {MAX_TASKS_A_CALL}"):
        await desk.add(*(f"task {n}" for n in range(count)))


async def test_a_task_cannot_wait_for_one_that_is_unknown_or_will_never_be_done(desk: Desk) -> None:
    async with refused(desk, NotFound, "after names T99"):
        await desk.add(NewTask("three", after=("T99",)))
    other = await desk.open("elsewhere", policy=limits(max_attempts=1))
    held = await desk.hold()
    await desk.board.update_task(ADA, lease=held.lease, action="fail", note="no")
    async with refused(desk, Conflict, f"{other.tasks[0].id}, which is failed and will never be done"):
        await desk.add(NewTask("three", after=(other.tasks[0].id,)))


async def test_a_dependency_cycle_is_refused(desk: Desk) -> None:
    await desk.add(NewTask("two", after=("T1",)), NewTask("three", after=("#1",)))
    assert [(await desk.task(t)).state for t in ("T2", "T3")] == ["blocked", "blocked"]
    async with refused(desk, InvalidInput, "T1 would wait for itself through T3"):
        await desk.add(NewTask("one", after=("T3",)))
    async with refused(desk, InvalidInput, "would wait for itself"):
        await desk.add(NewTask("one", after=("T1",)))
    async with refused(desk, InvalidInput, "would wait for itself"):
        await desk.add("four", NewTask("five", after=("#1",)), NewTask("four", after=("#2",)))


async def test_a_task_that_was_begun_cannot_be_made_to_wait(desk: Desk) -> None:
    await desk.hold(task="T1")
    async with refused(desk, Conflict, "T1 is leased already"):
        await desk.add(NewTask("one", after=("T2",)))


async def test_a_run_takes_a_bounded_number_of_tasks(desk: Desk) -> None:
    await desk.open("a", policy=limits(max_tasks=2))
    async with refused(desk, Conflict, "has 1 tasks; 2 more would pass its 2"):
        await desk.add("b", "c")
    await desk.add("b")


async def test_splitting_needs_a_lease_and_something_open(desk: Desk) -> None:
    async with refused(desk, InvalidInput, "split needs the lease"):
        await desk.add("x", split=True)
    held = await desk.hold(task="T1")
    async with refused(desk, InvalidInput, "Split it into other parts"):
        await desk.add("one", lease=held.lease, split=True, caller=ADA)
