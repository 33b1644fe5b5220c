"""How patches reach agents: the exact commands, for callers who share the repository and others. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_RAW_TOKENS = 20_000


class Shares(StrEnum):
    """Whether the callers of a server work in worktrees of its repository."""

    YES = "yes"
    PERHAPS = "perhaps"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Move:
    """A patch that moved a run's head, by label, with full commits.

    Attributes:
        commit: Its own.
        before: What head was.
        after: What head became; the patch's commit itself, or a merge of it.
    """

    label: str
    commit: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Reach:
    """How callers of a server get at the commits of its repository.

    Attributes:
        shares: Whether they have its objects.
        url: Where they can fetch from if not, as the owner gave it; empty for nowhere.
    """

    shares: Shares = Shares.YES
    url: str = ""

    def to_head(self, run: str, head: str) -> str:
        """What brings the author of a patch up to head."""
        merge = f"`git merge {head}`"
        here = f"{merge} brings your worktree up to it"
        if self.shares is Shares.YES:
            return f"head is {head}: {here}"
        if self.url:
            away = f"{self._fetch(run)}, then {merge}"
        else:
            away = "read_context(kind=patch) lists what is in it, and level=raw shows each diff"
        if self.shares is Shares.PERHAPS:
            return f"head is {head}: {here}; in a clone elsewhere, {away}"
        return f"head is {head}: {away}"

    def news(self, run: str, head: str, moves: Sequence[Move]) -> str:
        """What brings the patches of peers to an agent.

        Args:
            moves: Those that it is told of now, oldest first; at least one.
        """
        merge = f"`git merge {head}`"
        only = ", ".join(f"`git cherry-pick {_picked(move)}` only {move.label}" for move in moves)
        here = f"{merge} in your worktree takes all of it, {only}"
        if self.shares is Shares.YES:
            return f"head is {head}: {here}"
        if self.url:
            away = f"{self._fetch(run)}, then {merge} takes all of it, {only}"
        else:
            labels = ", ".join(move.label for move in moves)
            away = (
                f"read_context(entries=[{labels}], level=raw, budget_tokens={_RAW_TOKENS}) shows each diff: "
                "save it without the bars and `git apply --3way` it"
            )
        if self.shares is Shares.PERHAPS:
            return f"head is {head}: {here}; in a clone elsewhere, {away}"
        return f"head is {head}: {away}"

    def _fetch(self, run: str) -> str:
        return f"`git fetch {shlex.quote(self.url)} refs/delm/{run}/head`"


def _picked(move: Move) -> str:
    """What to tell cherry-pick: a merge against its first parent, or the commits that head ran on to."""
    if move.after == move.commit:
        return f"{move.before[:12]}..{move.after[:12]}"
    return f"-m 1 {move.after[:12]}"
