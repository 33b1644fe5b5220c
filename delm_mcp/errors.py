"""Every error that delm-mcp raises on purpose.

    DelmError                  problem + hint: what is wrong, and what would work
    ├── Refused                the caller asked for something that the rules do not allow
    │   ├── InvalidInput       a value of the wrong shape, size or meaning
    │   ├── NotFound           an unknown run, task, entry, source or command
    │   ├── LeaseLost          a lease that is wrong, or was retaken by somebody else
    │   ├── NotAllowed         a role, an author or a lease that does not carry this right
    │   ├── Conflict           the board is not in the state that the call relies on
    │   │   ├── RequestReused  one request_id with two different contents
    │   │   └── RunClosed      the run is finished, cancelled or stalled
    │   └── Illegal            a state and an event that do not go together (domain tables)
    ├── ConfigError            a policy, a setting or an option that cannot be used
    ├── CheckUnavailable       a check could not run at all, which is not the same as failing
    │   └── JudgeUnavailable   a model gave no opinion, in checks.judge_unavailable (knows what that cost)
    └── StoreError             the database said no
        ├── StoreUnavailable   locked, read-only, full disk, network filesystem, no such folder
        ├── StoreCorrupt       not a database, or a damaged one
        └── StoreFromTheFuture written by a newer delm-mcp

Surfaces turn a `Refused` into an answer that the agent can act on; the others mean that the server
or its owner has something to mend, and say what.
"""


class DelmError(Exception):
    """An error with its repair.

    Args:
        problem: What is wrong, with the state as it is now. One or two sentences.
        hint: What would work instead; empty when there is nothing to suggest.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem} {self.hint}".rstrip()


class Refused(DelmError):
    """The rules do not allow what was asked; the board is unchanged."""


class InvalidInput(Refused):
    """A value of the wrong shape, size or meaning."""


class NotFound(Refused):
    """An unknown run, task, entry, source or command."""


class LeaseLost(Refused):
    """A lease that is wrong, or that somebody else holds by now."""


class NotAllowed(Refused):
    """A role, an author or a lease that does not carry this right."""


class Conflict(Refused):
    """The board is not in the state that the call relies on."""


class RequestReused(Conflict):
    """One `request_id` came with two different contents."""


class RunClosed(Conflict):
    """The run is finished, cancelled or stalled."""


class Illegal(Refused):
    """A state and an event that do not go together; raised by the transition tables."""


class ConfigError(DelmError):
    """A policy, a setting or an option that cannot be used."""


class CheckUnavailable(DelmError):
    """A check could not run at all. It never counts as a pass."""


class StoreError(DelmError):
    """The database said no. Nothing of the failed operation was kept."""


class StoreUnavailable(StoreError):
    """Locked, read-only, on a full disk or a network filesystem, or in a folder that is not there."""


class StoreCorrupt(StoreError):
    """Not a database of ours, or a damaged one."""


class StoreFromTheFuture(StoreError):
    """The database was written by a newer delm-mcp."""
