"""What the user wants of a team, as read from the command line and kept for `resume`."""

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from delm_client.team.harness import Permissions
from delm_client.words import shortened

RUN = re.compile(r"[a-z0-9][a-z0-9_-]{0,23}")
COMMAND = "cmd"
AGENTS_MAX = 32
COUNT_DIGITS_MAX = 9
SHOWN_CHARS = 20
GOAL_CHARS_MAX = 4000  # the board's own limit, known before anything is made
_INTERPRETERS = re.compile(r"(python|pypy|node|npx|uvx|uv|bun|deno|bash|sh|env)[0-9.]*")
_EXAMPLE = "For example --agents claude:2,codex:1."


class TeamError(Exception):
    """A team cannot be launched or go on; the text says why and what would work."""


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of a team.

    Attributes:
        label: Its name on the board, such as `claude-1`.
        kind: The harness's name.
        command: For the kind `cmd`: the command line with its placeholders.
        model: Empty for the client's own default.
    """

    label: str
    kind: str
    command: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; `restarts` are in a row and without a result, for each agent."""

    goal: str
    members: tuple[Member, ...]
    tasks: tuple[str, ...] = ()
    tasks_file: str = ""
    checks: tuple[str, ...] = ()
    policy: str = "standard"
    protect: tuple[str, ...] = ()
    budget_usd: float | None = None
    timeout_s: float = 0.0
    permissions: Permissions = Permissions.EDIT
    include_dirty: bool = False
    keep: bool = False
    transport: str = "http"
    restarts: int = 3
    run: str = ""
    simulated: bool = False
    command: str = ""

    def as_json(self) -> dict[str, Any]:
        """The wish as JSON values."""
        return asdict(self)


def wish_of(row: Mapping[str, Any]) -> Wish:
    """A wish from its JSON values.

    Raises:
        KeyError, TypeError, ValueError: It is not one.
    """
    known = {one.name for one in fields(Wish)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name in known
    }
    given["members"] = tuple(Member(**member) for member in row["members"])
    given["permissions"] = Permissions(row["permissions"])
    return Wish(**given)


def read_goal(goal: str, file: Path | None) -> str:
    """The goal, given as an argument or in a file.

    Raises:
        TeamError: Neither or both were given, or the file cannot be read.
    """
    if bool(goal.strip()) == (file is not None):
        raise TeamError('Say what the team is to reach, once: delm-run team "GOAL", or --goal-file FILE.')
    if file is None:
        return _checked_goal(goal.strip())
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TeamError(f"--goal-file {file} cannot be read: {why}.") from error
    if not text:
        raise TeamError(f"--goal-file {file} is empty.")
    return _checked_goal(text)


def _checked_goal(goal: str) -> str:
    if len(goal) > GOAL_CHARS_MAX:
        raise TeamError(
            f"A goal has at most {GOAL_CHARS_MAX} characters, and this one has {len(goal)}. Put the rest in "
            "a file of the repository that the goal names, or in tasks: --tasks-file."
        )
    if "\0" in goal:
        raise TeamError("The goal has a NUL character in it, which no agent can be told: is it a text file?")
    return goal


def read_members(wanted: Sequence[str], models: Sequence[str], kinds: Sequence[str]) -> tuple[Member, ...]:
    """The members of a team, from every `--agents` and `--model`.

    Args:
        wanted: Lists such as `claude:2,codex`, or one `cmd:COMMAND` or `cmd:3:COMMAND`, taken whole.
        models: `NAME` for all, or `claude=NAME,codex=NAME`.
        kinds: The harnesses that there are.

    Raises:
        TeamError: There is nobody, too many, or somebody unknown.
    """
    counts: dict[str, int] = {}
    members: list[Member] = []
    by_kind = _read_models(models)
    for kind, command, count in (one for value in wanted for one in _read_value(value)):
        if kind not in kinds:
            raise TeamError(_unknown(kind, kinds))
        stem = _stem(command) if command else kind
        for _ in range(count):
            counts[stem] = counts.get(stem, 0) + 1
            model = by_kind.get(kind, by_kind.get("", ""))
            members.append(Member(f"{stem}-{counts[stem]}", kind, command, model))
    if not members:
        raise TeamError(f"A team has at least one agent. {_EXAMPLE}")
    if len(members) > AGENTS_MAX:
        raise TeamError(_too_many(len(members)))
    strangers = set(by_kind) - {member.kind for member in members} - {""}
    if strangers:
        raise TeamError(f"--model names {', '.join(sorted(strangers))}, which is not among --agents.")
    return tuple(members)


def _read_value(value: str) -> list[tuple[str, str, int]]:
    """Kind, command and count of each agent that one `--agents` names."""
    if value.startswith(f"{COMMAND}:"):
        match = re.fullmatch(r"(?:(\d+):)?(.*)", value.removeprefix(f"{COMMAND}:"), re.DOTALL)
        assert match is not None  # noqa: S101 - every text fits
        return [(COMMAND, _checked(match[2].strip()), _count(match[1] or "1", value))]
    found = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        kind, _, count = part.partition(":")
        if kind == COMMAND:
            raise TeamError(
                f"--agents {value!r}: a command is taken whole, so give it an --agents of its own: "
                "--agents claude:2 --agents 'cmd:my-agent --mcp {config}'."
            )
        found.append((kind.lower(), "", _count(count or "1", part)))
    return found


def _count(text: str, part: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise TeamError(f"--agents {part!r}: {text!r} is not a number of agents. {_EXAMPLE}")
    # Read no further than to see that it is too large: nobody is counted up to a thousand million.
    if len(text.lstrip("0")) > COUNT_DIGITS_MAX or int(text) > AGENTS_MAX:
        raise TeamError(_too_many(shortened(text, SHOWN_CHARS)))
    return int(text)


def _too_many(count: int | str) -> str:
    return f"{count} agents are too many for one launcher; the limit is {AGENTS_MAX}."


def _checked(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise TeamError(f"--agents cmd:{command}: {error}.") from error
    if not words:
        raise TeamError("--agents cmd: has no command. For example --agents 'cmd:my-agent --mcp {config}'.")
    return command


def _stem(command: str) -> str:
    """What an agent that is started by a command is called: after its program or script."""
    words = shlex.split(command)
    paths = [word for word in words if re.fullmatch(r"[\w@.+/][\w@.+/-]*", word)]
    named = next((word for word in paths if not _INTERPRETERS.fullmatch(Path(word).name)), words[0])
    stem = re.sub(r"[^a-z0-9]+", "-", Path(named).stem.lower())[:17].strip("-")
    return stem or "agent"


def _unknown(kind: str, kinds: Sequence[str]) -> str:
    close = difflib.get_close_matches(kind, kinds, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"There is no kind of agent called {kind!r}.{hint} Known: {', '.join(sorted(kinds))}."


def _read_models(models: Sequence[str]) -> dict[str, str]:
    """The model by kind; under the empty kind the one for all others."""
    found: dict[str, str] = {}
    for part in (part.strip() for value in models for part in value.split(",")):
        kind, sign, name = part.partition("=")
        if not part or (sign and not name):
            raise TeamError(f"--model {part!r} names no model. For example --model claude=NAME,codex=NAME.")
        found[kind if sign else ""] = name if sign else kind
    return found


def check_bounds(wish: Wish) -> None:
    """Raises: TeamError: A budget, timeout or name with which nothing could be done."""
    if wish.budget_usd is not None and not (isfinite(wish.budget_usd) and wish.budget_usd > 0):
        raise TeamError("A budget of nothing stops a team before it starts: --budget-usd takes more than 0.")
    if not (isfinite(wish.timeout_s) and wish.timeout_s >= 0):
        raise TeamError("--timeout takes seconds, more than 0; leave it out for none.")
    if wish.run and not RUN.fullmatch(wish.run):
        raise TeamError(f"--run {wish.run!r}: use up to 24 lower-case letters, digits, _ and -.")


def run_name(goal: str, taken: Sequence[str]) -> str:
    """A name for a run, after its goal, that is not taken."""
    words = re.sub(r"[^a-z0-9]+", "-", goal.lower()).strip("-").split("-")
    stem = ""
    for word in words:
        if len(stem) + len(word) > 18:
            break
        stem = f"{stem}-{word}" if stem else word
    stem = stem or words[0][:18] or "team"
    number = 1
    while (name := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return name
