"""Anthropic's messages: `POST /v1/messages`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from delm_client.scripted.conversation import Call, Item, Output, Reply, Request, Words, plain


def request(body: Mapping[str, Any], characters: int) -> Request:
    """What is asked."""
    items: list[Item] = []
    for message in body.get("messages", []):
        who = "model" if message["role"] == "assistant" else "user"
        content: Any = message["content"]
        parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            match part.get("type"):
                case "text":
                    items.append(Words("model" if who == "model" else "user", part["text"]))
                case "tool_use":
                    items.append(Call(part["id"], part["name"], part["input"]))
                case "tool_result":
                    failed = bool(part.get("is_error"))
                    items.append(Output(part["tool_use_id"], plain(part.get("content")), failed))
    tools = [tool["name"] for tool in body.get("tools", [])]
    stream = bool(body.get("stream"))
    return Request(
        "anthropic", str(body.get("model", "")), plain(body.get("system")), items, tools, characters, stream
    )


def blocks(reply: Reply) -> list[dict[str, Any]]:
    """The content of the model's message."""
    said = [{"type": "text", "text": reply.text}] if reply.text else []
    return said + [
        {"type": "tool_use", "id": call.id, "name": call.tool, "input": dict(call.arguments)}
        for call in reply.calls
    ]


def whole(asked: Request, reply: Reply, ident: str) -> dict[str, Any]:
    """The answer in one piece."""
    return {
        "id": f"msg_{ident}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": blocks(reply),
        "stop_reason": "tool_use" if reply.calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": reply.usage.input_tokens - reply.usage.cached_tokens,
            "cache_read_input_tokens": reply.usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": reply.usage.output_tokens,
        },
    }


def events(asked: Request, reply: Reply, ident: str) -> Iterator[tuple[str, Any]]:
    """The answer as events: name and data."""
    message = whole(asked, reply, ident)
    opening = {**message, "content": [], "stop_reason": None}
    opening["usage"] = {**message["usage"], "output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": opening}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": empty}
        yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": reply.usage.output_tokens}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": usage}
    yield "message_stop", {"type": "message_stop"}
