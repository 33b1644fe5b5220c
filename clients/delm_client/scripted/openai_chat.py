"""OpenAI's chat completions: `POST /v1/chat/completions`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from delm_client.scripted.conversation import Call, Item, Output, Reply, Request, Words, plain


def request(body: Mapping[str, Any], characters: int) -> Request:
    """What is asked."""
    items: list[Item] = []
    system: list[str] = []
    for message in body.get("messages", []):
        text = plain(message.get("content"))
        match message["role"]:
            case "system" | "developer":
                system.append(text)
            case "tool":
                items.append(Output(message["tool_call_id"], text))
            case role:
                if text:
                    items.append(Words("model" if role == "assistant" else "user", text))
                for call in message.get("tool_calls") or []:
                    arguments = json.loads(call["function"]["arguments"] or "{}")
                    items.append(Call(call["id"], call["function"]["name"], arguments))
    tools = [tool["function"]["name"] for tool in body.get("tools", [])]
    model, stream = str(body.get("model", "")), bool(body.get("stream"))
    return Request("openai-chat", model, "\n".join(system), items, tools, characters, stream)


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.tool, "arguments": json.dumps(dict(call.arguments))},
        }
        for call in reply.calls
    ]


def whole(asked: Request, reply: Reply, ident: str) -> dict[str, Any]:
    """The answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    finish = "tool_calls" if reply.calls else "stop"
    return {
        "id": f"chatcmpl-{ident}",
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _usage(reply),
    }


def events(asked: Request, reply: Reply, ident: str) -> Iterator[tuple[str, Any]]:
    """The answer as events, without names."""
    frame = {
        "id": f"chatcmpl-{ident}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": asked.model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield "", chunk({"role": "assistant", "content": reply.text})
    for index, call in enumerate(_calls(reply)):
        yield "", chunk({"tool_calls": [{"index": index, **call}]})
    yield "", chunk({}, "tool_calls" if reply.calls else "stop")
    yield "", {**frame, "choices": [], "usage": _usage(reply)}
    yield "", "[DONE]"
