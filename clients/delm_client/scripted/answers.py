"""What the board answered, read from whichever form the client passed on to its model."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_CLAIMED = re.compile(
    r"^You are (?P<agent>\S+) in run (?P<run>\S+)\."
    r"(?: Your task is (?P<task>T\d+) \((?P<kind>\w+)\)(?: \(you hold it already\))?: «(?P<subject>.*)»)?",
    re.M,
)
_LEASE = re.compile(r"^lease: (\S+)", re.M)
_ENTRY = re.compile(r"^(E\d+) is (\w+)", re.M)
_ABOUT = re.compile(r"^(E\d+) is an? \w+, \w+\. Is it true", re.M)
_VERSION = re.compile(r"^version (\d+)$", re.M)
_LIVE = re.compile(r"^v\d+ ([+~?!]) (E\d+)", re.M)


@dataclass(frozen=True, slots=True)
class BoardAnswer:
    """The facts of an answer that scripts act on; what it does not have is empty.

    `form` is which of its two forms was shown; `none` means that what came is no answer of the board,
    such as a failed connection.
    """

    form: Literal["structured", "text", "none"]
    error: str = ""
    agent: str = ""
    run: str = ""
    task: str = ""
    kind: str = ""
    detail: str = ""
    about: str = ""
    case: str = ""
    lease: str = ""
    entry: str = ""
    state: str = ""
    reasons: str = ""
    text: str = ""
    next: str = ""


def board_answer(output: str) -> BoardAnswer:
    """Read an answer of the board."""
    facts = _object(output)
    return _of_text(output) if facts is None else _of_facts(facts)


def live_entries(answer: BoardAnswer) -> list[str]:
    """The entries that a reading of the whole context shows as admitted, oldest first."""
    live: dict[str, None] = {}
    for mark, label in _LIVE.findall(answer.text):
        live.pop(label, None)
        if mark == "+":
            live[label] = None
    return list(live)


def _object(output: str) -> Mapping[str, Any] | None:
    """The structured form, which a client may put behind a line of its own."""
    start = output.find("{")
    if start < 0 or (start and output[start - 1] != "\n"):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(output, start)
    except ValueError:
        return None
    known = isinstance(value, dict) and ("version" in value or "hint" in value)
    return value if known else None


def _of_facts(facts: Mapping[str, Any]) -> BoardAnswer:
    task = facts.get("task") or {}
    if isinstance(task, str):
        task = {"id": task}
    return BoardAnswer(
        "structured",
        error=f"{facts['error']} {facts.get('hint', '')}" if "error" in facts else "",
        agent=facts.get("agent", ""),
        run=facts.get("run", ""),
        task=task.get("id", ""),
        kind=task.get("kind", ""),
        detail=task.get("detail", ""),
        about=task.get("about", ""),
        case=task.get("case", ""),
        lease=facts.get("lease", ""),
        entry=facts.get("entry", ""),
        state=facts.get("state", ""),
        reasons=" ".join(facts.get("reasons", ())),
        text=facts.get("text", ""),
        next=facts.get("next", ""),
    )


def _of_text(output: str) -> BoardAnswer:
    if error := re.search(r"^(?:Error: )?error: (.*)", output, re.M):
        return BoardAnswer("text", error=error[1])
    if not _VERSION.search(output):
        return BoardAnswer("none")
    body = output.split("\nversion ", 1)[0]
    claimed = _CLAIMED.search(output)
    entry = _ENTRY.search(output)
    about = _ABOUT.search(output)
    lease = _LEASE.search(output)
    follows = re.search(r"^next: (.*)", output, re.M)
    quoted = "\n".join(line[2:] for line in body.split("\n") if line.startswith("| "))
    named = claimed.groupdict("") if claimed else {}
    return BoardAnswer(
        "text",
        agent=named.get("agent", ""),
        run=named.get("run", ""),
        task=named.get("task", ""),
        kind=named.get("kind", ""),
        detail=quoted if claimed and not about else "",
        about=about[1] if about else "",
        case=body if about else "",
        lease=lease[1] if lease else "",
        entry=entry[1] if entry and not claimed else "",
        state=entry[2] if entry and not claimed else "",
        reasons=" ".join(re.findall(r"^reason: (.*)", body, re.M)),
        text="" if claimed or entry else body,
        next=follows[1] if follows else "",
    )
