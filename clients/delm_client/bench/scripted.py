"""A scripted model for the benchmarks: what stands in for a model where none can be reached.

It speaks the protocols of `delm_client.scripted` over real HTTP on loopback, from a thread of its own, and
can be told to fail. Its reader quotes the sentence of a part that shares most words with the question, and
chooses the answer that shares most words with the notes. It shows that harness, board and accounting work; it
shows nothing about models, and calls itself `scripted-...`, by which every result made with it is marked. Its
programmer is in `coding/scripted.py`.
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from delm_client.scripted import anthropic, gemini, openai_chat
from delm_client.scripted.app import Wire
from delm_client.scripted.conversation import CHARACTERS_PER_TOKEN, Reply, Request, Usage, Words

Script = Callable[[str], str]
"""The prompt in, the reply out."""
NAME = "scripted-reader"
QUOTE_MAX = 300
CACHED_SHARE = 0.5
"""What part of its input tokens it says came from a cache."""

_PART = re.compile(r"<part>\n(.*)\n</part>", re.S)
_QUESTION = re.compile(
    r"(?:The question:\n|correct answer to this question: )(.*?)\n(?:\(A\)|Choices:)", re.S
)
_UNREAD = re.compile(r"nobody has read yet: ([\d, ]+)\.")
_THOUGHT = re.compile(r"Let.s think step by step: (.*)\n\nBased on the above", re.S)
_LETTER = re.compile(r"(The correct answer is \([A-D]\))")
_CHOICE = re.compile(r"^\(([A-D])\) (.*)$", re.M)
_POINTING = re.compile(r"^\W*(?:this|that|these|those|it|they|he|she|here|above|below)\b", re.IGNORECASE)
_WORD = re.compile(r"\w{3,}")


def reader(prompt: str) -> str:
    """The reply to each of the harness's prompts."""
    if found := _PART.search(prompt):
        return json.dumps(_note(found[1], _asked(prompt)))
    if found := _UNREAD.search(prompt):
        first = [int(number) for number in found[1].split(",")][:2]
        return json.dumps({"assign": [{"part": number, "for": "the question"} for number in first]})
    if found := _THOUGHT.search(prompt):
        said = _LETTER.search(found[1])
        return said[1] if said else "I cannot say."
    if '"verdict"' in prompt:
        return json.dumps({"reason": "as scripted", "verdict": "pass", "fails": []})
    if '"unfold"' in prompt:
        return json.dumps({"unfold": re.findall(r"\bE\d+\b", prompt)[:1], "deep": [], "look": []})
    return _choice(prompt)


def _asked(prompt: str) -> set[str]:
    found = _QUESTION.search(prompt)
    return _words(found[1]) if found else set()


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}


def _note(part: str, asked: set[str]) -> dict[str, Any]:
    sentences = [each.strip() for each in re.split(r"(?<=[.!?])\s+", part) if each.strip()]
    alone = [each for each in sentences if not _POINTING.search(each)] or sentences
    best = max(alone, key=lambda each: len(_words(each) & asked))
    if len(best) > QUOTE_MAX:
        best = best[:QUOTE_MAX].rpartition(" ")[0] or best
    return {"gist": best, "summary": f"- {best}", "quotes": [best]}


def _choice(prompt: str) -> str:
    text = _words(prompt.rpartition("<text>")[2].partition("</text>")[0])
    choices = _CHOICE.findall(prompt)
    letter = max(choices, key=lambda pair: len(_words(pair[1]) & text))[0] if choices else "A"
    return f"The correct answer is ({letter})"


@dataclass
class Scripted:
    """The server, and what it was asked.

    Attributes:
        script: Decides each reply.
        trouble: What goes wrong with the n-th request, from 1: an HTTP status as text, `malformed`, `empty`
            (no body), `silent` (an empty reply), `drop`, `late` (no answer as long as the server runs);
            empty: nothing.
        name: What it calls itself; begins with `scripted`.
        usage: What each answer says that it took; None: counted by its length.
        asked: The prompts, in the order in which they came.
    """

    script: Script = reader
    trouble: Callable[[int], str] = lambda _: ""
    name: str = NAME
    port: int = 0
    usage: Usage | None = None
    asked: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Anthropic's and Gemini's base address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """OpenAI's base address."""
        return f"{self.url}/v1"

    def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        """Status and body; a status of 0 closes the connection."""
        asked, wire = _wired(path, body, self.name)
        prompt = "\n".join(item.text for item in asked.items if isinstance(item, Words))
        with self._lock:
            self.asked.append(prompt)
            trouble = self.trouble(len(self.asked))
        if trouble.isdigit():
            return int(trouble), json.dumps({"error": {"type": "scripted", "message": "as scripted"}})
        if trouble == "late":
            self.ending.wait()
            return 0, ""
        if trouble in ("malformed", "empty", "drop"):
            return (0 if trouble == "drop" else 200), '{"choices": 7}' if trouble == "malformed" else ""
        text = "" if trouble == "silent" else self.script(prompt)
        reply = Reply(text, usage=self.usage or _counted(asked, text))
        return 200, json.dumps(wire.whole(asked, reply, "scripted"))


def _wired(path: str, body: Mapping[str, Any], name: str) -> tuple[Request, Wire]:
    """The request, and the protocol that it came in."""
    size = len(json.dumps(body))
    if path.endswith("/messages"):
        return replace(anthropic.request(body, size), model=name), anthropic
    if ":generateContent" in path:
        return gemini.request(body, size, name, stream=False), gemini
    return replace(openai_chat.request(body, size), model=name), openai_chat


def _counted(asked: Request, text: str) -> Usage:
    given = max(1, asked.characters // CHARACTERS_PER_TOKEN)
    return Usage(given, int(given * CACHED_SHARE), len(text) // CHARACTERS_PER_TOKEN + 1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left, such as one that was interrupted, is nothing to tell."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def scripted(
    script: Script = reader, trouble: Callable[[int], str] = lambda _: "", name: str = NAME
) -> Iterator[Scripted]:
    """A scripted model on a free port of 127.0.0.1, until the block ends."""
    model = Scripted(script, trouble, name)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            status, text = model.answer(self.path, json.loads(self.rfile.read(size)))
            if not status:
                self.close_connection = True
                return
            data = text.encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.send_header("retry-after-ms", "1")  # so that whoever tests retries need not wait
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    model.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
