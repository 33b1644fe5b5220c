"""What the harnesses share: the server's name, and how lines and values are read."""

import json
from collections.abc import Mapping
from typing import Any

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
