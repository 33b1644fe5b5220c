"""The repository that a run belongs to: what patches are, what they merge to, where `head` is.

User input goes through `resolve` first; everything else takes full object names only. `gitrunner`
says why nothing in the repository can make git run a program, `gitprotect` how protect globs match.
"""

import hashlib
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import anyio

from delm_mcp.checks.gitcheckout import Checkout, checkout, list_tree
from delm_mcp.checks.gitpatch import Applied, Difference, apply_text, difference
from delm_mcp.checks.gitplace import place_of
from delm_mcp.checks.gitprotect import Restored, pathspecs, restore
from delm_mcp.checks.gitrunner import GitFailed, GitRunner, find_git
from delm_mcp.errors import CheckUnavailable, InvalidInput, NotFound

_FULL_NAME = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_OUR_REF = re.compile(r"refs/delm(/[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.|lock(?:/|$)|/|$))*)+")
_REV_CHARS_MAX = 250
_MERGE_TREE_SINCE = (2, 38)
_STALE_LOCK_S = 20.0


@dataclass(frozen=True)
class MergeResult:
    """What comes of bringing `commit` into `head`.

    `tree` is None for `conflict` (then `conflicts` has the paths) and for `unrelated` histories.
    `contained` means that head has the commit already, `fast_forward` that the commit has head.
    """

    outcome: Literal["contained", "fast_forward", "merged", "conflict", "unrelated"]
    tree: str | None
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class GitRepo:
    """One repository, whichever of its worktrees the process was started in.

    Args:
        main: Its main worktree (for the worktrees of a bare repository: the bare folder).
        git: How git is called for it.
    """

    main: Path
    git: GitRunner

    @classmethod
    async def find(cls, start: Path) -> "GitRepo | None":
        """The repository around `start`; None when there is none.

        Raises:
            CheckUnavailable: git is missing, too strict or too old for it, or `start` is in a bare
                repository.
        """
        place = await place_of(start)
        if place is None:
            return None
        own_dir = place.main / ".delm" / "git"
        runner = GitRunner(
            find_git(), place.main, place.git_dir, place.common_dir, own_dir, place.object_format
        )
        return cls(place.main, runner)

    async def resolve(self, rev: str) -> str:
        """The full name of the commit that `rev` (a name, tag, branch, `HEAD~2`) means.

        `HEAD` is that of the worktree in which the process was started.

        Raises:
            InvalidInput: `rev` is empty, too long, or starts with a dash.
            NotFound: There is no such commit here.
        """
        if not rev or len(rev) > _REV_CHARS_MAX or rev.startswith("-") or not rev.isprintable():
            raise InvalidInput(
                f"{rev[:80]!r} is not a commit.",
                "Pass a full commit name: the output of `git rev-parse HEAD`.",
            )
        run = self.git.own if _FULL_NAME.fullmatch(rev) else self.git.real
        question = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
        done = await run(*question, ok=(0, 1, 128))
        sha = done.stdout.decode("ascii", "replace").strip()
        if done.exit_code == 0 and _FULL_NAME.fullmatch(sha):
            return sha
        if rev in ("HEAD", "@"):
            raise NotFound("This repository has no commits yet.", "Commit something, then try again.")
        raise NotFound(
            f"The repository {self.main} has no commit {rev[:80]!r}.",
            "Commit in a worktree of this repository (or fetch the commit into it), "
            "then pass the output of `git rev-parse HEAD`.",
        )

    async def object_exists(self, sha: str) -> bool:
        """Whether the repository has the object with this full name."""
        done = await self.git.own("cat-file", "-e", _full(sha), ok=(0, 1, 128))
        return done.exit_code == 0

    async def tree_of(self, commit: str) -> str:
        """The tree of a commit. Raises `NotFound` when there is no such commit."""
        question = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{_full(commit)}^{{tree}}")
        done = await self.git.own(*question, ok=(0, 1, 128))
        if done.exit_code:
            raise NotFound(f"The repository {self.main} has no commit {commit}.")
        return done.stdout.decode("ascii").strip()

    async def tracks(self, path: Path) -> bool:
        """Whether a file of the main worktree is in git's index, so that it may have come by a clone."""
        name = _place_in(self.main, path)
        if name.startswith(os.pardir):
            return False
        done = await self.git.real("ls-files", "--error-unmatch", "--", name, ok=(0, 1, 128))
        return done.exit_code == 0

    async def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or can be reached from it (both commits)."""
        done = await self.git.own("merge-base", "--is-ancestor", _full(older), _full(newer), ok=(0, 1))
        return done.exit_code == 0

    async def inputs_digest(self, tree: str, globs: Sequence[str]) -> str:
        """A hash of the files of a tree that globs name, as `protect` does; the tree's own without globs."""
        if not globs:
            return _full(tree)
        nothing = await self.git.own("hash-object", "-t", "tree", "--stdin", stdin=b"")
        trees = (nothing.stdout.decode("ascii").strip(), _full(tree))
        question = ("diff-tree", "-r", "-z", "--raw", "--no-renames", *trees, "--")
        done = await self.git.own(*question, *pathspecs(globs))
        return hashlib.sha256(done.stdout).hexdigest()

    async def changed_paths(self, a: str, b: str) -> tuple[str, ...]:
        """The paths whose content or mode differs between two trees or commits, sorted by git."""
        question = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", _full(a), _full(b))
        done = await self.git.own(*question)
        return tuple(os.fsdecode(path) for path in done.stdout.split(b"\0") if path)

    async def read_file(self, path: str, commit: str, *, bytes_max: int = 2 * 1024 * 1024) -> bytes:
        """The content of a file as it is stored in a commit, byte for byte (no line-end conversion).

        Raises:
            InvalidInput: The path leaves the repository, is a folder, link or submodule, or the file
                is larger than `bytes_max`.
            NotFound: The commit has no such file.
        """
        name = _file_name(path)
        literal = {"GIT_LITERAL_PATHSPECS": "1"}
        tree = await self.tree_of(commit)
        done = await self.git.own("ls-tree", "-l", "-z", "--full-tree", tree, "--", name, env=literal)
        if not done.stdout:
            raise NotFound(f"The commit {commit[:12]} has no file {path[:200]!r}.")
        mode, _, sha, size = done.stdout.split(b"\t")[0].decode("ascii").split()
        if mode not in ("100644", "100755"):
            raise InvalidInput(
                f"{path[:200]!r} is not a plain file in commit {commit[:12]}.",
                "Name a file; links, folders and submodules cannot be quoted.",
            )
        if not size.isdigit() or int(size) > bytes_max:
            raise InvalidInput(
                f"{path[:200]!r} has {size} bytes; at most {bytes_max} can be read.", "Quote a smaller file."
            )
        content = await self.git.own("cat-file", "blob", sha, stdout_bytes_max=bytes_max)
        return content.stdout

    async def checkout(self, tree: str, into: Path) -> Checkout:
        """Write the files of a tree or commit into the empty folder `into`, without a `.git`.

        Raises:
            InvalidInput: The tree is too large, or has a path that git refuses.
        """
        return await checkout(self.git, _full(tree), into)

    async def restore(self, tree: str, base_tree: str, globs: Sequence[str]) -> Restored:
        """`tree` with everything that matches the protect globs as it is in `base_tree`."""
        return await restore(self.git, _full(tree), _full(base_tree), globs)

    async def apply(self, tree: str, text: str) -> Applied:
        """`tree` with a diff applied to it."""
        return await apply_text(self.git, _full(tree), text)

    async def difference(self, before: str, after: str) -> Difference:
        """What lies between two trees, as a diff."""
        return await difference(self.git, _full(before), _full(after))

    async def merge(self, head: str, commit: str) -> MergeResult:
        """Merge a commit into head, without touching any worktree or ref.

        Raises:
            CheckUnavailable: git is older than 2.38.
            InvalidInput: The commit is too large to be checked out, or a path in it is too long.
        """
        if await self.is_ancestor(commit, head):
            return MergeResult("contained", await self.tree_of(head))
        await list_tree(self.git, commit)
        if await self.is_ancestor(head, commit):
            return MergeResult("fast_forward", await self.tree_of(commit))
        base = await self.git.own("merge-base", head, commit, ok=(0, 1))
        if base.exit_code:
            return MergeResult("unrelated", None)
        await self._require_merge_tree()
        options = ("--write-tree", "-z", "--name-only", "--no-messages")
        done = await self.git.own("merge-tree", *options, head, commit, ok=(0, 1))
        tree, *conflicts = [os.fsdecode(field) for field in done.stdout.split(b"\0") if field]
        if done.exit_code:
            return MergeResult("conflict", None, tuple(dict.fromkeys(conflicts)))
        return MergeResult("merged", tree)

    async def commit_tree(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        *,
        author: str = "delm-mcp",
        email: str = "delm-mcp@localhost",
        when_s: int,
    ) -> str:
        """Make a commit object (no ref) and return its full name.

        Args:
            tree: The tree that it records.
            parents: Full names of its parents, in order.
            message: UTF-8 text.
            author: Who made the change; the committer is always delm-mcp.
            email: The author's address.
            when_s: Time of authoring and committing, in seconds since 1970 UTC.
        """
        env = {
            "GIT_AUTHOR_NAME": _ident(author),
            "GIT_AUTHOR_EMAIL": _ident(email),
            "GIT_AUTHOR_DATE": f"@{when_s} +0000",
            "GIT_COMMITTER_DATE": f"@{when_s} +0000",
        }
        options = [option for parent in parents for option in ("-p", _full(parent))]
        text = message.replace("\0", "").encode("utf-8", "replace") or b"(no message)"
        done = await self.git.own("commit-tree", _full(tree), *options, "-F", "-", stdin=text, env=env)
        return done.stdout.decode("ascii").strip()

    async def read_ref(self, name: str) -> str | None:
        """What a ref of ours (`refs/delm/...`) points at, or None."""
        question = ("rev-parse", "--verify", "--quiet", "--end-of-options", _our_ref(name))
        done = await self.git.real(*question, ok=(0, 1, 128))
        return done.stdout.decode("ascii").strip() or None

    async def set_ref(self, name: str, sha: str, expected_old: str | None) -> bool:
        """Point `refs/delm/...` in the user's repository at `sha`, by compare-and-set.

        Args:
            name: The ref; nothing outside `refs/delm/` is accepted.
            sha: Full name of a commit.
            expected_old: What it must point at now; `""`: it must not exist; None: whatever it is.

        Returns:
            False, with nothing changed, when the ref is not at `expected_old`.

        Raises:
            CheckUnavailable: git could not write it for another reason.
        """
        ref = _our_ref(name)
        zeros = "0" * len(sha)
        old = [] if expected_old is None else [_full(expected_old) if expected_old else zeros]
        self._clear_stale_lock(ref)
        try:
            # Cut short, git would leave a lock behind with which the ref never moves again.
            with anyio.CancelScope(shield=True):
                await self.git.real("update-ref", "--no-deref", ref, _full(sha), *old)
        except GitFailed:
            if expected_old is None or (await self.read_ref(ref) or "") == expected_old:
                raise
            return False
        return True

    def _clear_stale_lock(self, ref: str) -> None:
        """Remove the lock of one of our refs that a killed git left; git itself holds one for moments."""
        lock = self.git.real_dir / f"{ref}.lock"
        with suppress(OSError):
            if time.time() - lock.stat().st_mtime > _STALE_LOCK_S:
                lock.unlink()

    async def _require_merge_tree(self) -> None:
        done = await self.git.own("version")
        found = re.search(r"(\d+)\.(\d+)", done.stdout.decode("ascii", "replace"))
        if found is None or (int(found[1]), int(found[2])) < _MERGE_TREE_SINCE:
            raise CheckUnavailable(
                f"This {done.stdout.decode('ascii', 'replace').strip()} cannot merge without a worktree.",
                "Install git 2.38 or newer, or rebase the patch onto head and propose it again.",
            )


def _full(sha: str) -> str:
    """The name itself. A caller that passes anything else has skipped `resolve`."""
    if not _FULL_NAME.fullmatch(sha):
        raise InvalidInput(f"{sha[:80]!r} is not a full object name.", "Resolve it first.")
    return sha


def _place_in(folder: Path, path: Path) -> str:
    """Where a file really lies, seen from a folder: a tracked link may lead to a tracked file."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))


def _our_ref(name: str) -> str:
    if not _OUR_REF.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} is not a ref of ours.", "Use `refs/delm/<run>/<name>`.")
    return name


def _file_name(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or path.endswith("/"):
        raise InvalidInput(
            f"{path[:200]!r} is not a path inside the repository.",
            "Pass a path relative to its root, without `..`.",
        )
    return "/".join(parts)


def _ident(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in "<>").strip()[:200] or "delm-mcp"
