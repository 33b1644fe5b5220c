"""What the board's owner does for agents: keep their leases while they are alive, hand them on when not.

A launcher sees whether an agent's process lives, also where the agent calls over HTTP and nothing else
would renew its lease while it thinks. Like the stdio server's `Keeper` it renews up to the ceiling, and
never says in the agent's place that news was read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from delm_mcp.board import gate, identity, queue
from delm_mcp.board.board import Board
from delm_mcp.board.operation import Operation, seconds
from delm_mcp.domain import tasks
from delm_mcp.domain.drain import is_live
from delm_mcp.domain.model import Agent, Caller, Role, Run
from delm_mcp.domain.text import fenced, shortened
from delm_mcp.errors import NotAllowed


class Outcome(StrEnum):
    """What became of one agent."""

    KEPT = "kept"
    RELEASED = "released"
    AT_CEILING = "at its ceiling"  # held, and not renewed any further
    IDLE = "holds nothing"
    UNKNOWN = "unknown"  # the run has no agent of this name, or not yet


@dataclass(frozen=True, slots=True)
class Tended:
    """One agent after its owner looked at it; `left_s` is how long its lease runs, in seconds."""

    agent: str
    outcome: Outcome
    task: str = ""
    left_s: float = 0.0


async def keep(board: Board, caller: Caller, names: Sequence[str], run: str = "") -> list[Tended]:
    """Renew the leases of agents that are known to be alive.

    Raises:
        NotAllowed: The caller is not an owner.
        NotFound: No run is open, or the named one is not there.
    """
    return await _each(board, caller, "keep_agents", names, run, _kept)


async def release(
    board: Board, caller: Caller, names: Sequence[str], run: str = "", note: str = ""
) -> list[Tended]:
    """Hand the tasks of agents on, because they are gone or are to do something else.

    Raises:
        NotAllowed: The caller is not an owner.
        NotFound: No run is open, or the named one is not there.
    """

    def released(op: Operation, home: Run, agent: Agent) -> Tended:
        return _released(op, home, agent, note)

    return await _each(board, caller, "release_agents", names, run, released)


async def release_own(board: Board, caller: Caller, name: str) -> list[str]:
    """Hand on what a caller's own agent holds, because its session ended; the labels of its tasks.

    Raises:
        NotAllowed: The agent is somebody else's, or the caller may only read.
    """
    identity.may_write(caller)
    now = board.clock()

    def releases(op: Operation) -> list[str]:
        places = gate.own_places(op, caller, name)
        tended = [_released(op, home, agent, "its session ended") for home, agent in places]
        return [one.task for one in tended if one.outcome is Outcome.RELEASED]

    return await board.store.write(
        "release_agents", str(caller.principal), now, lambda tx: releases(Operation(tx, now, board.ids))
    )


async def agents_of(board: Board, caller: Caller, run: str = "") -> list[dict[str, Any]]:
    """The agents of a run with what they hold, as JSON values.

    Raises:
        NotFound: There is no run, or the named one is not there.
    """
    now = board.clock()

    def looks(op: Operation) -> list[dict[str, Any]]:
        home = identity.find_run(op, caller, run, "", reading=True)
        return [seen(op, home, agent) for agent in op.tx.agents(home.id)]

    return await board.store.read(lambda tx: looks(Operation(tx, now, board.ids)))


async def _each(
    board: Board,
    caller: Caller,
    name: str,
    names: Sequence[str],
    run: str,
    tend: Callable[[Operation, Run, Agent], Tended],
) -> list[Tended]:
    """All of them in one transaction; one that is not there keeps nobody else from being looked after."""
    if caller.role is not Role.OWNER:
        raise NotAllowed("Only an owner may look after agents.", "Ask for a token with the role owner.")
    now = board.clock()

    def tends(op: Operation) -> list[Tended]:
        home = identity.find_run(op, caller, run, "")
        found = {label: op.tx.agent(home.id, label) for label in dict.fromkeys(names)}
        return [
            tend(op, home, agent) if agent else Tended(label, Outcome.UNKNOWN)
            for label, agent in found.items()
        ]

    return await board.store.write(
        name, str(caller.principal), now, lambda tx: tends(Operation(tx, now, board.ids))
    )


def _kept(op: Operation, home: Run, agent: Agent) -> Tended:
    held = op.tx.leased_to(home.id, agent.name)
    if held is None:
        return Tended(agent.name, Outcome.IDLE)
    limits = op.policy(home).limits
    if op.now >= tasks.lease_ceiling(held, limits):
        return Tended(agent.name, Outcome.AT_CEILING, held.label, seconds(held.lease_until - op.now))
    identity.touched(op, agent)
    kept = op.tx.update(held, tasks.renewed(held, now=op.now, limits=limits))
    return Tended(agent.name, Outcome.KEPT, kept.label, seconds(kept.lease_until - op.now))


def _released(op: Operation, home: Run, agent: Agent, note: str) -> Tended:
    held = op.tx.leased_to(home.id, agent.name)
    if held is None:
        return Tended(agent.name, Outcome.IDLE)
    said = f": {fenced(shortened(note, 500))}" if note.strip() else ""
    queue.hand_on(op, held, f"it was taken from {agent.name}{said}")
    return Tended(agent.name, Outcome.RELEASED, held.label)


def seen(op: Operation, home: Run, agent: Agent) -> dict[str, Any]:
    """An agent with what it holds, as JSON values."""
    held = op.tx.leased_to(home.id, agent.name)
    return {
        "agent": agent.name,
        "principal": agent.principal,
        "run": home.id,
        "tags": list(agent.tags),
        "live": is_live(agent, op.now, op.policy(home).limits),
        "seen_s_ago": round(op.now - agent.seen_at, 1),
        "task": held.label if held else "",
        "kind": held.kind.value if held else "",
        "subject": held.subject if held else "",
        "lease_left_s": seconds(held.lease_until - op.now) if held else 0.0,
    }


def as_json(tended: Sequence[Tended]) -> list[dict[str, Any]]:
    """What became of agents, as JSON values."""
    return [asdict(one) for one in tended]
