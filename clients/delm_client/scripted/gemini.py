"""Gemini's `POST /v1beta/models/<model>:generateContent` and `:streamGenerateContent`.

A result names the function and not always the call, so calls without an id are matched in order.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from delm_client.scripted.conversation import Call, Item, Output, Reply, Request, Words, plain


def request(body: Mapping[str, Any], characters: int, model: str = "", *, stream: bool = True) -> Request:
    """What is asked."""
    items: list[Item] = []
    waiting: dict[str, deque[str]] = {}
    for content in body.get("contents", []):
        for part in content.get("parts", []):
            if "functionCall" in part:
                call = part["functionCall"]
                ident = str(call.get("id") or f"call-{len(items)}")
                waiting.setdefault(call["name"], deque()).append(ident)
                items.append(Call(ident, call["name"], call.get("args") or {}))
            elif "functionResponse" in part:
                items.append(_output(part["functionResponse"], waiting))
            elif part.get("text") and not part.get("thought"):
                items.append(Words("model" if content.get("role") == "model" else "user", part["text"]))
    tools = [
        declared["name"]
        for group in body.get("tools", [])
        for declared in group.get("functionDeclarations", [])
    ]
    system = plain((body.get("systemInstruction") or {}).get("parts"))
    wanted = body.get("generationConfig") or {}
    schema = wanted.get("responseJsonSchema") or wanted.get("responseSchema")
    return Request("gemini", model, system, items, tools, characters, stream, schema)


def _output(given: Mapping[str, Any], waiting: dict[str, deque[str]]) -> Output:
    open_calls = waiting.get(given["name"], deque())
    ident = str(given.get("id") or "")
    if ident in open_calls:
        open_calls.remove(ident)
    elif open_calls:
        ident = open_calls.popleft()
    response = given.get("response") or {}
    failed = "error" in response
    return Output(ident, plain(response.get("error" if failed else "output")), failed)


def whole(asked: Request, reply: Reply, ident: str) -> dict[str, Any]:
    """The answer in one piece."""
    usage = reply.usage
    parts: list[dict[str, Any]] = [{"text": reply.text}] if reply.text else []
    parts += [
        {"functionCall": {"name": call.tool, "args": dict(call.arguments), "id": call.id}}
        for call in reply.calls
    ]
    return {
        "responseId": ident,
        "modelVersion": asked.model,
        "candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": usage.input_tokens,
            "cachedContentTokenCount": usage.cached_tokens,
            "candidatesTokenCount": usage.output_tokens,
            "totalTokenCount": usage.input_tokens + usage.output_tokens,
        },
    }


def events(asked: Request, reply: Reply, ident: str) -> Iterator[tuple[str, Any]]:
    """The answer as one event, without a name."""
    yield "", whole(asked, reply, ident)
