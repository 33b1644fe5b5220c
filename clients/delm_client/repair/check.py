"""The check command: that it runs pytest, with which interpreter, import path and arguments.

We ask the command itself instead of guessing from its words: it is started once with a small plugin
that writes down where it is and ends the session before any test is collected. So shims, `uv run pytest`,
`env A=1 pytest` and `python -m pytest` all work alike.
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delm_client.repair.errors import CheckError
from delm_client.repair.processes import Completed, last_lines, run_bounded

PROBE_TIMEOUT_S = 120
PROBE = """
import json, os, sys
import pytest

def _write(**more):
    facts = {
        "executable": sys.executable, "path": sys.path, "warnings": sys.warnoptions,
        "environ": dict(os.environ), "version": list(sys.version_info[:3]), **more,
    }
    target = os.environ["DELM_PROBE_OUT"]
    with open(target + ".new", "w", encoding="utf-8") as out:
        json.dump(facts, out)
    os.replace(target + ".new", target)

_write()

@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    _write(args=[str(arg) for arg in config.invocation_params.args])
    return 0
"""
ADVICE = "Give a command that runs pytest directly, such as `pytest -q` or `python -m pytest tests`."
# Left over from a pytest that we ourselves may run under; they would mislead the inner one.
OUTER_TEST_RUN = (
    "PYTEST_CURRENT_TEST",
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
    "PYTEST_XDIST_TESTRUNUID",
)


@dataclass(frozen=True, slots=True)
class Check:
    """A check command that is known to run pytest in `root`."""

    command: str
    root: Path
    argv: tuple[str, ...]
    """What runs the whole suite, the program resolved."""
    python: str
    """The interpreter that runs pytest; not necessarily ours."""
    args: tuple[str, ...]
    """What pytest itself is given."""
    path: tuple[str, ...]
    """The import path that pytest starts with."""
    warnings: tuple[str, ...]
    """The interpreter's own -W options."""
    environ: Mapping[str, str] = field(repr=False)


def resolve(command: str, root: Path, *, timeout_s: float = PROBE_TIMEOUT_S) -> Check:
    """Find out how `command` runs pytest in `root`. Raises CheckError with what would work."""
    root = root.resolve()
    if not root.is_dir():
        raise CheckError(f"{root} is not a directory: give the folder of the project.")
    argv = _argv(command, root)
    with tempfile.TemporaryDirectory(prefix="delm-probe-") as folder:
        (Path(folder) / "delm_probe.py").write_text(PROBE, encoding="utf-8")
        facts_path = Path(folder) / "facts.json"
        environ = clean_environ()
        pythonpath = environ.get("PYTHONPATH")
        search = [folder, *([pythonpath] if pythonpath else [])]
        probing = environ | {
            "PYTHONPATH": os.pathsep.join(search),
            "DELM_PROBE_OUT": str(facts_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            ended = run_bounded([*argv, "-p", "delm_probe"], root, probing, timeout_s=timeout_s)
        except OSError as error:
            raise CheckError(f"The check command `{command}` cannot be started: {error}. {ADVICE}") from error
        facts = json.loads(facts_path.read_text(encoding="utf-8")) if facts_path.exists() else {}
        facts["path"] = [entry for entry in facts.get("path", ()) if entry != folder]
    if "args" not in facts:
        raise CheckError(_why_not(command, facts, ended, timeout_s))
    return _check(command, root, argv, facts, environ)


def clean_environ() -> dict[str, str]:
    """Our environment without the traces of a test run around us."""
    return {key: value for key, value in os.environ.items() if key not in OUTER_TEST_RUN}


def _argv(command: str, root: Path) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CheckError(f"The check command `{command}` cannot be read ({error}). {ADVICE}") from error
    if any(word in ("&&", "||", "|", ";", ">", "<") for word in words):
        raise CheckError(f"The check command `{command}` needs a shell, and none is used. {ADVICE}")
    names = [Path(word).name for word in words]
    if not any(name.startswith(("pytest", "py.test")) for name in names):
        raise CheckError(f"The check command `{command}` does not name pytest. {ADVICE}")
    # The scripts beside our own interpreter come last: a virtual environment need not be activated.
    where = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    program = words[0] if os.sep not in words[0] else str(root / words[0])
    found = shutil.which(program, path=where)
    if found is None:
        raise CheckError(
            f"`{words[0]}` is not on PATH. Install it (`pip install pytest`), or name its interpreter: "
            "`path/to/python -m pytest`."
        )
    return (found, *words[1:])


def _why_not(command: str, facts: dict[str, Any], ended: Completed, timeout_s: float) -> str:
    tail = last_lines(ended.output)
    if ended.code is None:
        return f"The check command `{command}` did not even start pytest within {timeout_s:.0f} s."
    if "executable" in facts:
        return f"pytest starts but refuses the project or its options:\n{tail}"
    if "No module named pytest" in ended.output:
        return f"The interpreter of `{command}` has no pytest. Install it there (`pip install pytest`)."
    return f"`{command}` ended with code {ended.code} without starting pytest:\n{tail}\n{ADVICE}"


def _check(
    command: str, root: Path, argv: tuple[str, ...], facts: dict[str, Any], environ: dict[str, str]
) -> Check:
    args = list(facts["args"])
    if args[-2:] == ["-p", "delm_probe"]:
        del args[-2:]
    inner = {key: value for key, value in facts["environ"].items() if key != "DELM_PROBE_OUT"}
    for ours in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        inner.pop(ours, None)
        if ours in environ:
            inner[ours] = environ[ours]
    return Check(
        command=command,
        root=root,
        argv=argv,
        python=str(facts["executable"]),
        args=tuple(args),
        path=tuple(facts["path"]),
        warnings=tuple(facts["warnings"]),
        environ=inner,
    )
