"""Which plugs a run uses, as a user chose them: where agents work, what they may run, and who judges."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from delm_client.bench.errors import PlugError
from delm_client.bench.swebench.checkouts import Checkouts
from delm_client.bench.swebench.docker import DockerHarness
from delm_client.bench.swebench.environments import Judge
from delm_client.bench.swebench.images import Images
from delm_client.bench.swebench.local import LocalSandbox
from delm_client.bench.swebench.testbeds import DockerTestbed, LocalTestbed
from delm_client.bench.swebench.workspaces import InstanceWorkspaces


class Environment(StrEnum):
    """Where agents work."""

    WORKTREE = "worktree"
    """Checkouts out of clones; agents read and write, and run nothing."""
    LOCAL = "local"
    """The same, and commands run in a bubblewrap sandbox."""
    DOCKER = "docker"
    """The official images: projects come out of them, and commands run in them."""


class Judging(StrEnum):
    """Who judges."""

    DOCKER = "docker"
    """The official harness."""
    LOCAL = "local"
    """The official evaluation scripts in a bubblewrap sandbox, graded by the harness's parsers."""
    NONE = "none"
    """Nobody, for now: predictions are written."""


@dataclass(frozen=True)
class Plugs:
    """The choice; what is kept of it in a run's folder is plain text.

    Attributes:
        clones: A folder of clones, for `worktree` and `local`.
        pythons: For `local`: virtual environments by `owner/name@version` or `owner/name`.
        harness_python: An interpreter that has `swebench`; empty: this one.
        docker: The program.
    """

    environment: str = Environment.WORKTREE
    judging: str = Judging.DOCKER
    clones: str = ""
    pythons: Mapping[str, str] = field(default_factory=dict)
    harness_python: str = ""
    docker: str = "docker"

    def workspaces(self) -> InstanceWorkspaces:
        """Where agents work. Raises PlugError where something is not named."""
        match Environment(self.environment):
            case Environment.DOCKER:
                return InstanceWorkspaces(Images(self.docker), DockerTestbed(self.docker))
            case Environment.LOCAL:
                return InstanceWorkspaces(self._checkouts(), LocalTestbed(self._pythons()))
            case Environment.WORKTREE:
                return InstanceWorkspaces(self._checkouts())

    def judge(self, run_folder: Path, dataset: str) -> Callable[[str], Judge] | None:
        """The judge of each submitter's predictions; None where nobody judges.

        Args:
            dataset: The data file, or the data set's name on the hub.

        Raises:
            PlugError: Something is not named.
        """
        if self.judging == Judging.NONE:
            return None
        made = self._harness if self.judging == Judging.DOCKER else self._sandbox

        def judge_of(by: str) -> Judge:
            return made(run_folder, dataset, by)

        return judge_of

    def check_agents(self) -> None:
        """Find out, in seconds, whether agents could work here. Raises PlugError."""
        if self.environment != Environment.DOCKER:
            self._check_clones()
        testbed = self.workspaces().testbed
        if testbed is not None:
            testbed.check()

    def check_judge(self, run_folder: Path, dataset: str) -> None:
        """Find out, in seconds, whether the judge could judge here. Raises PlugError."""
        judge_of = self.judge(run_folder, dataset)
        if judge_of is None:
            return
        try:
            if self.judging == Judging.LOCAL:
                self._check_clones()
            judge_of("team").check()
        except PlugError as error:
            raise PlugError(
                f"{error} With --no-judge predictions are written and nothing is judged; "
                "--resume judges them later, here or where there is docker."
            ) from error

    def _check_clones(self) -> None:
        if not Path(self.clones).is_dir():
            raise PlugError(f"{self.clones} is no folder: --clones names one that holds clones.")

    def _harness(self, run_folder: Path, dataset: str, by: str) -> Judge:
        return DockerHarness(
            dataset,
            run_folder / "judging",
            # Containers are called by it, so two runs on one machine need names of their own.
            f"delm-{sha256(str(run_folder.resolve()).encode()).hexdigest()[:8]}-{by}",
            python=self.harness_python or sys.executable,
            docker=self.docker,
        )

    def _sandbox(self, run_folder: Path, dataset: str, by: str) -> Judge:
        return LocalSandbox(
            self._checkouts(),
            self._pythons(),
            run_folder / "judging",
            by,
            harness_python=self.harness_python or sys.executable,
        )

    def _checkouts(self) -> Checkouts:
        if not self.clones:
            raise PlugError(
                "Projects come out of clones: name their folder with --clones, such as one with "
                "`git clone --bare https://github.com/sympy/sympy sympy__sympy`. "
                "Or use --environment docker."
            )
        return Checkouts(Path(self.clones))

    def _pythons(self) -> dict[str, Path]:
        if not self.pythons:
            raise PlugError(
                "The local sandbox runs projects in Python environments of yours: name each with "
                "--python owner/name@version=FOLDER, or owner/name=FOLDER where one does for all versions."
            )
        return {name: Path(folder) for name, folder in self.pythons.items()}


def chosen(
    environment: Environment | None,
    clones: Path | None,
    pythons: Iterable[str],
    judging: Judging | None,
    harness_python: str,
) -> dict[str, Any]:
    """What a user says of the plugs, by the names that `Plugs` has; what is not said is not in it.

    Raises:
        PlugError: Something that is named is not there.
    """
    if judging is None and environment is not None:
        judging = Judging.LOCAL if environment is Environment.LOCAL else Judging.DOCKER
    said = {
        "environment": environment and environment.value,
        "judging": judging and judging.value,
        "clones": str(clones.absolute()) if clones else "",
        "pythons": pythons_of(pythons),
        "harness_python": harness_python,
    }
    return {name: value for name, value in said.items() if value}


def pythons_of(words: Iterable[str]) -> dict[str, str]:
    """`owner/name@version=FOLDER` as a mapping. Raises PlugError for what is none."""
    found = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or "/" not in name or not folder:
            raise PlugError(f"--python {word}: that is not owner/name=FOLDER or owner/name@version=FOLDER.")
        if not (Path(folder) / "bin" / "python").exists():
            raise PlugError(f"--python {word}: {folder} is no virtual environment: it has no bin/python.")
        found[name] = str(Path(folder).absolute())
    return found
