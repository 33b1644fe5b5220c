"""Real git repositories for the tests of the checks, independent of the developer's own settings."""

import os
import subprocess
from pathlib import Path

from delm_mcp.checks.gitrepo import GitRepo

_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "A Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
    "GIT_ALLOW_PROTOCOL": "file",
}

ENV_PATH = os.environ["PATH"]


def git(folder: Path, *args: str, stdin: bytes | None = None) -> str:
    """Run git as a user would; returns stdout without the last line end."""
    done = subprocess.run(
        ["git", "-C", str(folder), *args], env=_ENV, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().rstrip("\n")


class Scene:
    """A repository in `folder` with a working tree."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.path = folder
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main", *options)

    def git(self, *args: str, stdin: bytes | None = None) -> str:
        return git(self.path, *args, stdin=stdin)

    def commit(self, files: dict[str, str | bytes | None], message: str = "A change") -> str:
        """Write files (None removes one), commit everything, return the commit."""
        for name, content in files.items():
            path = self.path / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
        return self.git("rev-parse", "HEAD")

    def branch(self, at: str) -> None:
        """Continue from a commit, on no branch."""
        self.git("checkout", "--quiet", "--detach", at)

    def tree(self, commit: str) -> str:
        return self.git("rev-parse", f"{commit}^{{tree}}")

    def files(self, tree: str) -> list[str]:
        return self.git("ls-tree", "-r", "--name-only", tree).splitlines()

    def show(self, tree: str, path: str) -> str:
        return self.git("cat-file", "blob", f"{tree}:{path}")

    async def repo(self, start: Path | None = None) -> GitRepo:
        found = await GitRepo.find(start or self.path)
        assert found is not None
        return found
