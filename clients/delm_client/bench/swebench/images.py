"""Projects out of the official docker images: the base commit's files, and no history."""

import os
from dataclasses import dataclass
from pathlib import Path

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.swebench.checkouts import base_of, keep_out, patch_since
from delm_client.bench.swebench.docker import image_of
from delm_client.git import GitError, git
from delm_client.repair.processes import last_lines, run_bounded

PULL_S = 3600.0
# An index of its own, so that what the image changed or added beside the commit stays where it is.
COPY_OUT = """
set -e
export GIT_INDEX_FILE=/testbed/.git/base-index
git config --global --add safe.directory /testbed
git -C /testbed read-tree "$1"
git -C /testbed checkout-index --all --prefix=/delm/
chown -R "$2" /delm
"""


@dataclass(frozen=True, slots=True)
class Images:
    """A repository of its own for each instance, whose only commit has the base commit's files."""

    docker: str = "docker"

    def open(self, instance: Instance, folder: Path) -> None:
        """See `Projects.open`. The commit's hash is another than the base commit's."""
        if folder.exists() and any(folder.iterdir()):
            raise PlugError(f"{folder} is not empty: name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        argv = [
            self.docker, "run", "--rm", "--network", "none", "--volume", f"{folder.resolve()}:/delm",
            image_of(instance), "/bin/bash", "-c", COPY_OUT, "bash",
            instance.base_commit, f"{os.getuid()}:{os.getgid()}",
        ]  # fmt: skip
        ended = run_bounded(argv, folder, timeout_s=PULL_S)
        if ended.code != 0:
            raise PlugError(
                f"{instance.id}: its project cannot be copied out of {image_of(instance)}: "
                f"{last_lines(ended.output, 2)}"
            )
        try:
            git(folder, "init", "--quiet", "--initial-branch=main")
            git(folder, "add", "--all", "--force")
            git(folder, "commit", "--quiet", "--no-verify", "-m", "base")
        except GitError as error:
            raise PlugError(f"{instance.id}: no repository can be made in {folder}: {error}") from error
        keep_out(folder)

    def patch(self, instance: Instance, folder: Path) -> str:
        """See `Projects.patch`. Raises PlugError as `patch_since` does."""
        return patch_since(folder, base_of(folder))
