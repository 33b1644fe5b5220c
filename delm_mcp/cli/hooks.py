"""`hook`: what clients run when an agent wants to stop, and when its session ends.

A hook must never break its client: whatever goes wrong, it lets the agent stop, says why on the error
output, and ends with 0.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import typer

from delm_mcp.board import gate, tending
from delm_mcp.board.gate import Memory
from delm_mcp.board.operation import Operation
from delm_mcp.cli import sessions
from delm_mcp.cli.runs import OWNER
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import Served, opened_at
from delm_mcp.config import declared_agent, find_place
from delm_mcp.errors import DelmError

app = typer.Typer(
    no_args_is_help=True,
    help="What clients run at the end of a turn and of a session; `delm-mcp install` and the plugins set "
    "them up.",
)
PATIENCE_S = 5.0
MEMORY_KEPT_S = 7 * 86_400.0
INPUT_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """What a client tells a hook; what it leaves out is empty."""

    session: str = ""
    folder: Path | None = None
    continuing: bool = False


@dataclass(frozen=True, slots=True)
class Whose:
    """The agents that a hook is about: `(run, agent)`, and whose they are."""

    seats: tuple[tuple[str, str], ...] = ()
    principal: str = ""


@app.command("stop")
def stop(board: BoardFile = None) -> None:
    """Keep an agent at work while it holds a task or the queue has one for it.

    Reads the client's JSON on standard input, as Claude Code's Stop hook gives it, and answers
    {"decision": "block", "reason": ...} with the next call, or nothing. An agent that never joined a
    board is never kept, nor one that did nothing on the board since it was kept three times.

    The agent is DELM_AGENT where that is set; otherwise it is found by the client that started both
    this hook and its delm-mcp stdio.
    """
    _guarded(partial(_stop, board))


@app.command("session-end")
def session_end(board: BoardFile = None) -> None:
    """Hand on what the agents of an ending session hold, so that peers need not wait for their leases."""
    _guarded(partial(_end, board))


def _guarded(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(PATIENCE_S):
            await main()

    try:
        anyio.run(bounded)
    except TimeoutError:
        print(f"delm-mcp hook: the board did not answer within {PATIENCE_S:g} s", file=sys.stderr)  # noqa: T201
    except DelmError as error:
        print(f"delm-mcp hook: {error}", file=sys.stderr)  # noqa: T201
    except Exception as error:  # a client must not suffer from a fault of ours either
        print(f"delm-mcp hook: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201


async def _stop(board: Path | None) -> None:
    told = _told()
    place = await find_place(board, told.folder)
    whose = _whose(place.board)
    if not whose.seats:
        return
    async with opened_at(place) as served:
        due = await _due(served, whose)
    file = _memory_file(place.board, told, whose)
    keeps, memory = gate.decide(due, _remembered(file), continuing=told.continuing)
    if keeps and not _remember(file, memory):
        keeps = not told.continuing
    if keeps:
        sys.stdout.write(json.dumps({"decision": "block", "reason": due.reason}) + "\n")


async def _due(served: Served, whose: Whose) -> gate.Due:
    now, ids = served.board.clock(), served.board.ids

    def looks(op: Operation) -> gate.Due:
        return gate.due(op, gate.places_of(op, whose.seats, whose.principal))

    return await served.board.store.read(lambda tx: looks(Operation(tx, now, ids)))


async def _end(board: Path | None) -> None:
    told = _told()
    place = await find_place(board, told.folder)
    whose = _whose(place.board)
    if not whose.seats:
        return
    async with opened_at(place) as served:
        now, ids = served.board.clock(), served.board.ids
        places = await served.board.store.read(
            lambda tx: gate.places_of(Operation(tx, now, ids), whose.seats, whose.principal)
        )
        for home, agent in places:
            await tending.release(served.board, OWNER, [agent.name], home.id, "its session ended")
    _memory_file(place.board, told, whose).unlink(missing_ok=True)


def _told() -> Told:
    """What stands on standard input; what is no object of ours counts as nothing, and is said."""
    if sys.stdin is None or sys.stdin.isatty():
        return Told()
    text = sys.stdin.buffer.read(INPUT_BYTES_MAX)
    if not text.strip():
        return Told()
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise DelmError("The standard input is not the JSON object that a client's hook gets.")
    named = facts.get("cwd")
    folder = Path(named) if isinstance(named, str) and Path(named).is_dir() else None
    return Told(str(facts.get("session_id", "")), folder, facts.get("stop_hook_active") is True)


def _whose(board: Path) -> Whose:
    """The agents that this process belongs to: declared by a launcher, or found by their client."""
    if not board.exists():
        return Whose()
    run, agent, principal = declared_agent()
    if agent:
        return Whose(((run, agent),), principal)
    mine = sessions.found(board)
    return Whose(tuple(seat for session in mine for seat in session.seats))


# -- what is remembered between two attempts to stop ----------------------------------------------


def _memory_file(board: Path, told: Told, whose: Whose) -> Path:
    whom = f"{told.session}|{whose}".encode("utf-8", "replace")
    return board.parent / sessions.FOLDER / f"{hashlib.sha256(whom).hexdigest()[:16]}.gate"


def _remembered(file: Path) -> Memory | None:
    """What was remembered; nothing yet is an empty memory, and one that cannot be read is none."""
    try:
        return Memory(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError):
        return None


def _remember(file: Path, memory: Memory) -> bool:
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        for other in file.parent.glob("*.gate"):
            if time.time() - other.stat().st_mtime > MEMORY_KEPT_S:
                other.unlink(missing_ok=True)
        sessions.write_private(file, json.dumps(asdict(memory)))
    except OSError:
        return False
    return True
