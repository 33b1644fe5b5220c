"""Input schemas as agents see them: flat, without titles, and no larger than they must be.

Every definition is paid for by every agent on every turn, and two of the big clients refuse or drop
what is not flat: so objects stand inline, there is no `$ref` and no union, and a field that is absent
means "", 0, false or [].
"""

import json
from typing import Any

from mcp_types import Tool

from delm_mcp.domain.text import CHARACTERS_PER_TOKEN

TOKENS_MAX = 1_500


def flat(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions put in place, without titles and empty defaults."""
    definitions = schema.get("$defs", {})

    def simplified(node: Any) -> Any:
        if isinstance(node, list):
            return [simplified(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return simplified(definitions[node["$ref"].rsplit("/", 1)[-1]])
        return {key: _part(key, value) for key, value in node.items() if not _spare(key, value)}

    def _part(key: str, value: Any) -> Any:
        if key == "properties":
            return {name: simplified(item) for name, item in value.items()}
        return simplified(value)

    return dict(simplified({key: value for key, value in schema.items() if key != "$defs"}))


def _spare(key: str, value: Any) -> bool:
    """What tells an agent nothing: titles, that objects are closed, empty defaults."""
    return key in {"title", "additionalProperties"} or (key == "default" and not value)


def definition(tool: Tool) -> str:
    """A tool as it is counted: name, description and input schema as compact JSON."""
    shown = {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def tokens(tool: Tool) -> int:
    """A definition's size in tokens, at four characters each."""
    return -(-len(definition(tool)) // CHARACTERS_PER_TOKEN)
