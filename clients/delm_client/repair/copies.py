"""Private copies of a project: the tests of mutants run there, and never in the worktree."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

# What a folder that git does not know is full of, and what its tests never read.
NOT_SOURCES = (
    ".git", ".hg", ".delm", ".venv", "venv", ".tox", ".nox", "node_modules", "__pycache__",
    ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis",
)  # fmt: skip


def copy_project(root: Path, destination: Path) -> None:
    """Copy what git tracks or would add; everything but caches and environments where git is not used."""
    listed = _listed_by_git(root)
    if listed is None:
        shutil.copytree(
            root, destination, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_SOURCES)
        )
        return
    for relative in listed:
        if "__pycache__/" in relative:
            continue
        source, target = root / relative, destination / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        # A tracked file may be deleted in the worktree, and a submodule is listed as a folder.
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            shutil.copy2(source, target, follow_symlinks=False)


def _listed_by_git(root: Path) -> list[str] | None:
    git = ["git", "-c", "core.fsmonitor=false", "-C", str(root)]
    # Under a hook or another git command, these name some other repository.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        listing = subprocess.run(
            [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
            env=env,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    names = [name for name in listing.stdout.decode("utf-8", "surrogateescape").split("\0") if name]
    # A folder that some outer repository ignores has no files in the listing, and is a project nonetheless.
    return names or None
