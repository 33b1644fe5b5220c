"""The scripted model as a server on loopback."""

import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from delm_client.scripted import anthropic, gemini, openai_chat, openai_responses
from delm_client.scripted.clients import Conversation, client_of, conversation
from delm_client.scripted.conversation import Reply, Request, Words, filled, measured
from delm_client.scripted.worker import Turn, worker

Script = Callable[[Conversation], Turn]
TURNS_MAX = 400
"""After so many actions in one conversation the model stops, so that no client runs on for ever."""
SCRIPTS: dict[str, Script] = {"worker": worker}


class Wire(Protocol):
    """One provider's form of requests and answers."""

    def whole(self, asked: Request, reply: Reply, ident: str) -> dict[str, Any]: ...
    def events(self, asked: Request, reply: Reply, ident: str) -> Iterator[tuple[str, Any]]: ...


@dataclass
class ScriptedModel:
    """A model whose every turn is a function of the conversation.

    Attributes:
        script: That function.
        url: Where it listens; Anthropic's and Gemini's base address.
        seen: The latest state of each conversation, by how it began: what a client has shown its model.
        turns: How many turns each client was given.
        refusal: If set, every request is answered with status 401 and this text, as for a wrong key.
        gate: Waits before a turn is answered, given the client's name; to let agents begin together.
    """

    script: Script
    url: str = ""
    seen: dict[str, Conversation] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)
    refusal: str = ""
    gate: Callable[[str], Awaitable[None]] | None = None

    @property
    def openai_url(self) -> str:
        """OpenAI's base address."""
        return f"{self.url}/v1"

    async def turn(self, asked: Request) -> Reply:
        """The model's next turn."""
        if not asked.tools:
            return measured(asked, _aside(asked), ())
        said = conversation(asked)
        self.seen[_opening(asked)] = said
        self.turns[said.client] += 1
        if self.gate is not None:
            await self.gate(said.client)
        if len(said.steps) >= TURNS_MAX:
            return measured(asked, f"I have taken {TURNS_MAX} steps and stop.", ())
        turn = self.script(said)
        if turn.think_s:
            await anyio.sleep(turn.think_s)
        client = client_of(asked)
        calls = [
            client.call(action, f"call_{len(said.steps)}_{index}")
            for index, action in enumerate(turn.actions)
        ]
        return measured(asked, turn.text, calls)

    def app(self) -> Starlette:
        """The web application."""
        return Starlette(
            routes=[
                Route("/v1/messages", self._anthropic, methods=["POST"]),
                Route("/v1/messages/count_tokens", _counted, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1beta/models/{model}:{method}", self._gemini, methods=["POST"]),
            ]
        )

    async def _anthropic(self, http: HttpRequest) -> Response:
        body = await http.body()
        return await self._answer(anthropic, anthropic.request(json.loads(body), len(body)))

    async def _chat(self, http: HttpRequest) -> Response:
        body = await http.body()
        return await self._answer(openai_chat, openai_chat.request(json.loads(body), len(body)))

    async def _responses(self, http: HttpRequest) -> Response:
        body = await http.body()
        return await self._answer(openai_responses, openai_responses.request(json.loads(body), len(body)))

    async def _gemini(self, http: HttpRequest) -> Response:
        body = await http.body()
        model, method = http.path_params["model"], http.path_params["method"]
        if method == "countTokens":
            return JSONResponse({"totalTokens": max(1, len(body) // 4)})
        stream = method == "streamGenerateContent"
        return await self._answer(gemini, gemini.request(json.loads(body), len(body), model, stream=stream))

    async def _answer(self, protocol: Wire, asked: Request) -> Response:
        if self.refusal:
            error = {"type": "authentication_error", "message": self.refusal, "code": 401}
            return JSONResponse({"type": "error", "error": error}, status_code=401)
        reply = await self.turn(asked)
        ident = f"scripted-{sum(self.turns.values())}"
        if not asked.stream:
            return JSONResponse(protocol.whole(asked, reply, ident))
        events = _lines(protocol.events(asked, reply, ident))
        return StreamingResponse(events, media_type="text/event-stream")


def _opening(asked: Request) -> str:
    """The client and the user's first words to it; later ones may be the client's own."""
    words = (item.text for item in asked.items if isinstance(item, Words) and item.who == "user")
    return f"{asked.api}: {next(words, '')}"


def _aside(asked: Request) -> str:
    """What is said to a request without tools: a title, a probe, or whether the agent runs in circles."""
    return "A conversation" if asked.schema is None else json.dumps(filled(asked.schema))


async def _counted(http: HttpRequest) -> Response:
    return JSONResponse({"input_tokens": max(1, len(await http.body()) // 4)})


def _lines(events: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        yield (f"event: {name}\n" if name else "") + f"data: {text}\n\n"


@asynccontextmanager
async def scripted_model(script: Script = worker, *, port: int = 0) -> AsyncIterator[ScriptedModel]:
    """A scripted model on 127.0.0.1, in this event loop, until the block ends.

    Args:
        script: Decides each turn.
        port: 0 for a free one.
    """
    model = ScriptedModel(script)
    config = uvicorn.Config(
        model.app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=1, access_log=False
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", port))
    model.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener])
        try:
            yield model
        finally:
            server.should_exit = True
            # Clients that were killed leave answers behind that nobody reads.
            server.force_exit = True
