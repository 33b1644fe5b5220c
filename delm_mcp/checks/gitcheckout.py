"""Write a tree into an empty folder: the files of a commit and nothing else."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from delm_mcp.checks.gitrunner import GitFailed, GitRunner
from delm_mcp.checks.processes import TooMuchOutput
from delm_mcp.domain.text import fenced, shortened
from delm_mcp.errors import CheckUnavailable, InvalidInput

TREE_ENTRIES_MAX = 500_000
TREE_BYTES_MAX = 4 * 1024**3
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 1_000
"""Longer ones cannot be written everywhere, and some thousand folders deep git itself crashes."""
_LISTING_BYTES_MAX = 64 * 1024**2

_SYMLINK = "120000"
_SUBMODULE = "160000"


@dataclass(frozen=True)
class TreeEntry:
    """One file of a tree: its path, mode (`100644`, `120000`, ...), object and size in bytes."""

    path: str
    mode: str
    sha: str
    size: int


@dataclass(frozen=True)
class Checkout:
    """What a checkout left out.

    `submodules` are empty folders. `neutralised` are symbolic links that lead out of the checkout;
    each has become a plain file that contains its target, as on systems without links.
    """

    submodules: tuple[str, ...]
    neutralised: tuple[str, ...]


async def list_tree(git: GitRunner, tree: str) -> list[TreeEntry]:
    """Every file under a tree or commit (full object name), submodules included.

    This also bounds what a tree may unfold to, before anything is written: a few nested trees can
    name more files than a disk holds.

    Raises:
        InvalidInput: More than `TREE_ENTRIES_MAX` files or `TREE_BYTES_MAX` bytes, or a path
            that is too long.
        CheckUnavailable: git cannot read it.
    """
    try:
        listing = ("ls-tree", "-r", "-l", "-z", "--full-tree", tree)
        done = await git.own(*listing, stdout_bytes_max=_LISTING_BYTES_MAX)
    except TooMuchOutput:
        raise _too_large(tree) from None
    entries = [_entry(line) for line in done.stdout.split(b"\0") if line]
    if len(entries) > TREE_ENTRIES_MAX or sum(entry.size for entry in entries) > TREE_BYTES_MAX:
        raise _too_large(tree)
    long = next((entry.path for entry in entries if is_long(os.fsencode(entry.path))), None)
    if long is not None:
        raise InvalidInput(
            f"The tree {tree[:12]} has a path that is too long: {fenced(shortened(long, 120))}.",
            f"A name has at most {NAME_BYTES_MAX} bytes, a path {PATH_BYTES_MAX}.",
        )
    return entries


def is_long(path: bytes) -> bool:
    """Whether a path cannot be written everywhere."""
    if len(path) <= NAME_BYTES_MAX:
        return False
    return len(path) > PATH_BYTES_MAX or any(len(name) > NAME_BYTES_MAX for name in path.split(b"/"))


async def checkout(git: GitRunner, tree: str, into: Path) -> Checkout:
    """Write the files of `tree` into the empty folder `into`, through an index of its own.

    Raises:
        InvalidInput: The tree is too large, or has a path that git refuses (`.git/...`) or is too long.
        CheckUnavailable: git could not do it.
    """
    entries = await list_tree(git, tree)
    with TemporaryDirectory(prefix="delm-index-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), "GIT_WORK_TREE": str(into)}
        try:
            await git.own("read-tree", tree, env=env)
            await git.own("checkout-index", "--all", "--force", "--quiet", env=env, timeout_s=300)
        except GitFailed as error:
            if "invalid path" in error.stderr.lower():
                raise InvalidInput(
                    f"The tree {tree[:12]} has a path that git refuses: {fenced(error.stderr[-200:])}.",
                    "Remove that path from the commit.",
                ) from error
            raise
    links = [entry.path for entry in entries if entry.mode == _SYMLINK]
    neutralised = await anyio.to_thread.run_sync(_neutralise, into, links)
    submodules = tuple(entry.path for entry in entries if entry.mode == _SUBMODULE)
    return Checkout(submodules, neutralised)


def _entry(line: bytes) -> TreeEntry:
    head, _, path = line.partition(b"\t")
    mode, _, sha, size = head.decode("ascii").split()
    if size == "BAD":
        raise CheckUnavailable(
            f"The object {sha[:12]} is not in the repository.",
            "A partial clone has to be completed first: `git fetch --refetch --no-filter`.",
        )
    return TreeEntry(os.fsdecode(path), mode, sha, 0 if size == "-" else int(size))


def _too_large(tree: str) -> InvalidInput:
    return InvalidInput(
        f"The tree {tree[:12]} has more than {TREE_ENTRIES_MAX} files or {TREE_BYTES_MAX // 1024**3} GiB.",
        "Commit less.",
    )


def _neutralise(root: Path, links: list[str]) -> tuple[str, ...]:
    """Turn the links that lead outside into files.

    Asked of the file system and not of the link's text alone: `a/../..` goes through `a`, which may
    be a link itself. All are judged before any is replaced, so their order does not matter.
    """
    base = os.path.realpath(root)
    outside = [link for link in links if not _is_inside(os.path.realpath(os.path.join(base, link)), base)]
    for link in outside:
        path = os.path.join(base, link)
        target = os.fsencode(os.readlink(path))
        os.unlink(path)
        Path(path).write_bytes(target)
    return tuple(outside)


def _is_inside(path: str, base: str) -> bool:
    return path == base or path.startswith(base + os.sep)
