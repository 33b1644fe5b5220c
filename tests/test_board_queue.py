"""The queue: adding, waiting for each other, splitting."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim
from delm_mcp.domain.model import Caller
from tests.boards import ADA, BOB, Desk, desk_in, ids_of, limits, result

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        yield desk
        await desk.audit()


def kind(claim: Claim) -> str:
    return claim.task.kind if claim.task else ""


def subject(claim: Claim) -> str:
    return claim.task.subject if claim.task else ""


async def drained(desk: Desk, caller: Caller = ADA) -> Claim:
    """A run whose only task is done, and the decide task in the hands of who finished it."""
    if not desk.run:
        await desk.open("only")
    held = await desk.hold(caller)
    decide = await desk.work_off(held, "The parser reads every list again", caller)
    assert kind(decide) == "decide"
    return decide


# -- adding ----------------------------------------------------------------------------------------


async def test_tasks_are_claimed_by_priority_then_age(desk: Desk) -> None:
    await desk.open("old", NewTask("late", priority=-1), NewTask("urgent", priority=9), "young")
    claims = [await desk.hold() for _ in range(4)]
    assert [subject(claim) for claim in claims] == ["urgent", "old", "young", "late"]


async def test_a_task_waits_until_all_that_it_names_is_done(desk: Desk) -> None:
    await desk.open("a", "b", NewTask("c", after=("#1", "#2", "T1")))
    assert ((await desk.task("T3")).state, (await desk.task("T3")).blocked_by) == ("blocked", 2)
    first, second = await desk.hold(), await desk.hold()
    await desk.admit(first, result("The lexer counts a tab as eight columns"))
    assert (await desk.task("T3")).blocked_by == 1
    assert (await desk.claim(BOB)).task is None
    await desk.admit(second, result("The parser reads every list again"))
    assert ids_of([await desk.claim(BOB)]) == ["T3"]


async def test_waiting_for_what_is_done_is_no_waiting(desk: Desk) -> None:
    await desk.open("a")
    await desk.admit(await desk.hold(), result())
    queued = await desk.add(NewTask("b", after=("T1",)))
    assert queued.tasks[0].state == "ready"


async def test_a_subject_is_queued_once_while_it_is_unfinished(desk: Desk) -> None:
    await desk.open("Mend the parser")
    queued = await desk.add("  mend   THE parser. ", "another", "Another")
    assert [(added.id, added.existed) for added in queued.tasks] == [
        ("T1", True),
        ("T2", False),
        ("T2", True),
    ]
    assert (await desk.home()).tasks_count == 2
    held = await desk.hold(task="T1")
    await desk.admit(held, result())
    again = await desk.add("Mend the parser")
    assert [(added.id, added.existed) for added in again.tasks] == [("T3", False)]


@pytest.mark.parametrize(
    ("one", "two"),
    [("Port it to C++", "Port it to C"), ("Handle f(-1)", "Handle f(1)"), ("a == b", "a != b")],
)
async def test_subjects_that_differ_in_a_sign_are_two_tasks(desk: Desk, one: str, two: str) -> None:
    queued = await desk.open(one, two)
    assert [added.existed for added in queued.tasks] == [False, False]


async def test_a_known_subject_takes_over_what_it_is_to_wait_for(desk: Desk) -> None:
    await desk.open("a", "b")
    queued = await desk.add(NewTask("b", after=("T1",)))
    assert [(added.id, added.state, added.existed) for added in queued.tasks] == [("T2", "blocked", True)]
    await desk.add(NewTask("b", after=("T1",)))
    assert (await desk.task("T2")).blocked_by == 1
    await desk.admit(await desk.hold(), result())
    assert (await desk.task("T2")).state == "ready"


async def test_copies_are_parallel_attempts_at_one_subject(desk: Desk) -> None:
    queued = await desk.open(NewTask("try", copies=3), NewTask("compare", after=("#1",)))
    assert [added.id for added in queued.tasks] == ["T1", "T2", "T3", "T4"]
    assert (await desk.task("T4")).blocked_by == 3
    again = await desk.add(NewTask("try", copies=2))
    assert [added.existed for added in again.tasks] == [True, True]
    claims = [await desk.hold() for _ in range(3)]
    assert {subject(claim) for claim in claims} == {"try"}


async def test_tasks_added_under_a_lease_know_their_parent(desk: Desk) -> None:
    await desk.open("root")
    held = await desk.hold()
    queued = await desk.add("part", lease=held.lease, caller=ADA)
    assert (await desk.task(queued.tasks[0].id)).parent == 1
    assert (await desk.task("T1")).state == "leased"


# -- splitting -------------------------------------------------------------------------------------


async def test_a_split_task_waits_for_its_parts_and_then_returns(desk: Desk) -> None:
    await desk.open("root")
    held = await desk.hold()
    await desk.add("left", "right", lease=held.lease, split=True, caller=ADA)
    root = await desk.task("T1")
    assert (root.state, root.blocked_by, root.token) == ("blocked", 2, "")
    assert "T2, T3" in root.reason
    for gist in ("The left half of the list reads back", "The right half of the list reads back"):
        await desk.admit(await desk.hold(), result(gist))
    assert ids_of([await desk.claim()]) == ["T1"]


async def test_a_split_into_one_part_named_twice_waits_for_it_once(desk: Desk) -> None:
    await desk.open("root")
    held = await desk.hold()
    await desk.add("left", "Left", lease=held.lease, split=True, caller=ADA)
    await desk.admit(await desk.hold(), result())
    assert (await desk.task("T1")).state == "ready"


async def test_a_split_part_that_fails_cancels_the_whole(desk: Desk) -> None:
    await desk.open("root", policy=limits(max_attempts=1))
    held = await desk.hold()
    await desk.add("left", lease=held.lease, split=True, caller=ADA)
    part = await desk.hold()
    await desk.board.update_task(ADA, lease=part.lease, action="fail", note="no left side")
    root = await desk.task("T1")
    assert root.state == "cancelled"
    assert "no left side" in root.reason
