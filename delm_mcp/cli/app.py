"""`delm-mcp`: the commands, each in the module of its subject."""

from typing import Annotated

import typer

from delm_mcp import __version__
from delm_mcp.cli import (
    agents,
    bench,
    doctor,
    history,
    hooks,
    installing,
    judging,
    reading,
    runs,
    serving,
    stats,
    tokens,
)
from delm_mcp.cli.wiring import out

app = typer.Typer(
    name="delm-mcp",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="A task queue and a verified shared context that any coding agent joins over MCP.\n\n"
    'Start with [bold]delm-mcp init "goal"[/], then let agents join with [bold]delm-mcp stdio[/].',
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"delm-mcp {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What every command shares."""


app.command("init")(runs.init)
app.command("install")(installing.install)
app.command("doctor")(doctor.doctor)
app.command("stdio")(serving.stdio)
app.command("serve")(serving.serve)
app.command("status")(runs.status)
app.command("context")(reading.context)
app.command("why")(reading.why)
app.command("diff")(reading.diff)
app.command("stats")(stats.stats)
app.command("retract")(runs.retract)
app.command("cancel")(runs.cancel)
app.command("audit")(history.audit)
app.command("export")(history.export)
app.command("backup")(history.backup)
app.command("tools")(serving.tools)
app.command("bench")(bench.bench)
app.add_typer(agents.app, name="agent")
app.add_typer(hooks.app, name="hook")
app.add_typer(tokens.app, name="token")
app.add_typer(judging.app, name="judge")


def main() -> None:
    """The entry point."""
    app()
