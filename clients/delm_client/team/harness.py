"""What the launcher knows of a coding agent: how it is started, and what its output says.

A harness is one small class in `harnesses/`; a further agent is one more file there. It writes no file and
starts no process itself: it says what to write and to start (`Launch`), so that `delm-run team --dry-run`
can show it and a test can read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from delm_client.team.record import Event


class Permissions(StrEnum):
    """What an agent may do without being asked; nobody is there to be asked.

    read: read files, and use the board.
    edit: besides, change files in its worktree, and run git and the run's commands.
    full: whatever its user may do.
    """

    READ = "read"
    EDIT = "edit"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Server:
    """How an agent reaches the board: over HTTP if there is a `url`, else by a command of its own.

    Attributes:
        url: The MCP endpoint, such as `http://127.0.0.1:8722/mcp`.
        token_variable: The variable that holds the bearer token; the token is never in a file or argument.
        command: Program and arguments of a server over stdio.
        variables: What the stdio server needs in its environment (`DELM_PRINCIPAL`, `DELM_AGENT`).
    """

    url: str = ""
    token_variable: str = "DELM_TOKEN"
    command: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One agent's place in a team.

    Attributes:
        label: Its name on the board and in every view, such as `claude-1`.
        worktree: Where it works.
        home: A folder of ours, outside the worktree, for configuration that only this agent reads.
        git_dir: The repository's common git directory, which a commit in the worktree writes to.
        server: How it reaches the board.
        prompt: The first and only message that it gets.
        permissions: What it may do.
        commands: The programs of the run's commands (`pytest`), which `edit` lets it run.
        model: The model, or empty for the client's own default.
    """

    label: str
    worktree: Path
    home: Path
    git_dir: Path
    server: Server
    prompt: str
    permissions: Permissions = Permissions.EDIT
    commands: tuple[str, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """What starts an agent.

    Attributes:
        argv: Program and arguments.
        variables: Added to the environment of the launcher.
        files: Written before the start, by absolute path, readable by the user only.
        stdin: What it reads from standard input, which is then closed.
    """

    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    stdin: str = ""


class Parser(Protocol):
    """Reads one agent's output, a line at a time; keeps what it needs between lines."""

    def feed(self, line: str) -> list[Event]:
        """What a line says; what is no JSON or of an unknown kind says nothing, or `Said`."""


class Harness(Protocol):
    """A kind of coding agent."""

    name: str
    """What `--agents` calls it, such as `claude`."""
    program: str
    """What is looked up on PATH."""
    install: str
    """How a user gets it, in one line."""

    def launch(self, assignment: Assignment) -> Launch:
        """What starts it headless, with just the permissions asked for, and the board as its server."""

    def parser(self) -> Parser:
        """A reader for the output of one process."""
