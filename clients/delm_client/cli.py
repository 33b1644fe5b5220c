"""`delm-run`: launches teams of agents on a board."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.live import Live

from delm_client import demo as demos
from delm_client import reports, screen, terminal
from delm_client.bench import cli as benchmarks
from delm_client.git import GitError
from delm_client.prepare import DemoError, Wish, prepare
from delm_client.repair import RepairError
from delm_client.scene import Scene
from delm_client.session import BoardError
from delm_client.simulate.cli import HELP as SIMULATE_HELP
from delm_client.simulate.cli import simulate
from delm_client.study.cli import HELP as STUDY_HELP
from delm_client.study.cli import repair_study
from delm_client.team import cli as teams
from delm_client.words import innermost, plural

app = typer.Typer(
    name="delm-run",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Launch a team of agents on a DeLM board.\n\n"
    "Try [bold]delm-run demo[/]: no model and no key are needed. With agents of your own: "
    '[bold]delm-run team "fix the failing tests" --agents claude:2[/].',
)
teams.add_to(app)
benchmarks.add_to(app)
reports.add_to(app)
out = Console()
err = Console(stderr=True)

# One line for each paragraph: the help is wrapped at the width of the terminal.
DEMO_HELP = "\n\n".join(
    [
        "Let a team repair failing tests, in parallel, over real MCP.",
        "The agents have no language model: each searches for one edit that makes the failing tests of its "
        "task pass, and proposes it as a patch. The board admits a patch only after it ran the whole suite "
        "on the merged result. The project is copied; the original is never touched.",
        "Exit code 0 when the run is finished, 1 when it is not, 2 for bad input.",
    ]
)


@dataclass
class Picture:
    """The picture that the user asked for, if any."""

    path: Path | None
    saved: bool = False

    def save(self, scene: Scene) -> None:
        """Save the live view, once."""
        if self.path is None or self.saved:
            return
        self.saved = True
        try:
            screen.save(scene, self.path)
        except OSError as error:
            self.path = None
            scene.notes.append(f"The picture could not be saved: {_plain(error)}")


@app.callback()
def options() -> None:
    """Launch a team of agents on a DeLM board."""


@app.command(help=DEMO_HELP)
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
    """Let a team repair failing tests, and tell the exit code."""
    wish = Wish(path, check, agents, chaos, into, mutants, timeout)
    wanted = Picture(picture)
    try:
        with _clear_errors():
            finished = anyio.run(_demo, wish, wanted)
    except KeyboardInterrupt:
        err.print("Stopped: all agents are ended; the board keeps what was verified.")
        if wanted.path is not None and wanted.saved:
            err.print(f"picture    {wanted.path}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if not finished:
        raise typer.Exit(1)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What a user can mend is said in plain words; everything else is a bug and keeps its traceback."""
    try:
        yield
    except Exception as error:
        bottom = innermost(error)
        if not isinstance(bottom, DemoError | RepairError | GitError | BoardError | OSError):
            raise
        text = _plain(bottom) if isinstance(bottom, OSError) else str(bottom)
        err.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _plain(error: OSError) -> str:
    """What the system said about which file, without numbers and brackets."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        source, _, why = error.args[0][0]
        more = len(error.args[0]) - 1
        return f"{source} cannot be copied: {why}" + (f" (and {plural(more, 'more file')})" if more else "")
    if error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


async def _demo(wish: Wish, picture: Picture) -> bool:
    if wish.chaos and wish.agents < 2:
        raise DemoError("--chaos kills one agent, and another must take over: pass --agents 2 or more.")
    if picture.path is not None and not picture.path.absolute().parent.is_dir():
        raise DemoError(f"{picture.path.absolute().parent} is not a folder: --picture cannot be saved there.")
    with out.status(f"Copying {wish.path or 'the bundled sample'} and running its tests ..."):
        scene = await anyio.to_thread.run_sync(prepare, wish, abandon_on_cancel=True)
    failing = len(scene.before.failing)
    total = len(scene.before.outcomes)
    if not scene.targets:
        subject = "The only test passes" if total == 1 else f"All {total} tests pass"
        out.print(f"{subject} already: there is nothing to repair.", highlight=False)
        return True
    out.print(
        f"{failing} of {plural(total, 'test')} {'fails' if failing == 1 else 'fail'}, in "
        f"{plural(len(scene.targets), 'group')}; {plural(wish.agents, 'agent')}, board {scene.board}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if wish.path is None:
        out.print("This takes about two minutes on two cores.", highlight=False)
    await demos.run(wish, scene, partial(_show, picture=picture))
    status = await anyio.to_thread.run_sync(demos.board_status, scene)
    run = status["runs"][0]
    patch = demos.write_patch(scene, run["head"], run["base"])
    screen.summary(out, scene, status, str(patch), picture.path)
    return bool(run["state"] == "finished")


async def _show(scene: Scene, *, picture: Picture) -> None:
    """Draw the scene a few times a second; where there is no terminal, one line for each verdict."""
    told = 0
    try:
        with (
            Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else nullcontext()
        ) as view:
            while True:
                if view is not None:
                    view.update(screen.live(scene, out.height - 1), refresh=True)
                else:
                    for verdict in scene.verdicts[told:]:
                        line = f"{verdict['state']} {verdict['entry']} {verdict['edit']}"
                        out.print(terminal.printable(line), highlight=False, markup=False, soft_wrap=True)
                    told = len(scene.verdicts)
                if scene.decided > len(scene.targets) / 2:
                    picture.save(scene)
                await anyio.sleep(0.2)
    finally:
        picture.save(scene)  # however the run ends, there is a picture


app.command(help=SIMULATE_HELP)(simulate)
app.command("repair-study", help=STUDY_HELP)(repair_study)


def main() -> None:
    """The entry point."""
    terminal.print_anything()
    app()
