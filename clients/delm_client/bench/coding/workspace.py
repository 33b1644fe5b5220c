"""Where agents work on an item: a repository of the item's own, and a git worktree of it for each of them.

The repository has one commit, the item as it is given. What an agent changed is the difference between its
worktree and that commit; a submission is such a difference, as a patch, and nothing else is graded.
"""

import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from delm_client.bench.errors import BenchError
from delm_client.git import GitError, at, git
from delm_client.repair.processes import Completed

# An agent's program may have configured the repository to run something whenever git looks at it.
QUIET = ("-c", "core.fsmonitor=false")
READ_MAX_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """A command of a board, run in a clean checkout of head with a patch merged into it.

    Attributes:
        command: As `delm-mcp init --check` takes it. `true` judges nothing: what merges, passes.
        fails_at_base: Whether it fails on the item as it is given, so that a patch has to mend it.
    """

    command: str = "true"
    fails_at_base: bool = False
    timeout_s: float = 120.0


class Workspaces(Protocol):
    """How items of one benchmark become repositories, and what can be run in them.

    `item` is one of that benchmark's items, as the registry loads them.
    """

    def open(self, item: Any, folder: Path) -> str:
        """Make `folder` a git repository with one commit, and return that commit in full.

        Raises:
            BenchError, GitError: It cannot be made; says nothing about any agent.
        """

    def task(self, item: Any) -> str:
        """What an agent is told of the item; never what it is graded by, unless that is shown on purpose."""

    def runs(self, item: Any) -> str:
        """What `run` does here, for agents, such as "runs the tests"; empty where nothing can be run."""

    def run(self, item: Any, worktree: Path, words: str) -> Completed:
        """Run something in a worktree, bounded in time; only where `runs` says so.

        Args:
            words: What the agent asks to be run; benchmarks that run one thing only take no notice of it.

        Raises:
            BenchError, OSError: It could not be run at all.
        """

    def check(self, item: Any) -> Check:
        """The command that a board judges patches with."""


class Refused(Exception):
    """An action that cannot be done in a worktree; the text tells the agent why and what would work."""


@dataclass(frozen=True, slots=True)
class Worktree:
    """One agent's files. Paths are relative to its folder, with `/`, and nothing outside of it is touched."""

    folder: Path
    base: str

    # -- what agents do --------------------------------------------------------------------------

    def listed(self, path: str = "") -> str:
        """The files and folders in a folder, one a line; folders with how many files they hold."""
        inside = self._relative(path) if path.strip(" ./") else ""
        prefix = f"{inside}/" if inside else ""
        names = git(
            self.folder, *QUIET, "-c", "core.quotePath=false",
            "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate",
        ).splitlines()  # fmt: skip
        here = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if not here:
            raise Refused(f"There are no files in {path!r}. List the folder above it.")
        files = sorted(name for name in here if "/" not in name and (self.folder / prefix / name).exists())
        folders = Counter(name.partition("/")[0] for name in here if "/" in name)
        return "\n".join([*(f"{name}/ ({count})" for name, count in sorted(folders.items())), *files])

    def text(self, path: str) -> str:
        """A file's content. Raises Refused where it is none, or no text."""
        place = self._inside(path)
        if place.is_dir():
            raise Refused(f"{path} is a folder; list it, or read a file in it.")
        try:
            if place.stat().st_size > READ_MAX_BYTES:
                raise Refused(f"{path} is too large to be read.")
            return place.read_bytes().decode()
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(f"There is no file {path}. List a folder to see what is there.") from None
        except UnicodeDecodeError:
            raise Refused(f"{path} is no UTF-8 text.") from None
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}.") from None

    def numbered(self, path: str, first: int = 1, last: int = 0) -> str:
        """A file's lines with their numbers; `last` 0: to its end."""
        lines = self.text(path).splitlines()
        first = max(1, first)
        shown = lines[first - 1 : last or None]
        if not shown:
            return f"({path} has {len(lines)} lines)"
        return "\n".join(f"{number:5} {line}" for number, line in enumerate(shown, first))

    def found(self, text: str, path: str = "") -> str:
        """The lines that hold a text, as `file:line:content`."""
        if not text.strip():
            raise Refused("Name a text to search for.")
        words = ["grep", "-n", "-I", "-F", "--untracked", "-e", text]
        if path.strip(" ./"):
            words += ["--", f":(literal){self._relative(path)}"]
        try:
            return git(self.folder, *QUIET, "-c", "core.quotePath=false", *words)
        except GitError as error:
            if not str(error).partition(":")[2].strip():
                return "(nothing found)"
            raise Refused(f"The search failed: {error}") from error

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace the one place where `old` stands."""
        text = self.text(path)
        count = text.count(old) if old else 0
        if count != 1:
            why = f"stands there {count} times" if old else "is empty"
            raise Refused(
                f"`old` {why} in {path}: copy it as it stands, with as many lines as make it the only one."
            )
        self._put(path, text.replace(old, new, 1))

    def write(self, path: str, content: str) -> None:
        """Write a whole file, new or not."""
        place = self._inside(path)
        if place.is_dir():
            raise Refused(f"{path} is a folder; name a file.")
        self._put(path, content)

    def _put(self, path: str, content: str) -> None:
        place = self._inside(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode("utf-8", "replace"))
        except OSError as error:
            raise Refused(f"{path} cannot be written: {error.strerror}.") from None

    def _inside(self, path: str) -> Path:
        """The place of a path. Raises Refused where it would lie outside, or in what is git's."""
        pure = PurePosixPath(path.strip())
        parts = pure.parts
        if not parts or pure.is_absolute() or ".." in parts or "\0" in path:
            raise Refused(f"{path!r} is outside of your folder. Name a path in it, such as src/x.py.")
        if any(part.casefold() == ".git" for part in parts):
            raise Refused("What is in .git is not yours to read or change.")
        place = self.folder.joinpath(*parts)
        root = Path(os.path.realpath(self.folder))
        real = Path(os.path.realpath(place))
        if not real.is_relative_to(root) or ".git" in real.relative_to(root).parts:
            raise Refused(f"{path} is a link that leads out of your folder.")
        return place

    def _relative(self, path: str) -> str:
        return self._inside(path).relative_to(self.folder).as_posix()

    # -- what became of them ---------------------------------------------------------------------

    def patch(self) -> str:
        """All that differs from the base, committed or not, as a diff; empty where nothing does.

        New files are in it, ignored ones are not. Raises GitError, or BenchError where it is not UTF-8.
        """
        git(self.folder, *QUIET, "add", "--all", "--intent-to-add")
        return difference(self.folder, self.base)

    def commit(self, message: str) -> str:
        """Commit all of it as one child of where the worktree began; returns the full commit, or that place
        where nothing differs.
        """
        git(self.folder, *QUIET, "add", "--all")
        git(self.folder, *QUIET, "reset", "--quiet", "--soft", self.base)
        if not git(self.folder, *QUIET, "status", "--porcelain", "--untracked-files=no"):
            return self.base
        git(self.folder, *QUIET, "commit", "--quiet", "--no-verify", "-m", message)
        return git(self.folder, "rev-parse", "HEAD")

    def moved(self, commit: str) -> "Worktree":
        """The same folder at another commit, from which on its changes count; what was in it is gone."""
        with suppress(GitError):
            git(self.folder, *QUIET, "clean", "-fdq")
        at(self.folder, commit)
        git(self.folder, *QUIET, "clean", "-fdq")
        return Worktree(self.folder, commit)


def added(repository: Path, folder: Path, commit: str) -> Worktree:
    """A new worktree of a repository, at a commit."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(repository, "worktree", "add", "--quiet", "--detach", str(folder.resolve()), commit)
    return Worktree(folder.resolve(), commit)


def difference(folder: Path, base: str, commit: str = "") -> str:
    """A diff from base to a commit, or to what is in the folder.

    Raises:
        GitError: git failed.
        BenchError: The change is not UTF-8, which the results, as JSON, cannot hold.
    """
    place = Path(git(folder, "rev-parse", "--absolute-git-dir")) / "delm-patch"
    try:
        git(
            folder, *QUIET, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv",
            f"--output={place}", base, *([commit] if commit else []),
        )  # fmt: skip
        return place.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise BenchError(f"The change in {folder} is not UTF-8: {error}") from error
    finally:
        place.unlink(missing_ok=True)


class DoesNotApply(GitError):
    """A patch does not fit what it was made for."""


def patched(repository: Path, folder: Path, base: str, patch: str) -> Worktree:
    """A new worktree at the base with a patch applied.

    Raises:
        DoesNotApply: It does not fit the base.
        GitError: Something else is wrong, such as a full disk, which says nothing about the patch.
    """
    made = added(repository, folder, base)
    if patch:
        file = Path(git(made.folder, "rev-parse", "--absolute-git-dir")) / "delm-patch"
        file.write_text(patch, encoding="utf-8", newline="")
        apply = ("apply", "--index", "--whitespace=nowarn", str(file))
        try:
            git(made.folder, *apply, "--check")
        except GitError as error:
            raise DoesNotApply(str(error)) from error
        git(made.folder, *apply)
        file.unlink()
    return made


def forget(folder: Path) -> None:
    """Remove a repository with its worktrees: they all lie in one folder."""
    shutil.rmtree(folder, ignore_errors=True)
