"""Patches as text: applying one to a tree, and showing what lies between two trees as one.

Everything happens in an index of its own and in the object store: no worktree, no ref, no attribute and
no configuration of the user's has a part in it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from delm_mcp.checks.gitcheckout import is_long
from delm_mcp.checks.gitrunner import GitRunner
from delm_mcp.checks.processes import TooMuchOutput
from delm_mcp.domain.text import fenced, shortened

DIFF_CHARS_MAX = 90_000  # what a text of MAX_PATCH characters makes fits, with longer names of objects
_DIFF_BYTES_MAX = 8 * 1024 * 1024
_ALLOCATION_BYTES_MAX = 64 * 1024 * 1024
_PLAIN_MODES = frozenset({"000000", "100644", "100755"})
_REASONS_MAX = 6
# Paths that are dangerous on any system are refused on this one too.
_APPLY = ("-c", "core.protectHFS=true", "-c", "core.protectNTFS=true", "apply")
# Said before git tries without a merge, which then says what is wrong.
_NOISE = ("repository lacks the necessary blob", "Falling back to")


@dataclass(frozen=True)
class Applied:
    """What comes of applying a text: the tree, or else the paths in conflict, or else why not."""

    tree: str = ""
    conflicts: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Difference:
    """A diff of whole files, and what is not in it."""

    text: str
    left_out: tuple[str, ...] = ()


async def apply_text(git: GitRunner, base_tree: str, text: str) -> Applied:
    """Apply a diff to a tree, by a three-way merge where the objects that it names are known.

    Links, submodules, paths that git refuses on any system (`../x`, `/x`, `.git/x`) and too long ones are
    problems.

    Args:
        base_tree: Full name of a tree.
        text: What `git diff` or `git format-patch` printed; a mail's headers and prose are ignored.

    Raises:
        CheckUnavailable: git could not run.
    """
    # Binary parts end with an empty line, which is easily lost at the end of a text.
    content = (text.rstrip("\n") + "\n\n").encode("utf-8", "replace")
    with TemporaryDirectory(prefix="delm-index-") as scratch:
        index = Path(scratch) / "index"
        env = {"GIT_INDEX_FILE": str(index)}
        await git.own("read-tree", base_tree, env=env)
        options = ("--cached", "--3way", "--whitespace=nowarn", "-")
        # A delta of a few bytes can ask for any amount of memory; of honest parts the index is the largest.
        limit = _ALLOCATION_BYTES_MAX + 4 * (await anyio.Path(index).stat()).st_size
        bounded = env | {"GIT_ALLOC_LIMIT": str(limit)}
        done = await git.own(*_APPLY, *options, stdin=content, env=bounded, ok=(0, 1, 128))
        if done.exit_code:
            return await _refusal(git, env, done.stderr)
        listed = await git.own(*_APPLY, "--numstat", "-z", "-", stdin=content, env=bounded, ok=(0, 1, 128))
        if listed.stdout.count(b"\0") < text.count("\ndiff --git ") + text.startswith("diff --git "):
            return Applied(problem="parts of it cannot be read, as if they were cut short")
        long = [name for name in _names(listed.stdout) if is_long(name)]
        if long:
            return Applied(problem=f"{_listed([os.fsdecode(name) for name in long])} is too long a path")
        tree = (await git.own("write-tree", env=env)).stdout.decode("ascii").strip()
    odd = await _odd_paths(git, base_tree, tree)
    if odd:
        return Applied(problem=f"{_listed(odd)} would be a symbolic link or a submodule")
    return Applied(tree)


def _names(numstat: bytes) -> list[bytes]:
    return [line.split(b"\t", 2)[-1] for line in numstat.split(b"\0")]


async def _refusal(git: GitRunner, env: dict[str, str], stderr: bytes) -> Applied:
    unmerged = await git.own("ls-files", "--unmerged", "-z", env=env)
    paths = [os.fsdecode(line.partition(b"\t")[2]) for line in unmerged.stdout.split(b"\0") if line]
    if paths:
        return Applied(conflicts=tuple(dict.fromkeys(paths)))
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if _says_why(line)]
    said = [line.partition(": ")[2] for line in dict.fromkeys(lines)]
    more = f" and {len(said) - _REASONS_MAX} more" if len(said) > _REASONS_MAX else ""
    listed = "; ".join(fenced(shortened(line, 200)) for line in said[:_REASONS_MAX])
    return Applied(problem=f"git says {listed}{more}" if said else "git refuses it without a word")


def _says_why(line: str) -> bool:
    return line.startswith(("error: ", "fatal: ")) and not any(noise in line for noise in _NOISE)


async def _odd_paths(git: GitRunner, base_tree: str, tree: str) -> list[str]:
    """The paths that a change makes, or leaves, something else than a plain file."""
    done = await git.own("diff-tree", "-r", "-z", "--raw", "--no-renames", base_tree, tree)
    fields = done.stdout.split(b"\0")
    return [
        os.fsdecode(path)
        for raw, path in zip(fields[0::2], fields[1::2], strict=False)
        if raw.decode("ascii").split()[1] not in _PLAIN_MODES
    ]


def _listed(paths: list[str]) -> str:
    return ", ".join(fenced(shortened(path, 120)) for path in paths[:_REASONS_MAX])


async def difference(git: GitRunner, before: str, after: str) -> Difference:
    """What lies between two trees, as a diff that `git apply` takes, within `DIFF_CHARS_MAX`.

    Files whose part does not fit, or is no UTF-8, are left out whole and named.

    Raises:
        CheckUnavailable: git could not run.
    """
    options = ("--patch", "--binary", "--full-index", "--find-renames", "--no-color", "--no-ext-diff")
    trees = (before, after)
    try:
        done = await git.own("diff-tree", "-r", *options, *trees, stdout_bytes_max=_DIFF_BYTES_MAX)
    except TooMuchOutput:
        names = await git.own("diff-tree", "-r", "-z", "--name-only", "--no-renames", *trees)
        return Difference("", tuple(os.fsdecode(path) for path in names.stdout.split(b"\0") if path))
    kept: list[str] = []
    left_out: list[str] = []
    room = DIFF_CHARS_MAX
    for part in _parts(done.stdout):
        try:
            text = part.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if text and len(text) <= room:
            kept.append(text)
            room -= len(text)
        else:
            why = f"{len(part)} bytes" if text else "not UTF-8"
            left_out.append(f"{_title(part)} ({why})")
    return Difference("".join(kept), tuple(left_out))


def _parts(diff: bytes) -> Iterator[bytes]:
    """The diff by file; no line of content starts with these words."""
    part: list[bytes] = []
    for line in _lines(diff):
        if line.startswith(b"diff --git ") and part:
            yield b"".join(part)
            part = []
        part.append(line)
    if part:
        yield b"".join(part)


def _lines(diff: bytes) -> list[bytes]:
    """A carriage return is content, so nothing but a line feed ends a line."""
    return [line + b"\n" for line in diff.removesuffix(b"\n").split(b"\n")] if diff else []


def _title(part: bytes) -> str:
    return part.partition(b"\n")[0].decode("utf-8", "replace").removeprefix("diff --git ")
