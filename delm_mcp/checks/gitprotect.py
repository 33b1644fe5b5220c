"""Put protected files back to what they are at a base, whatever a patch did to them.

Globs are gitignore-like, and translated to git's own `:(glob)` pathspecs:

- `conftest.py` and `tests/` (no slash, or only a last one) match at any depth; `/conftest.py`,
  `tests/**` and `tests/conftest.py` match from the root of the repository;
- `*` and `?` stop at a slash, `**` does not;
- what matches a folder covers everything in it;
- there is no negation: a leading `!` is refused.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from delm_mcp.checks.gitrunner import GitRunner
from delm_mcp.errors import ConfigError

_ABSENT = "000000"


@dataclass(frozen=True)
class Restored:
    """The tree after the protected files were put back, and the paths that had to be."""

    tree: str
    paths: tuple[str, ...]


def pathspecs(globs: Sequence[str]) -> list[str]:
    """Git pathspecs that match exactly what the globs protect.

    Raises:
        ConfigError: A glob is empty, negated, or goes up with `..`.
    """
    found: dict[str, None] = {}
    for glob in globs:
        text = glob.strip()
        body = text.strip("/").removesuffix("/**").rstrip("/")
        if not body or text.startswith("!") or ".." in body.split("/") or "\0" in body:
            raise ConfigError(
                f"`{glob[:100]}` cannot be used as a protect glob.",
                "Write globs like `tests/**`, `conftest.py` or `/pyproject.toml`; there is no negation.",
            )
        if body == "**":
            return [":(glob)**"]
        anchored = "/" in text.rstrip("/")
        start = "" if anchored else "**/"
        # The folder's own name too: a patch could put a file or a link where the folder was.
        found[f":(glob){start}{body}"] = None
        found[f":(glob){start}{body}/**"] = None
    return list(found)


async def restore(git: GitRunner, tree: str, base_tree: str, globs: Sequence[str]) -> Restored:
    """Give protected paths of `tree` exactly the content that they have in `base_tree`.

    Changed files are restored, deleted ones come back, added ones go away. Both trees by full name.

    Raises:
        ConfigError: A glob cannot be used.
        CheckUnavailable: git could not do it.
    """
    if not globs or tree == base_tree:
        return Restored(tree, ())
    specs = pathspecs(globs)
    done = await git.own("diff-tree", "-r", "-z", "--raw", "--no-renames", base_tree, tree, "--", *specs)
    fields = done.stdout.split(b"\0")
    changes = list(zip(fields[0::2], fields[1::2], strict=False))
    if not changes:
        return Restored(tree, ())
    removals: list[bytes] = []
    returns: list[bytes] = []
    for raw, path in changes:
        mode, _, sha, _, _ = raw.decode("ascii").lstrip(":").split()
        line = f"{'0' if mode == _ABSENT else mode} {sha}\t".encode() + path + b"\0"
        (removals if mode == _ABSENT else returns).append(line)
    with TemporaryDirectory(prefix="delm-index-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        await git.own("read-tree", tree, env=env)
        # Removals first and `--replace`: a file may stand where a protected folder was.
        lines = b"".join(removals + returns)
        await git.own("update-index", "-z", "--replace", "--index-info", stdin=lines, env=env)
        written = await git.own("write-tree", env=env)
    return Restored(written.stdout.decode("ascii").strip(), tuple(os.fsdecode(path) for _, path in changes))
