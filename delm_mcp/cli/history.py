"""`audit`, `export` and `backup`: the history of a board, walked, written out and kept."""

import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import opened, out, run
from delm_mcp.domain.model import Run, RunId
from delm_mcp.domain.text import one_line
from delm_mcp.errors import ConfigError, NotFound
from delm_mcp.store import journal
from delm_mcp.store.base import Tx

RunName = Annotated[str, typer.Option("--run", help="The run; by default all of them.")]


def _runs(tx: Tx, name: str) -> list[Run]:
    if not name:
        return tx.runs()
    found = tx.run(RunId(name))
    if found is None:
        raise NotFound(f"There is no run {name!r} on this board.", "`delm-mcp status` lists them.")
    return [found]


@dataclass(frozen=True, slots=True)
class Audited:
    """What walking and replaying a run's log found; `knows_head` if the head asked for is in it."""

    run: Run
    rows: int
    head: str
    faults: list[str]
    knows_head: bool


def _examine(tx: Tx, run_id: RunId, head: str) -> Audited:
    row = _runs(tx, run_id)[0]
    rows = tx.log(run_id)
    fault = journal.walk(rows)
    faults = [f"log row {fault.seq}: {fault.problem}"] if fault else []
    if not faults:
        faults = journal.differences(journal.replay(rows), tx.dump(run_id))
    last = rows[-1].hash if rows else ""
    return Audited(row, len(rows), last, faults, any(line.hash == head for line in rows))


def audit(
    board: BoardFile = None,
    run_name: RunName = "",
    head: Annotated[
        str,
        typer.Option(help="A head hash that `status` or `export` printed: catches a log that lost its end."),
    ] = "",
) -> None:
    """Check that nothing in the history was changed: walk the hash chain and replay it into the tables.

    Exits with 1 when something does not fit.
    """

    async def main() -> bool:
        async with opened(board) as served:
            store = served.board.store
            integrity = await store.check_integrity()
            listed = await store.read(lambda tx: _runs(tx, run_name))
            found = [await store.read(partial(_examine, run_id=row.id, head=head)) for row in listed]
        clean = integrity == "ok" and not any(audited.faults for audited in found)
        if integrity != "ok":
            _say(f"the file is damaged: {integrity}", "red")
        for audited in found:
            _print_audited(audited)
        if head and not any(audited.knows_head for audited in found):
            _say(f"no log here contains the head {head[:16]}...: its end is missing or was replaced", "red")
            clean = False
        if not found:
            _say("no runs on this board")
        return clean

    if not run(main):
        raise typer.Exit(1)


def _print_audited(audited: Audited) -> None:
    verdict = "tampered or damaged" if audited.faults else "ok"
    _say(
        f"{audited.run.id}: {audited.rows} rows, version {audited.run.version}, "
        f"head {audited.head or '-'}: {verdict}",
        "red" if audited.faults else "green",
    )
    for fault in audited.faults:
        _say(f"  {one_line(fault)}")


def _say(text: str, style: str = "") -> None:
    out.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def backup(
    target: Annotated[Path, typer.Argument(help="The new file.")],
    board: BoardFile = None,
) -> None:
    """Copy the board into a new file, while agents work on it. A plain copy of an open board is no backup."""

    async def main() -> None:
        if target.exists():
            raise ConfigError(f"{target} exists already.", "Name a new file.")
        async with opened(board) as served:
            await served.board.store.backup(target)
        _say(f"copied to {target}")

    run(main)


def export(board: BoardFile = None, run_name: RunName = "") -> None:
    """Write a run as JSON Lines: run, tasks, entries, checks, votes, changes, log rows, and the head hash."""

    async def main() -> None:
        async with opened(board) as served:
            rows = await served.board.store.read(lambda tx: _exported(tx, run_name))
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")

    run(main)


def _exported(tx: Tx, run_name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in _runs(tx, run_name):
        rows.append({"type": "run", **asdict(row)})
        rows += [{"type": "agent", **asdict(agent)} for agent in tx.agents(row.id)]
        rows += [{"type": "task", **asdict(task), "token": ""} for task in tx.tasks(row.id)]
        for entry in tx.entries(row.id):
            rows.append({"type": "entry", **asdict(entry)})
            rows += [{"type": "check", **asdict(check)} for check in tx.checks_of(entry.id)]
        rows += [{"type": "vote", **asdict(vote)} for vote in tx.votes_in(row.id)]
        rows += [{"type": "change", **asdict(change)} for change in tx.changes(row.id, 0, row.version)]
        rows += [{"type": "log", **asdict(line)} for line in tx.log(row.id)]
        head = tx.log_head(row.id)
        rows.append(
            {"type": "head", "run": row.id, "seq": head.seq if head else 0, "hash": head.hash if head else ""}
        )
    return rows
