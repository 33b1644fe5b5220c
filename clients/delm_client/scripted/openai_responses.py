"""OpenAI's responses: `POST /v1/responses`. Tools may stand in namespaces; results are strings or parts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from delm_client.scripted.conversation import Call, Item, Output, Reply, Request, Words, plain


def request(body: Mapping[str, Any], characters: int) -> Request:
    """What is asked."""
    items: list[Item] = []
    system = [str(body.get("instructions") or "")]
    given = body.get("input", [])
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        match item.get("type", "message"):
            case "message" if item["role"] in {"system", "developer"}:
                system.append(plain(item["content"]))
            case "message":
                who = "model" if item["role"] == "assistant" else "user"
                items.append(Words("model" if who == "model" else "user", plain(item["content"])))
            case "function_call":
                name = "/".join(filter(None, (item.get("namespace"), item["name"])))
                items.append(Call(item["call_id"], name, json.loads(item["arguments"] or "{}")))
            case "function_call_output":
                items.append(Output(item["call_id"], plain(item["output"])))
    tools = list(_names(body.get("tools", [])))
    model, stream = str(body.get("model", "")), bool(body.get("stream"))
    return Request("openai-responses", model, "\n".join(system), items, tools, characters, stream)


def _names(tools: Sequence[Mapping[str, Any]], namespace: str = "") -> Iterator[str]:
    for tool in tools:
        if tool.get("type") == "namespace":
            yield from _names(tool["tools"], f"{tool['name']}/")
        elif "name" in tool:
            yield namespace + str(tool["name"])


def _output(reply: Reply, ident: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if reply.text:
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        out.append(
            {
                "type": "message",
                "id": f"msg_{ident}",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        )
    for call in reply.calls:
        namespace, _, name = call.tool.rpartition("/")
        item = {
            "type": "function_call",
            "id": f"fc_{call.id}",
            "call_id": call.id,
            "name": name,
            "arguments": json.dumps(dict(call.arguments)),
            "status": "completed",
        }
        out.append({**item, "namespace": namespace} if namespace else item)
    return out


def whole(asked: Request, reply: Reply, ident: str) -> dict[str, Any]:
    """The answer in one piece."""
    usage = reply.usage
    return {
        "id": f"resp_{ident}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": asked.model,
        "output": _output(reply, ident),
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def events(asked: Request, reply: Reply, ident: str) -> Iterator[tuple[str, Any]]:
    """The answer as events: name and data."""
    response = whole(asked, reply, ident)
    started = {**response, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"type": "response.created", "response": started}
    for index, item in enumerate(response["output"]):
        for stage in ("added", "done"):
            name = f"response.output_item.{stage}"
            yield name, {"type": name, "output_index": index, "item": item}
    yield "response.completed", {"type": "response.completed", "response": response}
