"""Claude Code (`claude -p`)."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from delm_client.team.harness import Assignment, Launch, Permissions, Server
from delm_client.team.harnesses.common import SERVER, explained, first_words, row_of
from delm_client.team.record import Connected, Event, Faulted, Said, Spent, Used

CALL_MS = 600_000
READS = ("Read", "Glob", "Grep")
EDITS = ("Edit", "Write", "NotebookEdit")
REST = ("Bash", "WebFetch", "WebSearch", "Task", "Skill")


class Claude:
    """Anthropic's agent.

    The board comes in a file of ours, and `--strict-mcp-config` keeps all other servers out. HOME and
    CLAUDE_CONFIG_DIR stay as they are: there are the user's login and settings. What the latter deny stays
    denied; what they allow beyond the permissions asked for is allowed only where we do not deny it.
    """

    name = "claude"
    program = "claude"
    install = "npm install -g @anthropic-ai/claude-code"

    def launch(self, assignment: Assignment) -> Launch:
        """The prompt goes to standard input: behind options that take lists it would be a part of one."""
        config = assignment.home / "mcp.json"
        argv = [
            self.program, "-p", "--output-format", "stream-json", "--verbose",
            "--mcp-config", str(config), "--strict-mcp-config", *_permitted(assignment),
        ]  # fmt: skip
        if assignment.model:
            argv += ["--model", assignment.model]
        files = {config: json.dumps({"mcpServers": {SERVER: _server(assignment.server)}}, indent=2)}
        # Many at once would race to update the one installation.
        return Launch(tuple(argv), {"DISABLE_AUTOUPDATER": "1"}, files, assignment.prompt)

    def parser(self) -> "ClaudeParser":
        """A reader of `stream-json`."""
        return ClaudeParser()


def _server(server: Server) -> Mapping[str, Any]:
    # Without alwaysLoad the tools are deferred, which costs a turn for each.
    if server.url:
        entry: dict[str, Any] = {"type": "http", "url": server.url}
        if server.token_variable:
            entry["headers"] = {"Authorization": f"Bearer ${{{server.token_variable}}}"}
    else:
        program, *words = server.command
        entry = {"type": "stdio", "command": program, "args": words, "env": dict(server.variables)}
    return {**entry, "alwaysLoad": True, "timeout": CALL_MS}


def _permitted(assignment: Assignment) -> Sequence[str]:
    """`dontAsk` refuses what no rule allows; `acceptEdits` besides allows edits in the worktree."""
    board = f"mcp__{SERVER}__*"
    match assignment.permissions:
        case Permissions.READ:
            allowed: tuple[str, ...] = (board, *READS)
            return ("--permission-mode", "dontAsk", "--allowedTools", *allowed,
                    "--disallowedTools", *EDITS, "Bash")  # fmt: skip
        case Permissions.EDIT:
            runs = [f"Bash({program}:*)" for program in ("git", *assignment.commands)]
            return ("--permission-mode", "acceptEdits", "--allowedTools", board, *READS, *runs)
        case Permissions.FULL if os.geteuid() != 0:
            return ("--permission-mode", "bypassPermissions")
        case Permissions.FULL:  # root is refused that mode; these rules allow each tool instead
            return ("--permission-mode", "acceptEdits", "--allowedTools", board, *READS, *EDITS, *REST)


class ClaudeParser:
    """Reads `--output-format stream-json`. Each part of a message is a line, with the usage of the whole."""

    def __init__(self) -> None:
        self._message = ""
        self._told = Spent()

    def feed(self, line: str) -> list[Event]:
        """What a line says."""
        row = row_of(line)
        match row:
            case {"type": "system", "subtype": "init"}:
                return [_connected(row)]
            case {"type": "system", "subtype": "api_retry"}:
                return [Faulted(_retried(row))]
            case {"type": "assistant", "message": {"model": "<synthetic>"}}:
                return []  # an error in the model's place; the result says it again
            case {"type": "assistant", "message": dict(message)}:
                return [*self._counted(message), *_parts(message.get("content", []))]
            case {"type": "result"}:
                return self._result(row)
        return []

    def _counted(self, message: Mapping[str, Any]) -> list[Event]:
        if message.get("id") == self._message:
            return []
        self._message = str(message.get("id"))
        usage = message.get("usage") or {}
        cached = int(usage.get("cache_read_input_tokens") or 0)
        fresh = int(usage.get("input_tokens") or 0) + int(usage.get("cache_creation_input_tokens") or 0)
        return self._tell(fresh + cached, int(usage.get("output_tokens") or 0), cached, None)

    def _tell(self, read: int, written: int, cached: int, cost: float | None) -> list[Event]:
        told = self._told
        self._told = Spent(
            told.input_tokens + read, told.output_tokens + written, told.cached_tokens + cached
        )
        return [Spent(read, written, cached, cost)]

    def _result(self, row: Mapping[str, Any]) -> list[Event]:
        """The end: what was not told yet, of all models that took part, and an error if there was one."""
        read = written = cached = 0
        for usage in (row.get("modelUsage") or {}).values():
            cached += usage.get("cacheReadInputTokens", 0)
            read += usage.get("inputTokens", 0) + usage.get("cacheCreationInputTokens", 0)
            written += usage.get("outputTokens", 0)
        told = self._told
        rest = (read + cached - told.input_tokens, written - told.output_tokens, cached - told.cached_tokens)
        more, out, held = (max(0, number) for number in rest)
        events = self._tell(more, out, held, row.get("total_cost_usd"))
        if row.get("is_error"):
            events.append(
                Faulted(explained(row.get("result") or row.get("subtype") or "it ended in an error"))
            )
        return events


def _connected(row: Mapping[str, Any]) -> Event:
    status = next(
        (server.get("status") for server in row.get("mcp_servers", []) if server.get("name") == SERVER),
        "not configured",
    )
    return Connected(status == "connected", f"the board's server is {status}")


def _retried(row: Mapping[str, Any]) -> str:
    status = f"status {row['error_status']}" if row.get("error_status") else "no answer"
    kind, attempt = row.get("error", "unknown"), row.get("attempt", "?")
    return f"The model's address gave {status} ({kind}) at attempt {attempt}."


def _parts(content: Sequence[Mapping[str, Any]]) -> list[Event]:
    events: list[Event] = []
    for part in content:
        if part.get("type") == "text" and part["text"].strip():
            events.append(Said(part["text"]))
        elif part.get("type") == "tool_use":
            events.append(Used(part["name"], first_words(part.get("input"))))
    return events
