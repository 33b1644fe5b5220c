"""What agents do with git: worktrees of their own, commits, and the run's head."""

import os
import subprocess
from pathlib import Path

NAME = "delm-run"
MAIL = "delm-run@localhost"
ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}
"""What would make git look at another repository than the folder's, when it was git that started us."""


class GitError(Exception):
    """git said no; the text is what it said."""


def git(folder: Path, *words: str, **variables: str) -> str:
    """Run git and return what it printed.

    Args:
        variables: More of its environment, such as GIT_INDEX_FILE.

    Raises:
        GitError: It failed, or is not installed.
    """
    env = {
        **{name: value for name, value in os.environ.items() if name not in ELSEWHERE},
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": NAME,
        "GIT_AUTHOR_EMAIL": MAIL,
        "GIT_COMMITTER_NAME": NAME,
        "GIT_COMMITTER_EMAIL": MAIL,
        **variables,
    }
    try:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
            start_new_session=True,  # a Ctrl-C that ends us would make its work look wrong
        )
    except FileNotFoundError as error:
        raise GitError(
            "git is not installed, and agents work in git worktrees. Install it: `apt install git`, "
            "`brew install git`, or see https://git-scm.com/downloads."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {words[0]} did not end within 120 s.") from error
    if done.returncode:
        raise GitError(f"git {words[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()


def head_of(folder: Path, run: str, base: str) -> str:
    """The run's head as the board publishes it; the base while nothing was admitted."""
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", f"refs/delm/{run}/head")
    except GitError:
        return base


def at(folder: Path, commit: str) -> None:
    """Put a worktree at a commit, whatever was in it."""
    git(folder, "checkout", "--quiet", "--detach", "--force", commit)


def commit_file(folder: Path, path: str, content: bytes, message: str) -> str:
    """Commit one changed file on top of where the worktree is; returns the full commit."""
    (folder / path).write_bytes(content)
    git(folder, "add", "--", path)
    git(folder, "commit", "--quiet", "--no-verify", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def blob_of(folder: Path, path: str) -> str:
    """The short name of a file's content at the worktree's commit."""
    return git(folder, "rev-parse", f"HEAD:{path}")[:12]
