"""Leases: kept, lost, revived, fenced and bounded."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from delm_mcp.board.adding import NewTask
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.errors import LeaseLost
from tests.boards import (
    ADA,
    BOB,
    CYD,
    Desk,
    desk_in,
    fact,
    ids_of,
    limits,
    refused,
    result,
)

pytestmark = pytest.mark.anyio

SOURCE = "The parser drops a trailing comma in lists.\nThe lexer counts a tab as eight columns.\n"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two")
        yield desk
        await desk.audit()


async def update(desk: Desk, lease: str, action: str, note: str = "", caller: Caller = ADA) -> str:
    return (await desk.board.update_task(caller, lease=lease, action=action, note=note)).state


# -- claiming --------------------------------------------------------------------------------------


async def test_each_task_is_leased_once(desk: Desk) -> None:
    claims = [await desk.claim(caller) for caller in (ADA, BOB, CYD)]
    assert ids_of(claims) == ["T1", "T2"]
    assert claims[2].task is None
    assert "2 leased" in claims[2].reason
    assert len({claim.agent for claim in claims}) == 3


async def test_concurrent_claims_never_share_a_task(desk: Desk) -> None:
    await desk.add(*(f"task {n}" for n in range(18)))
    claims: list[str] = []

    async def claim(number: int) -> None:
        claims.extend(ids_of([await desk.claim(Caller(Principal(f"p{number}")))]))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(claim, number)
    assert len(claims) == len(set(claims)) == 20


async def test_whoever_holds_a_lease_gets_it_back(desk: Desk) -> None:
    held = await desk.hold()
    desk.clock.advance(200)
    again = await desk.hold(agent=held.agent)
    assert (again.lease, again.reclaimed, again.expires_s) == (held.lease, True, 300.0)
    other = await desk.hold(BOB, task="T2")
    assert (await desk.hold(BOB, agent=other.agent, task="T1")).lease == other.lease


async def test_a_nameless_claim_is_somebody_new_even_of_the_same_principal(desk: Desk) -> None:
    first, second = await desk.hold(), await desk.hold()
    assert first.agent != second.agent
    assert ids_of([first, second]) == ["T1", "T2"]


async def test_tags_stay_with_an_agent_until_it_names_others(desk: Desk) -> None:
    await desk.open(NewTask("render", needs=("gpu",)), "plain")
    first = await desk.hold(tags=("gpu",))
    assert first.task is not None
    assert first.task.subject == "render"
    await update(desk, first.lease, "release")
    again = await desk.hold(agent=first.agent)
    assert again.task is not None
    assert again.task.subject == "render"


# -- keeping ---------------------------------------------------------------------------------------


async def test_any_call_with_the_lease_renews_it(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    for act in ("renew", "propose", "add"):
        desk.clock.advance(250)
        if act == "renew":
            await update(desk, held.lease, "renew")
        elif act == "propose":
            await desk.admit(held, fact())
        else:
            await desk.add("three", lease=held.lease, caller=ADA)
        assert (await desk.task("T1")).lease_until == desk.clock() + 300, act
    assert (await desk.task("T1")).state == "leased"


async def test_renewing_stops_at_the_ceiling(desk: Desk) -> None:
    await desk.open("one", policy=limits(lease_s=300, lease_max_s=500))
    held = await desk.hold()
    label = held.lease.split(".")[0]
    desk.clock.advance(290)
    await update(desk, held.lease, "renew")
    assert (await desk.task(label)).lease_until == desk.clock() + 210
    desk.clock.advance(210)
    async with refused(desk, LeaseLost, "reached its ceiling of 500 s"):
        await update(desk, held.lease, "renew")


@pytest.mark.parametrize("past_s", [0, 0.001, 1000])
async def test_an_agent_at_the_ceiling_of_its_lease_holds_one_task_at_most(desk: Desk, past_s: float) -> None:
    await desk.open("one", "two", policy=limits(lease_s=300, lease_max_s=300))
    held = await desk.hold()
    desk.clock.advance(300 + past_s)
    again = await desk.claim(agent=held.agent)
    leased = await desk.look(lambda tx: tx.tasks(desk.run, ["leased"]))
    assert len([task for task in leased if task.agent == held.agent]) <= 1
    assert again.lease in {"", *(task.lease for task in leased)}
    assert again.lease != held.lease


async def test_an_agent_far_behind_in_a_queue_of_lost_leases_holds_one_task_at_most(desk: Desk) -> None:
    await desk.open(*(f"task {n}" for n in range(90)), policy=limits(lease_s=300, lease_max_s=300))
    claims = []
    for _ in range(80):
        claims.append(await desk.hold())
        desk.clock.advance(0.01)
    desk.clock.advance(301)
    last = claims[-1]
    await desk.claim(agent=last.agent)
    leased = await desk.look(lambda tx: tx.tasks(desk.run, ["leased"]))
    assert len([task for task in leased if task.agent == last.agent]) <= 1


# -- losing and coming back ------------------------------------------------------------------------


async def test_an_expired_lease_is_revived_by_the_call_that_shows_it(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    desk.clock.advance(10_000)
    assert (await desk.admit(held, result())).task_state == "done"


async def test_a_task_that_went_back_to_the_queue_is_revived_while_nobody_took_it(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    await desk.hold(BOB, task="T2")
    desk.clock.advance(301)
    await desk.add(NewTask("three", priority=5))
    taken = await desk.hold(CYD)
    assert taken.task is not None
    assert taken.task.subject == "three"
    assert ((await desk.task("T1")).state, (await desk.task("T1")).losses) == ("ready", 1)
    assert await update(desk, held.lease, "renew") == "leased"
    assert (await desk.task("T1")).losses == 0
    assert (await desk.task("T1")).agent == held.agent


async def test_an_agent_that_holds_another_task_does_not_revive_the_old_one(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    desk.clock.advance(301)
    await desk.hold(BOB, task="T2")
    await desk.add(NewTask("three", priority=5))
    await desk.hold(CYD)
    assert (await desk.task("T1")).state == "ready"
    await desk.add(NewTask("four", priority=6))
    other = await desk.hold(agent=held.agent)
    assert other.task is not None
    assert other.task.subject == "four"
    async with refused(desk, LeaseLost, f"you hold {other.task.id} now"):
        await update(desk, held.lease, "renew")


async def test_an_expired_lease_goes_to_the_next_who_asks(desk: Desk) -> None:
    old = await desk.hold(task="T1")
    desk.clock.advance(301)
    new = await desk.hold(BOB)
    assert new.task is not None
    assert new.task.id == "T1"
    assert new.lease != old.lease
    row = await desk.task("T1")
    assert (row.losses, row.agent, row.reason) == (1, new.agent, f"{old.agent} did not come back")


async def test_a_task_that_is_lost_too_often_fails_and_takes_its_dependants_along(desk: Desk) -> None:
    await desk.open("one", policy=limits(max_losses=1))
    (first,) = ids_of([await desk.hold()])
    queued = await desk.add(NewTask("after", after=(first,)), NewTask("later", after=("#1",)))
    desk.clock.advance(301)
    await desk.hold(BOB)
    desk.clock.advance(301)
    await desk.claim(CYD)
    assert (await desk.task(first)).state == "failed"
    assert "lost 2 times" in (await desk.task(first)).reason
    rows = [await desk.task(added.id) for added in queued.tasks]
    assert [row.state for row in rows] == ["cancelled", "cancelled"]
    assert f"{first} failed: lost 2 times" in rows[0].reason
    assert f"{rows[0].label} cancelled" in rows[1].reason
    assert all(row.ended_at == desk.clock() for row in rows)


async def test_handing_on_counts_as_a_loss_and_ends_the_lease_at_once(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    assert await update(desk, held.lease, "release", "needs a debugger") == "ready"
    row = await desk.task("T1")
    assert (row.losses, row.attempts, row.reason) == (1, 0, row.reason)
    assert "needs a debugger" in row.reason
    async with refused(desk, LeaseLost, "T1, which is ready"):
        await desk.propose(held, result())
    assert (await desk.hold(BOB)).lease.startswith("T1.")


async def test_giving_up_counts_as_an_attempt_and_the_last_one_fails_the_task(desk: Desk) -> None:
    queued = await desk.add(NewTask("after", after=("T1",)))
    for number in (1, 2, 3):
        held = await desk.hold(task="T1")
        state = await update(desk, held.lease, "fail", f"wall {number}")
        assert (await desk.task("T1")).attempts == number
    assert state == "failed"
    row, dependant = await desk.task("T1"), await desk.task(queued.tasks[0].id)
    assert "given up 3 times" in row.reason
    assert "wall 3" in row.reason
    assert row.ended_at == desk.clock()
    assert dependant.state == "cancelled"
    assert "T1 failed" in dependant.reason
    async with refused(desk, LeaseLost, "T1, which is failed"):
        await desk.propose(held, result())


async def test_what_an_agent_gives_up_goes_to_somebody_else_first(desk: Desk) -> None:
    await desk.open("one", policy=limits(author_first_s=60))
    ada, bob = await desk.hold(ADA), await desk.claim(BOB)
    assert await update(desk, ada.lease, "fail", "my worktree is in disorder") == "ready"
    refusal = await desk.claim(ADA, agent=ada.agent)
    assert refusal.task is None, "or it would use up all attempts by itself"
    assert f"kept for others than {ada.agent}" in refusal.reason
    assert refusal.patient, "nobody has it, so it comes back"
    again = await desk.hold(BOB, agent=bob.agent)
    assert ids_of([again]) == ids_of([ada])
    assert not (await desk.claim(ADA, agent=ada.agent)).patient
    await desk.board.update_task(BOB, lease=again.lease, action="fail", note="nor can I")
    assert ids_of([await desk.hold(ADA, agent=ada.agent)]) == ids_of([ada])


async def test_what_nobody_else_takes_comes_back_to_who_gave_it_up(desk: Desk) -> None:
    await desk.open("one", policy=limits(author_first_s=60))
    ada = await desk.hold(ADA)
    await desk.claim(BOB)
    await update(desk, ada.lease, "fail", "too hard")
    assert (await desk.claim(ADA, agent=ada.agent)).task is None
    desk.clock.advance(61)
    assert ids_of([await desk.hold(ADA, agent=ada.agent)]) == ids_of([ada])


async def test_refused_proposals_without_end_count_as_giving_up(desk: Desk) -> None:
    await desk.open("one", policy=limits(max_rejections=3, max_attempts=2))
    held = await desk.hold()
    label = ids_of([held])[0]
    for number in (1, 2):
        bad = await desk.propose(held, result(f"Try number {number} should work"))
        assert bad.task_state == "leased"
    last = await desk.propose(held, result("Try number 3 should work"))
    assert (last.state, last.task_state) == ("rejected", "ready")
    assert "same lease" not in last.next
    row = await desk.task(label)
    assert (row.attempts, row.rejections, row.token) == (1, 0, "")
    assert "3 proposals refused" in row.reason
    async with refused(desk, LeaseLost, f"{label}, which is ready"):
        await desk.propose(held, result())


async def test_a_cancelled_task_tells_its_holder_why_when_it_comes_back(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    await desk.admit(held, result())
    async with refused(desk, LeaseLost, "T1 is done by E1"):
        await desk.propose(held, result("Something else altogether was found"))


async def test_the_next_holder_sees_what_was_refused_before(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    bad = await desk.propose(held, fact("It should work now"))
    await update(desk, held.lease, "release")
    again = await desk.hold(BOB, task="T1")
    assert again.task is not None
    (earlier,) = again.task.earlier
    assert (earlier.entry, earlier.gist) == (bad.entry, "It should work now")
    assert "wellformed" in earlier.reason
