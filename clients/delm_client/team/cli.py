"""`delm-run team`, `attach`, `stop` and `resume`, and the report of a team."""

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import anyio
import typer
from rich.console import Console

from delm_client.git import GitError
from delm_client.session import BoardError
from delm_client.team import launch
from delm_client.team.finish import head_now, write_report
from delm_client.team.folder import Folder, choose
from delm_client.team.harness import Permissions
from delm_client.team.harnesses import HARNESSES
from delm_client.team.processes import end_leftovers
from delm_client.team.show import watch
from delm_client.team.wish import COMMAND, TeamError, Wish, read_goal, read_members
from delm_client.team.work import ending_signals
from delm_client.team.worktrees import find_repository
from delm_client.terminal import SteadyConsole
from delm_client.words import innermost

out = SteadyConsole(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)
STOP_S = 120.0
POLL_S = 0.1

TEAM_HELP = "\n\n".join(
    [
        "Let coding agents work on this repository as one team, without a leader.",
        "Each agent gets a git worktree and a branch of its own, and joins the board: it claims tasks, "
        "reads what peers have established, and proposes what it made. What the team makes is a branch, "
        "[bold]delm/RUN[/], on which every commit passed the run's commands. Your branch, index and files "
        "are never touched.",
        'delm-run team "fix the failing tests" --agents claude:2,codex:1 --check "pytest -q"',
        "Exit code 0 when the run is finished, 1 when it is not, 2 for bad input, 130 after Ctrl-C (which "
        "ends agents in order and keeps their work; go on with [bold]delm-run resume[/]).",
    ]
)
RunArg = Annotated[str, typer.Argument(metavar="[RUN]", help="The team's run; needed where several fit.")]


def team(
    goal: Annotated[str, typer.Argument(help="What the team is to reach.")] = "",
    agents: Annotated[
        list[str] | None,
        typer.Option(
            "--agents",
            help="Who works, such as claude:2,codex:1. Any other agent: 'cmd:my-agent --mcp {config}' "
            "(or cmd:3:...), taken whole; it may name {config}, {url}, {prompt}, {worktree}, {label}. "
            "Repeatable.",
        ),
    ] = None,
    goal_file: Annotated[Path | None, typer.Option(help="Read the goal from a file.")] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="A first task; repeatable. Default: the goal itself.")
    ] = None,
    tasks_file: Annotated[
        Path | None,
        typer.Option(
            help="First tasks as JSON: a list of {subject, detail, after, needs, priority, copies}."
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            help='A command that patches must pass: --check "pytest -q", or name=words; repeatable.'
        ),
    ] = None,
    policy: Annotated[str, typer.Option(help="open, standard, strict, or a TOML file.")] = "standard",
    protect: Annotated[
        list[str] | None,
        typer.Option(help="Globs that patches cannot change; default: tests and their settings."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="The model for all, or claude=NAME,codex=NAME.")
    ] = None,
    budget_usd: Annotated[
        float | None,
        typer.Option(
            help="End the team when it has spent so much, as far as clients tell (some only when they end)."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="End the team after so many seconds; 0: never.")] = 0,
    permissions: Annotated[
        Permissions,
        typer.Option(
            help="read: only read files; edit: also change files in its worktree, and run git and the "
            "commands of --check; full: whatever you may do."
        ),
    ] = Permissions.EDIT,
    include_dirty: Annotated[
        bool, typer.Option("--include-dirty", help="Start from your uncommitted work, too.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the agents' worktrees and branches.")] = False,
    transport: Annotated[
        Literal["http", "stdio"],
        typer.Option(help="One server for all with a token for each, or one that each client starts."),
    ] = "http",
    restarts: Annotated[
        int, typer.Option(min=0, help="How often in a row an agent may end without a result.")
    ] = 3,
    run: Annotated[str, typer.Option("--run", help="A name for the run; default: after the goal.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be started.")] = False,
    simulated: Annotated[bool, typer.Option("--simulated", hidden=True)] = False,
) -> None:
    """Launch a team, and tell the exit code."""
    with _clear_errors():
        kinds = [*HARNESSES, COMMAND]
        wish = Wish(
            goal=read_goal(goal, goal_file),
            members=read_members(agents or (), model or (), kinds),
            tasks=tuple(task or ()),
            tasks_file=str(tasks_file or ""),
            checks=tuple(check or ()),
            policy=policy,
            protect=tuple(protect or ()),
            budget_usd=budget_usd,
            timeout_s=timeout,
            permissions=permissions,
            include_dirty=include_dirty,
            keep=keep,
            transport=transport,
            restarts=restarts,
            run=run,
            simulated=simulated,
            command=shlex.join(["delm-run", *sys.argv[1:]]),
        )
        if dry_run:
            anyio.run(launch.dry_run, wish, Path.cwd(), out)
            return
        _end_on_signals()
        code = anyio.run(launch.new, wish, Path.cwd(), out)
    raise typer.Exit(code)


def resume(
    run: RunArg = "",
    budget_usd: Annotated[
        float | None, typer.Option(help="Another budget; what was spent before counts.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds from now; 0: no end.")] = None,
) -> None:
    """Let a team go on that was stopped or interrupted: the same run and board, and the agents' branches."""
    with _clear_errors():
        folder = _chosen(run, lambda one: one.launcher() is None and one.facts().outcome != "finished")
        changes = {"budget_usd": budget_usd, "timeout_s": timeout}
        _end_on_signals()
        code = anyio.run(launch.again, folder, Path.cwd(), changes, out)
    raise typer.Exit(code)


def attach(run: RunArg = "") -> None:
    """Watch a team that another terminal has launched. Ctrl-C ends the watching only."""
    with _clear_errors():
        folder = _chosen(run, lambda one: one.launcher() is not None)
        if folder.launcher() is None and folder.processes():
            raise TeamError(
                f"The launcher of the team {folder.run} was killed, and what it started is still there: "
                f"`delm-run resume {folder.run}` lets it go on, `delm-run stop {folder.run}` ends it."
            )
        if folder.launcher() is None:
            raise TeamError(
                f"The team {folder.run} is not under way. `delm-run report {folder.run}` shows what it "
                f"did, and `delm-run resume {folder.run}` lets it go on if its run is open."
            )
        try:
            ended = anyio.run(watch, folder, out)
        except KeyboardInterrupt:
            return
        facts = folder.facts()
        said = f"The team has ended: {facts.outcome}." if ended else "The launcher is gone: delm-run resume."
        out.print(said, markup=False)


def stop(run: RunArg = "") -> None:
    """End a team in order, as Ctrl-C in its terminal would; its work is kept."""
    with _clear_errors():
        folder = _chosen(run, lambda one: one.launcher() is not None or bool(one.processes()))
        launcher = folder.launcher()
        if launcher is None:
            if left := end_leftovers(folder):
                out.print(f"Its launcher was killed before; ended what it left: {left}", markup=False)
                return
            raise TeamError(f"The team {folder.run} is not under way, so there is nothing to stop.")
        launcher.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while folder.launcher() is not None:  # its lock ends with it, even where nobody reaps it
            if time.monotonic() > until:
                raise TeamError(f"The launcher {launcher.pid} has not ended within {STOP_S:.0f} s.")
            time.sleep(POLL_S)
        outcome = folder.facts().outcome
        more = "" if outcome == "finished" else f" It goes on with: delm-run resume {folder.run}"
        out.print(f"The team {folder.run} has ended: {outcome}.{more}", markup=False, soft_wrap=True)


def report(run: str = "") -> None:
    """Write the report of a team again, and print where it is; `delm-run report` is this for teams."""
    with _clear_errors():
        folder = _chosen(run, lambda _: True)
        for path in write_report(folder, head_now(folder, folder.facts())):
            out.print(str(path), markup=False, soft_wrap=True)


def _end_on_signals() -> None:
    """Until the team is at work, whatever asks us to end is a Ctrl-C, after which nothing is left behind."""
    for number in ending_signals():
        signal.signal(number, signal.default_int_handler)


def known(run: str) -> bool:
    """Whether a team of this repository has that run."""
    try:
        return choose(find_repository(Path.cwd()).main, run, prefer=lambda _: True).run == run
    except (GitError, TeamError, OSError):
        return False


def _chosen(run: str, prefer: "launch.Prefer") -> Folder:
    repository = find_repository(Path.cwd())
    return choose(repository.main, run, prefer=prefer)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What a user can mend is said in plain words; everything else is a bug and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped before anything was started.", markup=False)
        raise typer.Exit(130) from None
    except Exception as error:
        bottom = innermost(error)
        if not isinstance(bottom, TeamError | GitError | BoardError | OSError):
            raise
        text = str(bottom)
        if isinstance(bottom, OSError) and bottom.filename is not None:
            text = f"{bottom.filename}: {bottom.strerror}"
        err.print(text, style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def add_to(app: typer.Typer) -> None:
    """Give an application these commands."""
    app.command(help=TEAM_HELP)(team)
    for command in (attach, stop, resume):
        app.command()(command)
