"""The `command` check: run a command of the run's owner on a clean checkout, and note how it went.

`judging` compares what is observed here.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.junit import BadReport, read_report
from delm_mcp.checks.sandbox import Limits, Ran, SandboxKind, run
from delm_mcp.checks.workdirs import work_dir

ReportKind = Literal["", "junit"]

REPORT = "{report}"
_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_LAUNCHERS = frozenset({"uv", "poetry", "pdm", "hatch", "rye", "pipenv", "coverage"})
# `uv run --with pytest pytest -q`: the first `pytest` is the value of an option.
_TAKES_A_PACKAGE = frozenset({"--with", "--extra", "--group", "--only-group", "--package", "--from", "-p"})
_REPORT_OPTIONS = ("--junitxml", "--junit-xml")
# Besides the standard library's, modules that a command's start-up imports by name.
_STARTUP_MODULES = frozenset({"sitecustomize", "usercustomize", "pytest", "pluggy", "iniconfig", "packaging"})


@dataclass(frozen=True)
class CommandSpec:
    """A command as the run's owner named it.

    Args:
        name: How agents cite it.
        argv: Its words, started without a shell. `{report}` in a word becomes a path outside the
            checkout that the command may write.
        timeout_s: When it is stopped.
        report: `junit` when it writes a JUnit XML report to `{report}`.
    """

    name: str
    argv: tuple[str, ...]
    timeout_s: float = 600.0
    report: ReportKind = ""


@dataclass(frozen=True)
class Outcome:
    """How a command went on one tree.

    Args:
        exit_code: None when it was stopped; 128 + n for signal n.
        duration_s: Wall time.
        tail: The end of its output, plain text.
        tests: Test id -> `passed`, `failed`, `error`, `skipped`; None without a report.
        tree: Full name of the tree that it ran on.
        killed_reason: Why it was stopped (`timeout`, `processes`, `supervisor`), or empty.
        report_problem: Why a report that was asked for is not there, or empty.
        sandbox: What it ran in.
        notes: What the checkout left out, in sentences.
    """

    exit_code: int | None
    duration_s: float
    tail: str
    tests: dict[str, str] | None
    tree: str
    killed_reason: str = ""
    report_problem: str = ""
    sandbox: SandboxKind = "process"
    notes: tuple[str, ...] = ()

    @property
    def timed_out(self) -> bool:
        return self.killed_reason == "timeout"


def detect(argv: Sequence[str]) -> tuple[tuple[str, ...], ReportKind]:
    """The command line to use and the report that it then writes.

    A command that mentions `{report}` stays as it is. One that is recognisably pytest (`pytest`,
    `python -m pytest`, `uv run pytest`, `coverage run -m pytest`, ...) is told to write a report,
    instead of any that it was told to write. Everything else has no report.
    """
    words = tuple(argv)
    if any(REPORT in word for word in words):
        return words, "junit"
    place = _pytest_place(words)
    if place is None:
        return words, ""
    # Right behind `pytest`, because at the end there may be a `--`.
    # One file that cannot be imported must not keep every other test from running.
    added = (f"--junitxml={REPORT}", "--continue-on-collection-errors")
    return (*words[: place + 1], *added, *_without_report(words[place + 1 :])), "junit"


def _pytest_place(words: tuple[str, ...]) -> int | None:
    start = 0
    if words and os.path.basename(words[0]) == "env":
        start = next((i for i, word in enumerate(words) if i and "=" not in word), len(words))
    if start >= len(words):
        return None
    program = os.path.basename(words[start])
    if program in ("pytest", "py.test"):
        return start
    runs_modules = _PYTHON.fullmatch(program) or program == "coverage"
    launches = program in _LAUNCHERS and words[start + 1 : start + 2] == ("run",)
    for place in range(start + 1, len(words)):
        if words[place - 1] == "-m" and words[place] == "pytest" and (runs_modules or launches):
            return place
        is_value = words[place - 1] in _TAKES_A_PACKAGE or words[place - 1] == "-m"
        if launches and program != "coverage" and words[place] == "pytest" and not is_value:
            return place
    return None


def _without_report(words: tuple[str, ...]) -> tuple[str, ...]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _REPORT_OPTIONS:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in _REPORT_OPTIONS)):
            kept.append(word)
    return tuple(kept)


async def observe(
    repo: GitRepo,
    spec: CommandSpec,
    tree: str,
    *,
    sandbox: SandboxKind,
    env_path: str,
    limits: Limits | None = None,
    hidden: Sequence[Path] = (),
    readable: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Outcome:
    """Check out `tree` into a new folder, run the command there, read its report, remove the folder.

    Args:
        repo: Where the tree is.
        spec: The command.
        tree: Full name of a tree or commit.
        sandbox: See `sandbox.run`, as for `env_path`, `limits`, `hidden`, `readable` and `env`.
        root: Where the folder is made; the system's temporary folder by default.

    Raises:
        CheckUnavailable: It could not be run at all.
        InvalidInput: The tree is too large, or has a path that git refuses.
    """
    async with work_dir(root) as work:
        files, out = work / "tree", work / "out"
        files.mkdir()
        out.mkdir()
        made = await repo.checkout(tree, files)
        report = out / "report.xml"
        variables = dict(env or {})
        path, notes = _python_path(files, variables.get("PYTHONPATH", ""))
        ran = await run(
            [word.replace(REPORT, str(report)) for word in spec.argv],
            files,
            timeout_s=spec.timeout_s,
            sandbox=sandbox,
            env_path=env_path,
            limits=limits,
            hidden=hidden,
            writable=[out],
            readable=readable,
            env=variables | ({"PYTHONPATH": path} if path else {}),
        )
        tests, problem = _read(spec, report, ran)
    if made.submodules:
        notes += (f"Submodules are empty folders: {_some(made.submodules)}.",)
    if made.neutralised:
        notes += (f"Links that lead outside became plain files: {_some(made.neutralised)}.",)
    return Outcome(
        exit_code=ran.exit_code,
        duration_s=ran.duration_s,
        # The folder has another name each time, and what peers read should be the same each time.
        tail=ran.output_tail.replace(f"{files}/", "").replace(str(work), "/check"),
        tests=tests,
        tree=tree,
        killed_reason=ran.killed_reason,
        report_problem=problem,
        sandbox=ran.sandbox,
        notes=notes,
    )


def _read(spec: CommandSpec, report: Path, ran: Ran) -> tuple[dict[str, str] | None, str]:
    if not spec.report:
        return None, ""
    if ran.killed_reason:
        return None, f"it was stopped ({ran.killed_reason})"
    try:
        return read_report(report), ""
    except BadReport as error:
        return None, str(error)


def _python_path(files: Path, before: str) -> tuple[str, tuple[str, ...]]:
    """PYTHONPATH with which Python imports the checkout, and not an editable install of another tree.

    `pip install -e .` points at the worktree of whoever ran it. Without this, plain `pytest` would
    import that, and judge a patch by code that does not contain it. The root is left out where it
    would hide the standard library (a repository with a `queue.py`, say).
    """
    places = [files / "src"] if (files / "src").is_dir() else []
    notes: tuple[str, ...] = ()
    clash = sorted(_top_modules(files) & (sys.stdlib_module_names | _STARTUP_MODULES))
    if clash:
        notes = (f"The root is not on PYTHONPATH, because it has modules named {_some(clash)}.",)
    else:
        places.append(files)
    return os.pathsep.join([*map(str, places), *([before] if before else [])]), notes


def _top_modules(folder: Path) -> set[str]:
    return {
        entry.name.split(".")[0]
        for entry in folder.iterdir()
        if entry.suffix in (".py", ".so") or (entry / "__init__.py").exists()
    }


def _some(names: Sequence[str]) -> str:
    shown = ", ".join("".join(c if c.isprintable() else "\ufffd" for c in name[:80]) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
