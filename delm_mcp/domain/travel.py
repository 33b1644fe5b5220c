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
        here = f"`git merge {head}` brings your worktree up to it"
        text = "read_context(kind=patch) lists what is in it, and level=raw shows each diff"
        return f"head is {head}: {self._ways(run, here, text)}"

    def news(self, run: str, head: str, moves: Sequence[Move]) -> str:
        """What brings the patches of peers to an agent.

        Args:
            moves: Those that it is told of now, oldest first; at least one.
        """
        only = ", ".join(f"`git cherry-pick {_picked(move)}` only {move.label}" for move in moves)
        here = f"`git merge {head}` in your worktree takes all of it, {only}"
        labels = ", ".join(move.label for move in moves)
        text = (
            f"read_context(entries=[{labels}], level=raw, budget_tokens={_RAW_TOKENS}) shows each diff: "
            "save it without the bars and `git apply --3way` it"
        )
        return f"head is {head}: {self._ways(run, here, text)}"

    def _ways(self, run: str, here: str, text: str) -> str:
        """How it is done with the commits, or with text; both where nobody knows which will do."""
        fetch = f"`git fetch {shlex.quote(self.url)} refs/delm/{run}/head`" if self.url else ""
        match self.shares:
            case Shares.YES:
                return here
            case Shares.PERHAPS:
                return f"{here}; in a clone elsewhere, {fetch + ' first' if fetch else text}"
            case Shares.NO:
                return f"{fetch}, then {here}" if fetch else text


def _picked(move: Move) -> str:
    """What to tell cherry-pick: a merge against its first parent, or the commits that head ran on to."""
    if move.after == move.commit:
        return f"{move.before[:12]}..{move.after[:12]}"
    return f"-m 1 {move.after[:12]}"
