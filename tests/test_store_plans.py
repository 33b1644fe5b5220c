"""SQLite answers what a claim, a drain, a check, a verdict and a cascade ask from its indexes."""

import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from delm_mcp.board import queue
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.operation import Operation
from delm_mcp.domain.model import Caller, EntryState, Principal, RunId, TaskKind
from delm_mcp.domain.policy import build
from delm_mcp.store.base import Tx
from delm_mcp.store.sqlite import SqliteTx
from tests.boards import ADA, BOB, CYD, OWNER, Desk, desk_in, fact, limits, result
from tests.engines import entry, task

pytestmark = pytest.mark.anyio

DOT = Caller(Principal("dot"))
LINEAR = (
    "TEMP B-TREE",
    *(f"SCAN {name}" for name in "task entry vote checks lineage change agent dep".split()),
)
# What derives from an entry is found by index, and then put into the order of derivation: a sort of what
# was found, however large the board is.
SORTED = "SEARCH entry USING INTEGER PRIMARY KEY (rowid=?) / USE TEMP B-TREE FOR ORDER BY"


@asynccontextmanager
async def traced(desk: Desk) -> AsyncIterator[list[str]]:
    """Every statement that the writing connection runs meanwhile."""
    statements: list[str] = []

    def trace(callback: Callable[[str], object] | None) -> Callable[[Tx], None]:
        return lambda tx: cast(SqliteTx, tx)._db.set_trace_callback(callback)

    await desk.store.write("trace", "t", 0.0, trace(statements.append))
    yield statements
    await desk.store.write("trace", "t", 0.0, trace(None))


def unplanned(desk: Desk, statements: Sequence[str], least: int) -> dict[str, str]:
    """The statements whose cost grows with the board, and how they are run."""
    verbs = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")
    asked = {s.replace(" Inf", " 9e999") for s in statements if s.lstrip().upper().startswith(verbs)}
    assert len(asked) > least
    db = sqlite3.connect(desk.path)
    plans = {s: " / ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {s}")) for s in asked}
    db.close()
    read = {s: plan.replace(SORTED, "") for s, plan in plans.items()}
    return {_shape(s): plans[s] for s, plan in read.items() if any(word in plan for word in LINEAR)}


def _shape(statement: str) -> str:
    """A statement without its columns and its values."""
    return re.sub(r"\d+(\.\d+)?|'[^']*'", "?", re.sub(r"SELECT .*? FROM", "SELECT ... FROM", statement))


def _told(bad: dict[str, str]) -> str:
    return "\n".join(f"{plan}\n    {shape}" for shape, plan in bad.items())


async def test_no_claim_sorts_or_scans_the_tasks(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open(*(f"task {n}" for n in range(30)), policy=limits(lease_s=60, max_losses=0))
        async with traced(desk) as statements:
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
        decisions = await desk.look(lambda tx: [t for t in tx.tasks(desk.run) if t.kind == "decide"])
        assert len(decisions) == 1
        bad = unplanned(desk, statements, least=50)
    assert bad == {}, _told(bad)


async def test_no_verdict_dispute_or_cascade_scans_or_sorts_the_board(tmp_path: Path) -> None:
    peers = {"fact": {"checks": ["novel", "peers"]}, "peers": {"approvals": 2, "of": 3}}
    async with desk_in(tmp_path) as desk:
        await desk.open(*(f"task {n}" for n in range(9)), policy=build(peers))
        async with traced(desk) as statements:
            ada = await desk.hold(ADA)
            names = [(caller, (await desk.claim(caller)).agent) for caller in (BOB, CYD, DOT)]
            for caller, agent in names:
                lease = (await desk.hold(caller, agent=agent)).lease
                await desk.board.update_task(caller, lease=lease, action="release")
            made: list[str] = []
            for step in "abc":
                parents = tuple(int(label[1:]) for label in made[-2:])
                gist = f"Step {step} of the argument holds"
                made.append((await desk.propose(ada, fact(gist, derived_from=parents))).entry)
                for caller, agent in names[:2]:
                    await desk.vote(await desk.hold(caller, agent=agent), "pass", caller=caller)
            await desk.propose(ada, result("All of the argument holds", derived_from=(3,)))
            desk.clock.advance(61)
            assert await desk.board.checker.run_next()  # looks whether peers are there
            await desk.vote(await desk.hold(BOB, agent=names[0][1]), "abstain")
            dot = await desk.claim(DOT, agent=names[2][1])
            await desk.dispute(made[0], "drift", by=dot, caller=DOT, against=())
            for caller, agent in names[:2]:
                await desk.vote(await _verify(desk, caller, agent, made[0]), "pass", caller=caller)
            await desk.board.retract(OWNER, made[0], "it was a mistake")
            for caller, agent in names[:2]:
                await desk.vote(await _verify(desk, caller, agent, made[1]), "fail", "support", caller=caller)
            states = {row.state for row in await desk.look(lambda tx: tx.entries(desk.run))}
            assert {EntryState.RETRACTED, EntryState.SUSPECT, EntryState.PENDING} <= states
            desk.clock.advance(5_000)
            assert await desk.board.checker.run_next()
            await desk.claim(ADA, agent=ada.agent)
            await desk.store.write("peek", "t", 0.0, lambda tx: _peek(tx, desk.run, desk.clock()))
        bad = unplanned(desk, statements, least=200)
    assert bad == {}, _told(bad)


async def _verify(desk: Desk, caller: Caller, agent: str, label: str) -> Any:
    """Hold a verify task about an entry."""
    about = int(label[1:])
    ready = await desk.look(lambda tx: [t.label for t in tx.verifications(about) if t.state == "ready"])
    return await desk.hold(caller, agent=agent, task=ready[0])


async def test_a_verifier_finds_its_task_in_as_many_steps_among_thousands(tmp_path: Path) -> None:
    """A step is an instruction of SQLite's machine."""
    async with desk_in(tmp_path) as desk:
        await desk.open("one")
        await desk.hold(ADA)

        async def grow(count: int) -> None:
            def action(tx: Tx) -> None:
                for number in range(count):
                    made = tx.insert(entry(f"gist {number}", run=desk.run, principal=Principal("ada")))
                    asks = task(f"verify {number}", run=desk.run, kind=TaskKind.VERIFY, about=made.id)
                    tx.insert(asks)

            await desk.store.write("grow", "t", 0.0, action)

        async def steps(principal: str) -> int:
            def action(tx: Tx) -> int:
                counted: list[None] = []
                db = cast(SqliteTx, tx)._db
                db.set_progress_handler(lambda: counted.append(None), 1)
                found = tx.next_verify(RunId(desk.run), principal)
                db.set_progress_handler(None, 0)
                assert (found is None) == (principal == "ada")
                return len(counted)

            return await desk.store.write("count", "t", 0.0, action)

        await grow(10)
        few, own = await steps("bob"), await steps("ada")
        await grow(2_000)
        assert await steps("bob") == few
        # Its own entries are passed over one by one, which takes a few seeks each.
        assert await steps("ada") < own / 10 * 2_010 * 1.5


def _peek(tx: Tx, run: str, now: float) -> None:
    op = Operation(tx, now, RandomIds(1))
    home = op.run(run)
    queue.could_claim(op, home, tx.agents(home.id)[0])
    tx.next_check(["quotes", "command", "peers", "judge"], "/repo", now, now + 60)
    tx.next_expiry(home.id)
    tx.next_look("peers")
    tx.open_checks(home.id)
    tx.checks_open(home.id, "peers")
    tx.executed(home.id)
