"""SWE-bench for coding agents: what they are told, where they work, and what they may run there."""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delm_client.bench.coding.workspace import Check
from delm_client.bench.items import Instance
from delm_client.bench.swebench import parses
from delm_client.bench.swebench.checkouts import base_of
from delm_client.bench.swebench.environments import Projects, Testbed
from delm_client.repair.processes import Completed

TASK = """This issue was reported about {repo}. Your folder holds the project as it was then.

<issue>
{issue}
</issue>

Change the project so that the issue is resolved, and change nothing else. Tests that you do not see judge \
your change: those that show the issue have to pass, and those that passed before still have to."""
RUNS = (
    "runs a command of bash in a copy of your folder, with the project's Python and without a network; "
    "nothing that it writes is kept"
)


@dataclass(frozen=True, slots=True)
class InstanceWorkspaces:
    """See `coding.workspace.Workspaces`."""

    projects: Projects
    testbed: Testbed | None = None
    """None: agents run nothing."""
    _opened: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)
    """Where each item's repository was made last: its base is checked out there."""

    def open(self, item: Any, folder: Path) -> str:
        instance = instance_of(item)
        self.projects.open(instance, folder)
        self._opened[instance.id] = folder.resolve()
        return base_of(folder)

    def task(self, item: Any) -> str:
        instance = instance_of(item)
        return TASK.format(repo=instance.repo, issue=instance.shown().strip())

    def runs(self, item: Any) -> str:
        return RUNS if self.testbed is not None else ""

    def run(self, item: Any, worktree: Path, words: str) -> Completed:
        assert self.testbed is not None  # noqa: S101  # `runs` says so
        return self.testbed.run(instance_of(item), worktree, words)

    def check(self, item: Any) -> Check:
        """That what changed can be parsed: the tests that decide are hidden."""
        base = self._opened[instance_of(item).id]
        return Check(shlex.join([sys.executable, "-I", "-B", parses.__file__, str(base)]))


def instance_of(item: Any) -> Instance:
    """The item as what it is."""
    assert isinstance(item, Instance)  # noqa: S101  # the registry loads nothing else for this benchmark
    return item
