"""The plug for what SWE-bench needs around it: somewhere to work, and something that judges.

`Workspaces` gives an agent the project at the base commit; `Judge` says what became of predictions. They are
chosen apart: agents may work in plain checkouts where there is no docker, and the harness judges elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from delm_client.bench.items import Instance
from delm_client.bench.swebench.outcomes import Judged


class Workspaces(Protocol):
    """Where agents work."""

    def open(self, instance: Instance, folder: Path) -> None:
        """Make `folder` the project at its base commit, without what came later, nor hidden tests.

        Raises:
            PlugError: It cannot be made; says nothing about any patch.
        """

    def patch(self, instance: Instance, folder: Path) -> str:
        """All that was changed in `folder` since, committed or not, as a diff; empty where nothing was."""


class Judge(Protocol):
    """What says whether patches are right."""

    def check(self) -> None:
        """Find out whether it could run here, in seconds. Raises PlugError with what would work."""

    def judge(self, instances: Sequence[Instance], predictions: Path) -> dict[str, Judged]:
        """One outcome for each of the instances; what broke on the way is `environment_broke`.

        Raises:
            PlugError: It could not be started at all.
        """
