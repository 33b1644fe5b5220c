"""What agents may run: a command on their version of the project, in a sandbox or a container made for it.

The command gets a copy. Whatever it writes is gone afterwards, so a patch holds what an agent wrote and not
what its commands left behind; and no command reaches the board, git, other agents or the network.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.swebench import sandbox
from delm_client.bench.swebench.checkouts import base_of, patch_since
from delm_client.bench.swebench.docker import CHECK_S, daemon_answers, image_of
from delm_client.repair.processes import Completed, last_lines, run_bounded

COMMAND_S = 300.0
# Of docker itself, where the command was never begun.
DOCKER_FAILED = 125
# The image's history is removed before anything is run: it may hold later commits.
IN_CONTAINER = """
cd /testbed && rm -rf .git || exit 125
if [ -s /delm/patch.diff ]; then git apply --whitespace=nowarn /delm/patch.diff || exit 125; fi
source /opt/miniconda3/bin/activate; conda activate testbed
exec /bin/bash -c "$1"
"""
ACTIVATED = """
source /opt/miniconda3/bin/activate; conda activate testbed
exec /bin/bash -c "$1"
"""


@dataclass(frozen=True, slots=True)
class LocalTestbed:
    """In a bubblewrap sandbox, with a Python environment of the user's."""

    pythons: Mapping[str, Path]
    """Virtual environments by `owner/name@version`, or by `owner/name` where one does for all."""
    timeout_s: float = COMMAND_S

    def check(self) -> None:
        sandbox.check()

    def run(self, instance: Instance, folder: Path, command: str) -> Completed:
        python = sandbox.python_for(instance, self.pythons)
        with tempfile.TemporaryDirectory(prefix="delm-testbed-") as made:
            testbed = Path(made) / "testbed"
            shutil.copytree(folder, testbed, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            conda = sandbox.conda(Path(made) / "conda", python)
            words = sandbox.words(testbed, conda, python)
            argv = [*words, "/bin/bash", "-c", ACTIVATED, "bash", command]
            return run_bounded(argv, testbed, timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class DockerTestbed:
    """In a new container of the instance's official image, without a network."""

    docker: str = "docker"
    timeout_s: float = COMMAND_S

    def check(self) -> None:
        daemon_answers(self.docker)

    def run(self, instance: Instance, folder: Path, command: str) -> Completed:
        name = f"delm-{uuid4().hex[:12]}"
        with tempfile.TemporaryDirectory(prefix="delm-testbed-") as made:
            (Path(made) / "patch.diff").write_text(patch_since(folder, base_of(folder)), encoding="utf-8")
            argv = [
                self.docker, "run", "--rm", "--name", name, "--network", "none",
                "--volume", f"{made}:/delm:ro", image_of(instance),
                "/bin/bash", "-c", IN_CONTAINER, "bash", command,
            ]  # fmt: skip
            try:
                ended = run_bounded(argv, folder, timeout_s=self.timeout_s)
            finally:
                # Ending the client does not end its container.
                run_bounded([self.docker, "rm", "--force", name], folder, timeout_s=CHECK_S)
        if ended.code == DOCKER_FAILED:
            raise PlugError(f"{instance.id}: no container could be used: {last_lines(ended.output, 2)}")
        return ended
