"""The gate of a hook: whose it is, the board behind it (here, or over HTTP), and what it remembers."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from delm_mcp.board import gate, tending
from delm_mcp.board.gate import Due, Memory
from delm_mcp.board.operation import Operation
from delm_mcp.cli import sessions
from delm_mcp.cli.runs import OWNER
from delm_mcp.cli.wiring import opened_at
from delm_mcp.config import (
    Place,
    declared_agent,
    declared_board,
    declared_server,
    find_place,
    state_folder,
)
from delm_mcp.errors import DelmError

MEMORY_KEPT_S = 7 * 86_400.0
ANSWER_S = 4.0


class Gate(Protocol):
    """The agents of one client, before their board."""

    @property
    def whom(self) -> str:
        """Tells these agents from others in what is remembered."""

    @property
    def notes(self) -> Path:
        """The folder for what is remembered."""

    async def due(self) -> Due:
        """What they still have to do."""

    async def release(self) -> None:
        """Hand on what they hold."""


async def find_gate(board: Path | None, folder: Path | None) -> Gate | None:
    """The gate of the agents that this process belongs to; None when it belongs to none that joined a board.

    Args:
        board: The board's file, if it was named.
        folder: Where the client works; here by default.
    """
    run, agent, principal = declared_agent()
    url, token = declared_server()
    if agent and url and board is None and not declared_board():
        return FarGate(url, token, agent)
    place = await find_place(board, folder)
    if not place.board.exists():
        return None
    if agent:
        return NearGate(place, ((run, agent),), principal)
    seats = tuple(seat for session in sessions.found(place.board) for seat in session.seats)
    return NearGate(place, seats) if seats else None


@dataclass(frozen=True, slots=True)
class NearGate:
    """Before a board on this machine.

    Attributes:
        seats: `(run, agent)`; an empty run stands for every open one.
        principal: Whose they are, where a launcher said so.
    """

    place: Place
    seats: tuple[tuple[str, str], ...]
    principal: str = ""

    @property
    def whom(self) -> str:
        return f"{self.seats}{self.principal}"

    @property
    def notes(self) -> Path:
        return sessions.folder_of(self.place.board)

    async def due(self) -> Due:
        """See `Gate`."""
        async with opened_at(self.place) as served:
            now, ids = served.board.clock(), served.board.ids

            def looks(op: Operation) -> Due:
                return gate.due(op, gate.places_of(op, self.seats, self.principal))

            return await served.board.store.read(lambda tx: looks(Operation(tx, now, ids)))

    async def release(self) -> None:
        """See `Gate`."""
        async with opened_at(self.place) as served:
            now, ids = served.board.clock(), served.board.ids
            places = await served.board.store.read(
                lambda tx: gate.places_of(Operation(tx, now, ids), self.seats, self.principal)
            )
            for home, agent in places:
                await tending.release(served.board, OWNER, [agent.name], home.id, "its session ended")


@dataclass(frozen=True, slots=True)
class FarGate:
    """Before a board that a server hosts; `url` is its MCP endpoint."""

    url: str
    token: str
    agent: str

    @property
    def whom(self) -> str:
        return f"{self.url}|{self.agent}"

    @property
    def notes(self) -> Path:
        return state_folder() / "gates"

    async def due(self) -> Due:
        """See `Gate`."""
        facts = await self._ask("GET", "due")
        return Due(str(facts.get("reason", "")), str(facts.get("mark", "")))

    async def release(self) -> None:
        """See `Gate`."""
        await self._ask("POST", "release")

    async def _ask(self, method: str, what: str) -> dict[str, Any]:
        import httpx2

        address = f"{self.url.rstrip('/').removesuffix('/mcp')}/agents/{quote(self.agent, safe='')}/{what}"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with httpx2.AsyncClient(headers=headers, timeout=ANSWER_S) as client:
                answer = await client.request(method, address, json={} if method == "POST" else None)
            facts = answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise DelmError(f"{self.url} did not answer: {error or type(error).__name__}") from None
        if answer.status_code != httpx2.codes.OK or not isinstance(facts, dict):
            raise DelmError(f"{self.url} answered {answer.status_code}: {str(facts)[:300]}")
        return facts


class Memories:
    """What one gate remembers between two attempts to stop: a small file, forgotten after a week.

    Args:
        about: Whose it is, and in which session.
    """

    def __init__(self, folder: Path, about: str) -> None:
        name = hashlib.sha256(about.encode("utf-8", "replace")).hexdigest()[:16]
        self._file = folder / f"{name}.gate"

    def read(self) -> Memory | None:
        """What was remembered; nothing yet is an empty memory, and one that cannot be read is none."""
        try:
            return Memory(**json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Memory()
        except (OSError, ValueError, TypeError):
            return None

    def write(self, memory: Memory) -> bool:
        """Remember; whether that was possible."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for other in self._file.parent.glob("*.gate"):
                if time.time() - other.stat().st_mtime > MEMORY_KEPT_S:
                    other.unlink(missing_ok=True)
            sessions.write_private(self._file, json.dumps(asdict(memory)))
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """The session is over."""
        self._file.unlink(missing_ok=True)
