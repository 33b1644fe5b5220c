"""JSON with comments, changed in place: one member, and nothing else."""

import json
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delm_mcp.cli.joining import jsonc

_KEYS = st.sampled_from(["a", "b", "mcpServers", "delm", 'q"uo\\te', "ü"])
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 10**20)
    | st.sampled_from(["", "// no", "/* no */", "x\n\ty"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=12,
)
_GAPS: st.SearchStrategy[str] = st.sampled_from(
    ["", " ", "\n", "\n\t\t", "\n    ", " // one\n", "/* two\n*/", "\n  // a: {\n  "]
)


_COMMAS: st.SearchStrategy[str] = st.sampled_from(["", ","])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An object as JSON with comments, and what it says."""

    def written(value: Any) -> str:
        if isinstance(value, dict):
            parts = [f"{json.dumps(key)}{gap()}:{gap()}{written(one)}" for key, one in value.items()]
        elif isinstance(value, list):
            parts = [written(one) for one in value]
        else:
            return json.dumps(value)
        comma = draw(_COMMAS) if parts else ""
        body = ",".join(f"{gap()}{part}{gap()}" for part in parts)
        return ("{%s%s%s}" if isinstance(value, dict) else "[%s%s%s]") % (body, comma, gap())

    def gap() -> str:
        return draw(_GAPS)

    value = draw(st.dictionaries(_KEYS, _VALUES, max_size=4))
    return f"{gap()}{written(value)}{gap()}", value


def comments(text: str) -> list[str]:
    pieces = takewhile(lambda token: token.kind != "end", jsonc.tokens(text))
    return [token.text for token in pieces if token.kind in {"line", "block"}]


@given(documents(), _VALUES)
@settings(max_examples=100, deadline=None)
def test_putting_and_dropping_a_member_changes_that_member_alone(
    document: tuple[str, dict[str, Any]], value: Any
) -> None:
    text, facts = document
    assert jsonc.read(text).value == facts
    section = facts.get("mcpServers", {})
    if not isinstance(section, dict):
        with pytest.raises(jsonc.Broken, match="mcpServers is no object"):
            jsonc.put(text, ("mcpServers", "delm"), value)
        return
    changed = jsonc.put(text, ("mcpServers", "delm"), value)
    assert jsonc.read(changed).value == {**facts, "mcpServers": {**section, "delm": value}}
    if "delm" not in section:
        assert comments(changed) == comments(text)
    dropped = jsonc.drop(changed, ("mcpServers", "delm"))
    section.pop("delm", None)
    assert jsonc.read(dropped).value == {**facts, "mcpServers": section}
    if "delm" not in section:
        assert comments(dropped) == comments(jsonc.drop(text, ("mcpServers", "delm")))
