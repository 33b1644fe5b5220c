"""Claiming and proposing at the board, beside SQLite with the same batches and one transaction per call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from delm_mcp.cli.benchmarks import plain
from delm_mcp.cli.benchmarks.scene import DURABILITY, WORKER, Scene, finding, scene
from delm_mcp.cli.benchmarks.timing import Timing, closed_loop, ratio
from delm_mcp.cli.benchmarks.watched import Watch, batch_sizes

CALLS_MAX = 10_000  # a pass; as many tasks and agents are there, because an agent holds one lease
OPERATIONS = ("claim", "propose")


@dataclass
class Passes:
    """All passes of one operation at one number of callers."""

    board: Timing = field(default_factory=Timing)
    small: Timing = field(default_factory=Timing)
    replayed: Timing = field(default_factory=Timing)
    single: Timing = field(default_factory=Timing)
    transactions: int = 0

    def row(self, operation: str, callers: int) -> dict[str, Any]:
        """One line of the table. `x` columns are the board's rate as a part of SQLite's."""
        return {
            "operation": operation,
            "callers": callers,
            **self.board.summary(),
            "batch": round(ratio(self.board.count, self.transactions), 1),
            "sqlite_same_batches_per_s": round(self.small.rate, 1),
            "x_same_batches": ratio(self.board.rate, self.small.rate),
            "sqlite_replayed_per_s": round(self.replayed.rate, 1),
            "x_replayed": ratio(self.board.rate, self.replayed.rate),
            "sqlite_single_per_s": round(self.single.rate, 1),
            "x_single": ratio(self.board.rate, self.single.rate),
        }


async def measure(
    folder: Path,
    callers: tuple[int, ...],
    limit_s: float,
    rounds: int,
    flush_s: float,
    step: Callable[[str], None],
) -> dict[str, Any]:
    """Claim and propose rates. The passes take turns, so that a change of the load hits all alike."""
    passes = {(name, count): Passes() for count in callers for name in OPERATIONS}
    for turn in range(rounds):
        for count in callers:
            step(f"claim and propose, {count} callers, round {turn + 1} of {rounds}")
            await _round(folder / f"writing-{turn}-{count}", count, limit_s, flush_s, passes)
    rows = [passes[name, count].row(name, count) for name in OPERATIONS for count in callers]
    slept = f", {flush_s * 1e3:g} ms slept in each COMMIT" if flush_s else ""
    return {
        "title": "Claim and propose at the board",
        "durability": f"board: {DURABILITY}{slept}; SQLite: WAL, synchronous=FULL, one thread{slept}",
        "rows": rows,
    }


async def _round(
    folder: Path, count: int, limit_s: float, flush_s: float, passes: dict[tuple[str, int], Passes]
) -> None:
    """One pass of everything at one number of callers, in files of its own."""
    await anyio.Path(folder).mkdir()
    watch = Watch(flush_s=flush_s)
    async with scene(folder / "board.db", watch) as board:
        await board.open_run()
        await board.fill(tasks=CALLS_MAX + count + 2, agents=CALLS_MAX)
        await board.engine.backup(folder / "copy.db")
        watch.recording = True
        claims, leases = await _claims(board, count, limit_s)
        recorded = [watch.take()]
        proposals = await _proposals(board, count, limit_s, iter(leases))
        recorded.append(watch.take())
    # Less time for SQLite alone: it is not interrupted by anything, so its rates settle sooner.
    brief_s = limit_s / 2
    again = await _in_thread(plain.replayed, folder / "copy.db", recorded, limit_s, flush_s)
    for name, timing, statements, copy in zip(OPERATIONS, (claims, proposals), recorded, again, strict=True):
        found = passes[name, count]
        sizes = batch_sizes(statements)
        found.board.add(timing)
        found.replayed.add(copy)
        found.transactions += len(sizes)
        for into, each, label in (
            (found.small, _endless(sizes), "same"),
            (found.single, repeat(1), "single"),
        ):
            path = folder / f"{name}-{label}.db"
            into.add(await _in_thread(plain.small, path, name, each, brief_s, flush_s))


def _endless(sizes: list[int]) -> Iterator[int]:
    while sizes:
        yield from sizes


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await anyio.to_thread.run_sync(partial(function, *args))


async def _claims(board: Scene, callers: int, limit_s: float) -> tuple[Timing, list[tuple[int, str]]]:
    """Each call claims for another agent; what they hold is for the proposals."""
    leases: list[tuple[int, str]] = []

    async def claim(number: int) -> None:
        answer = await board.board.claim_task(WORKER, agent=f"a{number}", run=board.run)
        leases.append((number, answer.lease))

    timing = await closed_loop(callers, limit_s, iter(range(1, CALLS_MAX)), claim)
    return timing, leases


async def _proposals(board: Scene, callers: int, limit_s: float, leases: Iterator[tuple[int, str]]) -> Timing:
    """Each call completes a task; agents have read what was there when they propose."""
    known = 0

    async def propose(held: tuple[int, str]) -> None:
        nonlocal known
        number, lease = held
        answer = await board.board.propose_update(WORKER, finding(number, known), lease=lease)
        if answer.state != "admitted":
            raise RuntimeError(f"a proposal was {answer.state}: {' '.join(answer.reasons)}")
        known = max(known, answer.version)

    return await closed_loop(callers, limit_s, leases, propose)
