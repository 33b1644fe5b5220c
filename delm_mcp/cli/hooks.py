"""`hook`: what clients run when an agent wants to stop, and when its session ends.

A hook must never break its client: whatever goes wrong, it lets the agent stop, says why on the error
output, and ends with 0.
"""

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import typer

from delm_mcp.board import gate
from delm_mcp.cli import gates
from delm_mcp.cli.gates import Gate, Memories
from delm_mcp.cli.serving import BoardFile
from delm_mcp.errors import DelmError

app = typer.Typer(
    no_args_is_help=True,
    help="What clients run at the end of a turn and of a session; the packages in `clients/` set them up.",
)
PATIENCE_S = 5.0
END_S = 9.0
"""When the process ends whatever it waits for: clients allow 15 s, and a thread in a system call cannot be
cancelled."""
INPUT_BYTES_MAX = 1_000_000
INPUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a client tells a hook; what it leaves out is empty."""

    session: str = ""
    folder: Path | None = None
    continuing: bool = False


@app.command("stop")
def stop(board: BoardFile = None) -> None:
    """Keep an agent at work while it holds a task or the queue has one for it.

    Reads the client's JSON on standard input, as Claude Code's Stop hook gives it, and answers
    {"decision": "block", "reason": ...} with the next call, or nothing. An agent that never joined a
    board is never kept, nor one that did nothing on the board since it was kept three times.

    The agent is DELM_AGENT where that is set (with DELM_URL and DELM_TOKEN on a board over HTTP);
    otherwise it is found by the client that started both this hook and its delm-mcp stdio.
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

    timer = threading.Timer(END_S, _leave)
    timer.daemon = True
    timer.start()
    try:
        anyio.run(bounded)
    except TimeoutError:
        _complain(f"the board did not answer within {PATIENCE_S:g} s")
    except DelmError as error:
        _complain(str(error))
    except Exception as error:  # a client must not suffer from a fault of ours either
        _complain(f"{type(error).__name__}: {error}")
    finally:
        timer.cancel()


def _leave() -> None:
    _complain(f"the board did not answer within {END_S:g} s")
    sys.stderr.flush()
    os._exit(0)


def _complain(text: str) -> None:
    sys.stderr.write(f"delm-mcp hook: {text}\n")


async def _stop(board: Path | None) -> None:
    told = _told()
    found = await gates.find_gate(board, told.folder)
    if found is None:
        return
    due = await found.due()
    memories = _memories(found, told)
    keeps, memory = gate.decide(due, memories.read(), continuing=told.continuing)
    if keeps and not memories.write(memory):
        keeps = not told.continuing
    if keeps:
        sys.stdout.write(json.dumps({"decision": "block", "reason": due.reason}) + "\n")


async def _end(board: Path | None) -> None:
    told = _told()
    found = await gates.find_gate(board, told.folder)
    if found is not None:
        await found.release()
        _memories(found, told).forget()


def _memories(found: Gate, told: Told) -> Memories:
    return Memories(found.notes, f"{told.session}|{found.whom}")


def _told() -> Told:
    """What stands on standard input.

    Raises:
        DelmError: It is no object of JSON.
    """
    text = _input()
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


def _input() -> bytes:
    """What the client wrote; without an end of it, what came in a moment."""
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    try:
        source = sys.stdin.fileno()
    except OSError:  # no file, so it cannot hang either
        return sys.stdin.buffer.read(INPUT_BYTES_MAX)
    text = b""
    deadline = time.monotonic() + INPUT_S
    while len(text) < INPUT_BYTES_MAX:
        ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(source, 65_536) if ready else b""
        if not chunk:
            break
        text += chunk
    return text
