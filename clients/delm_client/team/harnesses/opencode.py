"""opencode (`opencode run`)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from delm_client.team.harness import Assignment, Launch, Permissions, Server
from delm_client.team.harnesses.common import SERVER, Faults, first_words, row_of
from delm_client.team.record import Connected, Event, Said, Spent, Used

CALL_MS = 120_000
_UNREACHED = re.compile(rf'message="server unavailable" key={SERVER}\b')
_STREAM = re.compile(r'message="stream error".* error\.error="\w+: (.*)"$')
_AROUND = re.compile(r"^Failed after .*?Last error: | \(cause: .*\)$")


class OpenCode:
    """The open source agent for any provider; `model` is `provider/model`.

    HOME stays as it is: the user's logins are in `~/.local/share/opencode`, and providers in
    `~/.config/opencode`. What we add comes in OPENCODE_CONFIG_CONTENT, which is read after the user's and the
    project's files and wins over them.
    """

    name = "opencode"
    program = "opencode"
    install = "npm install -g opencode-ai"

    def launch(self, assignment: Assignment) -> Launch:
        """The prompt is the last argument: what stands after `--` is never taken for an option."""
        config = {
            "$schema": "https://opencode.ai/config.json",
            "autoupdate": False,
            "share": "disabled",
            "mcp": {SERVER: _server(assignment.server)},
            "permission": _permission(assignment),
        }
        # Without its logs it tells of an unreachable model only after a minute and a half.
        argv = [self.program, "run", "--format", "json", "--print-logs", "--log-level", "WARN"]
        if assignment.model:
            argv += ["--model", assignment.model]
        if assignment.permissions is Permissions.FULL:
            argv.append("--auto")
        variables = {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}
        return Launch((*argv, "--", assignment.prompt), variables)

    def parser(self) -> "OpenCodeParser":
        """A reader of `--format json`."""
        return OpenCodeParser()


def _server(server: Server) -> Mapping[str, Any]:
    if server.url:
        entry: dict[str, Any] = {"type": "remote", "url": server.url, "oauth": False}
        if server.token_variable:
            entry["headers"] = {"Authorization": f"Bearer {{env:{server.token_variable}}}"}
    else:
        entry = {"type": "local", "command": list(server.command), "environment": dict(server.variables)}
    return {**entry, "enabled": True, "timeout": CALL_MS}


def _permission(assignment: Assignment) -> Mapping[str, Any]:
    """The last rule that matches wins. Without anybody to ask, what would ask is refused."""
    if assignment.permissions is Permissions.FULL:
        return {"*": "allow"}
    reading = dict.fromkeys(("read", "glob", "grep", "list", "todowrite", "todoread", "skill"), "allow")
    rules: dict[str, Any] = {"*": "deny", **reading, f"{SERVER}_*": "allow"}
    if assignment.permissions is Permissions.EDIT:
        rules["edit"] = "allow"
        rules["bash"] = {"*": "deny"} | {
            pattern: "allow"
            for program in ("git", *assignment.commands)
            for pattern in (program, f"{program} *")
        }
    return rules


class OpenCodeParser:
    """Reads the events of `opencode run --format json`, and its log on standard error."""

    def __init__(self) -> None:
        self._connected = False
        self._faults = Faults()  # it tries again by itself, and tells the same each time

    def feed(self, line: str) -> list[Event]:
        """What a line says."""
        match row_of(line):
            case {"type": "text", "part": {"text": str(text)}} if text.strip():
                return [Said(text)]
            case {"type": "tool_use", "part": {"tool": str(tool), "state": dict(state)}}:
                return [*self._first(tool), Used(tool, first_words(state.get("input")))]
            case {"type": "step_finish", "part": dict(part)}:
                return [_spent(part)]
            case {"type": "error", "error": dict(error)}:
                data = error.get("data") or {}
                return self._faults.told(data.get("message") or error.get("name") or "an error")
        return self._logged(line)

    def _logged(self, line: str) -> list[Event]:
        if _UNREACHED.search(line):
            return [Connected(False, "the board's server is unavailable")]
        found = _STREAM.search(line)
        return self._faults.told(_AROUND.sub("", found[1])) if found else []

    def _first(self, tool: str) -> list[Event]:
        """It does not say whether it reached a server; that the model has the server's tools does."""
        if self._connected or not tool.startswith(f"{SERVER}_"):
            return []
        self._connected = True
        return [Connected(True, "the model has the board's tools")]


def _spent(part: Mapping[str, Any]) -> Event:
    tokens = part.get("tokens") or {}
    cache = tokens.get("cache") or {}
    cached = int(cache.get("read") or 0)
    read = int(tokens.get("input") or 0) + int(cache.get("write") or 0) + cached
    written = int(tokens.get("output") or 0) + int(tokens.get("reasoning") or 0)
    # It reports 0 for a model whose price it does not know.
    return Spent(read, written, cached, float(part["cost"]) if part.get("cost") else None)
