"""Agents that work off a run at once and verify each other's results, without a model that would think."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from delm_mcp.board import Board
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim
from delm_mcp.board.runs import Opening
from delm_mcp.board.verifying import Opinion
from delm_mcp.board.waiting import MAX_WAIT_S
from delm_mcp.cli.benchmarks.scene import OWNER
from delm_mcp.domain.model import Caller, Entry, EntryState, Principal, RunId, TaskKind
from delm_mcp.domain.proposal import Proposal
from delm_mcp.domain.text import tokens

KEEPER = Caller(Principal("bench:keeper"), agent="keeper")
STUCK_S = 300.0
"""Far more than any disk takes; what lasts longer hangs."""


@dataclass
class Worked:
    """What became of some proposals.

    Attributes:
        elapsed_s: From the first claim until the last entry was admitted.
        cpu_s: What this process used of the processor meanwhile, in all its threads.
        waits_s: Of each entry, from the call that proposed it until the call was answered that admitted it.
        case_tokens: Of each case that a verifier was given.
        entries: As they were admitted.
    """

    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    case_tokens: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Admitted entries a second."""
        return len(self.entries) / self.elapsed_s

    @property
    def commands_s(self) -> list[float]:
        """How long the command check of each entry took, where there was one."""
        return [
            receipt.duration_s
            for entry in self.entries
            for receipt in entry.receipts
            if receipt.check == "command"
        ]


@dataclass
class Team:
    """Agents in a run of their own, each under a principal of its own."""

    board: Board
    run: str
    members: Sequence[Caller]

    @classmethod
    async def assemble(cls, board: Board, opening: Opening, count: int) -> "Team":
        """Open a run and let agents join it, before anything is measured.

        One task is never done, so that the run goes on when everything else is.
        """
        run, _ = await board.open_run(OWNER, opening, [NewTask("Keep the run open")])
        await board.claim_task(KEEPER, run=run)
        members = [Caller(Principal(f"bench:{n}"), agent=f"a{n}") for n in range(1, count + 1)]
        for member in members:
            await board.claim_task(member, run=run)
        return cls(board, run, members)

    async def work(self, proposals: Sequence[Proposal]) -> Worked:
        """Let the agents propose these, each as the result of a task, until all are admitted.

        Raises:
            RuntimeError: One was not admitted.
        """
        known = {entry.id for entry in await self._entries()}
        await self.board.add_tasks(OWNER, [NewTask(f"Find out: {p.gist}") for p in proposals], run=self.run)
        shift = _Shift(self.board, self.run, iter(proposals), len(proposals))
        cpu_before, began = time.process_time(), time.perf_counter()
        try:
            with anyio.fail_after(STUCK_S):
                async with anyio.create_task_group() as group:
                    shift.over = group.cancel_scope
                    for member in self.members:
                        group.start_soon(shift.agent, member)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed  # what one call met, as its caller would have seen it
        worked = shift.worked
        worked.elapsed_s = max(shift.ended.values()) - began
        worked.cpu_s = time.process_time() - cpu_before
        worked.waits_s = [ended - shift.began[label] for label, ended in shift.ended.items()]
        worked.entries = [entry for entry in await self._entries() if entry.id not in known]
        return worked

    async def leave(self) -> None:
        """End the run."""
        await self.board.cancel_run(OWNER, self.run, "It was measured.")

    async def _entries(self) -> list[Entry]:
        return await self.board.store.read(lambda tx: tx.entries(RunId(self.run)))


@dataclass
class _Shift:
    """Agents at work until the last of `count` entries is admitted."""

    board: Board
    run: str
    proposals: Iterator[Proposal]
    count: int
    over: Any = None
    worked: Worked = field(default_factory=Worked)
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    async def agent(self, caller: Caller) -> None:
        while True:
            claim = await self.board.claim_task(caller, run=self.run, wait_s=MAX_WAIT_S)
            if claim.task is None:
                continue
            await (self._verify if claim.task.kind == TaskKind.VERIFY else self._propose)(caller, claim)

    async def _propose(self, caller: Caller, claim: Claim) -> None:
        proposal = replace(next(self.proposals), base_version=claim.version)
        start = time.perf_counter()
        answer = await self.board.propose_update(caller, proposal, lease=claim.lease)
        self.began[answer.entry] = start
        self._note(answer.entry, answer.state, " ".join(answer.reasons))

    async def _verify(self, caller: Caller, claim: Claim) -> None:
        assert claim.task is not None  # noqa: S101 - `agent` has seen to it
        self.worked.case_tokens.append(tokens(claim.task.case))
        opinion = Opinion(claim.task.about, "pass", "The gist says what the evidence says, and no more.")
        answer = await self.board.verify(caller, opinion, lease=claim.lease)
        self._note(answer.entry, answer.state, "")

    def _note(self, label: str, state: str, reasons: str) -> None:
        """An author's answer may come after the verdict of a peer, which then was what admitted its entry."""
        if state == EntryState.ADMITTED:
            self.ended.setdefault(label, time.perf_counter())
        elif state != EntryState.PENDING:
            raise RuntimeError(f"{label} was {state}: {reasons}")
        if len(self.began) == len(self.ended) == self.count:
            self.over.cancel()
