"""Bubblewrap: whether it works here, and the command line that builds a sandbox with it."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delm_mcp.checks.processes import run_program
from delm_mcp.errors import CheckUnavailable

_ISOLATE = (
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
    "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
)  # fmt: skip
# Sockets of other programs stand in this folder, and a read-only file system does not keep
# anyone from connecting to them.
_SOCKETS = "/run"
# Tools keep these beside their programs, in folders that have to stay readable.
_CREDENTIALS = (".cargo/credentials", ".cargo/credentials.toml")

_probed: dict[str, str] = {}


@dataclass(frozen=True)
class Mounts:
    """What a sandbox shows.

    Args:
        scratch: An empty folder of ours; its /tmp and /var/tmp are made there.
        writable: Folders that it may write in, at the same path.
        hidden: Folders that are empty in it, and files that are.
        readable: Folders that stay visible inside hidden ones.
        env_path: The PATH; what its programs need stays visible too.
    """

    scratch: Path
    writable: tuple[Path, ...]
    hidden: tuple[Path, ...]
    readable: tuple[Path, ...]
    env_path: str


async def bubblewrap_problem() -> str:
    """Why bubblewrap cannot be used here; empty when it can. Tried once per process.

    It is really started: containers often have the program and forbid the namespaces.
    """
    program = shutil.which("bwrap")
    if program is None:
        return "bwrap is not installed."
    if program not in _probed:
        _probed[program] = await _probe(program)
    return _probed[program]


async def _probe(program: str) -> str:
    argv = [program, *_ISOLATE, "--tmpfs", "/tmp", "--", "sh", "-c", ":"]  # noqa: S108
    try:
        done = await run_program(argv, cwd=Path("/"), env={"PATH": os.defpath}, timeout_s=20)
    except CheckUnavailable as error:
        return error.problem
    if done.exit_code:
        said = done.stderr.decode("utf-8", "replace").strip()
        return f"{said[-300:] or f'exit code {done.exit_code}'}"
    return ""


def bubblewrap_argv(argv: Sequence[str], cwd: Path, mounts: Mounts, status_fd: int) -> list[str]:
    """The command line that runs `argv` in `cwd` inside a sandbox.

    The deeper of two paths wins: a hidden folder inside a readable one is hidden, and a writable one
    inside a hidden one is writable.
    """
    places: dict[str, list[str]] = {}
    for shared, own in (("/tmp", "tmp"), ("/var/tmp", "var-tmp")):  # noqa: S108
        if os.path.isdir(shared):
            (mounts.scratch / own).mkdir(exist_ok=True)
            places[os.path.realpath(shared)] = ["--bind", str(mounts.scratch / own)]
    credentials = [Path.home() / name for name in _CREDENTIALS]
    for path in _existing((Path(_SOCKETS), *credentials, *mounts.hidden)):
        places[path] = ["--tmpfs"] if os.path.isdir(path) else ["--ro-bind", "/dev/null"]
    covered = tuple(places)
    for path in _existing((*tool_roots(mounts.env_path), *mounts.readable)):
        if any(_is_below(path, cover) for cover in covered):
            places.setdefault(path, ["--ro-bind", path])
    for path in _existing(mounts.writable):
        places[path] = ["--bind", path]
    options = [
        word
        for path in sorted(places, key=lambda path: (path.count("/"), path))
        for word in (*places[path], path)
    ]
    # Memory is all that a tmpfs has; nobody needs to write in a hidden folder.
    options += [word for path in places if places[path] == ["--tmpfs"] for word in ("--remount-ro", path)]
    program = shutil.which("bwrap") or "bwrap"
    status = ("--json-status-fd", str(status_fd))
    return [program, *_ISOLATE, *options, *status, "--chdir", os.path.realpath(cwd), "--", *argv]


def tool_roots(env_path: str) -> list[Path]:
    """The folders that the programs on a PATH need: their own, and what is installed beside them.

    `.../bin` stands for its parent (a virtual environment, a node or Go installation), except where
    the parent is a home folder or its `.local`; a virtual environment also needs the Python that it
    was made from.
    """
    home = Path.home()
    roots: dict[Path, None] = {}
    for word in env_path.split(os.pathsep):
        folder = Path(word)
        if not word.startswith("/") or not folder.is_dir():
            continue
        broad = folder.parent in (home, home / ".local", Path("/"))
        if broad or folder.name not in ("bin", "sbin", "shims"):
            roots[folder] = None
            roots.update(dict.fromkeys(_installations_behind(folder)))
        else:
            roots.update(dict.fromkeys(_with_base(folder.parent)))
    return list(roots)


def _installations_behind(folder: Path) -> Iterator[Path]:
    """Where the links of a shared program folder such as ~/.local/bin lead."""
    for number, entry in enumerate(sorted(folder.iterdir())):
        if number >= 500:
            return
        if entry.is_symlink():
            target = Path(os.path.realpath(entry))
            yield from _with_base(target.parent.parent) if target.parent.name == "bin" else [target.parent]


def _with_base(root: Path) -> Iterator[Path]:
    """A virtual environment and the installation that it names, or just the folder."""
    yield root
    yield Path(os.path.realpath(root))
    try:
        settings = (root / "pyvenv.cfg").read_text(errors="replace")
    except OSError:
        return
    for line in settings.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home" and value.strip().startswith("/"):
            base = Path(value.strip()).parent
            yield base
            yield Path(os.path.realpath(base))


def _existing(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        real = os.path.realpath(path)
        if real != "/" and os.path.exists(real):
            yield real


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
