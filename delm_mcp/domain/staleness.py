"""When what a command showed is no longer known to be so, because its inputs changed at head.

A command's receipt holds the hash of its inputs (by default the whole tree that it ran on), and whether
that tree was head then. Where it was, readers take it as said of head, so a patch that changes the
inputs makes it stale. What a command showed on another tree (an agent's own commit) stays true of that tree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from delm_mcp.domain.model import Check, CheckState, Entry, Kind, Verdict
from delm_mcp.domain.policy import CheckName


@dataclass(frozen=True, slots=True)
class Ran:
    """What commands showed of a tree, by their names: whether they passed, and the hash of their inputs."""

    outcomes: Mapping[str, bool] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    of_head: bool = False


def ran_for(checks: Sequence[Check]) -> Ran:
    """What the last command check among these showed, if it passed."""
    for check in reversed(checks):
        if check.name == CheckName.COMMAND and check.state is CheckState.DONE:
            if check.verdict != Verdict.PASS.value:
                break
            return Ran(**check.receipt.get("ran", {}))
    return Ran()


def expected(entry: Entry) -> bool:
    """Whether the commands that an entry cites have to pass for it: a `fail` says that they do not."""
    return entry.kind is not Kind.FAIL


def stale(entry: Entry, known: Ran, now: Ran) -> list[str]:
    """The commands behind an entry whose inputs changed at head."""
    if not known.of_head:
        return []
    cited = dict.fromkeys(item.ref for item in entry.evidence if item.type == "command")
    return [name for name in cited if known.inputs.get(name) != now.inputs.get(name)]
