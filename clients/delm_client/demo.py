"""`delm-run demo`: a team of agents repairs a project, in parallel, over real MCP.

The project is copied, so the original stays as it is. In the copy the launcher opens a run with one task
for each group of failing tests, gives each agent a git worktree, starts the agents as processes of their
own, and watches: nothing here tells an agent what to do.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from delm_client.git import git
from delm_client.repair import Report, Target, resolve, run_suite, targets
from delm_client.repair.copies import copy_project
from delm_client.repairer import task_detail
from delm_client.session import BoardError, Session, connected, server_command

RUN = "repair"
POLICY = """\
preset = "standard"

[limits]
lease_s = 30
max_attempts = 2
decide_grace_s = 1
author_first_s = 10
"""
STOP_S = 5.0


class DemoError(Exception):
    """The demo cannot go on; the text says why and what would work."""


@dataclass
class AgentView:
    """What is known of one agent."""

    label: str
    pid: int = 0
    name: str = ""
    phase: str = "starting"
    target: str = ""
    since: float = field(default_factory=time.monotonic)
    mutants: int = 0
    mutants_before: int = 0
    admitted: int = 0
    rejected: int = 0
    gave_up: int = 0
    spent_s: dict[str, float] = field(
        default_factory=lambda: {"working": 0.0, "checking": 0.0, "waiting": 0.0}
    )
    ended: str = ""


@dataclass
class Scene:
    """Everything that the terminal shows."""

    project: str
    folder: Path
    board: Path
    check: str
    targets: list[Target]
    before: Report
    agents: dict[str, AgentView] = field(default_factory=dict)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    gave_up: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    queue_line: str = ""
    context: list[str] = field(default_factory=list)
    version: int = 0
    run_state: str = "open"
    started: float = field(default_factory=time.monotonic)

    def hear(self, line: dict[str, Any]) -> None:
        """Take in one line that an agent told."""
        view = self.agents[line["agent"]]
        match line["event"]:
            case "claim":
                view.name = line["name"]
                task = line.get("task")
                if task:
                    view.target = task["subject"]
                    view.mutants_before += view.mutants
                    view.mutants = 0
            case "phase":
                now = time.monotonic()
                if view.phase in view.spent_s:
                    view.spent_s[view.phase] += now - view.since
                view.phase, view.since = line["phase"], now
                view.target = line.get(
                    "target", line.get("task", view.target if line["phase"] != "waiting" else "")
                )
            case "progress":
                view.mutants = line["mutants"]
            case "verdict":
                self.verdicts.append({**line, "name": view.name})
                view.admitted += line["state"] == "admitted"
                view.rejected += line["state"] == "rejected"
            case "gave_up":
                self.gave_up.append({**line, "name": view.name})
                view.gave_up += 1
            case "again" | "refused":
                self.notes.append(f"{view.name or view.label}: {line['reason']}")
            case "stopped":
                view.ended = "finished"
                view.spent_s = line["spent_s"]
            case _:
                pass


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

    Raises:
        DemoError: It cannot be done; says why.
    """
    folder = _new_folder(wish.into)
    project = folder / "project"
    _copy(wish.path, project)
    _commit_all(project)
    check = resolve(wish.check, project)
    report = run_suite(check)
    found = targets(report)
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


def _new_folder(into: Path | None) -> Path:
    if into is None:
        return Path(tempfile.mkdtemp(prefix="delm-demo-")).resolve()
    folder = into.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise DemoError(f"{folder} is not empty. Name a new folder with --into.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copy(path: Path | None, project: Path) -> None:
    project.mkdir()
    if path is None:
        with resources.as_file(resources.files("delm_client") / "sample") as sample:
            shutil.copytree(sample, project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        return
    if not path.is_dir():
        raise DemoError(f"{path} is not a folder. Give the folder of a Python project.")
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


def _open_run(wish: Wish, scene: Scene, project: Path) -> None:
    tasks = [
        {"subject": f"Repair {target.name} ({len(target.failing)} failing)", "detail": task_detail(target)}
        for target in scene.targets
    ]
    (scene.folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    (scene.folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    argv = [
        *server_command(),
        "init",
        f"Repair {scene.project}: make the failing tests pass",
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
    ]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise DemoError(f"The run could not be opened: {done.stderr.strip()}")
    for number in range(1, wish.agents + 1):
        git(project, "worktree", "add", "--quiet", "--detach", str(scene.folder / f"agent-{number}"), "HEAD")


@asynccontextmanager
async def team(wish: Wish, scene: Scene) -> AsyncIterator[dict[str, Process]]:
    """The agents as processes; whatever still runs at the end is ended, by pid."""
    base = git(scene.folder / "project", "rev-parse", "HEAD")
    running: dict[str, Process] = {}
    try:
        for number in range(1, wish.agents + 1):
            label = f"agent-{number}"
            running[label] = await _start(wish, scene, label, base)
            scene.agents[label] = AgentView(label, pid=running[label].pid)
        yield running
    finally:
        with anyio.CancelScope(shield=True):
            for process in running.values():
                await _end(process)


async def _start(wish: Wish, scene: Scene, label: str, base: str) -> Process:
    argv = [
        sys.executable, "-m", "delm_client.repairer",
        "--worktree", str(scene.folder / label), "--board", str(scene.board),
        "--run", RUN, "--base", base, "--check", wish.check, "--label", label, "--mutants", str(wish.mutants),
    ]  # fmt: skip
    log = (scene.folder / f"{label}.log").open("wb")
    with log:
        return await anyio.open_process(argv, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


async def _end(process: Process) -> None:
    """End an agent and what it started: its server sees the end of its input and leaves by itself."""
    if process.returncode is not None:
        return
    _signal(process.pid, signal.SIGTERM)
    with anyio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        _signal(process.pid, signal.SIGKILL)
        await process.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)  # an agent leads a session of its own


async def listen(scene: Scene, label: str, process: Process) -> None:
    """Take in what an agent tells until it is gone."""
    rest = ""
    if process.stdout is not None:
        async for text in TextReceiveStream(process.stdout, errors="replace"):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                try:
                    scene.hear(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    scene.notes.append(f"{label} printed: {line[:200]}")
    code = await process.wait()
    view = scene.agents[label]
    if view.phase in view.spent_s and not view.ended:
        view.spent_s[view.phase] += time.monotonic() - view.since
    view.phase = "gone"
    view.ended = view.ended or ("killed" if code < 0 else f"exit {code}")
    if code > 0:
        log = scene.folder / f"{label}.log"
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        scene.notes.append(f"{label} ended with code {code}: {' '.join(said)} (see {log})")


async def watch(scene: Scene, session: Session) -> None:
    """Follow the board over MCP, as anybody may: the queue, and the context as it grows."""
    while True:
        try:
            queue = await session.call("read_context", view="queue", run=RUN)
            scene.queue = list(queue.get("items", ()))
            scene.queue_line = str(queue.get("text", "")).split("\n", 1)[0]
            scene.run_state = queue.get("run_state", "open")
            news = await session.call("read_context", since=scene.version, run=RUN)
            scene.context += [line for line in str(news.get("text", "")).splitlines() if line]
            scene.version = int(news.get("version_read", scene.version))
        except BoardError as error:
            scene.notes.append(str(error))
        await anyio.sleep(0.4)


async def cause_chaos(scene: Scene, running: dict[str, Process]) -> None:
    """Kill one agent, without warning, once half of the targets are decided and it is at work."""
    half = max(1, len(scene.targets) // 2)
    while True:
        await anyio.sleep(0.1)
        decided = sum(v["state"] == "admitted" for v in scene.verdicts) + len(scene.gave_up)
        busy = [view for view in scene.agents.values() if view.phase == "working" and not view.ended]
        if decided >= half and busy:
            victim = busy[-1]
            os.kill(running[victim.label].pid, signal.SIGKILL)
            scene.notes.append(
                f"chaos: {victim.name} was killed (kill -9) while it worked on {victim.target}"
            )
            return


async def run(wish: Wish, scene: Scene, show: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    """Let the team work until every agent is done.

    Args:
        show: Called a few times a second to draw the scene.

    When `timeout_s` is over, the team is stopped.
    """
    project = scene.folder / "project"
    async with (
        team(wish, scene) as running,
        connected(project, board=scene.board, principal="launcher") as session,
        anyio.create_task_group() as group,
    ):
        group.start_soon(watch, scene, session)
        group.start_soon(show, scene)
        if wish.chaos:
            group.start_soon(cause_chaos, scene, running)
        with anyio.move_on_after(wish.timeout_s) as limit:
            async with anyio.create_task_group() as listeners:
                for label, process in running.items():
                    listeners.start_soon(listen, scene, label, process)
        group.cancel_scope.cancel()
    if limit.cancelled_caught:
        scene.notes.append(f"The team was stopped after {wish.timeout_s:.0f} s; --timeout gives it more.")


def board_status(scene: Scene) -> dict[str, Any]:
    """The run at its end, as `delm-mcp status --json` tells it."""
    argv = [*server_command(), "status", "--json", "--run", RUN, "--board", str(scene.board)]
    done = subprocess.run(argv, cwd=scene.folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise DemoError(f"The board cannot be read: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def write_patch(scene: Scene, head: str, base: str) -> Path:
    """What the team changed, as one patch file that `git apply` takes."""
    patch = scene.folder / "repaired.patch"
    patch.write_text(git(scene.folder / "project", "diff", base, head) + "\n", encoding="utf-8")
    return patch
