"""The plugs for what SWE-bench needs around it: projects, somewhere to run commands, something that judges.

`Projects` are where agents' repositories come from, `Testbed` is where agents run commands, and `Judge` says
what became of predictions. They are chosen apart: agents may work in plain checkouts where there is no
docker, and the harness judges elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from delm_client.bench.items import Instance
from delm_client.bench.swebench.outcomes import Judged
from delm_client.repair.processes import Completed


class Projects(Protocol):
    """Where projects at their base commits come from."""

    def open(self, instance: Instance, folder: Path) -> None:
        """Make `folder` the project at its base commit, without what came later, nor hidden tests.

        Raises:
            PlugError: It cannot be made; says nothing about any patch.
        """

    def patch(self, instance: Instance, folder: Path) -> str:
        """All that was changed in `folder` since, committed or not, as a diff; empty where nothing was."""


class Testbed(Protocol):
    """Where agents run commands."""

    def check(self) -> None:
        """Could it run here. Raises PlugError with what would work."""

    def run(self, instance: Instance, folder: Path, command: str) -> Completed:
        """Run a command of bash on a copy of the project in `folder`; `code` is None at its deadline.

        Raises:
            PlugError: It could not be run; says nothing about the command.
        """


class Judge(Protocol):
    """What says whether patches are right."""

    def check(self) -> None:
        """Find out whether it could run here, in seconds. Raises PlugError with what would work."""

    def judge(self, instances: Sequence[Instance], predictions: Path) -> dict[str, Judged]:
        """One outcome for each of the instances; what broke on the way is `environment_broke`.

        Raises:
            PlugError: It could not be started at all.
        """
