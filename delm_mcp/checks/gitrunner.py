"""Git, run so that nothing an agent can write decides what git executes.

Two ways of calling it, both with an environment built from nothing:

- `own`: a bare git folder of ours that borrows the object store of the user's repository. Its
  configuration is three lines that we wrote, so the repository's own configuration, hooks, filters,
  attributes, grafts and replace refs do not exist as far as git is concerned. Everything that turns
  objects into files or new objects runs here.
- `real`: the user's repository, for its refs only (reading one, writing ours). Its configuration is
  read, but what could start a program from there is switched off.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from delm_mcp.checks.processes import Finished, run_program
from delm_mcp.domain.text import fenced
from delm_mcp.errors import CheckUnavailable

_NOTHING_EXECUTES = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.sshCommand=false",
    "-c", "core.attributesFile=/dev/null",
    # A commit graph is a cache beside the objects: a forged one would show other parents.
    "-c", "core.commitGraph=false",
    "-c", "protocol.allow=never",
    "-c", "commit.gpgSign=false",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
)  # fmt: skip

_ISOLATED = {
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "delm-mcp",
    "GIT_AUTHOR_EMAIL": "delm-mcp@localhost",
    "GIT_COMMITTER_NAME": "delm-mcp",
    "GIT_COMMITTER_EMAIL": "delm-mcp@localhost",
    "GIT_OPTIONAL_LOCKS": "0",
    # Older versions fetch the missing objects of a partial clone no matter what; without any
    # protocol they cannot. Newer ones understand the second line.
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
}

_HEAD = b"ref: refs/heads/none\n"


def find_git() -> str:
    """The git program. Raises `CheckUnavailable` when there is none."""
    program = shutil.which("git")
    if program is None:
        raise CheckUnavailable("git is not installed.", "Install git 2.38 or newer where the server runs.")
    return program


def clean_env(program: str) -> dict[str, str]:
    """The environment that every git of ours gets, without a repository."""
    return _ISOLATED | {"PATH": f"{Path(program).parent}:/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True)
class GitRunner:
    """Calls git for one repository.

    Args:
        program: Path of git.
        cwd: Where it runs; the main worktree.
        real_dir: The git folder that the user's refs are looked up in.
        common_dir: The folder that all worktrees share.
        own_dir: Our bare git folder; made, and put right, before each use.
        object_format: `sha1` or `sha256`.
    """

    program: str
    cwd: Path
    real_dir: Path
    common_dir: Path
    own_dir: Path
    object_format: str

    async def own(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (0,),
        stdout_bytes_max: int = 64 * 1024 * 1024,
        timeout_s: float = 120,
    ) -> Finished:
        """Run git in our own folder, on the objects of the user's repository.

        Raises:
            CheckUnavailable: git could not run, or ended with a code that is not in `ok`.
        """
        await anyio.to_thread.run_sync(self._put_right)
        places = {
            "GIT_DIR": str(self.own_dir),
            "GIT_OBJECT_DIRECTORY": str(self.common_dir / "objects"),
            "GIT_SHALLOW_FILE": str(self.common_dir / "shallow"),
        }
        return await self._run(args, places | dict(env or {}), stdin, ok, stdout_bytes_max, timeout_s)

    async def real(self, *args: str, stdin: bytes = b"", ok: tuple[int, ...] = (0,)) -> Finished:
        """Run git on the refs of the user's repository. Raises as `own` does."""
        return await self._run(args, {"GIT_DIR": str(self.real_dir)}, stdin, ok, 1024 * 1024, 60)

    async def _run(
        self,
        args: tuple[str, ...],
        places: Mapping[str, str],
        stdin: bytes,
        ok: tuple[int, ...],
        stdout_bytes_max: int,
        timeout_s: float,
    ) -> Finished:
        done = await run_program(
            [self.program, *_NOTHING_EXECUTES, *args],
            cwd=self.cwd,
            env=clean_env(self.program) | dict(places),
            timeout_s=timeout_s,
            stdin=stdin,
            stdout_bytes_max=stdout_bytes_max,
        )
        if done.exit_code not in ok:
            raise GitFailed(args[0], done)
        return done

    def _put_right(self) -> None:
        """Make our git folder what it must be, whoever has been there in the meantime."""
        version = 0 if self.object_format == "sha1" else 1
        config = f"[core]\n\trepositoryformatversion = {version}\n\tbare = true\n"
        if version:
            config += f"[extensions]\n\tobjectFormat = {self.object_format}\n"
        wanted = {"HEAD": _HEAD, "config": config.encode()}
        try:
            self._make_own_dir()
            for entry in list(self.own_dir.iterdir()):
                if entry.name != "refs" and (entry.name not in wanted or entry.is_symlink()):
                    _remove(entry)
            for name, content in wanted.items():
                path = self.own_dir / name
                if not path.is_file() or path.read_bytes() != content:
                    _write_whole(path, content)
        except OSError as error:
            raise CheckUnavailable(
                f"{self.own_dir} cannot be prepared: {error.strerror or error}.",
                "See that the server may write there.",
            ) from error

    def _make_own_dir(self) -> None:
        board_dir = self.own_dir.parent
        if not board_dir.exists():
            board_dir.mkdir(parents=True, exist_ok=True)  # another server may be as far as we are
            (board_dir / ".gitignore").write_text("*\n")
        refs = self.own_dir / "refs"
        if self.own_dir.is_symlink() or refs.is_symlink():
            raise NotADirectoryError(20, "it is a symbolic link", str(self.own_dir))
        refs.mkdir(parents=True, exist_ok=True)


class GitFailed(CheckUnavailable):
    """git ended with an unexpected exit code; `stderr` has its words."""

    def __init__(self, command: str, done: Finished) -> None:
        self.stderr = done.stderr.decode("utf-8", "replace").strip()
        said = fenced(self.stderr[-500:]) if self.stderr else f"exit code {done.exit_code}"
        super().__init__(f"git {command} failed: {said}")


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def _write_whole(path: Path, content: bytes) -> None:
    # Several servers share the folder: a reader must never meet half a file.
    handle, name = tempfile.mkstemp(dir=path.parent.parent, prefix="git-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(name, path)
