"""Verdicts that come after their proposal was answered, and processes that die before one."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from delm_mcp.board.adding import NewTask
from delm_mcp.board.cases import CHECK_LEASE_S
from delm_mcp.board.examining import Examiner
from delm_mcp.board.proposals import Finding
from delm_mcp.domain.model import Caller, Entry, Run, Source
from delm_mcp.domain.policy import build
from delm_mcp.errors import CheckUnavailable, Conflict, LeaseLost
from tests.boards import (
    ADA,
    BOB,
    Desk,
    desk_in,
    fact,
    ids_of,
    limits,
    quote,
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


async def test_a_result_that_is_being_checked_is_not_claimable_and_its_lease_waits(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", sources=(("notes", SOURCE),))
        held = await desk.hold()
        proposal = result(evidence=quote("notes", "drops a trailing comma"))
        proposed = await desk.propose_and_die(held, proposal)
        assert (proposed.state, proposed.task_state) == ("pending", "submitted")
        other = await desk.claim(BOB)
        assert other.task is None
        assert "1 submitted" in other.reason
        async with refused(desk, Conflict, "being checked"):
            await desk.propose(held, fact("The lexer counts a tab as eight columns"))
        desk.clock.advance(CHECK_LEASE_S + 1)
        assert await desk.board.checker.run_next()
        assert (await desk.task(held.lease.split(".")[0])).state == "done"
        await desk.audit()


async def test_a_result_refused_later_goes_to_its_author_first_and_costs_nothing(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", sources=(("notes", SOURCE),), policy=limits(author_first_s=60))
        held = await desk.hold()
        label = ids_of([held])[0]
        bad = await desk.propose_and_die(held, result(evidence=quote("notes", "drops a trailing colon")))
        desk.clock.advance(CHECK_LEASE_S + 1)
        assert await desk.board.checker.run_next()
        row = await desk.task(label)
        assert (row.state, row.attempts, row.losses, row.favours) == ("ready", 0, 0, held.agent)
        assert (await desk.claim(BOB)).task is None
        back = await desk.hold(agent=held.agent)
        assert back.task is not None
        assert back.task.id == label
        assert [item.entry for item in back.task.earlier] == [bad.entry]
        assert any(f"your {bad.entry} was rejected" in line for line in back.news)
        await desk.audit()


async def test_after_the_authors_time_anybody_takes_the_refused_task(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", sources=(("notes", SOURCE),), policy=limits(author_first_s=60))
        held = await desk.hold()
        await desk.propose_and_die(held, result(evidence=quote("notes", "drops a trailing colon")))
        desk.clock.advance(CHECK_LEASE_S + 1)
        assert await desk.board.checker.run_next()
        desk.clock.advance(60)
        taken = await desk.hold(BOB)
        async with refused(desk, LeaseLost, "retaken"):
            await desk.propose(held, result())
        await desk.admit(taken, result(), BOB)


async def test_reviving_a_task_refused_later_takes_no_earlier_loss_back(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", sources=(("notes", SOURCE),))
        first = await desk.hold()
        await update(desk, first.lease, "release")
        held = await desk.hold()
        await desk.propose_and_die(held, result(evidence=quote("notes", "drops a trailing colon")))
        desk.clock.advance(CHECK_LEASE_S + 1)
        assert await desk.board.checker.run_next()
        assert await update(desk, held.lease, "renew") == "leased"
        assert (await desk.task(ids_of([held])[0])).losses == 1


class Slow(Examiner):
    """An examiner that stops in the middle of a check until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = anyio.Event(), anyio.Event()

    async def quotes(self, entry: Entry, run: Run, sources: tuple[Source, ...]) -> Finding:
        self.reached.set()
        await self.go_on.wait()
        return await super().quotes(entry, run, sources)


async def test_a_task_that_comes_back_refused_does_not_give_its_agent_a_second_lease(tmp_path: Path) -> None:
    examiner = Slow()
    async with desk_in(tmp_path, examiner=examiner) as desk:
        await desk.open("one", "two", sources=(("notes", SOURCE),))
        held = await desk.hold()
        proposal = result(evidence=quote("notes", "drops a trailing colon"))
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(desk.propose, held, proposal)
                await examiner.reached.wait()
                other = await desk.hold(agent=held.agent)
                examiner.go_on.set()
        leased = await desk.look(lambda tx: tx.tasks(desk.run, ["leased"]))
        assert [task.lease for task in leased] == [other.lease]
        assert (await desk.task(ids_of([held])[0])).state == "ready"
        await desk.audit()


async def test_a_check_is_taken_over_only_once_its_lease_has_ended(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", sources=(("notes", SOURCE),))
        held = await desk.hold()
        proposed = await desk.propose_and_die(held, result(evidence=quote("notes", "drops a trailing comma")))
        assert not await desk.board.checker.run_next()
        desk.clock.advance(CHECK_LEASE_S + 1)
        assert await desk.board.checker.run_next()
        assert (await desk.entry(proposed.entry)).state == "admitted"
        assert (await desk.entry(proposed.entry)).strength == "quoted"
        assert not await desk.board.checker.run_next()


async def test_a_verdict_of_a_process_that_lost_the_check_does_not_count(tmp_path: Path) -> None:
    examiner = Slow()
    async with desk_in(tmp_path, examiner=examiner) as desk:
        await desk.open("one", sources=(("notes", SOURCE),))
        held = await desk.hold()
        proposal = result(evidence=quote("notes", "drops a trailing comma"))
        other = desk.another()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(desk.propose, held, proposal)
                await examiner.reached.wait()
                desk.clock.advance(CHECK_LEASE_S + 1)
                assert await other.checker.run_next()
                before = await desk.dump()
                examiner.go_on.set()
        assert await desk.dump() == before
        assert (await desk.home()).version == 1
        await desk.audit()


class Unable(Examiner):
    """An examiner whose surroundings never let it look."""

    async def quotes(self, entry: Entry, run: Run, sources: tuple[Source, ...]) -> Finding:
        raise CheckUnavailable("The disk with the sources is not mounted.", "Mount it.")


async def test_a_check_that_cannot_run_never_passes_and_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with desk_in(tmp_path, examiner=Unable()) as desk:
        await desk.open("one", sources=(("notes", SOURCE),), policy=build({"command": {"unavailable_s": 60}}))
        held = await desk.hold()
        proposed = await desk.propose(held, result(evidence=quote("notes", "drops a trailing comma")))
        assert (proposed.state, proposed.task_state) == ("pending", "submitted")
        for _ in range(2):
            assert (await desk.entry(proposed.entry)).state == "pending"
            desk.clock.advance(CHECK_LEASE_S + 1)
            await desk.board.checker.run_next()
        entry = await desk.entry(proposed.entry)
        assert entry.state == "rejected"
        assert "could not run" in entry.reason
        assert "not mounted" in entry.reason
        await desk.audit()


async def test_late_rejections_that_use_up_a_task_take_its_dependants_along(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        policy = limits(max_rejections=1, max_attempts=1)
        await desk.open("one", NewTask("after", after=("#1",)), sources=(("notes", SOURCE),), policy=policy)
        held = await desk.hold()
        await desk.propose_and_die(held, result(evidence=quote("notes", "drops a trailing colon")))
        desk.clock.advance(CHECK_LEASE_S + 1)
        await desk.board.checker.run_next()
        first, after = await desk.task("T1"), await desk.task("T2")
        assert (first.state, first.ended_at) == ("failed", desk.clock())
        assert after.state == "cancelled"
        assert "T1 failed" in after.reason
        await desk.audit()
