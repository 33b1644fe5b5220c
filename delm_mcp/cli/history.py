"""`audit` and `export`: the history of a run, walked and written out."""

import json
import sys
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape

from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import opened, out, run
from delm_mcp.domain.model import LogRow, Run, RunId
from delm_mcp.errors import NotFound
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


def _examine(tx: Tx, run_id: RunId, head: str) -> tuple[int, str, list[str]]:
    """Walk a run's log and replay it.

    Args:
        head: A head hash that was written down earlier; the log must contain it.

    Returns:
        The number of rows, the head hash, and the faults in words.
    """
    rows: list[LogRow] = tx.log(run_id)
    fault = journal.walk(rows)
    faults = [f"log row {fault.seq}: {fault.problem}"] if fault else []
    if not faults:
        faults += journal.differences(journal.replay(rows), tx.dump(run_id))
    if head and all(row.hash != head for row in rows):
        faults.append(f"the log does not contain the head {head[:16]}...: its end is missing or was replaced")
    return len(rows), rows[-1].hash if rows else "", faults


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
            integrity = await served.board.store.check_integrity()
            listed = await served.board.store.read(lambda tx: _runs(tx, run_name))
            clean = integrity == "ok"
            if not clean:
                out.print(f"[red]the file is damaged[/]: {escape(integrity)}", highlight=False)
            for row in listed:
                rows, found, faults = await served.board.store.read(
                    partial(_examine, run_id=row.id, head=head)
                )
                clean = clean and not faults
                verdict = "[green]ok[/]" if not faults else "[red]tampered or damaged[/]"
                out.print(
                    f"{row.id}: {rows} rows, version {row.version}, head {found or '-'}: {verdict}",
                    highlight=False,
                    soft_wrap=True,
                )
                for fault in faults:
                    out.print(f"  {fault}", highlight=False, markup=False, soft_wrap=True)
            if not listed:
                out.print("no runs on this board")
            return clean

    if not run(main):
        raise typer.Exit(1)


def export(board: BoardFile = None, run_name: RunName = "") -> None:
    """Write a run as JSON Lines: the run, tasks, entries, checks, changes, log rows, and the head hash."""

    async def main() -> None:
        async with opened(board) as served:
            rows = await served.board.store.read(lambda tx: _exported(tx, run_name))
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")

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
        rows += [{"type": "change", **asdict(change)} for change in tx.changes(row.id, 0, row.version)]
        rows += [{"type": "log", **asdict(line)} for line in tx.log(row.id)]
        head = tx.log_head(row.id)
        rows.append(
            {"type": "head", "run": row.id, "seq": head.seq if head else 0, "hash": head.hash if head else ""}
        )
    return rows
