"""What the harnesses share: the server's name, and how lines and values are read."""

import json
from collections.abc import Mapping
from typing import Any

from delm_client.team.record import Event, Faulted

SERVER = "delm"
"""What the board is called in every client's configuration; their tool names begin with it."""
DETAIL_CHARS = 80


def row_of(line: str) -> dict[str, Any]:
    """A line of output as a JSON object; empty for anything else."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Faults:
    """Turns what went wrong into events; what is said several times in a row is told once."""

    def __init__(self) -> None:
        self._last = ""

    def told(self, text: Any) -> list[Event]:
        """The event for an error's text; none if it was the last one too."""
        said = explained(text)
        known, self._last = self._last, said
        return [] if said == known else [Faulted(said)]


def first_words(arguments: Any) -> str:
    """The first words of what a tool was called with: its first text, on one line, cut short."""
    if isinstance(arguments, Mapping):
        texts = [value for value in arguments.values() if isinstance(value, str) and value.strip()]
        arguments = texts[0] if texts else ""
    line = " ".join(str(arguments or "").split())
    return line if len(line) <= DETAIL_CHARS else line[: DETAIL_CHARS - 1] + "…"


def explained(text: Any) -> str:
    """An error's text on one line; where it is JSON, the message in it."""
    said = " ".join(str(text).split())
    start, end = said.find("{"), said.rfind("}")
    if start < 0:
        return said
    value: Any = row_of(said[start : end + 1])
    while isinstance(value, dict):
        value = value.get("error", value.get("message"))
    if not isinstance(value, str):
        return said
    return f"{said[:start]}{value}{said[end + 1 :]}".strip(" []")
