"""Gemini CLI (`gemini -p`)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from delm_client.team.harness import Assignment, Launch, Permissions, Server
from delm_client.team.harnesses.common import SERVER, explained, first_words, row_of
from delm_client.team.record import Connected, Event, Faulted, Said, Spent, Used

CALL_MS = 120_000
_TROUBLE = re.compile(r"must specify the \w+|set an Auth method|Error authenticating|^Attempt \d+ failed")
MODES = {Permissions.READ: "default", Permissions.EDIT: "auto_edit", Permissions.FULL: "yolo"}


class Gemini:
    """Google's agent.

    HOME stays as it is, because the user's login is in `~/.gemini`. The board comes as *system defaults*, the
    lowest of its settings files, to which the user's own are added; permissions come as a policy file.
    """

    name = "gemini"
    program = "gemini"
    install = "npm install -g @google/gemini-cli"

    def launch(self, assignment: Assignment) -> Launch:
        """An agent's worktree is new, so it is not among the folders that the user trusts: `--skip-trust`."""
        settings = assignment.home / "settings.json"
        policy = assignment.home / "policy.toml"
        argv = [
            self.program, "--output-format", "stream-json", "--skip-trust",
            "--approval-mode", MODES[assignment.permissions],
            "--policy", str(policy), "--allowed-mcp-server-names", SERVER,
        ]  # fmt: skip
        if assignment.model:
            argv += ["--model", assignment.model]
        files = {
            settings: json.dumps({"mcpServers": {SERVER: _server(assignment.server)}}, indent=2),
            policy: _policy(assignment),
        }
        variables = {"GEMINI_CLI_SYSTEM_DEFAULTS_PATH": str(settings)}
        return Launch((*argv, "--prompt", assignment.prompt), variables, files)

    def parser(self) -> "GeminiParser":
        """A reader of `stream-json`."""
        return GeminiParser()


def _server(server: Server) -> Mapping[str, Any]:
    # Without trust, headless mode hides the tools.
    if server.url:
        entry: dict[str, Any] = {"httpUrl": server.url}
        if server.token_variable:
            entry["headers"] = {"Authorization": f"Bearer ${{{server.token_variable}}}"}
    else:
        program, *words = server.command
        entry = {"command": program, "args": words, "env": dict(server.variables)}
    return {**entry, "timeout": CALL_MS, "trust": True}


def _policy(assignment: Assignment) -> str:
    """Rules of the user's tier, above the modes' own. Without anybody to ask, what would ask is refused."""
    match assignment.permissions:
        case Permissions.FULL:
            return ""
        case Permissions.READ:
            refused = ["run_shell_command", "write_file", "replace", "web_fetch"]
            return _rule("deny", 900, toolName=refused)
        case Permissions.EDIT:
            prefixes = ["git", *assignment.commands]
            return _rule("deny", 900, toolName=["run_shell_command", "web_fetch"]) + _rule(
                "allow", 910, toolName="run_shell_command", commandPrefix=prefixes
            )


def _rule(decision: str, priority: int, **conditions: str | list[str]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in conditions.items()]
    return "\n".join(["[[rule]]", *lines, f'decision = "{decision}"', f"priority = {priority}", "", ""])


class GeminiParser:
    """Reads `--output-format stream-json`. Words come in pieces; tokens only at the end, and no cost.

    That it has no key, or does not reach the model, it says on standard error, so it wants those lines too.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._connected = False

    def feed(self, line: str) -> list[Event]:
        """What a line says."""
        row = row_of(line)
        match row:
            case {"type": "message", "role": "assistant", "content": str(text)}:
                self._pieces.append(text)
                return []
            case {"type": "tool_use", "tool_name": str(tool)}:
                return [*self._said(), *self._first(tool), Used(tool, first_words(row.get("parameters")))]
            case {"type": "error", "message": message}:
                return [*self._said(), Faulted(explained(message))]
            case {"type": "result"}:
                return [*self._said(), *_result(row)]
        if line.startswith("MCP issues detected"):
            return [Connected(False, "the board's server could not be reached")]
        return [Faulted(explained(line))] if _TROUBLE.search(line) else []

    def _said(self) -> list[Event]:
        text, self._pieces = "".join(self._pieces), []
        return [Said(text)] if text.strip() else []

    def _first(self, tool: str) -> list[Event]:
        """It does not say whether it reached a server; that the model has the server's tools does."""
        if self._connected or not tool.startswith(f"mcp_{SERVER}_"):
            return []
        self._connected = True
        return [Connected(True, "the model has the board's tools")]


def _result(row: Mapping[str, Any]) -> list[Event]:
    stats = row.get("stats") or {}
    events: list[Event] = [
        Spent(
            int(stats.get("input_tokens") or 0),
            int(stats.get("output_tokens") or 0),
            int(stats.get("cached") or 0),
        )
    ]
    if row.get("status") == "error":
        error = row.get("error") or {}
        events.append(Faulted(explained(error.get("message") or error.get("type") or "it ended in an error")))
    return events
