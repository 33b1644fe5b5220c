"""`delm-run team` with real clients: two Claude Code and one Codex mend a repository."""

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest

from delm_client.scripted import Conversation, ScriptedModel, Turn, scripted_model, worker
from tests.outside import git
from tests.real_agents import modules
from tests.real_agents.scene import place, surroundings, users_own
from tests.team_scene import BIN, Launched

BROKEN, PLAIN = 4, 2
CLIENTS = {"claude", "codex"}
WITHIN_S = 480
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("installed")]


class Together:
    """Lets no agent begin before both kinds are there, so that the fast leave the slow some work."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._all = anyio.Event()

    async def __call__(self, client: str) -> None:
        self._there.add(client)
        if self._there >= CLIENTS:
            self._all.set()
        await self._all.wait()


class Troubled:
    """The worker, but for two agents: one is held up once when it has edited a file, which is not committed
    then; the other says once, after its first result, that it is done."""

    def __init__(self, held_up: str, lazy: str) -> None:
        self._held_up, self._lazy = f"You are {held_up},", f"You are {lazy},"
        self.edited = anyio.Event()
        self.told = ""
        """What the first was told when it was started again."""
        self.stopped = False

    def __call__(self, said: Conversation) -> Turn:
        done = [step.action.name for step in said.steps]
        turn = worker(said)
        if self._held_up in said.prompt:
            if self.edited.is_set():
                self.told = self.told or said.prompt
            elif done[-1:] == ["edit"]:
                self.edited.set()
                return Turn(turn.text, turn.actions, think_s=WITHIN_S)
        if self._lazy in said.prompt and "propose_update" in done and not self.stopped:
            self.stopped = True
            return Turn("I have done my part.")
        return turn


class Launch:
    """A repository with failing tests, a user's clients, and `delm-run team` on it."""

    def __init__(self, ground: Path, model: ScriptedModel) -> None:
        model.gate = Together()
        self.place = place(ground, modules.files(BROKEN, PLAIN))
        self.repo = self.place.repository
        variables = users_own("claude", ground / "unused", model.url)
        variables |= users_own("codex", ground / "home", model.url)
        path = os.pathsep.join([str(BIN), surroundings(ground, {})["PATH"]])
        self._surroundings = {**surroundings(ground / "home", variables), "PATH": path}
        self._tasks = ground / "tasks.json"
        self._tasks.write_text(json.dumps(modules.tasks(BROKEN, PLAIN)), encoding="utf-8")
        self._launched: Launched | None = None

    def __enter__(self) -> "Launch":
        return self

    def __exit__(self, *_: object) -> None:
        """End what is still running."""
        if self._launched is None:
            return
        process = self._launched.process
        if process.poll() is None:
            for one in [*self._launched.family(), psutil.Process(process.pid)]:
                with suppress(psutil.Error):
                    one.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def start(self) -> Launched:
        """Launch the team as a user would."""
        words = [
            "team", "Mend the modules", "--agents", "claude:2,codex:1", "--run", "mend", "--policy", "strict",
            "--tasks-file", str(self._tasks), *modules.checks(BROKEN), "--simulated",
        ]  # fmt: skip
        self._launched = Launched(
            subprocess.Popen(
                [str(BIN / "delm-run"), *words],
                cwd=self.repo,
                env=self._surroundings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            ),
            # What a killed server was checking is checked anew once its lease is over; till then it is quiet.
            patience_s=WITHIN_S,
        )
        return self._launched

    def kill(self, name: str) -> None:
        """kill -9 one of the team's processes."""
        rows = json.loads((self.repo / ".delm" / "teams" / "mend" / "processes.json").read_text())
        os.kill(rows[name]["pid"], signal.SIGKILL)

    def leave_a_lock(self, name: str) -> None:
        """What a git leaves that is killed in an agent's worktree."""
        tree = self.repo / ".delm" / "teams" / "mend" / name
        Path(git(tree, "rev-parse", "--path-format=absolute", "--git-path", "index.lock")).touch()

    def facts(self) -> dict[str, Any]:
        return dict(json.loads((self.repo / ".delm" / "teams" / "mend" / "team.json").read_text()))

    def insist_on_the_result(self, said: str, code: int | None, tmp_path: Path) -> None:
        """The run is finished, and its branch passes all tests with commits of at least two agents."""
        assert code == 0, said
        facts = self.facts()
        assert (facts["outcome"], facts["branch"], facts["simulated"]) == ("finished", "delm/mend", True)
        result = tmp_path / "result"
        git(self.repo, "worktree", "add", "-q", "--detach", str(result), "delm/mend")
        done = subprocess.run(
            [modules.PYTHON, "-m", "unittest", "discover", "-q", "-s", "tests", "-t", "."],
            cwd=result, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        authors = Counter(git(self.repo, "log", "--format=%an", "main..delm/mend").splitlines())
        assert len(authors.keys() & {"claude-1", "claude-2", "codex-1"}) >= 2, authors
        assert git(self.repo, "status", "--porcelain") == ""
        report = (self.repo / ".delm" / "teams" / "mend" / "report.md").read_text(encoding="utf-8")
        assert "simulated" in report.lower()
        left = git(self.repo, "worktree", "list", "--porcelain").count("worktree ")
        assert left == 2, "the agents' worktrees are gone"


async def until(launched: Launched, *words: str) -> str:
    return await anyio.to_thread.run_sync(partial(launched.until, *words), abandon_on_cancel=True)


async def ended(launched: Launched) -> tuple[str, int | None]:
    said = await anyio.to_thread.run_sync(launched.ended, abandon_on_cancel=True)
    return said, launched.process.returncode


async def test_two_claudes_and_a_codex_mend_a_repository(ground: Path, tmp_path: Path) -> None:
    async with scripted_model() as model:
        with Launch(ground, model) as launch, anyio.fail_after(WITHIN_S):
            said, code = await ended(launch.start())
    launch.insist_on_the_result(said, code, tmp_path)


async def test_the_team_finishes_when_agents_die_or_stop_early_and_the_server_is_killed(
    ground: Path, tmp_path: Path
) -> None:
    troubled = Troubled("claude-1", "claude-2")
    async with scripted_model(troubled) as model:
        with Launch(ground, model) as launch, anyio.fail_after(WITHIN_S):
            launched = launch.start()
            await troubled.edited.wait()
            launch.leave_a_lock("claude-1")
            launch.kill("claude-1")
            await until(launched, "claude-1 started", "attempt 2")
            launch.kill("server")
            said, code = await ended(launched)
    launch.insist_on_the_result(said, code, tmp_path)
    assert troubled.stopped
    assert "claude-2 started" in said
    assert "changes that are not committed: twice_" in troubled.told
