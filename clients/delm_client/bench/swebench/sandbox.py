"""A bubblewrap sandbox that looks like an official image: the project in /testbed, conda in /opt/miniconda3.

There is no network in it, the system is read-only, and nobody's home is there. `conda activate` puts a Python
environment of the user's in front, with what the project needs at that version.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.repair.processes import last_lines, run_bounded

PROBE_S = 60
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc")
ISOLATED = (
    "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
)  # fmt: skip


def check() -> None:
    """Can a sandbox be made here. Raises PlugError."""
    if shutil.which("bwrap") is None:
        raise PlugError("The local sandbox needs bubblewrap on Linux: `apt install bubblewrap`.")
    started = run_bounded([*ISOLATED, *_system(), "true"], Path.cwd(), timeout_s=PROBE_S)
    if started.code != 0:
        why = last_lines(started.output, 1)
        raise PlugError(f"bubblewrap is installed and cannot make a sandbox here: {why}")


def python_for(instance: Instance, pythons: Mapping[str, Path]) -> Path:
    """The virtual environment for an instance, by `owner/name@version` or else `owner/name`.

    Raises:
        PlugError: None is named, or it is none.
    """
    for name in (f"{instance.repo}@{instance.version}", instance.repo):
        if name in pythons:
            python = pythons[name].absolute()
            if not (python / "bin" / "python").exists():
                raise PlugError(f"{python} is no virtual environment: it has no bin/python.")
            return python
    raise PlugError(f"No Python environment is named for {instance.repo}@{instance.version}.")


def conda(folder: Path, python: Path) -> Path:
    """Make what stands in for conda in the sandbox; `activate` may be sourced as in the official images."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "activate").write_text(f'conda() {{ export PATH="{python}/bin:$PATH"; }}\n')
    return folder


def words(testbed: Path, conda_folder: Path, python: Path, *more: str) -> list[str]:
    """The command line up to the command that is to run; `more` are words for bubblewrap."""
    return [
        *ISOLATED,
        *_system(),
        *_visible(python),
        "--bind", str(testbed), "/testbed",
        "--ro-bind", str(conda_folder), "/opt/miniconda3",
        *more,
        "--chdir", "/testbed",
        "--setenv", "HOME", "/tmp",  # noqa: S108
        "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin",
        "--setenv", "PYTHONPATH", "/testbed",
        "--setenv", "PYTHONDONTWRITEBYTECODE", "1",
        "--setenv", "LANG", "C.UTF-8",
    ]  # fmt: skip


def _system() -> list[str]:
    """The system's programs, read-only, and nobody's home."""
    found: list[str] = []
    for name in SYSTEM:
        if os.path.islink(name):
            found += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            found += ["--ro-bind", name, name]
    return [*found, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108


def _visible(python: Path) -> list[str]:
    """An environment and the Python that it is made of, read-only, where they are."""
    base = (python / "bin" / "python").resolve().parent.parent
    found: list[str] = []
    for place in dict.fromkeys((str(base), str(python))):
        if not place.startswith("/usr/") and place != "/usr":
            found += ["--ro-bind", place, place]
    return found
