"""A scripted model behind real HTTP on 127.0.0.1, for whatever is asked of a judge.

It speaks OpenAI's chat completions (`POST /v1/chat/completions`) and Anthropic's messages
(`POST /v1/messages`), and answers with replies from a queue, which are the same for both:

    async with scripted_model() as model:
        model.script(opinion("fail", fails=["drift"]), status(429), opinion("pass"))
        policy = JudgePolicy(model="openai:scripted", base_url=model.openai_url)
        ...
        assert model.asked[0].case == "..."

Public names:

    scripted_model()        the server, in this event loop; it stops with the block
    ScriptedModel           url, openai_url, anthropic_url; script(), always(); asked, hanging, gone, release
    Asked                   a request: path, headers, body, and in them model, key, instructions, case, form
    Reply                   a scripted answer; made by:
    opinion(verdict, ...)   a judgement, in the form that is asked for (tool call, JSON schema, JSON text)
    arguments(text)         the same with arguments of one's own: other values, or no JSON at all
    twice(first, second)    two judgements in one answer, as parallel tool calls
    says(text)              plain text in place of the form
    declined(text)          a refusal: OpenAI's `refusal`, Anthropic's stop reason
    filtered()              an answer that the provider's content filter took away
    cut_off()               an answer that ends at the limit of its tokens
    status(code, ...)       an HTTP error, with the provider's kind of body and Retry-After in milliseconds
    raw(text)               any body, with status 200
    drop()                  the connection closes in the middle of the answer
    drip()                  an answer that never ends, a space at a time, until `release`
    hang()                  no answer until `release`, after which it is an error
"""

import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio
import anyio.abc
import uvicorn

Form = Literal["tool", "native", "text"]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

INPUT_TOKENS = 100
OUTPUT_TOKENS = 20
SERVED = "scripted-2026-01-01"
"""The model that the server says it is."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A scripted answer: from the functions of this module, changed with `dataclasses.replace`."""

    kind: Literal[
        "opinion", "text", "refusal", "filtered", "cut off", "status", "raw", "drop", "drip", "hang"
    ]
    texts: tuple[str, ...] = ()
    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    input_tokens: int | None = INPUT_TOKENS
    output_tokens: int = OUTPUT_TOKENS
    served: str = SERVED

    def unmeasured(self) -> "Reply":
        """The same, from a server that does not count tokens."""
        return replace(self, input_tokens=None)


def opinion(verdict: str, reason: str = "as scripted", fails: tuple[str, ...] | list[str] = ()) -> Reply:
    """A judgement."""
    return arguments(json.dumps({"reason": reason, "verdict": verdict, "fails": list(fails)}))


def arguments(text: str) -> Reply:
    """A judgement with arguments of one's own."""
    return Reply("opinion", (text,))


def twice(first: Reply, second: Reply) -> Reply:
    """Two judgements in one answer, as parallel tool calls."""
    return Reply("opinion", first.texts + second.texts)


def says(text: str) -> Reply:
    """Plain text in place of the form."""
    return Reply("text", (text,))


def declined(text: str = "I will not judge this.") -> Reply:
    """A refusal, as each provider marks it."""
    return Reply("refusal", (text,))


def filtered() -> Reply:
    """An answer that the provider's content filter took away."""
    return Reply("filtered")


def cut_off() -> Reply:
    """An answer that ends at the limit of its tokens."""
    return Reply("cut off", ('{"reason": "the evidence sa',))


def status(code: int, message: str = "scripted error", kind: str = "", retry_after_ms: int = 1) -> Reply:
    """An HTTP error. Both SDKs keep `retry-after-ms` when it is above 0, so that tests need not wait."""
    return Reply("status", (message, kind), code, (("retry-after-ms", str(retry_after_ms)),))


def raw(text: str, content_type: str = "application/json") -> Reply:
    """Any body, with status 200."""
    return Reply("raw", (text,), headers=(("content-type", content_type),))


def drop() -> Reply:
    """The connection closes in the middle of the answer."""
    return Reply("drop")


def drip() -> Reply:
    """An answer that never ends, a space at a time, until `release`."""
    return Reply("drip")


def hang() -> Reply:
    """No answer until `release`."""
    return Reply("hang")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def is_anthropic(self) -> bool:
        return self.path.endswith("/messages")

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def key(self) -> str:
        """The key that it was signed with."""
        return self.headers.get("x-api-key", "") or self.headers.get("authorization", "").removeprefix(
            "Bearer "
        )

    @property
    def instructions(self) -> str:
        """All system messages."""
        if self.is_anthropic:
            return _text(self.body.get("system", ""))
        messages = self.body["messages"]
        return "\n".join(_text(m["content"]) for m in messages if m["role"] in ("system", "developer"))

    @property
    def case(self) -> str:
        """The first message of the user."""
        return _text(next(m["content"] for m in self.body["messages"] if m["role"] == "user"))

    @property
    def form(self) -> Form:
        """How the request wants its answer."""
        if self.body.get("tools"):
            return "tool"
        wanted = self.body.get("response_format", self.body.get("output_config", {}))
        return "native" if "json_schema" in json.dumps(wanted) else "text"


def _text(content: object) -> str:
    """The text of a message, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return "\n".join(part["text"] for part in content if "text" in part)


@dataclass
class ScriptedModel:
    """The server and what it was asked.

    Attributes:
        asked: The requests in the order in which they came.
        hanging: Set when a `hang` or `drip` has begun.
        gone: Set when the client of a `hang` or `drip` closed its connection.
        release: Set it to end every `hang` and `drip`.
    """

    port: int
    asked: list[Asked] = field(default_factory=list)
    hanging: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    release: anyio.Event = field(default_factory=anyio.Event)
    _queue: deque[Reply] = field(default_factory=deque)
    _always: Reply | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        return self.url

    def script(self, *replies: Reply) -> None:
        """Queue replies."""
        self._queue.extend(replies)

    def always(self, reply: Reply) -> None:
        """What is answered when the queue is empty; without it, an error that is not tried again."""
        self._always = reply

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["path"], headers, json.loads(body))
        self.asked.append(asked)
        reply = self._queue.popleft() if self._queue else self._always
        await self._answer(asked, reply or status(418, "nothing is scripted"), receive, send)

    async def _answer(self, asked: Asked, reply: Reply, receive: Receive, send: Send) -> None:
        if reply.kind in ("drop", "drip"):
            length = [(b"content-length", b"10000")] if reply.kind == "drop" else []
            start = [(b"content-type", b"application/json"), *length]
            await send({"type": "http.response.start", "status": 200, "headers": start})
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            if reply.kind == "drop":
                return  # an application that ends early makes uvicorn close the connection
            await self._hold(receive, send)
            return
        if reply.kind == "hang":
            await self._hold(receive, None)
            reply = status(503, "released")
        code, text = _rendered(asked, reply)
        named = dict(reply.headers)
        named.setdefault("content-type", "application/json")
        pairs = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": code, "headers": pairs})
        await send({"type": "http.response.body", "body": text.encode()})

    async def _hold(self, receive: Receive, send: Send | None) -> None:
        """Keep the client until it goes or is released, with a space now and then if there is `send`."""
        self.hanging.set()

        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.gone.set()
                group.cancel_scope.cancel()

            async def keep() -> None:
                while send is not None:
                    await send({"type": "http.response.body", "body": b" ", "more_body": True})
                    await anyio.sleep(0.01)  # what drips has a pace

            group.start_soon(watch)
            group.start_soon(keep)
            await self.release.wait()
            group.cancel_scope.cancel()


def _rendered(asked: Asked, reply: Reply) -> tuple[int, str]:
    """The status and the body of a reply, in the words of the provider that was asked."""
    if reply.kind == "raw":
        return reply.code, reply.texts[0]
    if reply.kind == "status":
        message, kind = reply.texts
        error = {"type": kind or "scripted", "message": message}
        if asked.is_anthropic:
            return reply.code, json.dumps({"type": "error", "error": error})
        return reply.code, json.dumps({"error": {**error, "code": kind or None}})
    return 200, json.dumps(_anthropic(asked, reply) if asked.is_anthropic else _openai(asked, reply))


def _openai(asked: Asked, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    finish = "stop"
    by_tool = asked.form == "tool" and reply.kind in ("opinion", "cut off")
    if by_tool:
        message["tool_calls"] = [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": asked.body["tools"][0]["function"]["name"], "arguments": text},
            }
            for number, text in enumerate(reply.texts)
        ]
        finish = "tool_calls"
    elif reply.kind == "refusal":
        message["refusal"] = reply.texts[0]
    elif reply.kind != "filtered":
        message["content"] = "".join(reply.texts)
    finish = {"filtered": "content_filter", "cut off": "length"}.get(reply.kind, finish)
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{len(asked.body['messages'])}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": reply.served,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
    }
    if reply.input_tokens is not None:
        given, taken = reply.input_tokens, reply.output_tokens
        answer["usage"] = {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken}
    return answer


def _anthropic(asked: Asked, reply: Reply) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    stop = "end_turn"
    if asked.form == "tool" and reply.kind == "opinion":
        name = asked.body["tools"][0]["name"]
        content = [
            {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": _parsed(text)}
            for number, text in enumerate(reply.texts)
        ]
        stop = "tool_use"
    elif reply.kind == "text" or (asked.form != "tool" and reply.kind not in ("filtered", "refusal")):
        content = [{"type": "text", "text": "".join(reply.texts)}]
    stop = {"refusal": "refusal", "filtered": "refusal", "cut off": "max_tokens"}.get(reply.kind, stop)
    explained = {"type": "refusal", "category": None, "explanation": "".join(reply.texts)}
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": reply.served,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": explained if reply.kind == "refusal" else None,
        # The protocol has no answer without counts.
        "usage": {"input_tokens": reply.input_tokens or 0, "output_tokens": reply.output_tokens},
    }


def _parsed(text: str) -> object:
    """Tool input, an object in this protocol: what is no JSON becomes an object that fits no form."""
    try:
        return json.loads(text)
    except ValueError:
        return {"text": text}


class _Server(uvicorn.Server):
    """Leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def scripted_model() -> AsyncIterator[ScriptedModel]:
    """A scripted model on a free port. It is listening when the block begins, and gone when it ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        model = ScriptedModel(listening.getsockname()[1])
        config = uvicorn.Config(
            model,
            lifespan="off",
            log_level="critical",
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        ended = anyio.Event()

        async def serve() -> None:
            await server.serve([listening])
            ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            try:
                yield model
            finally:
                model.release.set()
                server.should_exit = True
                with anyio.CancelScope(shield=True):
                    await ended.wait()
