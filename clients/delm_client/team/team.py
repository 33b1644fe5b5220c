"""A team that has been prepared: all that its parts share."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from delm_client.team.folder import Folder, Record
from delm_client.team.harness import Assignment, Harness
from delm_client.team.hosting import Host
from delm_client.team.owner import Owner
from delm_client.team.processes import Pids
from delm_client.team.record import TeamFacts
from delm_client.team.wish import Member, Wish
from delm_client.team.worktrees import Repository, branch_of

PROMPT = """\
You are {label}, one of {count} coding agents that work as a team on one board, without a leader. \
The goal: {goal}

Use the tools of the MCP server "delm"; run is "{run}", and the server knows you as {label}, so leave \
`agent` out. Do this until claim_task tells you to stop; nobody can answer questions.
1. claim_task(run="{run}", wait_s=25) gives you a task and a lease.
2. read_context(run="{run}"): what peers have established. `fail` entries are binding in their scope.
3. Do the task in {worktree}, your own git worktree (branch {branch}). Start from the team's result: \
`git merge refs/delm/{run}/head`, if that ref exists. Commit there; never switch to or change other branches.
4. propose_update(lease, kind, gist, evidence, completes=true). A code change is kind=patch{evidence}. \
Dead ends are worth telling as kind=fail with a scope. Rejected: mend what the reasons say and propose again.
5. A verify task asks you to judge a peer's entry: look for yourself, then verify(lease, entry, verdict, \
reason). A decide task means that all is done: propose kind=answer if the goal is reached, else \
add_tasks(lease, ...).
"""

AGAIN = """
You worked here before and were ended; your worktree is as you left it{changes}. Once you have a task, look \
at `git status` and `git log`: go on with what belongs to that task, and undo what does not before you commit.
"""
SHOWN = 8


@dataclass
class Team:
    """What the parts of a launcher share."""

    wish: Wish
    repository: Repository
    folder: Folder
    owner: Owner
    facts: TeamFacts
    harnesses: dict[str, Harness]
    """By label."""
    record: Record = field(init=False)
    pids: Pids = field(init=False)
    last: Mapping[str, Any] = field(default_factory=dict)
    """The run as it was when the team ended, as `delm-mcp status --json` gives it."""

    def __post_init__(self) -> None:
        self.record = Record(self.folder.events)
        self.pids = Pids(self.folder)

    @property
    def labels(self) -> list[str]:
        """Its agents."""
        return [member.label for member in self.wish.members]

    def assignment(self, member: Member, host: Host, left: Sequence[str] | None = None) -> Assignment:
        """A member's place in the team.

        Args:
            left: The files that its process before left uncommitted; None for the first one.
        """
        label = member.label
        return Assignment(
            label=label,
            worktree=self.folder.worktree(label),
            home=self.folder.home(label),
            git_dir=self.repository.git_dir,
            server=host.server(label),
            prompt=self.prompt(label) + (again(left) if left is not None else ""),
            permissions=self.wish.permissions,
            commands=tuple(dict.fromkeys(shlex.split(words)[0] for words in self.facts.commands.values())),
            model=member.model,
        )

    def prompt(self, label: str) -> str:
        """What an agent is told at its start."""
        names = list(self.facts.commands)
        cited = f': cite {{type: "command", ref: "{names[0]}", text: <full commit>}}' if names else ""
        return PROMPT.format(
            label=label,
            count=len(self.wish.members),
            goal=self.wish.goal,
            run=self.facts.run,
            worktree=self.folder.worktree(label),
            branch=branch_of(self.facts.run, label),
            evidence=cited or " that cites your commit",
        )


def again(left: Sequence[str]) -> str:
    """What an agent is told besides when it is started again, given the files that it left uncommitted."""
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    listed = f"{', '.join(left[:SHOWN])}{more}"
    return AGAIN.format(changes=f", with changes that are not committed: {listed}" if left else "")
