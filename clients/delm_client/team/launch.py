"""A team from its start to its summary: prepared, at work, finished."""

import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console

from delm_client.team import prepare
from delm_client.team.finish import finish, write_report
from delm_client.team.folder import Folder
from delm_client.team.harness import Server
from delm_client.team.hosting import StdioHost
from delm_client.team.owner import Owner
from delm_client.team.record import Noted, TeamFacts
from delm_client.team.show import Screen
from delm_client.team.summary import print_summary
from delm_client.team.supervise import Ending
from delm_client.team.team import Team
from delm_client.team.wish import Wish
from delm_client.team.work import until_signalled, work
from delm_client.team.worktrees import branch_of
from delm_client.terminal import steadily
from delm_client.words import innermost, plural

Prefer = Callable[[Folder], bool]
INTERRUPTED = 130


async def new(wish: Wish, start: Path, out: Console) -> int:
    """Launch a new team; returns the exit code.

    Raises:
        TeamError, GitError: It cannot be launched; says why, and nothing is left behind.
    """
    prepare.harnesses_of(wish)
    wish, repository = prepare.located(wish, start)
    prepare.clear_unopened(repository)
    while True:
        run = await prepare.name_for(wish, repository)
        folder = Folder(repository.main / ".delm" / "teams" / run)
        if folder.make():  # else another launcher was quicker, and the name is looked at again
            break
    with folder.locked():
        with out.status(f"Opening run {run} ..."):
            team = await prepare.open_team(wish, repository, run)
        return await _lead(team, out)


async def again(folder: Folder, start: Path, changes: Mapping[str, float | None], out: Console) -> int:
    """Let a team go on; returns the exit code."""
    with folder.locked():
        with out.status(f"Going on with run {folder.run} ..."):
            team = await prepare.open_again(folder, start, changes)
        return await _lead(team, out)


async def _lead(team: Team, out: Console) -> int:
    """Let a prepared team work, finish, and print the summary."""
    ending, told = Ending(), list[signal.Signals]()
    team.record.open()
    screen = Screen(out, team.facts, team.record.lines)
    team.record.listeners.append(screen.hear)
    with steadily(out):
        _print_head(out, team)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(until_signalled, ending, told, team.record)
            try:
                async with screen.drawn():
                    outcome = await work(team, ending)
            except BaseException as error:
                with anyio.CancelScope(shield=True):
                    team.record.tell(Noted(f"The team ended by an error: {innermost(error)}"))
                    _reports(team, await finish(team, "interrupted"))
                raise
            with anyio.CancelScope(shield=True):
                facts = await finish(team, outcome)
            reports = _reports(team, facts)
            group.cancel_scope.cancel()
    finally:
        team.record.close()
    with steadily(out):
        print_summary(out, team, facts, reports)
    if signal.SIGINT in told:
        return INTERRUPTED
    return 0 if facts.outcome == "finished" else 1


def _print_head(out: Console, team: Team) -> None:
    run = team.facts.run
    if not team.facts.commands:
        out.print(
            "No --check was given, so nothing runs what agents propose: patches are taken at their "
            'word. For example --check "pytest -q".',
            style="yellow",
            soft_wrap=True,
        )
    for said in (
        f"run {run}: {plural(len(team.labels), 'agent')} from commit {team.facts.base[:12]}",
        f"watch it elsewhere: delm-run attach {run}; end it: Ctrl-C, or delm-run stop {run}",
    ):
        out.print(said, markup=False, soft_wrap=True)
    if team.facts.simulated:
        out.print("A scripted model answers in place of a real one.", style="yellow")


def _reports(team: Team, facts: TeamFacts) -> list[Path]:
    try:
        return write_report(team.folder, facts, team.record.lines)
    except OSError as error:
        team.record.tell(Noted(f"The report cannot be written: {error}"))
        return []


# -- only showing it -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _NoHost:
    """Stands for a server that is not started."""

    def server(self, label: str) -> Server:
        """An address whose port is chosen at the start."""
        return Server(url="http://127.0.0.1:PORT/mcp")

    def secrets(self, label: str) -> Mapping[str, str]:
        """None are made."""
        return {}

    async def ready(self) -> None:
        """Nobody waits for it."""


async def dry_run(wish: Wish, start: Path, out: Console) -> None:
    """Print what would be made and started, and make nothing."""
    harnesses = prepare.harnesses_of(wish, missing_ok=True)
    wish, repository = prepare.located(wish, start)
    run = await prepare.name_for(wish, repository)
    folder = Folder(repository.main / ".delm" / "teams" / run)
    owner = Owner(repository.board, repository.here)
    facts = prepare.facts_for(wish, repository, run, repository.head)
    team = Team(wish, repository, folder, owner, facts, harnesses)
    host = StdioHost(owner) if wish.transport == "stdio" else _NoHost()

    def say(text: str) -> None:
        out.print(text, markup=False, soft_wrap=True)

    say(f"run {run} on {repository.board}, from commit {repository.head[:12]}, policy {wish.policy}")
    for name, words in facts.commands.items():
        say(f"command {name}: {words}")
    for member in wish.members:
        assignment = team.assignment(member, host)
        launch = harnesses[member.label].launch(assignment)
        say(f"\n{member.label} in {assignment.worktree}, branch {branch_of(run, member.label)}")
        say(f"  starts: {shlex.join(launch.argv)}")
        for name, value in launch.variables.items():
            say(f"  sets {name}={value}")
        for path, text in launch.files.items():
            say(f"  writes {path}:")
            say("".join(f"    {line}\n" for line in text.splitlines()).rstrip("\n"))
        if launch.stdin and launch.stdin != assignment.prompt:
            say(f"  reads {len(launch.stdin)} characters from standard input")
    say(f"\nprompt of {wish.members[0].label}:\n{team.prompt(wish.members[0].label)}")
    say("Nothing was made or started.")
