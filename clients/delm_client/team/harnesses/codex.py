"""Codex (`codex exec`)."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from delm_client.team.harness import Assignment, Launch, Permissions, Server
from delm_client.team.harnesses.common import SERVER, Faults, explained, first_words, row_of
from delm_client.team.record import Connected, Event, Said, Spent, Used

CALL_S = 120
STARTUP_S = 60
_NO_SERVER = re.compile(r"required MCP servers? failed to initialize: (.*)")
_TYPES = re.compile(r" \[[\w:<>, ]+\]")
SANDBOXES = {
    Permissions.READ: "read-only",
    Permissions.EDIT: "workspace-write",
    Permissions.FULL: "danger-full-access",
}


class Codex:
    """OpenAI's agent.

    CODEX_HOME stays as it is, because the user's login (`auth.json`) and model providers are there; all that
    we add comes as `-c key=value`, which wins over its `config.toml`. So no file is written.
    """

    name = "codex"
    program = "codex"
    install = "npm install -g @openai/codex"

    def launch(self, assignment: Assignment) -> Launch:
        """Its sandbox says what it may do; within that it runs any command without asking."""
        argv = [
            self.program, "exec", "--json", "--skip-git-repo-check",
            "--cd", str(assignment.worktree), "--sandbox", SANDBOXES[assignment.permissions],
        ]  # fmt: skip
        for key, value in {**_settings(assignment), **_server(assignment.server)}.items():
            argv += ["-c", f"{key}={_toml(value)}"]
        if assignment.model:
            argv += ["--model", assignment.model]
        return Launch((*argv, "-"), stdin=assignment.prompt)

    def parser(self) -> "CodexParser":
        """A reader of `--json`."""
        return CodexParser()


def _settings(assignment: Assignment) -> dict[str, Any]:
    settings: dict[str, Any] = {"approval_policy": "never"}
    if assignment.permissions is Permissions.EDIT:
        settings["sandbox_workspace_write.writable_roots"] = [
            str(path) for path in _written_by_git(assignment)
        ]
    return settings


def _written_by_git(assignment: Assignment) -> list[Path]:
    """What a commit in the worktree writes to in the repository; not its configuration and its hooks.

    Codex keeps the worktree's own git directory read-only for as long as it is not named itself.
    """
    common = assignment.git_dir
    try:
        pointer = (assignment.worktree / ".git").read_text(encoding="utf-8")
        own = Path(pointer.removeprefix("gitdir:").strip())
    except OSError:  # it is not there yet, or is no worktree of another
        own = common / "worktrees" / assignment.worktree.name
    return [own, *(common / name for name in ("objects", "refs", "logs"))]


def _server(server: Server) -> dict[str, Any]:
    """Without `required` the first turn starts before the tools are there, and a dead server is no error."""
    if server.url:
        entry: dict[str, Any] = {"url": server.url}
        if server.token_variable:
            entry["bearer_token_env_var"] = server.token_variable
    else:
        program, *words = server.command
        entry = {"command": program, "args": words, "env": dict(server.variables)}
    entry |= {
        "required": True,
        "default_tools_approval_mode": "approve",
        "tool_timeout_sec": CALL_S,
        "startup_timeout_sec": STARTUP_S,
    }
    return {f"mcp_servers.{SERVER}.{key}": value for key, value in entry.items()}


def _toml(value: Any) -> str:
    """A value in TOML, whose strings, numbers, booleans and lists are JSON's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


class CodexParser:
    """Reads the events of `codex exec --json`. It tells tokens only at the end of its turn, and no cost.

    That a required server is not there it says on standard error, so it wants those lines too.
    """

    def __init__(self) -> None:
        self._faults = Faults()

    def feed(self, line: str) -> list[Event]:
        """What a line says."""
        match row_of(line):
            case {"type": "turn.started"}:
                return [Connected(True, "the board's server is required, and the turn has started")]
            case {"type": "item.started", "item": dict(item)}:
                return _begun(item)
            case {"type": "item.completed", "item": dict(item)}:
                return _ended(item)
            case {"type": "turn.completed", "usage": dict(usage)}:
                return [_spent(usage)]
            case {"type": "error", "message": str(text)} | {
                "type": "turn.failed",
                "error": {"message": str(text)},
            }:
                return self._error(text)
        return self._error(line) if _NO_SERVER.search(line) else []

    def _error(self, message: str) -> list[Event]:
        if found := _NO_SERVER.search(message):
            return [Connected(False, explained(_TYPES.sub("", found[1])))]
        return self._faults.told(message)


def _begun(item: Mapping[str, Any]) -> list[Event]:
    match item:
        case {"type": "command_execution"}:
            return [Used("shell", first_words(_unwrapped(str(item.get("command")))))]
        case {"type": "mcp_tool_call"}:
            return [Used(f"{item.get('server')}.{item.get('tool')}", first_words(item.get("arguments")))]
        case {"type": "web_search"}:
            return [Used("web_search", first_words(item.get("query")))]
    return []


def _unwrapped(command: str) -> str:
    """What the model asked for, without the shell that runs it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == 3 and words[1] == "-lc" else command


def _ended(item: Mapping[str, Any]) -> list[Event]:
    match item:
        case {"type": "agent_message", "text": str(text)} if text.strip():
            return [Said(text)]
        case {"type": "file_change"}:
            paths = [str(change.get("path", "")) for change in item.get("changes", [])]
            return [Used("file_change", first_words(", ".join(paths)))]
    return []


def _spent(usage: Mapping[str, Any]) -> Event:
    return Spent(
        int(usage.get("input_tokens") or 0),
        int(usage.get("output_tokens") or 0),
        int(usage.get("cached_input_tokens") or 0),
    )
