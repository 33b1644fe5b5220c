"""What every agent pays for on every turn: the tool definitions, the instructions, the prompt."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextContent, TextResourceContents, Tool

from delm_mcp.surfaces import schemas
from tests.outside import MODES, Hall, Mode, hall_in

pytestmark = pytest.mark.anyio

TOOLS = ["claim_task", "read_context", "propose_update", "verify", "add_tasks", "update_task"]
REFUSED_BY_SOME_CLIENT = {"$defs", "$ref", "definitions", "anyOf", "oneOf", "allOf", "not", "title"}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with hall_in(tmp_path) as opened:
        yield opened


@pytest.fixture
async def tools(hall: Hall, mode: Mode) -> list[Tool]:
    async with Client(hall.server(), mode=mode) as client:
        return (await client.list_tools()).tools


def schemas_in(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, itself included, with its place."""
    yield place, node
    for name, part in node.get("properties", {}).items():
        yield from schemas_in(part, f"{place}.{name}")
    if "items" in node:
        yield from schemas_in(node["items"], f"{place}[]")


def all_schemas(tools: list[Tool]) -> list[tuple[str, dict[str, Any]]]:
    return [found for tool in tools for found in schemas_in(tool.input_schema, tool.name)]


async def test_there_are_the_six_tools(tools: list[Tool]) -> None:
    assert [tool.name for tool in tools] == TOOLS


async def test_no_schema_uses_what_one_of_the_clients_refuses_or_drops(tools: list[Tool]) -> None:
    odd = {place: set(node) & REFUSED_BY_SOME_CLIENT for place, node in all_schemas(tools)}
    assert {place: words for place, words in odd.items() if words} == {}


async def test_every_value_has_one_type_and_every_object_says_its_fields(tools: list[Tool]) -> None:
    types = {"object", "string", "array", "integer", "number", "boolean"}
    for place, node in all_schemas(tools):
        assert node.get("type") in types, place
        assert node["type"] != "object" or node["properties"], place
        assert node["type"] != "array" or "items" in node, place


async def test_every_string_list_and_number_is_bounded(tools: list[Tool]) -> None:
    for place, node in all_schemas(tools):
        if node["type"] == "string":
            assert "enum" in node or node["maxLength"] <= 200_000, place
        if node["type"] == "array":
            assert node["maxItems"] <= 100, place
        if node["type"] in {"integer", "number"}:
            assert "minimum" in node, place


async def test_what_is_required_is_what_the_design_requires(tools: list[Tool]) -> None:
    assert {tool.name: tool.input_schema.get("required", []) for tool in tools} == {
        "claim_task": [],
        "read_context": [],
        "propose_update": ["kind", "gist"],
        "verify": ["entry", "verdict", "reason"],
        "add_tasks": ["tasks"],
        "update_task": ["lease", "action"],
    }


async def test_agent_and_run_can_be_named_everywhere(tools: list[Tool]) -> None:
    for tool in tools:
        assert {"agent", "run"} <= set(tool.input_schema["properties"]), tool.name


async def test_the_definitions_stay_within_their_token_budget(tools: list[Tool]) -> None:
    counted = {tool.name: schemas.tokens(tool) for tool in tools}
    assert sum(counted.values()) <= schemas.TOKENS_MAX <= 1_500, counted


async def test_every_tool_is_annotated_and_only_reading_is_read_only(tools: list[Tool]) -> None:
    for tool in tools:
        assert tool.annotations is not None, tool.name
        assert tool.annotations.read_only_hint is (tool.name == "read_context")
        assert tool.annotations.destructive_hint is not True
        assert tool.annotations.idempotent_hint is True
        assert tool.annotations.open_world_hint is False
        assert tool.title
        assert tool.description


async def test_the_instructions_are_short_and_begin_with_what_a_search_looks_for(
    hall: Hall, mode: Mode
) -> None:
    async with Client(hall.server(), mode=mode) as client:
        assert client.instructions is not None
        assert len(client.instructions) < 2_000
        beginning = client.instructions[:200].lower()
        for word in ("task", "queue", "shared", "verified", "context", "agents"):
            assert word in beginning
        for name in ("claim_task", "read_context", "propose_update", "add_tasks", "update_task"):
            assert name in client.instructions


async def test_the_worker_prompt_names_the_run_and_the_tags(hall: Hall, mode: Mode) -> None:
    async with Client(hall.server(), mode=mode) as client:
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["worker"]
        plain = (await client.get_prompt("worker", {})).messages[0].content
        named = (await client.get_prompt("worker", {"run": "r-abc", "tags": "rust"})).messages[0].content
    assert isinstance(plain, TextContent)
    assert isinstance(named, TextContent)
    assert "claim_task" in plain.text
    assert "r-abc" not in plain.text
    assert "r-abc" in named.text
    assert "rust" in named.text


async def test_the_context_resource_reads_as_the_unfiltered_view(hall: Hall, mode: Mode) -> None:
    await hall.open("mend it")
    async with Client(hall.server(), mode=mode) as client:
        listed = (await client.list_resources()).resources
        assert [(row.uri, row.mime_type) for row in listed] == [("delm://context", "text/plain")]
        (empty,) = (await client.read_resource("delm://context")).contents
        assert isinstance(empty, TextResourceContents)
        assert empty.text == ""
