"""Where the board is, and who this process is: the only reader of the environment beside `cli`."""

import getpass
import json
import os
import shlex
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.judge_unavailable import key_variable
from delm_mcp.domain.model import Command
from delm_mcp.domain.policy import JudgePolicy, Policy, build
from delm_mcp.errors import CheckUnavailable, ConfigError

FOLDER = ".delm"
FILE = "board.db"

DEFAULT_PROTECT = (
    "tests/**",
    "test/**",
    "**/test_*.py",
    "**/*_test.py",
    "**/conftest.py",
    "pytest.ini",
    "tox.ini",
    "setup.cfg",
    "pyproject.toml",
)
"""What a patch cannot change when its run has commands: the tests, and what decides how they run."""


PROMPT_CHARS_MAX = 20_000
"""The longest instructions for a judge; the same bound as `JudgePolicy.prompt`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process works.

    Attributes:
        board: The board's file, which need not exist yet.
        repo: The repository around it, or None.
        problem: Why a repository that is there cannot be used, or empty.
    """

    board: Path
    repo: GitRepo | None
    problem: str = ""


async def find_place(board: Path | None, start: Path | None = None) -> Place:
    """The board of the folder: in the main worktree of its repository, or in the folder itself.

    Args:
        board: A board's file that was named (`--board`, or the variable DELM_BOARD).
        start: Where to look from; the current folder by default.
    """
    start = start or Path.cwd()
    repo, problem = None, ""
    try:
        repo = await GitRepo.find(start)
    except CheckUnavailable as error:
        problem = str(error)
    named = board or declared_board()
    if named is not None:
        return Place(named.expanduser().absolute(), repo, problem)
    home = repo.main if repo else _nearest(start)
    return Place(home / FOLDER / FILE, repo, problem)


def _nearest(start: Path) -> Path:
    """The nearest folder upwards that has a board, or the folder itself."""
    start = start.absolute()
    return next((folder for folder in (start, *start.parents) if (folder / FOLDER / FILE).exists()), start)


def prepare_folder(board: Path) -> None:
    """Make the board's folder, which git ignores."""
    try:
        board.parent.mkdir(exist_ok=True)
        ignore = board.parent / ".gitignore"
        if board.parent.name == FOLDER and not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The folder {board.parent} cannot be made: {error.strerror}.", "Name another file with --board."
        ) from error


def local_principal(unique: str) -> str:
    """The principal of a server process over stdio: declared, not proven.

    Args:
        unique: Tells this process from others of the same user: the agent's name if it is bound to
            one, so that it is known again after a restart, else something random.
    """
    named = os.environ.get("DELM_PRINCIPAL")
    if named:
        return f"stdio:{named}"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "user"
    return f"stdio:{user}@{socket.gethostname()}/{unique}"


def declared_board() -> Path | None:
    """The board's file that the environment names (DELM_BOARD), or None."""
    return Path(os.environ["DELM_BOARD"]) if os.environ.get("DELM_BOARD") else None


def declared_server() -> tuple[str, str]:
    """The URL and the token of the server that a launcher gave this process (DELM_URL, DELM_TOKEN)."""
    return os.environ.get("DELM_URL", "").strip(), os.environ.get("DELM_TOKEN", "").strip()


def state_folder() -> Path:
    """Where we keep what belongs to this user and to no board; a relative XDG_STATE_HOME does not count."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "delm-mcp"


def declared_agent() -> tuple[str, str, str]:
    """Run, agent and principal that a launcher gave this process (DELM_RUN, DELM_AGENT, DELM_PRINCIPAL)."""
    run, agent, principal = (
        os.environ.get(name, "").strip() for name in ("DELM_RUN", "DELM_AGENT", "DELM_PRINCIPAL")
    )
    return run, agent, principal


def load_policy(wish: str, protect: tuple[str, ...], default: tuple[str, ...]) -> Policy:
    """A policy from a preset's name or a TOML file.

    Args:
        wish: `open`, `standard`, `strict`, or a path.
        protect: Globs that replace the policy's; empty to keep them.
        default: Globs for a policy that names none.

    Raises:
        ConfigError: No such preset or file, or a fault in it; says where.
    """
    settings: dict[str, Any] = {"preset": wish}
    origin = "--policy"
    if wish.endswith(".toml") or os.sep in wish:
        origin = wish
        try:
            settings = tomllib.loads(Path(wish).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{wish} cannot be read: {error.strerror}.", "Check the path.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{wish} is not TOML: {error}.", "Mend it there.") from error
        settings = _with_prompt(settings, Path(wish))
    globs = protect or settings.get("protect", default)
    settings = {**settings, "protect": list(globs) if isinstance(globs, tuple) else globs}
    return build(settings, origin)


def _with_prompt(settings: dict[str, Any], file: Path) -> dict[str, Any]:
    """The settings with the judge's instructions in place of the path that names them."""
    judge = settings.get("judge")
    named = judge.get("prompt") if isinstance(judge, dict) else None
    if not named or not isinstance(named, str):
        return settings
    path = file.parent / Path(named).expanduser()
    where, hint = f"{file}: judge.prompt: {path}", "Start from `delm-mcp judge prompt > judge.md`."
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{where} cannot be read: {why}.", f"Paths start at the policy. {hint}") from error
    if not text.strip():
        raise ConfigError(f"{where} is empty.", hint)
    if len(text) > PROMPT_CHARS_MAX:
        raise ConfigError(f"{where} has {len(text)} characters.", f"At most {PROMPT_CHARS_MAX} are used.")
    return {**settings, "judge": {**settings["judge"], "prompt": text}}


def judge_key(policy: JudgePolicy) -> str:
    """The key of the judge's model, from the variable that the policy names; empty when it is not set."""
    variable = key_variable(policy)
    return os.environ.get(variable, "").strip() if variable else ""


def parse_command(text: str, timeout_s: float) -> Command:
    """A command from `name=words` or just `words`, whose name is then `check`.

    Raises:
        ConfigError: It cannot be split into words.
    """
    head, sign, rest = text.partition("=")
    named = bool(sign) and head.isidentifier()
    if named and head.isupper():
        raise ConfigError(
            f"--check {text!r} begins with a variable.", f'Set it with env: --check "env {text}".'
        )
    name, words = (head, rest) if named else ("check", text)
    try:
        argv = tuple(shlex.split(words))
    except ValueError as error:
        raise ConfigError(f"--check {text!r}: {error}.", 'Quote it like --check "pytest -q".') from error
    if not argv:
        raise ConfigError(f"--check {text!r} has no command.", 'For example --check "pytest -q".')
    return Command(name, argv, timeout_s)


def detect_check(folder: Path) -> str:
    """A test command that the folder seems to have, or empty."""
    if (folder / "package.json").exists():
        try:
            scripts = json.loads((folder / "package.json").read_text(encoding="utf-8")).get("scripts", {})
        except (OSError, ValueError):
            scripts = {}
        if isinstance(scripts, dict) and "test" in scripts:
            return "npm test"
    signs = {
        "pytest -q": ("pytest.ini", "conftest.py", "tests", "test", "pyproject.toml", "setup.py", "tox.ini"),
        "cargo test": ("Cargo.toml",),
        "go test ./...": ("go.mod",),
        "make test": ("Makefile",),
    }
    return next(
        (command for command, names in signs.items() if any((folder / n).exists() for n in names)), ""
    )
