"""`agent`: the agents of a run, and their leases, as the board's owner looks after them."""

from typing import Annotated

import typer
from rich.table import Table

from delm_mcp.board import tending
from delm_mcp.board.tending import Outcome, Tended
from delm_mcp.cli import views
from delm_mcp.cli.runs import OWNER, RunName
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import opened, out, run

app = typer.Typer(
    no_args_is_help=True,
    help="List the agents of a run; keep the leases of those that are alive, hand on those of the dead.",
)
Names = Annotated[list[str], typer.Argument(help="Names of agents, as `delm-mcp agent list` shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("keep")
def keep(names: Names, board: BoardFile = None, run_name: RunName = "", as_json: AsJson = False) -> None:
    """Renew the leases of agents that you know to be alive, up to each lease's ceiling.

    For whoever starts agents: call it about once a minute for those whose process runs. Over stdio the
    agent's own server does this already. Names that hold nothing, or have not joined yet, are said and
    are no error.
    """

    async def main() -> None:
        async with opened(board) as served:
            tended = await tending.keep(served.board, OWNER, names, run_name)
        _print(tended, as_json)

    run(main)


@app.command("release")
def release(
    names: Names,
    note: Annotated[str, typer.Option(help="Why; the next holder of the task reads it.")] = "",
    board: BoardFile = None,
    run_name: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Hand the tasks of agents on at once, instead of waiting until their leases end.

    For agents that died or hang. Their task goes back to the queue (a loss is counted), and what they
    still send under the old lease changes nothing.
    """

    async def main() -> None:
        async with opened(board) as served:
            tended = await tending.release(served.board, OWNER, names, run_name, note)
        _print(tended, as_json)

    run(main)


@app.command("list")
def list_agents(board: BoardFile = None, run_name: RunName = "", as_json: AsJson = False) -> None:
    """Show who works in a run: principal, tags, when last seen, what each holds and for how long."""

    async def main() -> None:
        async with opened(board) as served:
            rows = await tending.agents_of(served.board, OWNER, run_name)
        if as_json:
            views.print_json(rows)
            return
        if not rows:
            out.print("No agent has joined yet.")
            return
        table = Table("agent", "principal", "tags", "seen", "holds", "left")
        for row in rows:
            holds = (
                f"{row['task']} ({row['kind']}) {views.escape(row['subject'][:60])}" if row["task"] else ""
            )
            table.add_row(
                views.escape(row["agent"]),
                views.escape(row["principal"]),
                ", ".join(row["tags"]),
                f"{row['seen_s_ago']:.0f} s ago" + ("" if row["live"] else " (gone)"),
                holds,
                f"{row['lease_left_s']:.0f} s" if row["task"] else "",
            )
        out.print(table)

    run(main)


def _print(tended: list[Tended], as_json: bool) -> None:
    if as_json:
        views.print_json(tending.as_json(tended))
        return
    for one in tended:
        out.print(f"{views.escape(one.agent)}: {_said(one)}", highlight=False, soft_wrap=True)


def _said(one: Tended) -> str:
    match one.outcome:
        case Outcome.KEPT:
            return f"{one.task} is kept for {one.left_s:.0f} s"
        case Outcome.RELEASED:
            return f"{one.task} is handed on"
        case Outcome.AT_CEILING:
            return f"the lease of {one.task} is at its ceiling and ends in {one.left_s:.0f} s"
        case Outcome.IDLE:
            return "holds nothing"
        case Outcome.UNKNOWN:
            return "unknown: no agent of this run has that name (yet)"
