"""Each real agent by itself: what it may do, what it brings about, and what it says when nothing works."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from delm_client.scripted import Action, Conversation, Script, Step, Turn, scripted_model
from delm_client.team.harness import Permissions, Server
from delm_client.team.record import Connected, Faulted, Said, Used
from tests.outside import git
from tests.real_agents import modules
from tests.real_agents.scene import (
    NAMES,
    Agent,
    Place,
    board_server,
    ended,
    over_http,
    over_stdio,
    place,
    started,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("installed"), pytest.mark.parametrize("name", NAMES)]


def opened(folder: Path, *, broken: int = 1) -> Place:
    """A run with a module to mend."""
    made = place(folder, modules.files(broken, 0))
    made.opened(modules.tasks(broken, 0), *modules.checks(broken), policy="standard")
    return made


def in_order(*actions: Action) -> Script:
    """A model that does these things, whatever comes of them, and says that it is done."""

    def script(said: Conversation) -> Turn:
        done = len(said.steps)
        return Turn(actions=(actions[done],)) if done < len(actions) else Turn("Done.")

    return script


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# -- real work -----------------------------------------------------------------------------------


async def test_an_agent_makes_a_patch_that_is_admitted(ground: Path, name: str) -> None:
    place = opened(ground)
    async with (
        scripted_model() as model,
        board_server(place) as server,
        started(name, place, model, over_http(server.url)) as agent,
    ):
        await ended([agent], within_s=300)
    status = place.status()
    assert status["state"] == "finished", (status, agent.errors)
    (patch,) = [row for row in place.exported() if row["type"] == "entry" and row["kind"] == "patch"]
    assert (patch["state"], patch["strength"], patch["agent"]) == ("admitted", "executed", agent.label)
    commit = patch["evidence"][0]["text"]
    assert git(agent.worktree, "rev-parse", "HEAD") == commit
    assert git(place.repository, "show", f"{patch['admitted_as']}:twice_1.py").endswith("return x * 2")
    assert "return x * 3" in (place.repository / "twice_1.py").read_text(), "only its worktree has changed"
    assert [event.ok for event in agent.of(Connected)] == [True]
    assert any("propose_update" in event.tool for event in agent.of(Used))
    assert agent.of(Said)[-1].text == "The run is over, so I stop."


# -- permissions ---------------------------------------------------------------------------------


EDIT = Action("edit", {"path": "twice_1.py", "old": "    return x * 3", "new": "    return x * 2"})
COMMIT = [Action("shell", {"command": words}) for words in ("git add -A", "git commit -q -m mended")]
OUTSIDE = Action("shell", {"command": "touch ../outside"})
BOARD = Action("claim_task", {"run": "team"})
READ = Action("read", {"path": "twice_1.py"})


async def attempted(ground: Path, name: str, permissions: Permissions) -> tuple[Place, Agent, Sequence[Step]]:
    """An agent that tries to read, to edit, to commit, to write outside of its worktree, and to claim."""
    place = opened(ground)
    async with (
        scripted_model(in_order(READ, EDIT, *COMMIT, OUTSIDE, BOARD)) as model,
        started(name, place, model, over_stdio(place, name, f"{name}-1"), permissions=permissions) as agent,
    ):
        await ended([agent], within_s=300)
    steps = max((said.steps for said in model.seen.values()), key=len)
    assert [step.action.name for step in steps][-1] == "claim_task", (steps, agent.errors)
    assert "return x * 3" in steps[0].output, "it may always read"
    assert f"{name}-1" in steps[-1].output, "it may always use the board"
    assert "T1" in steps[-1].output
    return place, agent, steps


async def test_read_allows_no_change(ground: Path, name: str) -> None:
    place, agent, steps = await attempted(ground, name, Permissions.READ)
    assert all(step.failed for step in steps[1:-1]), steps
    assert git(agent.worktree, "status", "--short") == ""
    assert git(agent.worktree, "rev-parse", "HEAD") == git(place.repository, "rev-parse", "main")


async def test_edit_allows_changes_and_commits_in_the_worktree_only(ground: Path, name: str) -> None:
    _, agent, steps = await attempted(ground, name, Permissions.EDIT)
    assert not any(step.failed for step in steps[:-2]), steps
    assert git(agent.worktree, "log", "-1", "--format=%s") == "mended"
    assert steps[-2].failed
    assert not (agent.worktree.parent / "outside").exists()


async def test_full_allows_what_its_user_may(ground: Path, name: str) -> None:
    _, agent, steps = await attempted(ground, name, Permissions.FULL)
    assert not any(step.failed for step in steps), steps
    assert git(agent.worktree, "log", "-1", "--format=%s") == "mended"
    assert (agent.worktree.parent / "outside").exists()


# -- when nothing works --------------------------------------------------------------------------


async def test_a_model_that_cannot_be_reached_is_told(ground: Path, name: str) -> None:
    place = opened(ground)
    nowhere = f"http://127.0.0.1:{closed_port()}"
    async with started(name, place, nowhere, over_stdio(place, name, f"{name}-1")) as agent:
        await agent.until(lambda told: bool(told.of(Faulted)), within_s=240)
    text = agent.of(Faulted)[0].text
    assert text.strip()
    assert "{" not in text, "it is for people"


async def test_a_key_that_is_refused_is_told(ground: Path, name: str) -> None:
    place = opened(ground)
    async with scripted_model() as model:
        model.refusal = "The key is not valid."
        async with started(name, place, model, over_stdio(place, name, f"{name}-1")) as agent:
            await agent.until(lambda told: bool(told.of(Faulted)), within_s=240)
    text = agent.of(Faulted)[0].text
    assert "401" in text or model.refusal in text
    assert "{" not in text, "it is for people"


async def test_a_board_that_cannot_be_reached_is_told(ground: Path, name: str) -> None:
    place = opened(ground)
    server = Server(url=f"http://127.0.0.1:{closed_port()}/mcp")
    async with scripted_model() as model, started(name, place, model, server) as agent:
        await ended([agent], within_s=300)
    assert agent.of(Connected)
    assert not any(event.ok for event in agent.of(Connected))
