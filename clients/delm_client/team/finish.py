"""After a team has worked: its work is kept, its result gets a branch, and what happened is written down."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from delm_client.git import GitError, git
from delm_client.team import report, worktrees
from delm_client.team.folder import Folder, read_lines
from delm_client.team.record import Line, Noted, TeamFacts
from delm_client.team.team import Team
from delm_client.team.wish import TeamError
from delm_client.team.worktrees import branch_of, result_branch
from delm_client.words import plural


async def finish(team: Team, outcome: str) -> TeamFacts:
    """Keep the work, give the result a branch, and write down what is known. Errors are noted, not raised."""
    row, (stats, entries) = dict(team.last), await _ask(team)
    head = str(row.get("head") or "")
    if head == team.facts.base:
        head = ""
    _put_away(team, head or team.facts.base)
    facts = replace(
        team.facts,
        ended_at=time.time(),
        outcome=outcome,
        head=head,
        branch=_point(team, head) if head else "",
        answer=str(row.get("answer") or row.get("reason") or ""),
        commits=_commits(team, head, entries),
        status=row,
        stats=stats,
    )
    team.facts = facts
    try:
        team.folder.write_facts(facts)
    except TeamError as error:
        team.record.tell(Noted(str(error)))
    if not team.wish.keep:
        shutil.rmtree(team.folder.root / "homes", ignore_errors=True)
    return facts


async def _ask(team: Team) -> tuple[dict[str, Any], dict[str, str]]:
    """The run's figures, and the entries of commits; what cannot be had is empty."""
    run, owner = team.facts.run, team.owner
    stats: dict[str, Any] = {}
    latest = team.last.get("latest", ())
    entries = {
        row[name]: row["entry"] for row in latest for name in ("commit", "admitted_as") if row.get(name)
    }
    try:
        stats = await owner.ask("stats", "--json", "--run", run)
        if sum(team.last.get("entries", {}).values()) > len(latest):
            entries = await owner.entries_by_commit(run)
    except TeamError as error:
        team.record.tell(Noted(f"The board could not be read at the end: {error}"))
    return stats, entries


def _put_away(team: Team, head: str) -> None:
    """Commit what agents left, remove their worktrees unless they are to be kept, and needless branches."""
    for label in team.labels:
        path, branch = team.folder.worktree(label), branch_of(team.facts.run, label)
        try:
            worktrees.reattach(team.repository, path)
            saved = worktrees.save_work(path, label, branch)
            branches = worktrees.put_away(team.repository, path, branch, remove=not team.wish.keep)
            counts = {name: worktrees.unmerged(team.repository, name, head) for name in branches}
        except (GitError, OSError) as error:
            team.record.tell(Noted(f"The worktree {path} stays as it is: {error}"), label)
            continue
        for name, count in counts.items():
            if count:
                said = f"{plural(count, 'commit')} of {label} not in the result, on the branch {name}"
                team.record.tell(Noted(said + (": with unfinished work" if saved else "")), label)
            elif not team.wish.keep:
                worktrees.delete_branch(team.repository, name)


def _point(team: Team, head: str) -> str:
    """The branch at the run's head; empty where it could not be moved."""
    branch = result_branch(team.facts.run)
    try:
        # The branch has what passed its checks and nothing else, whoever has moved it.
        aside = worktrees.set_aside(team.repository, branch, head, branch_of(team.facts.run, "before"))
        if worktrees.point(team.repository, branch, head):
            if aside:
                team.record.tell(Noted(f"{branch} had commits that are not in the result; see {aside}"))
            return branch
        said = f"{branch} is checked out, so it stays where it is; the result is {head[:12]}"
    except GitError as error:
        said = f"The result is {head[:12]}, but {branch} cannot be made: {error}"
    team.record.tell(Noted(said))
    return ""


def _commits(team: Team, head: str, entries: dict[str, str]) -> Any:
    with suppress(GitError):
        return worktrees.commits(team.repository, team.facts.base, head, entries)
    return ()


def head_now(folder: Folder, facts: TeamFacts) -> TeamFacts:
    """The facts of a team under way, or of one whose launcher was killed: with the head that git knows."""
    if facts.ended_at:
        return facts
    with suppress(GitError):
        head = git(Path(facts.repository), "rev-parse", "--verify", "--quiet", f"refs/delm/{facts.run}/head")
        return replace(facts, head="" if head == facts.base else head)
    return facts


def write_report(folder: Folder, facts: TeamFacts, lines: Sequence[Line] | None = None) -> list[Path]:
    """Write report.md and report.html; returns their paths.

    Raises:
        OSError: They cannot be written.
    """
    if lines is None:
        lines, _ = read_lines(folder.events)
    return report.write(folder.root, facts, lines)
