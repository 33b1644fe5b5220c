"""What a claim costs as the queue grows, and a read as the context does."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from delm_mcp.board.reading import Wanted
from delm_mcp.cli.benchmarks.scene import DURABILITY, NEEDS, WORKER, Scene, scene
from delm_mcp.cli.benchmarks.timing import closed_loop, percentile
from delm_mcp.cli.benchmarks.watched import Watch

CLAIMS = 300
READS = 300
NEWEST = 20
BUDGET_TOKENS = 2_000


async def _timed(
    scene: Scene, limit_s: float, count: int, call: Callable[[int], Awaitable[None]]
) -> dict[str, Any]:
    """One caller: the time inside the transaction, SQLite's share of it, and the whole call."""
    scene.watch.take_spans()
    scene.watch.timing = True
    timing = await closed_loop(1, limit_s, iter(range(1, count + 1)), call)
    scene.watch.timing = False
    spans, sqlite = scene.watch.take_spans()
    return {
        "inside_p50_us": round(percentile(spans, 50) * 1e6, 1),
        "inside_sqlite_p50_us": round(percentile(sqlite, 50) * 1e6, 1),
        "call_p50_us": round(percentile(timing.calls_s, 50) * 1e6, 1),
        "call_p99_us": round(percentile(timing.calls_s, 99) * 1e6, 1),
        "calls": timing.count,
    }


async def claims(
    folder: Path, sizes: tuple[int, ...], limit_s: float, step: Callable[[str], None]
) -> dict[str, Any]:
    """The cost of a claim at each number of ready tasks, with one set of needs and with three."""
    rows = []
    for size in sizes:
        for kinds in (1, len(NEEDS)):
            step(f"claim among {size:,} ready tasks, {kinds} set{'s' if kinds > 1 else ''} of needs")
            path = folder / f"claims-{size}-{kinds}.db"
            async with scene(path, Watch()) as board:
                await board.open_run()
                await board.fill(tasks=size, agents=CLAIMS, kinds=kinds)
                rows.append(
                    {"ready_tasks": size, "sets_of_needs": kinds, **await _claim(board, size, limit_s)}
                )
            path.unlink()
    return {"title": "Cost of a claim as the queue grows", "durability": DURABILITY, "rows": rows}


async def _claim(board: Scene, size: int, limit_s: float) -> dict[str, Any]:
    async def claim(number: int) -> None:
        answer = await board.board.claim_task(WORKER, agent=f"a{number}", run=board.run)
        if not answer.lease:
            raise RuntimeError(f"a claim got nothing: {answer.reason}")

    return await _timed(board, limit_s, min(CLAIMS, size // 2), claim)


async def reading(folder: Path, entries: int, limit_s: float, step: Callable[[str], None]) -> dict[str, Any]:
    """The cost of the reads that agents make, in one context."""
    rows = []
    async with scene(folder / "reading.db", Watch()) as board:
        step(f"reading a context of {entries:,} entries")
        await board.open_run()
        await board.fill(entries=entries)
        wanted = {
            f"the {NEWEST} newest": Wanted(since=max(0, entries - NEWEST)),
            "nothing new": Wanted(since=entries),
            f"from the start, {BUDGET_TOKENS:,} tokens": Wanted(budget_tokens=BUDGET_TOKENS),
        }
        for name, want in wanted.items():
            step(f"reading {name} of {entries:,} entries")
            rows.append({"read": name, "entries": entries, **await _read(board, want, limit_s)})
    return {
        "title": "Cost of reading the context",
        "durability": "reads: one snapshot each, beside the writer; nothing is written",
        "rows": rows,
    }


async def _read(board: Scene, wanted: Wanted, limit_s: float) -> dict[str, Any]:
    lines = 0

    async def read(_: int) -> None:
        nonlocal lines
        answer = await board.board.read_context(WORKER, wanted, run=board.run)
        lines = answer.text.count("\n")

    found = await _timed(board, limit_s, READS, read)
    return {"lines": lines, **found}
