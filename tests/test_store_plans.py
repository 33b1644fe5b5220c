"""SQLite answers what a claim, a drain and a check ask from its indexes."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from delm_mcp.board import queue
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.operation import Operation
from delm_mcp.store.base import Tx
from delm_mcp.store.sqlite import SqliteTx
from tests.boards import desk_in, limits, result

pytestmark = pytest.mark.anyio


async def test_no_claim_sorts_or_scans_the_tasks(tmp_path: Path) -> None:
    statements: list[str] = []

    def traced(tx: Tx, callback: Callable[[str], object] | None) -> None:
        cast(SqliteTx, tx)._db.set_trace_callback(callback)

    async with desk_in(tmp_path) as desk:
        await desk.open(*(f"task {n}" for n in range(30)), policy=limits(lease_s=60, max_losses=0))
        await desk.store.write("trace", "t", 0.0, lambda tx: traced(tx, statements.append))
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
        await desk.store.write("trace", "t", 0.0, lambda tx: traced(tx, None))
        decisions = await desk.look(lambda tx: [t for t in tx.tasks(desk.run) if t.kind == "decide"])
        assert len(decisions) == 1
    asked = {s for s in statements if s.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE"))}
    assert len(asked) > 50
    db = sqlite3.connect(desk.path)
    plans = {s: " / ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {s}")) for s in asked}
    db.close()
    linear = ("TEMP B-TREE", "SCAN task", "SCAN checks")
    bad = {_shape(s): plan for s, plan in plans.items() if any(word in plan for word in linear)}
    assert bad == {}, "\n".join(f"{plan}\n    {shape}" for shape, plan in bad.items())


def _shape(statement: str) -> str:
    """A statement without its columns and its values."""
    return re.sub(r"\d+(\.\d+)?|'[^']*'", "?", re.sub(r"SELECT .*? FROM", "SELECT ... FROM", statement))


def _peek(tx: Tx, run: str, now: float) -> None:
    op = Operation(tx, now, RandomIds(1))
    home = op.run(run)
    queue.could_claim(op, home, tx.agents(home.id)[0])
    tx.next_check(["quotes", "command"], "/repo", now, now + 60)
    tx.next_expiry(home.id)
    tx.open_checks(home.id)
