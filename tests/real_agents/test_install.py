"""What `delm-mcp install` writes is all that a client needs to claim a task in the project.

A script answers in place of a model, and makes that one call.
"""

import json
from pathlib import Path

import anyio
import pytest

from delm_client.scripted import Conversation, Turn, scripted_model
from delm_client.scripted.clients import Action
from tests.outside import delm
from tests.real_agents.scene import CLIENTS, place, surroundings, users_own

pytestmark = [pytest.mark.anyio, pytest.mark.real_agents]
PROMPT = "Join the board as a worker."
HEADLESS = {
    "claude": ("-p", PROMPT, "--allowedTools", "mcp__delm__*"),
    "codex": ("exec", "--skip-git-repo-check", "-c", 'approval_policy="never"', PROMPT),
    "gemini": ("-m", "gemini-2.5-flash", "-p", PROMPT),
    "opencode": ("run", "-m", "scripted/scripted", PROMPT),
}


def claims_once(conversation: Conversation) -> Turn:
    """Claim a task, and say that it is done."""
    return Turn("I am done.") if conversation.steps else Turn(actions=(Action("claim_task", {}),))


@pytest.mark.parametrize("name", HEADLESS)
@pytest.mark.usefixtures("installed")
async def test_an_agent_joins_through_the_entry_that_was_installed(name: str, ground: Path) -> None:
    scene = place(ground, {"a.txt": "a\n"})
    delm("init", "Find where dates are parsed", "--task", "Look for it", cwd=scene.repository)
    home = ground / "home"
    async with scripted_model(claims_once) as model:
        variables = {**users_own(name, home, model.url), "GEMINI_CLI_TRUST_WORKSPACE": "true"}
        delm("install", name, "--yes", cwd=scene.repository, HOME=str(home), XDG_STATE_HOME="")
        with anyio.fail_after(480):
            done = await anyio.run_process(
                [str(CLIENTS / name), *HEADLESS[name]],
                cwd=scene.repository,
                env=surroundings(home, variables),
                input=b"",
                check=False,
            )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads(delm("status", "--json", cwd=scene.repository).stdout)["runs"]
    assert len(run["agents"]) == 1, done.stdout + done.stderr
