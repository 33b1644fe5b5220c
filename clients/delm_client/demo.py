"""`delm-run demo`: a team of agents repairs a project, in parallel, over real MCP.

The project is copied, so the original stays as it is. In the copy the launcher opens a run with one task
for each group of failing tests, gives each agent a git worktree, starts the agents as processes of their
own, and watches: nothing here tells an agent what to do.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from delm_client.git import git
from delm_client.prepare import RUN, Wish, tell_server
from delm_client.scene import AgentView, Scene
from delm_client.session import BoardError, Session, connected

STOP_S = 5.0
SAME_VERSION_TRIES = 3
DOING = {"working": "worked on", "checking": "waited for the check of"}
CHAOS_ORDER = ("working", "checking", "waiting", "starting")


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
                    told = json.loads(line)
                    scene.hear(told)
                    scene.keep(told)
                except (ValueError, KeyError, TypeError):
                    scene.notes.append(f"{label} printed: {line[:200]}")
    code = await process.wait()
    view = scene.agents[label]
    if view.ended:
        view.phase = "gone"  # it told its times itself
    else:
        view.enter("gone")
    view.ended = view.ended or ("killed" if code < 0 else f"exit {code}")
    if code > 0:
        log = scene.folder / f"{label}.log"
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        scene.notes.append(f"{label} ended with code {code}: {' '.join(said)} (see {log})")


async def watch(scene: Scene, session: Session) -> None:
    """Follow the board over MCP, as anybody may: the queue, and the context as it grows."""
    while True:
        try:
            await _look(scene, session)
        except BoardError as error:
            scene.notes.append(str(error))
        await anyio.sleep(0.4)


async def _look(scene: Scene, session: Session) -> None:
    """Read queue and context at one version, so that what is shown together belongs together."""
    for _ in range(SAME_VERSION_TRIES):
        news = await session.call("read_context", since=scene.version, run=RUN)
        queue = await session.call("read_context", view="queue", run=RUN)
        scene.context += [line for line in str(news.get("text", "")).splitlines() if line]
        scene.version = int(news.get("version_read", scene.version))
        if queue.get("version_read") == scene.version:
            break
    scene.queue_line = str(queue.get("text", "")).split("\n", 1)[0]
    scene.run_state = queue.get("run_state", "open")


async def cause_chaos(scene: Scene, running: dict[str, Process]) -> None:
    """Kill one agent, without warning, once half of the targets are decided."""
    half = max(1, len(scene.targets) // 2)
    while True:
        decided = sum(v["state"] == "admitted" for v in scene.verdicts) + len(scene.gave_up)
        if decided >= half:
            scene.notes.append(kill_one(scene, running))
            return
        await anyio.sleep(0.1)


def kill_one(scene: Scene, running: dict[str, Process]) -> str:
    """Kill the agent with the most to lose (kill -9); returns what happened."""
    alive = [
        view
        for view in scene.agents.values()
        if not view.ended and view.phase in CHAOS_ORDER and running[view.label].returncode is None
    ]
    for victim in sorted(alive, key=lambda view: CHAOS_ORDER.index(view.phase)):
        try:
            os.kill(running[victim.label].pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself a moment ago
        doing = f"{DOING[victim.phase]} {victim.target}" if victim.phase in DOING else "waited for a task"
        return f"chaos: {victim.name or victim.label} was killed (kill -9) while it {doing}"
    return "chaos: nobody was left to kill"


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
    if wish.chaos and not any(note.startswith("chaos:") for note in scene.notes):
        scene.notes.append("chaos: nobody was left to kill")
    if limit.cancelled_caught:
        scene.notes.append(f"The team was stopped after {wish.timeout_s:.0f} s; --timeout gives it more.")


def board_status(scene: Scene) -> dict[str, Any]:
    """The run at its end, as `delm-mcp status --json` tells it."""
    said = tell_server(
        scene.folder,
        "The board cannot be read",
        "status",
        "--json",
        "--run",
        RUN,
        "--board",
        str(scene.board),
    )
    return dict(json.loads(said))


def write_patch(scene: Scene, head: str, base: str) -> Path:
    """What the team changed, as one patch file that `git apply` takes."""
    patch = scene.folder / "repaired.patch"
    patch.write_text(git(scene.folder / "project", "diff", base, head) + "\n", encoding="utf-8")
    return patch
