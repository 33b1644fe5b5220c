"""Plain checkouts out of clones that the user has: somewhere to work without docker."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.git import GitError, git

# An agent may have configured its checkout to run a program whenever git looks at it.
QUIET = ("-c", "core.fsmonitor=false")
IGNORED = "__pycache__/\n*.pyc\n.pytest_cache/\n.delm/\n"


@dataclass(frozen=True, slots=True)
class Checkouts:
    """A repository of its own for each instance, that holds the base commit and nothing else.

    A worktree of the clone would show an agent the commits that came later, the fix among them.
    """

    clones: Path | Mapping[str, Path]
    """A folder of clones, called `sympy`, `sympy__sympy` or `sympy/sympy`; or clones by `owner/name`."""

    def clone_of(self, repo: str) -> Path:
        """The clone of `owner/name`. Raises PlugError where there is none."""
        if isinstance(self.clones, Mapping):
            tried = [self.clones[repo]] if repo in self.clones else []
        else:
            names = (repo, repo.replace("/", "__"), repo.rpartition("/")[2])
            tried = [self.clones / name for name in names]
        for place in tried:
            if (place / ".git").exists() or (place / "HEAD").is_file():
                return place
        looked = ", ".join(map(str, tried)) or "nowhere"
        raise PlugError(
            f"There is no clone of {repo} (looked at: {looked}). "
            f"Make one: `git clone --bare https://github.com/{repo} {repo.replace('/', '__')}`."
        )

    def open(self, instance: Instance, folder: Path) -> None:
        """See `Projects.open`. The base commit keeps its hash; its parents are not there."""
        clone = self.clone_of(instance.repo)
        if folder.exists() and any(folder.iterdir()):
            raise PlugError(f"{folder} is not empty: name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            git(folder, "init", "--quiet", "--initial-branch=main")
            # A single commit can be had from a clone only where it allows that; this one is the user's own.
            upload = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"
            git(
                folder, "fetch", "--quiet", "--depth=1", "--no-tags", f"--upload-pack={upload}",
                str(clone.resolve()), instance.base_commit,
            )  # fmt: skip
            git(folder, "reset", "--quiet", "--hard", instance.base_commit)
        except GitError as error:
            raise PlugError(
                f"{instance.id} cannot be checked out from {clone}: {error} "
                "Does the clone hold this commit? `git fetch` there, and clone without --depth."
            ) from error
        keep_out(folder)
        (folder / ".git" / "FETCH_HEAD").unlink(missing_ok=True)

    def patch(self, instance: Instance, folder: Path) -> str:
        """See `Projects.patch`. Raises PlugError as `patch_since` does."""
        return patch_since(folder, instance.base_commit)


def base_of(folder: Path) -> str:
    """The base commit of a workspace or of a work tree of it: the one that has no parent there."""
    return git(folder, "rev-list", "--max-parents=0", "HEAD")


def keep_out(folder: Path) -> None:
    """Keep what commands leave behind out of patches."""
    # The base commit has no parent here, and `git show` would print the whole project.
    git(folder, "config", "log.showRoot", "false")
    info = folder / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "exclude").write_text(IGNORED, encoding="utf-8")


def patch_since(folder: Path, base: str) -> str:
    """All changes in a work tree since a commit. New files are in it, ignored ones are not.

    Raises:
        PlugError: git fails, or the change is not UTF-8, which the official format cannot hold.
    """
    with tempfile.TemporaryDirectory(prefix="delm-patch-") as made:
        out = Path(made) / "patch.diff"
        try:
            git(folder, *QUIET, "add", "--all", "--intent-to-add")
            git(
                folder, *QUIET, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv",
                f"--output={out}", base,
            )  # fmt: skip
        except GitError as error:
            raise PlugError(f"The changes in {folder} cannot be told: {error}") from error
        data = out.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PlugError(f"The change in {folder} is not UTF-8, and predictions are JSON: {error}") from error
