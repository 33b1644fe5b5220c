"""What each client wants to be told of the board, and in which of its files.

Measured with the clients themselves (Claude Code 2.1, Codex 0.169, Gemini CLI 0.61, opencode 1.18); VS Code
and Cursor as they are documented. A further client is one more entry in `CLIENTS`.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from delm_mcp.errors import ConfigError

ENTRY = "delm"
"""The server's name in every client: tools are then called `mcp__delm__claim_task` and the like."""
WAIT_MS = 60_000


class Scope(StrEnum):
    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Server:
    """How a client reaches the board: a command over stdio, or a URL with the variable of its token."""

    command: tuple[str, ...] = ()
    url: str = ""
    token_variable: str = ""

    def headers(self, variable: str) -> dict[str, Any]:
        """What names the token without holding it; nothing where none is needed.

        Args:
            variable: How the client writes a variable, e.g. `${%s}`.
        """
        if not self.token_variable:
            return {}
        return {"headers": {"Authorization": f"Bearer {variable % self.token_variable}"}}


@dataclass(frozen=True, slots=True)
class Entry:
    """A client's entry for the board.

    Attributes:
        reach: How it is reached; these keys always become as they are here.
        comfort: What makes it work well; added where it is missing, else left as the user tuned it.
    """

    reach: Mapping[str, Any]
    comfort: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """One kind of client.

    Attributes:
        program: What is looked up on PATH.
        section: The keys that lead to the table of servers.
        project: Its file in a project, or None where it has none.
        user: Its file in the user's home.
        entry: What it is told.
        after: One line on what is left to do.
    """

    name: str
    title: str
    program: str
    format: Literal["json", "toml"]
    section: tuple[str, ...]
    project: Callable[[Path], Path]
    user: Callable[[Path], Path]
    entry: Callable[[Server], Entry]
    scope: Scope = Scope.PROJECT
    after: str = ""


REACH_KEYS = frozenset(
    "type command args url httpUrl headers bearer_token_env_var environment env_vars oauth".split()
)
"""Whatever says how a server is reached; of these only the entry's own may stay. `env` is the user's."""


def _claude(server: Server) -> Entry:
    # alwaysLoad keeps the tools out of deferred loading, which costs a turn a tool.
    if server.url:
        reach = {"type": "http", "url": server.url, **server.headers("${%s}")}
        return Entry(reach, {"alwaysLoad": True, "timeout": 600_000})
    return Entry({"type": "stdio", **_command(server)}, {"alwaysLoad": True})


def _codex(server: Server) -> Entry:
    # Without `required` its first turn may start before the tools are there, and a dead server is no error.
    comfort = {"required": True, "default_tools_approval_mode": "approve", "tool_timeout_sec": 120}
    if server.url:
        token = {"bearer_token_env_var": server.token_variable} if server.token_variable else {}
        return Entry({"url": server.url, **token}, comfort)
    return Entry(_command(server), comfort)


def _gemini(server: Server) -> Entry:
    # Without `trust`, headless mode hides the tools.
    comfort = {"timeout": WAIT_MS, "trust": True}
    if server.url:
        return Entry({"httpUrl": server.url, **server.headers("${%s}")}, comfort)
    return Entry(_command(server), comfort)


def _opencode(server: Server) -> Entry:
    if server.url:
        reach = {"type": "remote", "url": server.url, **server.headers("{env:%s}"), "oauth": False}
        return Entry(reach, {"enabled": True, "timeout": WAIT_MS})
    return Entry({"type": "local", "command": list(server.command)}, {"enabled": True, "timeout": WAIT_MS})


def _vscode(server: Server) -> Entry:
    if server.url:
        return Entry({"type": "http", "url": server.url, **server.headers("${env:%s}")}, {})
    return Entry({"type": "stdio", **_command(server)}, {})


def _cursor(server: Server) -> Entry:
    if server.url:
        return Entry({"url": server.url, **server.headers("${env:%s}")}, {})
    return Entry(_command(server), {})


def _command(server: Server) -> dict[str, Any]:
    return {"command": server.command[0], "args": list(server.command[1:])}


def _either(folder: Path, *names: str) -> Path:
    """The first of these files that is there, else the first name."""
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def _variable(name: str, default: Path) -> Path:
    return Path(os.environ[name]) if os.environ.get(name) else default


def _code_user(home: Path) -> Path:
    if sys.platform == "darwin":
        return home / "Library/Application Support/Code/User/mcp.json"
    return _variable("XDG_CONFIG_HOME", home / ".config") / "Code/User/mcp.json"


CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client(
            name="claude",
            title="Claude Code",
            program="claude",
            format="json",
            section=("mcpServers",),
            project=lambda root: root / ".mcp.json",
            user=lambda home: _variable("CLAUDE_CONFIG_DIR", home) / ".claude.json",
            entry=_claude,
            after="Claude Code asks once whether it may use the server. Headless, add --allowedTools "
            "'mcp__delm__*'.",
        ),
        Client(
            name="codex",
            title="Codex",
            program="codex",
            format="toml",
            section=("mcp_servers",),
            project=lambda root: root / ".codex/config.toml",
            user=lambda home: _variable("CODEX_HOME", home / ".codex") / "config.toml",
            entry=_codex,
            scope=Scope.USER,
            after="Codex reads a project's file only where the project is trusted.",
        ),
        Client(
            name="gemini",
            title="Gemini CLI",
            program="gemini",
            format="json",
            section=("mcpServers",),
            project=lambda root: root / ".gemini/settings.json",
            user=lambda home: _variable("GEMINI_CLI_HOME", home) / ".gemini/settings.json",
            entry=_gemini,
            after="Gemini CLI starts servers only in folders that it trusts. Headless, set "
            "GEMINI_CLI_TRUST_WORKSPACE=true: --skip-trust comes too late for a project's file.",
        ),
        Client(
            name="opencode",
            title="opencode",
            program="opencode",
            format="json",
            section=("mcp",),
            project=lambda root: _either(root, "opencode.json", "opencode.jsonc"),
            user=lambda home: _either(
                _variable("XDG_CONFIG_HOME", home / ".config") / "opencode", "opencode.json", "opencode.jsonc"
            ),
            entry=_opencode,
        ),
        Client(
            name="vscode",
            title="VS Code",
            program="code",
            format="json",
            section=("servers",),
            project=lambda root: root / ".vscode/mcp.json",
            user=_code_user,
            entry=_vscode,
        ),
        Client(
            name="cursor",
            title="Cursor",
            program="cursor",
            format="json",
            section=("mcpServers",),
            project=lambda root: root / ".cursor/mcp.json",
            user=lambda home: home / ".cursor/mcp.json",
            entry=_cursor,
        ),
    )
}


def client_named(name: str) -> Client:
    """Raises: ConfigError: We know no such client; lists those that we do."""
    if name not in CLIENTS:
        raise ConfigError(
            f"There is no recipe for a client {name[:40]!r}.",
            f"Clients: {', '.join(CLIENTS)}. Any other one: start `delm-mcp stdio` as an MCP server.",
        )
    return CLIENTS[name]


def file_of(client: Client, scope: Scope, start: Path) -> Path:
    """The file that a client reads for a scope; a project begins at the top of its worktree."""
    return client.user(Path.home()) if scope is Scope.USER else client.project(project_root(start))


def project_root(start: Path) -> Path:
    """The top of the worktree around a folder (linked ones too), else the folder itself."""
    start = start.absolute()
    return next((folder for folder in (start, *start.parents) if _is_top(folder / ".git")), start)


def _is_top(git: Path) -> bool:
    """Sandboxes leave empty folders of this name behind, which git does not take for a repository."""
    return git.is_file() or (git / "HEAD").exists()


def local_server() -> Server:
    """The command that starts a server of this installation: by name where PATH leads to it."""
    own = Path(sys.argv[0]).absolute() if Path(sys.argv[0]).name == "delm-mcp" else None
    beside = Path(sys.executable).with_name("delm-mcp")
    own = own if own is not None and own.exists() else beside
    on_path = shutil.which("delm-mcp")
    if on_path is not None and (not own.exists() or Path(on_path).resolve() == own.resolve()):
        return Server(("delm-mcp", "stdio"))
    return Server((str(own), "stdio"))
