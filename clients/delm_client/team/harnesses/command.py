"""Any agent that speaks MCP, started by a command line: `--agents "cmd:my-agent --mcp {config}"`."""

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from delm_client.team.harness import Assignment, Launch
from delm_client.team.record import Connected, Event, Faulted, Said, Spent, Used, line_of

SAID_CHARS = 2000
ITS_OWN = (Connected, Said, Used, Spent, Faulted)
"""What an agent may tell of itself; the board and the launcher tell the rest."""


@dataclass
class CommandHarness:
    """An agent of which no more is known than how it is started.

    Its command may name {config} (the path of an mcp.json), {url} (empty over stdio), {prompt}, {worktree}
    and {label}. The bearer token, if there is one, is in the variable that the mcp.json names. What it prints
    is kept as words; a line that is an event of our record (`connected`, `said`, `used`, `spent`, `faulted`),
    such as `{"event": "spent", "output_tokens": 120}`, is taken as that.
    """

    command: str
    name: str = "cmd"
    program: str = field(init=False)
    install: str = "Check the spelling, or give the path of the program."

    def __post_init__(self) -> None:
        self.program = shlex.split(self.command)[0]

    def launch(self, assignment: Assignment) -> Launch:
        """What starts it: its words, with what they name put in."""
        config = assignment.home / "mcp.json"
        places = {
            "{config}": str(config),
            "{url}": assignment.server.url,
            "{prompt}": assignment.prompt,
            "{worktree}": str(assignment.worktree),
            "{label}": assignment.label,
        }
        return Launch(
            argv=tuple(_filled(word, places) for word in shlex.split(self.command)),
            files={config: json.dumps({"mcpServers": {"delm": _entry(assignment)}}, indent=2) + "\n"},
        )

    def parser(self) -> "CommandParser":
        """A reader for the output of one process."""
        return CommandParser()


def _filled(word: str, places: dict[str, str]) -> str:
    """A word with its places filled in one pass, so that a goal which speaks of {label} keeps it."""
    return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], word)


def _entry(assignment: Assignment) -> dict[str, Any]:
    server = assignment.server
    if server.url:
        return {
            "type": "http",
            "url": server.url,
            "headers": {"Authorization": f"Bearer ${{{server.token_variable}}}"},
        }
    program, *words = server.command
    return {"type": "stdio", "command": program, "args": words, "env": dict(server.variables)}


class CommandParser:
    """Takes lines as events where they are some, and as words otherwise."""

    def feed(self, line: str) -> list[Event]:
        """What a line says."""
        text = line.strip()
        if not text:
            return []
        try:
            row = json.loads(text)
            told = line_of({"at": 0.0, "agent": "", **row}) if isinstance(row, dict) else None
        except (ValueError, KeyError, TypeError, RecursionError):
            told = None
        return [told.what if told and isinstance(told.what, ITS_OWN) else Said(text[:SAID_CHARS])]
