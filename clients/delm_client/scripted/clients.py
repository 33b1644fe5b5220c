"""Four clients, one vocabulary: what a script does, in each client's own tools, and back.

A script speaks of the board's six tools by their names and of four built-in ones: `shell(command)`,
`read(path)`, `edit(path, old, new)` and `write(path, text)`. Paths are relative to the worktree.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from delm_client.scripted.conversation import Call, Output, Request, Words

BOARD_TOOLS = ("claim_task", "read_context", "propose_update", "verify", "add_tasks", "update_task")


@dataclass(frozen=True, slots=True)
class Action:
    """What the model does: a tool of the board, or `shell`, `read`, `edit`, `write`."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """An action, and what the client showed of its result."""

    action: Action
    output: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a script decides on.

    Attributes:
        client: `claude`, `codex`, `gemini`, `opencode`, or empty for one that is not known.
        prompt: What the user said.
        steps: What was done so far, oldest first.
        actions: What can be done: the names of the actions whose tools the client offers.
    """

    client: str
    prompt: str
    steps: Sequence[Step]
    actions: frozenset[str]


Arguments = Mapping[str, Any]
Translate = Callable[[Arguments], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Client:
    """How a client calls things: the prefix of the board's tools, and its built-in tools.

    `tools` has for each action the client's tool, its arguments from ours, and ours from them. `failure` is
    found in the output of a built-in tool that did not work, where the protocol has no word for that.
    """

    name: str
    prefix: str
    tools: Mapping[str, tuple[str, Translate, Translate]]
    failure: re.Pattern[str] = re.compile(r"(?!)")

    def call(self, action: Action, ident: str) -> Call:
        """An action as the client's tool call."""
        if action.name in BOARD_TOOLS:
            return Call(ident, self.prefix + action.name, action.arguments)
        tool, there, _ = self.tools[action.name]
        return Call(ident, tool, there(action.arguments))

    def action(self, call: Call) -> Action:
        """A tool call as an action; one that no script of ours makes keeps its name."""
        if call.tool.startswith(self.prefix):
            return Action(call.tool.removeprefix(self.prefix), call.arguments)
        for name, (tool, _, back) in self.tools.items():
            if tool == call.tool and (arguments := back(call.arguments)):
                return Action(name, arguments)
        return Action(call.tool, call.arguments)

    def can(self, tools: Sequence[str]) -> frozenset[str]:
        """Which actions these tools allow."""
        offered = set(tools)
        board = {name for name in BOARD_TOOLS if self.prefix + name in offered}
        return frozenset(board | {name for name, (tool, *_) in self.tools.items() if tool in offered})


def _renamed(**names: str) -> tuple[Translate, Translate]:
    """There and back by other names; back is empty where one of them is missing."""

    def there(ours: Arguments) -> dict[str, Any]:
        return {theirs: ours[name] for name, theirs in names.items()}

    def back(theirs: Arguments) -> dict[str, Any]:
        if any(name not in theirs for name in names.values()):
            return {}
        return {name: theirs[their] for name, their in names.items()}

    return there, back


CLAUDE = Client(
    "claude",
    "mcp__delm__",
    {
        "shell": ("Bash", *_renamed(command="command")),
        "read": ("Read", *_renamed(path="file_path")),
        "edit": ("Edit", *_renamed(path="file_path", old="old_string", new="new_string")),
        "write": ("Write", *_renamed(path="file_path", text="content")),
    },
)


def _gemini_shell(ours: Arguments) -> dict[str, Any]:
    return {"command": ours["command"], "description": "as scripted"}


def _gemini_edit(ours: Arguments) -> dict[str, Any]:
    return {
        "file_path": ours["path"],
        "old_string": ours["old"],
        "new_string": ours["new"],
        "instruction": "as scripted",
    }


GEMINI = Client(
    "gemini",
    "mcp_delm_",
    {
        "shell": ("run_shell_command", _gemini_shell, _renamed(command="command")[1]),
        "read": ("read_file", *_renamed(path="file_path")),
        "edit": (
            "replace",
            _gemini_edit,
            _renamed(path="file_path", old="old_string", new="new_string")[1],
        ),
        "write": ("write_file", *_renamed(path="file_path", text="content")),
    },
    re.compile(r"^Exit Code: [1-9]", re.M),
)


def _opencode_shell(ours: Arguments) -> dict[str, Any]:
    return {"command": ours["command"], "description": "as scripted"}


OPENCODE = Client(
    "opencode",
    "delm_",
    {
        "shell": ("bash", _opencode_shell, _renamed(command="command")[1]),
        "read": ("read", *_renamed(path="filePath")),
        "edit": ("edit", *_renamed(path="filePath", old="oldString", new="newString")),
        "write": ("write", *_renamed(path="filePath", text="content")),
    },
    re.compile(r"^(The user has specified a rule which prevents|Error: |Model tried to call unavailable)"),
)

# Codex reads and edits through its shell; it takes `apply_patch` in a command for its own editing tool.


def _codex_read(ours: Arguments) -> dict[str, Any]:
    return {"cmd": f"cat {shlex.quote(ours['path'])}"}


def _codex_reads(theirs: Arguments) -> dict[str, Any]:
    words = shlex.split(theirs.get("cmd", "")) if str(theirs.get("cmd", "")).startswith("cat ") else []
    return {"path": words[1]} if len(words) == 2 else {}


def _lines(text: str, mark: str) -> list[str]:
    return [mark + line for line in text.removesuffix("\n").split("\n")]


def _patch(*lines: str) -> dict[str, Any]:
    text = "\n".join(["apply_patch <<'EOF'", "*** Begin Patch", *lines, "*** End Patch", "EOF"])
    return {"cmd": text}


def _codex_edit(ours: Arguments) -> dict[str, Any]:
    return _patch(
        f"*** Update File: {ours['path']}", "@@", *_lines(ours["old"], "-"), *_lines(ours["new"], "+")
    )


def _codex_write(ours: Arguments) -> dict[str, Any]:
    return _patch(f"*** Add File: {ours['path']}", *_lines(ours["text"], "+"))


def _codex_patches(kind: str, *parts: tuple[str, str]) -> Translate:
    def back(theirs: Arguments) -> dict[str, Any]:
        lines = str(theirs.get("cmd", "")).split("\n")
        if len(lines) < 5 or not lines[2].startswith(f"*** {kind} File: "):
            return {}
        found = {
            name: "\n".join(line[1:] for line in lines[3:-2] if line.startswith(mark)) for name, mark in parts
        }
        if "text" in found:
            found["text"] += "\n"  # a file ends with its line
        return {"path": lines[2].split(": ", 1)[1], **found}

    return back


CODEX = Client(
    "codex",
    "mcp__delm/",
    {
        "read": ("exec_command", _codex_read, _codex_reads),
        "edit": ("exec_command", _codex_edit, _codex_patches("Update", ("old", "-"), ("new", "+"))),
        "write": ("exec_command", _codex_write, _codex_patches("Add", ("text", "+"))),
        "shell": ("exec_command", *_renamed(command="cmd")),
    },
    re.compile(
        r"^Process exited with code [1-9]|^Exit code: [1-9]|^patch rejected|verification failed", re.M
    ),
)

_API_CLIENTS = {
    "anthropic": CLAUDE,
    "openai-responses": CODEX,
    "gemini": GEMINI,
    "openai-chat": OPENCODE,
}


def client_of(request: Request) -> Client:
    """The client behind a request: each of the four speaks a protocol that none of the others does here."""
    return _API_CLIENTS[request.api]


def conversation(request: Request) -> Conversation:
    """A request in the vocabulary of scripts."""
    client = client_of(request)
    outputs = {item.call: item for item in request.items if isinstance(item, Output)}
    steps = []
    for item in request.items:
        if isinstance(item, Call):
            shown = outputs.get(item.id, Output(item.id, "", failed=True))
            action = client.action(item)
            failed = action.name not in BOARD_TOOLS and bool(client.failure.search(shown.text))
            steps.append(Step(action, shown.text, shown.failed or failed))
    prompt = "\n".join(item.text for item in request.items if isinstance(item, Words) and item.who == "user")
    return Conversation(client.name, prompt, tuple(steps), client.can(request.tools))
