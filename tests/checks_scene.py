"""For the tests of the checks: real git repositories free of the developer's settings, and commands."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from delm_mcp.checks import sandbox
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.sandbox import Ran, SandboxKind

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


async def run(
    argv: Sequence[str], cwd: Path, kind: SandboxKind, *, timeout_s: float = 30, **more: Any
) -> Ran:
    """Run a command in a sandbox, with a bound on everything."""
    with anyio.fail_after(60):
        return await sandbox.run(
            argv, cwd, timeout_s=timeout_s, sandbox=kind, env_path=more.pop("env_path", ENV_PATH), **more
        )


async def python(code: str, cwd: Path, kind: SandboxKind, *args: str, **more: Any) -> Ran:
    """Run Python code in a sandbox."""
    return await run([sys.executable, "-c", code, *args], cwd, kind, **more)
