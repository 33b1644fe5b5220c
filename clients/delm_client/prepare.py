"""Before a team starts: a copy of the project, its failing tests, a run on a board, worktrees."""

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from delm_client.git import git
from delm_client.repair import Target, resolve, run_suite, targets
from delm_client.repair.copies import copy_project
from delm_client.repairer import task_detail
from delm_client.scene import Scene
from delm_client.session import server_command
from delm_client.words import plural

RUN = "repair"
POLICY = """\
preset = "standard"

[limits]
lease_s = 30
max_attempts = 2
decide_grace_s = 1
author_first_s = 10
"""
SHOWN = 3


class DemoError(Exception):
    """The demo cannot go on; the text says why and what would work."""


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    path: Path | None
    check: str = "pytest -q"
    agents: int = 4
    chaos: bool = False
    into: Path | None = None
    mutants: int = 0
    timeout_s: float = 1800.0


def prepare(wish: Wish) -> Scene:
    """Copy the project into a new folder, commit it, run its tests, and open a run on the board.

    A folder in which no team will work is removed again.

    Raises:
        DemoError: It cannot be done; says why.
    """
    folder, ours = _new_folder(wish)
    keep = False
    try:
        scene = _prepare(wish, folder)
        keep = bool(scene.targets)
        return scene
    finally:
        if not keep:
            _remove(folder, whole=ours)


def _prepare(wish: Wish, folder: Path) -> Scene:
    project = folder / "project"
    _copy(wish.path, project)
    _commit_all(project)
    check = resolve(wish.check, project)
    report = run_suite(check)
    found = targets(report)
    if found and all(target.broken for target in found):
        raise DemoError(_nothing_to_search(found, project))
    scene = Scene(
        project=str(wish.path) if wish.path else "the bundled sample",
        folder=folder,
        board=project / ".delm" / "board.db",
        check=wish.check,
        targets=found,
        before=report,
    )
    if found:
        _open_run(wish, scene, project)
    return scene


def _new_folder(wish: Wish) -> tuple[Path, bool]:
    """The folder for everything, and whether it is of our own making."""
    if wish.path is not None and not wish.path.is_dir():
        raise DemoError(f"{wish.path} is not a folder. Give the folder of a Python project.")
    into = wish.into or Path(tempfile.gettempdir())
    folder = into.resolve()
    if wish.into is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DemoError(f"{folder} is not empty. Name a new folder with --into.")
    if wish.path is not None and folder.is_relative_to(wish.path.resolve()):
        raise DemoError(
            f"{folder} is inside the project {wish.path.resolve()}, which would be copied into itself. "
            "Name a folder outside of it with --into."
        )
    if wish.into is None:
        return Path(tempfile.mkdtemp(prefix="delm-demo-")).resolve(), True
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    return folder, new


def _remove(folder: Path, *, whole: bool) -> None:
    """Take away what we made: the folder, or what we put into an empty one of the user's."""
    for made in [folder] if whole else list(folder.iterdir()):
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink()


def _copy(path: Path | None, project: Path) -> None:
    project.mkdir()
    if path is None:
        with resources.as_file(resources.files("delm_client") / "sample") as sample:
            shutil.copytree(sample, project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        return
    copy_project(path.resolve(), project)


def _commit_all(project: Path) -> None:
    """A repository of the copy's own, whatever the original was in."""
    inner = project / ".git"
    if inner.is_dir():
        shutil.rmtree(inner)
    elif inner.exists():
        inner.unlink()
    git(project, "init", "--quiet", "--initial-branch=main")
    (inner / "info").mkdir(exist_ok=True)
    (inner / "info" / "exclude").write_text("__pycache__/\n.pytest_cache/\n.delm/\n", encoding="utf-8")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", "The project as it was")


def _nothing_to_search(broken: list[Target], project: Path) -> str:
    """Why no agent could do anything, and what would help."""
    said = [f"  {target.broken}" for target in broken[:SHOWN]]
    if len(broken) > SHOWN:
        said.append(f"  and {len(broken) - SHOWN} more")
    head = "No failing test can be run, so no edit could be judged:"
    return "\n".join([head, *said, _import_hint(broken, project)])


def _import_hint(broken: list[Target], project: Path) -> str:
    """What makes a missing module importable: pytest told where it lies, or the project installed."""
    names = {name for target in broken for name in re.findall(r"No module named '(\w+)", target.broken)}
    if not names:
        return "Repair that by hand first."
    for place in ("src", "lib", "."):
        for name in names:
            if (project / place / name).is_dir() or (project / place / f"{name}.py").is_file():
                return (
                    f'{name} lies in {place}: set pythonpath = ["{place}"] in pytest\'s configuration, or '
                    "install the project in this environment (`pip install -e .`)."
                )
    return (
        "Install the project and what it needs in this environment (`pip install -e .`), or set "
        'pythonpath = ["src"] in pytest\'s configuration when the package lies in src.'
    )


def _open_run(wish: Wish, scene: Scene, project: Path) -> None:
    tasks = [
        {"subject": f"Repair {target.name} ({len(target.failing)} failing)", "detail": task_detail(target)}
        for target in scene.targets
    ]
    (scene.folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    (scene.folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    tell_server(
        project,
        "The run could not be opened",
        "init",
        f"Repair {scene.project}: make {plural(len(scene.before.failing), 'failing test')} pass",
        "--check",
        wish.check,
        "--tasks-file",
        str(scene.folder / "tasks.json"),
        "--policy",
        str(scene.folder / "policy.toml"),
        "--run",
        RUN,
        "--board",
        str(scene.board),
        "--json",
    )
    for number in range(1, wish.agents + 1):
        git(project, "worktree", "add", "--quiet", "--detach", str(scene.folder / f"agent-{number}"), "HEAD")


def tell_server(folder: Path, failure: str, *words: str) -> str:
    """Run `delm-mcp` in a folder and return what it printed.

    Raises:
        DemoError: It failed or did not end; begins with `failure`.
    """
    argv = [*server_command(), *words]
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{failure}: `delm-mcp {words[0]}` did not end within 120 s.") from error
    if done.returncode:
        raise DemoError(f"{failure}: {done.stderr.strip()}")
    return done.stdout
