"""What every protocol has in common: a request of a client, and the answer of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Words:
    """Text, of the user or of the model."""

    who: Literal["user", "model"]
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """The model calls a tool, by the client's name for it."""

    id: str
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """What the client shows its model of a call's result, as it came; `failed` where it says so."""

    call: str
    text: str
    failed: bool = False


Item = Words | Call | Output


@dataclass(frozen=True, slots=True)
class Request:
    """One request for the model's next turn.

    Attributes:
        api: `anthropic`, `openai-chat`, `openai-responses` or `gemini`.
        model: The model that the client asks for.
        system: Instructions that are not part of the conversation.
        items: The conversation, oldest first.
        tools: Names; one in a namespace is `namespace/name`.
        characters: How long the request's body is.
        stream: Whether the answer is to come as events.
        schema: What the answer has to be an instance of, where the client asks for JSON.
    """

    api: str
    model: str
    system: str
    items: Sequence[Item]
    tools: Sequence[str]
    characters: int = 0
    stream: bool = True
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Made-up but steady numbers: a token is four characters, and what was sent before counts as cached."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The model's turn."""

    text: str
    calls: Sequence[Call] = ()
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0))


def measured(request: Request, text: str, calls: Sequence[Call]) -> Reply:
    """The reply with its numbers."""
    fresh = 0
    for item in reversed(request.items):
        if isinstance(item, Call) or (isinstance(item, Words) and item.who == "model"):
            break
        fresh += len(item.text)
    first = not any(isinstance(item, Call) for item in request.items)
    out = len(text) + sum(len(call.tool) + len(str(dict(call.arguments))) for call in calls)
    whole = max(1, request.characters // CHARACTERS_PER_TOKEN)
    cached = 0 if first else max(0, whole - fresh // CHARACTERS_PER_TOKEN)
    return Reply(text, tuple(calls), Usage(whole, cached, max(1, out // CHARACTERS_PER_TOKEN)))


def filled(schema: Mapping[str, Any]) -> Any:
    """The plainest instance of a JSON schema: no text, zero, false, nothing."""
    if "enum" in schema:
        return schema["enum"][0]
    match str(schema.get("type", "object")).lower():
        case "object":
            return {name: filled(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return []
        case "string":
            return ""
        case "boolean":
            return False
    return 0


def plain(content: Any) -> str:
    """Text from whatever a protocol puts it into: a string, parts with `text`, or nested lists of them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(plain, content)))
    if isinstance(content, dict):
        return plain(content.get("text", content.get("content")))
    return str(content)
