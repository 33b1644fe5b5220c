"""Whether an agent that wants to stop still has something to do, and what.

Clients ask before they let an agent end its turn (a stop hook). The gate only reads: it leases nothing,
and it speaks in the server's voice of labels and calls, with what agents wrote fenced.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from delm_mcp.board import queue
from delm_mcp.board.board import Board
from delm_mcp.board.operation import Operation
from delm_mcp.domain.model import Agent, Caller, Run, RunState, Task, TaskKind
from delm_mcp.domain.text import fenced, shortened
from delm_mcp.errors import NotAllowed

BLOCKS_MAX = 3
"""How often an agent that does nothing in between is kept from stopping."""
_FINISH = {
    TaskKind.WORK: "propose_update(lease=..., completes=true, ...)",
    TaskKind.VERIFY: "verify(lease=..., entry=E{about}, verdict=pass|fail|abstain, reason=...)",
    TaskKind.DECIDE: "add_tasks(lease=..., tasks=[...]) or propose_update(lease=..., kind=answer, "
    "completes=true, derived_from=[...])",
}


Place = tuple[Run, Agent]


@dataclass(frozen=True, slots=True)
class Due:
    """What an agent still has to do.

    Attributes:
        reason: One paragraph for the agent that ends with the next call; empty when it may stop.
        mark: Changes whenever the agent has done something on the board.
    """

    reason: str
    mark: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What a gate remembers of an agent between two attempts to stop."""

    mark: str = ""
    blocks: int = 0


def decide(due: Due, memory: Memory | None, *, continuing: bool) -> tuple[bool, Memory]:
    """Whether an agent is kept at work, and what to remember.

    Args:
        memory: What was remembered last; None where nothing could be.
        continuing: The client says that the agent goes on only because it was kept from stopping before.
    """
    if memory is None:
        # Without a memory the client's word is the only bound there is.
        memory = Memory(due.mark, BLOCKS_MAX if continuing else 0)
    blocks = memory.blocks if memory.mark == due.mark else 0
    keeps = bool(due.reason) and blocks < BLOCKS_MAX
    return keeps, Memory(due.mark, blocks + keeps)


def places_of(op: Operation, seats: Iterable[tuple[str, str]], principal: str = "") -> list[Place]:
    """The places of agents in open runs.

    Args:
        seats: `(run, agent)`; an empty run stands for every open one.
        principal: Whose they are, where that is known and tells agents of one name apart.
    """
    found: dict[int, Place] = {}
    for run, name in seats:
        for home in op.tx.runs(RunState.OPEN):
            agent = op.tx.agent(home.id, name) if run in {"", home.id} else None
            if agent is not None:
                found[agent.id] = (home, agent)
    own = [place for place in found.values() if place[1].principal in {principal, f"stdio:{principal}"}]
    return own or list(found.values())


async def due_of(board: Board, caller: Caller, name: str) -> Due:
    """What a caller's own agent still has to do, in whichever open runs it is.

    Raises:
        NotAllowed: The agent is somebody else's, or the token speaks for another.
    """
    now = board.clock()

    def looks(op: Operation) -> Due:
        return due(op, own_places(op, caller, name))

    return await board.store.read(lambda tx: looks(Operation(tx, now, board.ids)))


def own_places(op: Operation, caller: Caller, name: str) -> list[Place]:
    """The places of a caller's agent in open runs; none when it never joined.

    Raises:
        NotAllowed: The agent is somebody else's, or the token speaks for another.
    """
    if caller.agent and caller.agent != name:
        raise NotAllowed(f"This token speaks only for the agent {caller.agent!r}.", "Ask about that one.")
    places = [place for place in places_of(op, [("", name)]) if not caller.runs or place[0].id in caller.runs]
    own = [place for place in places if place[1].principal == caller.principal]
    if places and not own:
        raise NotAllowed(f"The agent {name[:48]!r} belongs to somebody else.", "Ask about your own.")
    return own


def due(op: Operation, places: Sequence[Place]) -> Due:
    """What the agents of one client still have to do; a lease goes before work that is only ready."""
    marks = "|".join(_mark(op, run, agent) for run, agent in places)
    mark = hashlib.sha256(marks.encode("utf-8", "replace")).hexdigest()[:16]
    for run, agent in places:
        held = op.tx.leased_to(run.id, agent.name)
        if held is not None:
            return Due(_holds(run, agent, held), mark)
    for run, agent in places:
        if queue.could_claim(op, run, agent):
            return Due(_could(op, run, agent), mark)
    return Due("", mark)


def _mark(op: Operation, run: Run, agent: Agent) -> str:
    """What the agent did so far: its lease, its entries, its verdicts. That its server renewed is nothing."""
    held = op.tx.leased_to(run.id, agent.name)
    lease = f"{held.lease}@{held.claimed_at}/{held.rejections}" if held else ""
    entries = sum(count for (name, _), count in op.tx.entry_counts(run.id).items() if name == agent.name)
    votes = sum(vote.agent == agent.name for vote in op.tx.votes_in(run.id))
    return f"{run.id}/{agent.name}:{lease}:{entries}:{votes}"


def _holds(run: Run, agent: Agent, held: Task) -> str:
    finish = _FINISH[held.kind].format(about=held.about)
    return (
        f"You are {agent.name} in run {run.id} and still hold {held.label} ({held.kind}) "
        f"{fenced(shortened(held.subject, 200))}. Finish it: {finish}. If you cannot: "
        f"update_task(lease=..., action=release, note=...). claim_task(agent={agent.name}) shows the "
        "task and its lease again."
    )


def _could(op: Operation, run: Run, agent: Agent) -> str:
    task = queue.in_reach(op, run, agent)
    what = f": {task.label} ({task.kind}) {fenced(shortened(task.subject, 200))}" if task else ""
    return (
        f"You are {agent.name}, and run {run.id} has work for you{what}. Call claim_task(agent={agent.name})."
    )
