"""Claims that wait: woken by what happens, in this process or another, and never by looking again.

The boards here look at the clock by themselves only once a minute, so a test that ends within its few
seconds was woken.
"""

import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
import pytest

from delm_mcp.board import Board, Settings
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.domain.model import Caller
from delm_mcp.store.base import Cursor, StoreStatus, Tx
from delm_mcp.store.sqlite import SqliteStore
from tests.boards import ADA, BOB, Desk, answer, desk_in, limits, result

pytestmark = pytest.mark.anyio
T = TypeVar("T")

ADDER = """
import sys, time, anyio
from pathlib import Path
from delm_mcp.board import Board
from delm_mcp.board.adding import NewTask
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.store.sqlite import open_sqlite

async def main():
    async with open_sqlite(Path(sys.argv[1]), create=False) as store:
        ids = RandomIds()
        board = Board(store, clock=time.time, ids=ids, checker=Checker(Examiner(), store, time.time, ids))
        await board.add_tasks(Caller(Principal("elsewhere")), [NewTask("from elsewhere")], run=sys.argv[2])

anyio.run(main)
"""


class Watched:
    """A store that says when somebody waits on it."""

    def __init__(self, store: SqliteStore) -> None:
        self.inner, self.waiting = store, anyio.Event()

    async def write(self, op: str, actor: str, now: float, action: Callable[[Tx], T]) -> T:
        return await self.inner.write(op, actor, now, action)

    async def read(self, action: Callable[[Tx], T]) -> T:
        return await self.inner.read(action)

    def committed(self) -> Cursor:
        return self.inner.committed()

    async def wait(self, since: Cursor, timeout_s: float) -> bool:
        self.waiting.set()
        return await self.inner.wait(since, timeout_s)

    async def status(self) -> StoreStatus:
        return await self.inner.status()

    async def backup(self, target: Path) -> None:
        await self.inner.backup(target)

    async def check_integrity(self) -> str:
        return await self.inner.check_integrity()


class Waiter:
    """An agent that waits for work in a task of its own."""

    def __init__(self, desk: Desk, clock: Callable[[], float] | None = None) -> None:
        self.store = Watched(desk.store)
        clock = clock or desk.clock
        checker = Checker(Examiner(), self.store, clock, desk.ids)
        self.board = Board(
            self.store, clock=clock, ids=desk.ids, checker=checker, settings=Settings(poll_s=60)
        )
        self.run = desk.run
        self.claim: Claim | None = None
        self.done = anyio.Event()

    async def wait(self, caller: Caller = BOB, wait_s: float = 25, agent: str = "") -> None:
        self.claim = await self.board.claim_task(caller, run=self.run, wait_s=wait_s, agent=agent)
        self.done.set()

    async def got(self) -> Claim:
        with anyio.fail_after(10):
            await self.done.wait()
        assert self.claim is not None
        return self.claim


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("held")
        yield desk
        await desk.audit()


async def test_a_waiting_claim_is_woken_by_a_new_task(desk: Desk) -> None:
    await desk.hold()
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        assert not waiter.done.is_set()
        await desk.add("new")
        claim = await waiter.got()
    assert claim.task is not None
    assert claim.task.subject == "new"


async def test_a_waiting_claim_is_woken_by_a_task_from_another_process(desk: Desk) -> None:
    await desk.hold()
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        with anyio.fail_after(60):
            await anyio.run_process([sys.executable, "-c", ADDER, str(desk.path), desk.run])
        claim = await waiter.got()
    assert claim.task is not None
    assert claim.task.subject == "from elsewhere"


async def test_a_task_that_nobody_waiting_may_take_wakes_nobody_for_good(desk: Desk) -> None:
    await desk.hold()
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        await desk.add(NewTask("render", needs=("gpu",)))
        assert not waiter.done.is_set()
        await desk.add("plain")
        claim = await waiter.got()
    assert claim.task is not None
    assert claim.task.subject == "plain"


async def test_one_new_task_wakes_one_of_two_that_wait(desk: Desk) -> None:
    await desk.hold()
    waiters = [Waiter(desk), Waiter(desk)]
    async with anyio.create_task_group() as group:
        for waiter in waiters:
            group.start_soon(waiter.wait)
            await waiter.store.waiting.wait()
        await desk.add("first")
        with anyio.fail_after(10):
            while not any(waiter.done.is_set() for waiter in waiters):
                await anyio.lowlevel.checkpoint()
        await desk.add("second")
        claims = [await waiter.got() for waiter in waiters]
    assert {claim.task.subject for claim in claims if claim.task} == {"first", "second"}


async def test_a_waiting_claim_is_woken_by_what_becomes_unblocked(desk: Desk) -> None:
    held = await desk.hold()
    await desk.add(NewTask("after", after=("T1",)))
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        await desk.admit(held, result())
        claim = await waiter.got()
    assert claim.task is not None
    assert claim.task.subject == "after"


async def test_a_waiting_claim_ends_with_the_run(desk: Desk) -> None:
    held = await desk.hold()
    decide = await desk.work_off(held, "The parser reads every list again")
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        await desk.admit(decide, answer(1))
        claim = await waiter.got()
    assert (claim.task, claim.run_state) == (None, "finished")
    assert claim.next.startswith("Stop")


async def test_a_waiting_claim_takes_over_a_lease_that_ends_meanwhile(desk: Desk) -> None:
    await desk.open("held", policy=limits(lease_s=0.3))
    desk.clock.now = time.time()
    held = await desk.hold()
    waiter = Waiter(desk, clock=time.time)
    await waiter.wait(wait_s=20)
    claim = await waiter.got()
    assert claim.task is not None
    assert claim.lease.split(".")[0] == held.lease.split(".")[0]
    assert claim.lease != held.lease


async def test_after_two_empty_waits_an_agent_is_told_to_stop(desk: Desk) -> None:
    desk.clock.now = time.time()
    await desk.hold()
    waiter = Waiter(desk, clock=time.time)
    await waiter.wait(wait_s=0.05)
    first = await waiter.got()
    assert first.next.startswith("claim_task")
    await waiter.wait(wait_s=0.05, agent=first.agent)
    second = await waiter.got()
    assert "Waited 2 times" in second.next
    assert second.agent == first.agent
    await desk.add("new")
    await waiter.wait(wait_s=0.05, agent=first.agent)
    assert (await waiter.got()).task is not None


async def test_a_wait_that_is_cancelled_takes_nothing(desk: Desk) -> None:
    await desk.hold()
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        group.cancel_scope.cancel()
    queued = await desk.add("new")
    assert queued.tasks[0].state == "ready"
    assert (await desk.claim(ADA)).task is not None


async def test_a_minted_name_stays_the_same_through_a_wait(desk: Desk) -> None:
    await desk.hold()
    waiter = Waiter(desk)
    async with anyio.create_task_group() as group:
        group.start_soon(waiter.wait)
        await waiter.store.waiting.wait()
        await desk.add("new")
        claim = await waiter.got()
    agents = await desk.look(lambda tx: tx.agents(desk.run))
    assert len(agents) == 2
    assert agents[1].name == claim.agent
