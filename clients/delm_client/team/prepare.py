"""Before a team works: what it needs is checked, its run opened, and a worktree made for each agent.

When something is missing, nothing is left behind.
"""

import os
import shlex
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import anyio

from delm_client.git import GitError, git
from delm_client.team import worktrees
from delm_client.team.folder import Folder, teams
from delm_client.team.harness import Harness
from delm_client.team.harnesses import HARNESSES
from delm_client.team.harnesses.command import CommandHarness
from delm_client.team.owner import Owner
from delm_client.team.processes import end_leftovers
from delm_client.team.record import TeamFacts
from delm_client.team.team import Team
from delm_client.team.wish import COMMAND, Member, TeamError, Wish, check_bounds, run_name
from delm_client.team.worktrees import Repository, branch_of


def harnesses_of(wish: Wish, *, missing_ok: bool = False) -> dict[str, Harness]:
    """The harness of each member, by label.

    Args:
        missing_ok: Whether programs need not be there, because nothing will be started.

    Raises:
        TeamError: A program is not installed; says how it is.
    """
    found: dict[str, Harness] = {
        member.label: CommandHarness(member.command) if member.kind == COMMAND else HARNESSES[member.kind]
        for member in wish.members
    }
    gone = {one.program: one.install for one in found.values() if shutil.which(one.program) is None}
    if gone and not missing_ok:
        raise TeamError("\n".join(f"{program} is not installed. {hint}" for program, hint in gone.items()))
    return found


def located(wish: Wish, start: Path) -> tuple[Wish, Repository]:
    """The wish with paths that hold everywhere, and the repository.

    Raises:
        TeamError, GitError: No team can work here; says why.
    """
    check_bounds(wish)
    repository = worktrees.find_repository(start)
    if not wish.include_dirty:
        worktrees.refuse_uncommitted(repository.here)
    if wish.tasks_file:
        wish = replace(wish, tasks_file=str((start / wish.tasks_file).resolve()))
    wish = replace(wish, members=tuple(_started_from(start, member) for member in wish.members))
    policy = Path(wish.policy)
    if policy.suffix == ".toml" or os.sep in wish.policy:
        wish = replace(wish, policy=str((start / policy).resolve()))
    return wish, repository


def _started_from(start: Path, member: Member) -> Member:
    """A member whose program is named by a path, such as `./agent.sh`, which holds in its worktree too."""
    program, *words = shlex.split(member.command) if member.command else [""]
    if os.sep not in program or os.path.isabs(program):
        return member
    return replace(member, command=shlex.join([str((start / program).resolve()), *words]))


async def name_for(wish: Wish, repository: Repository) -> str:
    """The run's name: what was asked for, or one after the goal.

    Raises:
        TeamError: It is taken.
    """
    taken = {folder.run for folder in teams(repository.main)}
    taken |= {path.name for path in (repository.main / ".delm" / "teams").glob("*")}
    taken |= set(await Owner(repository.board, repository.here).runs())
    heads = git(
        repository.git_dir, "for-each-ref", "--format=%(refname)", "refs/heads/delm", "refs/heads/delm-work"
    )
    if {"refs/heads/delm", "refs/heads/delm-work"} & set(heads.splitlines()):
        raise TeamError(
            "A branch called delm or delm-work stands in the way of delm/<run>, where a team's result goes. "
            "Rename it: git branch -m delm delm-old"
        )
    taken |= {ref.split("/")[3] for ref in heads.splitlines()}
    if wish.run in taken:
        how = f"Go on with it: delm-run resume {wish.run}. Or choose another --run."
        if wish.run not in {folder.run for folder in teams(repository.main)}:
            how = f"It has no team, so choose another --run; `delm-mcp status --run {wish.run}` shows it."
        raise TeamError(f"The run {wish.run!r} exists already. {how}")
    return wish.run or run_name(wish.goal, sorted(taken))


def commands_of(wish: Wish) -> dict[str, str]:
    """The run's commands by name, as `delm-mcp init --check` reads them.

    Raises:
        TeamError: One cannot be split into words, or two have the same name.
    """
    found: dict[str, str] = {}
    for text in wish.checks:
        head, sign, rest = text.partition("=")
        name, words = (head, rest) if sign and head.isidentifier() and not head.isupper() else ("check", text)
        try:
            empty = not shlex.split(words)
        except ValueError as error:
            raise TeamError(f"--check {text!r}: {error}.") from error
        if empty:
            raise TeamError(f'--check {text!r} has no command. For example --check "pytest -q".')
        if name in found:
            raise TeamError(f"Two commands are called {name!r}. Name them: --check lint=... --check test=...")
        found[name] = words
    return found


def facts_for(wish: Wish, repository: Repository, run: str, base: str) -> TeamFacts:
    """What is known of a team at its start."""
    return TeamFacts(
        run=run,
        goal=wish.goal,
        repository=str(repository.main),
        board=str(repository.board),
        base=base,
        agents={member.label: member.kind for member in wish.members},
        models={member.label: member.model for member in wish.members},
        policy=wish.policy,
        commands=commands_of(wish),
        started_at=time.time(),
        command=wish.command,
        version=_version(),
        simulated=wish.simulated,
        carried=base != repository.head,
    )


def _version() -> str:
    try:
        return version("delm-mcp")
    except PackageNotFoundError:
        return ""


async def open_team(wish: Wish, repository: Repository, run: str) -> Team:
    """Open the run and make the worktrees; the team's folder is there and locked.

    Raises:
        TeamError, GitError: It cannot be; what was made is removed again.
    """
    folder = Folder(repository.main / ".delm" / "teams" / run)
    harnesses = harnesses_of(wish)
    owner = Owner(repository.board, repository.here)
    opened = False
    try:
        base = repository.head
        if wish.include_dirty:
            base = worktrees.snapshot(repository, "Uncommitted work that a team started from")
        facts = facts_for(wish, repository, run, base)
        _make_worktrees(wish, repository, folder, base)
        opened = True  # from now on it may be, even if we are interrupted before we hear of it
        await _open_run(wish, owner, run, folder.worktree(wish.members[0].label))
        folder.write_wish(wish)
        folder.write_facts(facts)
    except BaseException:
        with anyio.CancelScope(shield=True):
            if opened:
                with suppress(TeamError):
                    await owner.tell("cancel", "its team could not be launched", "--run", run)
            _undo(repository, folder)
        raise
    return Team(wish, repository, folder, owner, facts, harnesses)


def _make_worktrees(wish: Wish, repository: Repository, folder: Folder, commit: str) -> None:
    for member in wish.members:
        branch = branch_of(folder.run, member.label)
        worktrees.make_worktree(repository, folder.worktree(member.label), branch, commit)


async def _open_run(wish: Wish, owner: Owner, run: str, folder: Path) -> None:
    """Open the run at the commit that the agents' worktrees are at."""
    words = ["init", "--run", run, "--policy", wish.policy, "--json"]
    words += ["--tasks-file", wish.tasks_file] if wish.tasks_file else []
    for name, values in (("--task", wish.tasks), ("--check", wish.checks), ("--protect", wish.protect)):
        for value in values:
            words += [f"{name}={value}"]
    await owner.tell(*words, operands=(wish.goal,), folder=folder)


def _undo(repository: Repository, folder: Folder) -> None:
    """Remove what was made for a team of which no agent was started."""
    for path in folder.root.glob("*/.git"):
        with suppress(GitError):
            git(repository.main, "worktree", "remove", "--force", str(path.parent))
    shutil.rmtree(folder.root, ignore_errors=True)
    for branch in worktrees.branches_below(repository, branch_of(folder.run, "")):
        worktrees.delete_branch(repository, branch)


def clear_unopened(repository: Repository) -> None:
    """Remove what is left of launchers that were killed before they had opened their teams."""
    for path in (repository.main / ".delm" / "teams").glob("*/lock"):
        folder = Folder(path.parent)
        if not (folder.root / "team.json").exists() and folder.launcher() is None:
            _undo(repository, folder)


async def open_again(folder: Folder, start: Path, changes: Mapping[str, float | None]) -> Team:
    """A team that goes on: the same run, and worktrees where they are missing; its folder is locked.

    Args:
        changes: Bounds that replace those of the start: `budget_usd`, `timeout_s`.

    Raises:
        TeamError: Its run is over, or something that it needs is gone.
    """
    facts = folder.facts()
    wish = replace(folder.wish(), **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
    check_bounds(wish)
    repository = worktrees.find_repository(start)
    end_leftovers(folder)
    owner = Owner(repository.board, repository.here)
    row = await owner.status(facts.run)
    if not row:
        raise TeamError(f"The board {repository.board} has no run {facts.run}, so it cannot go on.")
    if row["state"] != "open":
        why = f": {row['reason']}" if row.get("reason") else ""
        raise TeamError(
            f"The run {facts.run} is {row['state']}{why}. There is nothing to go on with; "
            f"`delm-run report {facts.run}` shows what it did."
        )
    harnesses = harnesses_of(wish)
    _make_worktrees(wish, repository, folder, row["head"] or facts.base)
    facts = replace(facts, ended_at=0.0, outcome="")
    folder.write_wish(wish)
    folder.write_facts(facts)
    return Team(wish, repository, folder, owner, facts, harnesses)
