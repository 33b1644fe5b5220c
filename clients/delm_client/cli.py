"""`delm-run`: launches teams of agents on a board."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.live import Live

from delm_client import demo as demos
from delm_client import screen
from delm_client.git import GitError
from delm_client.repair import RepairError
from delm_client.session import BoardError

app = typer.Typer(
    name="delm-run",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Launch a team of agents on a DeLM board.\n\n"
    "Try [bold]delm-run demo[/]: no model and no key are needed.",
)
out = Console()
err = Console(stderr=True)


@app.callback()
def options() -> None:
    """Launch a team of agents on a DeLM board."""


@app.command()
def demo(
    path: Annotated[
        Path | None, typer.Argument(help="A Python project with failing tests; default: the bundled sample.")
    ] = None,
    check: Annotated[str, typer.Option(help="The command that runs its tests with pytest.")] = "pytest -q",
    agents: Annotated[int, typer.Option(min=1, max=32, help="How many agents, each a process.")] = 4,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill one agent half-way (kill -9).")] = False,
    into: Annotated[
        Path | None, typer.Option(help="A new folder for the copy, the board and the result.")
    ] = None,
    mutants: Annotated[int, typer.Option(min=0, help="Edits to try for a target at most; 0: all.")] = 0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds after which the team is stopped.")] = 1800,
    picture: Annotated[
        Path | None, typer.Option(help="Save the live view, as it is half-way, as an SVG picture.")
    ] = None,
) -> None:
    """Let a team repair failing tests, in parallel, over real MCP.

    The agents have no language model: each searches for one edit that makes the failing tests of its task
    pass, and proposes it as a patch. The board admits a patch only after it ran the whole suite on the
    merged result. The project is copied; the original is never touched.

    Exit code 0 when the run is finished, 1 when it is not, 2 for bad input.
    """
    wish = demos.Wish(path, check, agents, chaos, into, mutants, timeout)
    try:
        finished = anyio.run(_demo, wish, picture)
    except (demos.DemoError, RepairError, GitError, BoardError) as error:
        err.print(f"[red]{str(error).replace('[', '(')}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        err.print("Stopped: all agents are ended; the board keeps what was verified.")
        raise typer.Exit(130) from None
    if not finished:
        raise typer.Exit(1)


async def _demo(wish: demos.Wish, picture: Path | None) -> bool:
    with out.status(f"Copying {wish.path or 'the bundled sample'} and running its tests ..."):
        scene = await anyio.to_thread.run_sync(demos.prepare, wish, abandon_on_cancel=True)
    failing = len(scene.before.failing)
    total = len(scene.before.outcomes)
    if not scene.targets:
        out.print(f"All {total} tests pass already: there is nothing to repair.")
        return True
    out.print(
        f"{failing} of {total} tests fail, in {len(scene.targets)} groups; {wish.agents} agents, "
        f"board {scene.board}",
        highlight=False,
        soft_wrap=True,
    )
    await demos.run(wish, scene, partial(_show, picture=picture))
    status = await anyio.to_thread.run_sync(demos.board_status, scene)
    run = status["runs"][0]
    patch = demos.write_patch(scene, run["head"], run["base"])
    screen.summary(out, scene, status, str(patch))
    return bool(run["state"] == "finished")


async def _show(scene: demos.Scene, *, picture: Path | None) -> None:
    """Draw the scene a few times a second; where there is no terminal, one line for each verdict."""
    told = 0
    with Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else nullcontext() as view:
        while True:
            if view is not None:
                view.update(screen.live(scene), refresh=True)
            else:
                for verdict in scene.verdicts[told:]:
                    line = f"{verdict['state']} {verdict['entry']} {verdict['edit']}"
                    out.print(line, highlight=False, markup=False, soft_wrap=True)
                told = len(scene.verdicts)
            if picture is not None and len(scene.verdicts) > len(scene.targets) / 2:
                screen.save(scene, picture)
                picture = None
            await anyio.sleep(0.2)


def main() -> None:
    """The entry point."""
    app()
