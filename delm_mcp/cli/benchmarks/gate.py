"""What the gate costs: the same proposals under each preset, by the same agents, in one run.

The presets take turns, a small batch each, so that a change of the machine's load hits all alike; each
batch is compared with that of `open` in the same round.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import anyio

from delm_mcp.board import Board
from delm_mcp.board.background import beside
from delm_mcp.board.examining import Examiner
from delm_mcp.board.runs import Opening
from delm_mcp.cli.benchmarks import workshop
from delm_mcp.cli.benchmarks.scene import DURABILITY, Scene, finding, scene
from delm_mcp.cli.benchmarks.team import Team, Worked
from delm_mcp.cli.benchmarks.timing import percentile, ratio
from delm_mcp.cli.benchmarks.watched import Watch
from delm_mcp.cli.benchmarks.workshop import CHECK, Workshop
from delm_mcp.domain.model import Evidence
from delm_mcp.domain.policy import OUTSIDE, build
from delm_mcp.domain.proposal import Proposal
from delm_mcp.errors import CheckUnavailable

PRESETS = ("open", "standard", "strict")
QUOTE, ARTIFACT, COMMAND, REPEATED = "quote", "artifact", "command", "command, again"
LINES = 400
LINE = "Component {}: settings loaded (1 time), nothing is read again before the next restart"
SOURCE = ("settings.log", "\n".join(LINE.format(number) for number in range(1, LINES + 1)))


@dataclass(frozen=True)
class Size:
    """How much is proposed.

    Attributes:
        agents: How many work at once, two at least to verify each other; each number in batches of its own.
        entries: Facts of a batch, with a quote or an artifact.
        commands: Facts of a batch that cite a command.
        rounds: How often each has its turn at least.
        limit_s: More rounds than these are begun only if they are likely to end within this time.
    """

    agents: tuple[int, ...]
    entries: int
    commands: int
    rounds: int
    limit_s: float


@dataclass(frozen=True)
class Cell:
    """One line of the table: what is proposed, by how many agents, under which preset."""

    proposal: str
    agents: int
    preset: str

    @property
    def under_open(self) -> "Cell":
        """The same proposals where nothing but their form is checked."""
        return Cell(COMMAND if self.proposal == REPEATED else self.proposal, self.agents, PRESETS[0])


def cells_of(agents: Sequence[int], *, commands: bool) -> list[Cell]:
    """The lines of the table. `strict` refuses a fact with nothing but an artifact, so it has none there."""
    many = max(agents)
    cells = [Cell(QUOTE, count, preset) for count in agents for preset in PRESETS]
    cells += [Cell(ARTIFACT, many, preset) for preset in PRESETS[:2]]
    if commands:
        cells += [Cell(COMMAND, many, preset) for preset in PRESETS]
        cells.append(Cell(REPEATED, many, PRESETS[-1]))
    return cells


async def measure(folder: Path, size: Size, flush_s: float, step: Callable[[str], None]) -> dict[str, Any]:
    """How many entries a second are admitted under each preset, and how long each takes."""
    home, shop, left_out = folder / "gate", None, ""
    await anyio.Path(home).mkdir()
    try:
        hidden = (Path.home(), home)
        shop = await workshop.furnished(folder / "gate-repository", size.commands, hidden)
    except CheckUnavailable as error:
        left_out = f"; commands are left out: {error}"
    examiner = Examiner(shop.repo, shop.runner) if shop else Examiner()
    cells = cells_of(size.agents, commands=shop is not None)
    watch = Watch(flush_s=flush_s)
    async with scene(home / "board.db", watch, examiner) as opened, beside(opened.board.checker.work):
        for cell in cells:  # what is loaded on first use is no part of a rate
            step(f"the gate: first {cell.proposal} under {cell.preset}")
            await _batch(opened.board, cell, replace(size, entries=2, commands=1), shop)
        await opened.engine.checkpoint()
        rounds = await _rounds(opened, cells, size, shop, step)
    slept = f", {flush_s * 1e3:g} ms slept in each COMMIT" if flush_s else ""
    facts = f"{size.entries} facts, quotes from a source of {len(SOURCE[1]) // 1000} kB"
    if shop is not None:
        facts += f", {size.commands} facts with a command: `{CHECK.argv[0]}` in {shop.runner.sandbox}"
    return {
        "title": "What the gate costs",
        "durability": f"{DURABILITY}{slept}; {len(rounds)} rounds of {facts}{left_out}",
        "rows": [_row(cell, rounds) for cell in cells],
    }


async def _rounds(
    opened: Scene, cells: Sequence[Cell], size: Size, shop: Workshop | None, step: Callable[[str], None]
) -> list[dict[Cell, Worked]]:
    """Batches of all cells, as often as the time allows, every second time in the reverse order."""
    rounds: list[dict[Cell, Worked]] = []
    began = time.perf_counter()
    while len(rounds) < size.rounds or _next_ends_s(began, len(rounds)) <= size.limit_s:
        found = {}
        for cell in cells if len(rounds) % 2 == 0 else reversed(cells):
            step(f"the gate, round {len(rounds) + 1}: {cell.proposal} of {cell.agents} under {cell.preset}")
            found[cell] = await _batch(opened.board, cell, size, shop)
            await opened.engine.checkpoint()
        rounds.append(found)
    return rounds


def _next_ends_s(began: float, rounds: int) -> float:
    """When one more round will have ended, if it is like those before."""
    return (time.perf_counter() - began) * (rounds + 1) / rounds


async def _batch(board: Board, cell: Cell, size: Size, shop: Workshop | None) -> Worked:
    """Let a team work off one batch, in a run of its own."""
    opening = Opening(
        f"Measure {cell.preset}",
        policy=build({"preset": cell.preset}),
        sources=(SOURCE,) * (cell.proposal == QUOTE),
    )
    if shop is not None and cell.proposal in {COMMAND, REPEATED}:
        opening = replace(opening, commands=(CHECK,), repo=str(shop.repo.main), base=shop.commits[0])
    team = await Team.assemble(board, opening, cell.agents)
    proposals = _proposals(cell, size, shop)
    if cell.proposal == REPEATED:
        await team.work(proposals[:1])
        proposals = proposals[1:]
    worked = await team.work(proposals)
    await team.leave()
    return worked


def _proposals(cell: Cell, size: Size, shop: Workshop | None) -> list[Proposal]:
    """Facts of one sentence and one piece of evidence each."""
    if cell.proposal == ARTIFACT:
        return [finding(number) for number in range(size.entries)]
    if cell.proposal == QUOTE:
        numbers = [1 + n * LINES // size.entries for n in range(size.entries)]
        return [_citing(number, "quote", SOURCE[0], LINE.format(number)) for number in numbers]
    commits = shop.commits[: size.commands] if shop else ()
    if cell.proposal == REPEATED:
        commits = commits[:1] * (1 + size.commands)
    return [_citing(n, "command", CHECK.name, commit) for n, commit in enumerate(commits)]


def _citing(number: int, kind: str, ref: str, text: str) -> Proposal:
    return replace(finding(number), evidence=(Evidence(kind, ref, text),))


# -- what was found ------------------------------------------------------------------------------


def _row(cell: Cell, rounds: Sequence[dict[Cell, Worked]]) -> dict[str, Any]:
    """One line of the table; a rate is the median of the rounds', a time that of all entries."""
    mine, open_ = [found[cell] for found in rounds], [found[cell.under_open] for found in rounds]
    waits, open_waits = _all(mine, "waits_s"), _all(open_, "waits_s")
    commands, cases = _all(mine, "commands_s"), _all(mine, "case_tokens")
    cpu_s, rates = _cpu_s(mine), [worked.rate for worked in mine]
    x_open = [ratio(worked.rate, beside.rate) for worked, beside in zip(mine, open_, strict=True)]
    return {
        "fact_with": cell.proposal,
        "agents": cell.agents,
        "preset": cell.preset,
        "checks": _passed(mine),
        "admitted_per_s": round(median(rates), 1),
        "admitted_per_s_range": [round(min(rates), 1), round(max(rates), 1)],
        "x_open": round(median(x_open), 2),
        "x_open_range": [min(x_open), max(x_open)],
        "p50_ms": round(percentile(waits, 50) * 1e3, 1),
        "x_open_p50": ratio(percentile(waits, 50), percentile(open_waits, 50)),
        "p99_ms": round(percentile(waits, 99) * 1e3, 1),
        "cpu_us": round(cpu_s * 1e6),
        "x_open_cpu": ratio(cpu_s, _cpu_s(open_)),
        "command_p50_ms": round(percentile(commands, 50) * 1e3, 1) if commands else None,
        "case_tokens": round(median(cases)) if cases else None,
        "admitted": len(waits),
    }


def _cpu_s(worked: Sequence[Worked]) -> float:
    """Processor time of an entry, on average."""
    return sum(each.cpu_s for each in worked) / sum(len(each.entries) for each in worked)


def _all(worked: Sequence[Worked], name: str) -> list[Any]:
    return [value for each in worked for value in getattr(each, name)]


def _passed(worked: Sequence[Worked]) -> str:
    """The checks beyond the board's own rows that every one of the entries has a receipt for."""
    passed = [
        {receipt.check for receipt in entry.receipts if receipt.verdict == "pass"}
        for entry in _all(worked, "entries")
    ]
    return ", ".join(name for name in OUTSIDE if all(name in checks for checks in passed)) or "-"
