"""What lies in `clients/` for the clients' own installers: it agrees with the program that it is for."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from delm_mcp import __version__
from delm_mcp.cli.joining.recipes import CLIENTS, Server
from delm_mcp.surfaces.mcp import make_server

ROOT = Path(__file__).parent.parent
PACKAGES = ROOT / "clients"
VERSIONED = (
    "claude-code/.claude-plugin/plugin.json",
    "codex/delm/.codex-plugin/plugin.json",
    "gemini-cli/gemini-extension.json",
    "mcpb/manifest.json",
    "registry/server.json",
)
ENTRIES = {
    "claude": "claude-code/.mcp.json",
    "codex": "codex/delm/.mcp.json",
    "gemini": "gemini-cli/gemini-extension.json",
    "opencode": "opencode/opencode.json",
    "vscode": "vscode/mcp.json",
    "cursor": "cursor/mcp.json",
}


def facts(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PACKAGES / name).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("name", VERSIONED)
def test_a_package_has_the_version_of_the_program(name: str) -> None:
    assert facts(name)["version"] == __version__


@pytest.mark.parametrize("name", ENTRIES)
def test_a_package_says_what_install_writes(name: str) -> None:
    """But for what a client takes only from its user: an extension cannot trust itself."""
    section = "mcpServers" if name == "codex" else CLIENTS[name].section[0]
    entry = CLIENTS[name].entry(Server(("delm-mcp", "stdio")))
    wanted = {**entry.reach, **entry.comfort}
    if name == "gemini":
        del wanted["trust"]
    assert facts(ENTRIES[name])[section] == {"delm": wanted}


def test_the_registry_knows_us_by_the_name_in_the_readme() -> None:
    server = facts("registry/server.json")
    assert f"mcp-name: {server['name']} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(server["description"]) <= 100
    (package,) = server["packages"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (package["identifier"], package["version"]) == (project["name"], __version__)


@pytest.mark.anyio
async def test_the_bundle_lists_the_tools_that_there_are() -> None:
    server = make_server(None, lambda: None)  # type: ignore[arg-type, return-value]
    listed = [tool.name for tool in await server.list_tools()]
    assert [tool["name"] for tool in facts("mcpb/manifest.json")["tools"]] == listed


def test_both_plugins_teach_the_same_skill_of_tools_that_there_are() -> None:
    texts = [
        (PACKAGES / package / "skills" / "delm-worker" / "SKILL.md").read_text(encoding="utf-8")
        for package in ("claude-code", "codex/delm")
    ]
    assert texts[0] == texts[1]
    called = set(re.findall(r"`([a-z_]+)\(", texts[0]))
    assert called == {"claim_task", "read_context", "add_tasks", "propose_update", "verify", "update_task"}


def test_hooks_never_hand_a_client_an_exit_code_that_blocks() -> None:
    """2 would keep an agent from stopping for ever, and is what an unknown command or option ends with."""
    files = [PACKAGES / name / "hooks" / "hooks.json" for name in ("claude-code", "codex/delm", "gemini-cli")]
    commands = re.findall(r'"command": "(delm-mcp hook [^"]+)"', "".join(file.read_text() for file in files))
    assert len(commands) == 5
    assert all(command.endswith(" || true") for command in commands)
