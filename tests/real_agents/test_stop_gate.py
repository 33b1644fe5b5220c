"""The stop gate in real clients, with the packages as users install them: an agent that stops early goes on.

A script answers in place of a model: it claims a task and says that it is done, and does the work only when
its client asks it again. So whatever it does after its first "done" is the gate's doing.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from delm_client.scripted import Conversation, Turn, scripted_model
from delm_client.scripted.answers import board_answer
from delm_client.scripted.clients import Action
from tests.outside import COMMAND, SEEN, delm
from tests.real_agents.scene import CLIENTS, ROOT, Place, place, surroundings, users_own

pytestmark = [pytest.mark.anyio, pytest.mark.real_agents]
PROMPT = "Join the board as a worker."
DONE = Turn("I am done.")


class Lazy:
    """Does one thing, then says that it is done; goes on only when it is asked again."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._rested = False

    def __call__(self, conversation: Conversation) -> Turn:
        """The next turn: words after each action, an action after words."""
        steps = conversation.steps
        if steps and not self._rested:
            self._rested = True
            return DONE
        self._rested = False
        turn = self._work(conversation)
        self.done.append(turn.actions[0].name if turn.actions else "")
        return turn

    @staticmethod
    def _work(conversation: Conversation) -> Turn:
        if not conversation.steps:
            return Turn(actions=(Action("claim_task", {}),))
        last = board_answer(conversation.steps[-1].output)
        if conversation.steps[-1].action.name != "claim_task":
            return Turn(actions=(Action("claim_task", {"agent": _name(conversation)}),))
        if last.kind == "decide":
            answer = {"kind": "answer", "gist": "Dates are parsed in one place, which was asked"}
            return _propose(last.lease, {**answer, "derived_from": ["E1"]})
        return _propose(
            last.lease, {"kind": "fact", "gist": "Dates are parsed in one place", "evidence": SEEN}
        )


def _propose(lease: str, proposal: Mapping[str, object]) -> Turn:
    return Turn(actions=(Action("propose_update", {"lease": lease, "completes": True, **proposal}),))


def _name(conversation: Conversation) -> str:
    return board_answer(conversation.steps[0].output).agent


@dataclass(frozen=True)
class Seat:
    """A client in a repository with an empty HOME, and what its user set up."""

    scene: Place
    home: Path
    variables: Mapping[str, str]

    async def run(self, program: str, *words: str, said: str = "") -> None:
        """Run the client, and insist that it succeeds."""
        path = os.pathsep.join([str(Path(COMMAND[0]).parent), surroundings(self.home, {})["PATH"]])
        done = await anyio.run_process(
            [str(CLIENTS / program), *words],
            cwd=self.scene.repository,
            env={**surroundings(self.home, self.variables), "PATH": path},
            input=said.encode(),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


async def _claude(seat: Seat, hooks: bool) -> None:
    """The server has the name that the script knows; the plugin brings skill, command and hooks."""
    await seat.run("claude", "plugin", "marketplace", "add", str(ROOT))
    await seat.run("claude", "plugin", "install", "delm@delm-mcp")
    config = seat.home / "mcp.json"
    server = {"type": "stdio", "command": "delm-mcp", "args": ["stdio"], "alwaysLoad": True}
    config.write_text(json.dumps({"mcpServers": {"delm": server}}))
    words = ["-p", "--mcp-config", str(config), "--strict-mcp-config", "--allowedTools", "mcp__delm__*"]
    if not hooks:
        words += ["--settings", '{"disableAllHooks": true}']
    await seat.run("claude", *words, said=PROMPT)


async def _gemini(seat: Seat, hooks: bool) -> None:
    """The user trusts the server, which an extension cannot do itself."""
    package = ROOT / "clients" / "gemini-cli"
    await seat.run("gemini", "extensions", "install", str(package), "--consent", said="y\n")
    settings = seat.home / ".gemini" / "settings.json"
    facts = json.loads(settings.read_text())
    server = {"command": "delm-mcp", "args": ["stdio"], "timeout": 60_000, "trust": True}
    facts |= {"mcpServers": {"delm": server}, "hooksConfig": {"enabled": hooks}}
    settings.write_text(json.dumps(facts))
    await seat.run("gemini", "-m", "gemini-2.5-flash", "--skip-trust", "-p", PROMPT)


async def _codex(seat: Seat, hooks: bool) -> None:
    """A user is asked once whether he trusts the hooks of a plugin; nobody is there to be asked."""
    await seat.run("codex", "plugin", "marketplace", "add", str(ROOT / "clients" / "codex"))
    await seat.run("codex", "plugin", "add", "delm@delm-mcp")
    words = ["exec", "--skip-git-repo-check", "-c", 'approval_policy="never"']
    words += ["--dangerously-bypass-hook-trust"] if hooks else ["-c", "features.hooks=false"]
    await seat.run("codex", *words, PROMPT)


WAYS = {"codex": _codex, "claude": _claude, "gemini": _gemini}


@pytest.mark.parametrize("hooks", [True, False], ids=["with the gate", "without hooks"])
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.usefixtures("installed")
async def test_an_agent_that_stops_early_is_kept_at_work_until_the_run_is_done(
    name: str, hooks: bool, ground: Path
) -> None:
    scene = place(ground, {"a.txt": "a\n"})
    delm("init", "Find where dates are parsed", "--task", "Look for it", cwd=scene.repository)
    lazy = Lazy()
    async with scripted_model(lazy) as model:
        home = ground / "home"
        seat = Seat(scene, home, users_own(name, home, model.url))
        with anyio.fail_after(480):
            await WAYS[name](seat, hooks)
    state = json.loads(delm("status", "--json", cwd=scene.repository).stdout)["runs"][0]
    if hooks:
        assert lazy.done == ["claim_task", "propose_update", "claim_task", "propose_update"]
        assert state["state"] == "finished"
    else:
        assert lazy.done == ["claim_task"]
        assert state["state"] == "open"
