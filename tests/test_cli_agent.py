"""`delm-mcp agent`: leases that the board's owner keeps for agents that live, and hands on for dead ones."""

import json
from pathlib import Path

import anyio
import pytest

from delm_mcp.board import tending
from delm_mcp.board.tending import Outcome
from delm_mcp.errors import LeaseLost, NotAllowed, NotFound
from tests.boards import ADA, BOB, OWNER, desk_in, fact, limits, refused
from tests.outside import audited, delm_here, do, hall_in, hold, opened_by_cli, stdio

pytestmark = pytest.mark.anyio


async def test_a_kept_lease_runs_on_up_to_its_ceiling_and_not_beyond(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", policy=limits(lease_s=100, lease_max_s=250))
        held = await desk.hold(ADA)
        for left_s in (100, 100, 100, 70):
            desk.clock.advance(45)
            (kept,) = await tending.keep(desk.board, OWNER, [held.agent], desk.run)
            assert (kept.outcome, kept.left_s) == (Outcome.KEPT, left_s)
        desk.clock.advance(71)
        (ended,) = await tending.keep(desk.board, OWNER, [held.agent], desk.run)
        assert ended.outcome is Outcome.AT_CEILING
        assert (await desk.hold(BOB)).task == held.task  # at the end of the ceiling it is anybody's
        await desk.audit()


async def test_keeping_does_not_say_in_the_agents_place_that_it_read_its_news(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two")
        ada, bob = await desk.hold(ADA), await desk.hold(BOB)
        await desk.admit(bob, fact("The lexer counts a tab as eight columns"), BOB)
        before = await desk.agent(ada.agent)
        desk.clock.advance(30)
        await tending.keep(desk.board, OWNER, [ada.agent], desk.run)
        after = await desk.agent(ada.agent)
        assert (after.acked, after.told) == (before.acked, before.told)
        assert after.seen_at == before.seen_at + 30
        again = await desk.claim(ADA, agent=ada.agent)
        assert any("eight columns" in line for line in again.news)


async def test_a_released_task_is_the_next_ones_and_its_old_lease_changes_nothing(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one")
        ada = await desk.hold(ADA)
        (done,) = await tending.release(desk.board, OWNER, [ada.agent], desk.run, note="its process died")
        assert done.outcome is Outcome.RELEASED
        task = await desk.task(done.task)
        assert (task.state, task.losses) == ("ready", 1)
        assert "«its process died»" in task.reason
        async with refused(desk, LeaseLost):
            await desk.propose(ada, fact())
        assert (await desk.hold(BOB)).task == ada.task
        await desk.audit()


async def test_only_an_owner_looks_after_agents(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one")
        ada = await desk.hold(ADA)
        for tend in (tending.keep, tending.release):
            async with refused(desk, NotAllowed, "owner"):
                await tend(desk.board, BOB, [ada.agent], desk.run)
        async with refused(desk, NotFound, "no run"):
            await tending.keep(desk.board, OWNER, [ada.agent], "r-none")


async def test_keep_looks_after_those_who_are_there_and_says_who_is_not(tmp_path: Path) -> None:
    run = opened_by_cli(tmp_path, "Mend it", "--task", "one")["run"]
    async with stdio(tmp_path, "--agent", "ada") as client, stdio(tmp_path, "--agent", "bob") as other:
        await hold(client)
        assert "No task" in (await do(other, "claim_task")).text
        words = ("agent", "keep", "eve", "ada", "bob", "ada", "--run", run)
        done = await anyio.to_thread.run_sync(lambda: delm_here(*words, cwd=tmp_path))
        assert done.code == 0, done.err
        assert done.out.splitlines()[0].startswith("eve: unknown")
        assert done.out.splitlines()[1:] == ["ada: T1 is kept for 300 s", "bob: holds nothing"]
        rows = json.loads(
            (await anyio.to_thread.run_sync(lambda: delm_here("agent", "list", "--json", cwd=tmp_path))).out
        )
        assert [(row["agent"], row["task"]) for row in rows] == [("ada", "T1"), ("bob", "")]
        table = (await anyio.to_thread.run_sync(lambda: delm_here("agent", "list", cwd=tmp_path))).out
        assert "T1 (work) one" in table
        gone = await anyio.to_thread.run_sync(
            lambda: delm_here("agent", "release", "ada", "--note", "it hangs", "--json", cwd=tmp_path)
        )
        assert [(row["outcome"], row["task"]) for row in json.loads(gone.out)] == [("released", "T1")]
        claimed = await hold(other, agent="bob")
        assert claimed["task"]["id"] == "T1"
    await anyio.to_thread.run_sync(audited, tmp_path / ".delm" / "board.db")


async def test_with_several_runs_open_keep_asks_which_one_is_meant(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        runs = [await hall.open("one"), await hall.open("two")]
    board = tmp_path / "board.db"
    done = await anyio.to_thread.run_sync(
        lambda: delm_here("agent", "keep", "ada", "--board", board, cwd=tmp_path)
    )
    assert done.code == 1
    assert all(run in done.err for run in runs)
    over = await anyio.to_thread.run_sync(
        lambda: delm_here("agent", "keep", "ada", "--run", "r-none", "--board", board, cwd=tmp_path)
    )
    assert (over.code, "r-none" in over.err) == (1, True)
