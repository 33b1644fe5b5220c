"""A programmer on a board: the whole loop, over real MCP like everyone else's.

    claim a task -> bring the worktree up to head -> read what is new in the context -> let the model work
    -> commit -> propose the commit as a patch (or what was found, as a fact or a fail) -> verify, decide

The harness makes the calls of the board and of git: it claims, reads the news, commits what the model
changed, proposes it, and shows the model why the board refused it. The model does all that takes judgement:
what to look at and to change, what its work shows, whether a peer's entry may be relied on, whether the task
is solved. It works in the same words as in every topology (`coder.py`); what differs is what it knows before
it begins, and that what it proposes has to get through the gate before it counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread

from delm_client.bench.board import BoardAgent, head_on
from delm_client.bench.coding.coder import CHARACTERS_PER_TOKEN, Coder, Counts, Desk, Report, cut
from delm_client.bench.coding.lead import Lead
from delm_client.bench.coding.workspace import Worktree, difference
from delm_client.bench.forms import Ask
from delm_client.session import BoardError, BoardGone, Session

MENDS = 2
"""How often work that the board refused may be mended before the task is given up."""
PARENTS_MAX = 50
COMMAND = "check"
COMMAND_SAYS = "command:"
"""How a board's reasons begin where the command refused a patch, and not the form of its entry."""
EVIDENCE_MAX = 4000
"""Characters of what was run, as evidence."""
POLL_S = 0.5
REFUSED = "The board refused it"
NO_CHANGE = "No change was made."


@dataclass
class Site:
    """What the agents of a team share besides the board.

    Attributes:
        agents: How many they are.
        run: The run's name, by which the board publishes its head.
        base: The commit that the item begins with.
        peers: Whether entries wait for the verdict of peers, who are these agents themselves.
    """

    desk: Desk
    agents: int
    run: str
    base: str
    peers: bool = False


@dataclass
class Thread:
    """What one agent came to by itself, whatever became of the team's work."""

    patch: str = ""
    counts: Counts = field(default_factory=Counts)


class Programmer(BoardAgent):
    """One worker."""

    def __init__(self, board: Session, ask: Ask, site: Site, tree: Worktree) -> None:
        super().__init__(board)
        self._ask = ask
        self._site = site
        self._tree = tree
        self._lead = Lead(site.desk, ask, site.agents)
        self.thread = Thread()
        self.proposed: Counter[str] = Counter()

    async def do(self, task: Mapping[str, Any], lease: str) -> None:
        """See `BoardAgent.do`."""
        if task["kind"] == "verify":
            given = await self._site.desk.judge(self._ask, task["case"])
            await self.verdict(task, given, lease)
        elif task["kind"] == "decide":
            await self._decide(lease)
        else:
            await self._work(task, lease)

    # -- a part ----------------------------------------------------------------------------------

    async def _work(self, task: Mapping[str, Any], lease: str) -> None:
        """Work from head on until the board takes what came of it, or has refused it too often."""
        earlier = [_reason(one) for one in task.get("earlier", ())]
        if len(earlier) > MENDS:
            await self.leave(lease, "fail", f"Refused {len(earlier)} times. {earlier[-1]}")
            return
        coder = await self._coder(task, earlier)
        while True:
            report = await coder.work()
            commit = await anyio.to_thread.run_sync(self._tree.commit, report.gist)
            if report.ended != "done" and commit == self._tree.base:
                await self.leave(lease, "fail", f"Nothing was changed or found: {report.ended}.")
                return
            answer = await self._propose(report, commit, lease)
            if answer["state"] != "rejected":
                return
            earlier.append(" ".join(answer["reasons"]))
            if len(earlier) > MENDS or report.ended != "done":
                break
            if await self._head() != self._tree.base:  # a peer's patch was merged meanwhile
                coder = await self._coder(task, earlier)
            else:
                coder.tell(f"{REFUSED}: {earlier[-1]}\nMend that, and end with `done` again.")
        await self._rule_out(report, earlier[-1])
        await self.leave(lease, "fail", earlier[-1])

    async def _coder(self, task: Mapping[str, Any], earlier: Sequence[str]) -> Coder:
        """The model at the beginning of a part: on head, knowing what the team knows."""
        self._tree = await anyio.to_thread.run_sync(self._tree.moved, await self._head())
        known = await self.news()
        desk, counts = self._site.desk, self.thread.counts
        coder = Coder(desk, self._ask, self._tree, counts, part=_part(task), known=known)
        for reason in earlier:
            coder.tell(f"What was proposed for this before was refused: {reason}")
        return coder

    async def _head(self) -> str:
        return await head_on(self.board, self._site.base, self.name)

    async def _propose(self, report: Report, commit: str, lease: str) -> dict[str, Any]:
        """Propose a commit as a patch; what changed nothing is proposed as what was found."""
        changed = commit != self._tree.base
        if changed:
            self.thread.patch = await anyio.to_thread.run_sync(
                difference, self._tree.folder, self._site.base, commit
            )
        kind = report.kind if changed or report.kind != "patch" else "fact"
        evidence = [{"type": "command", "ref": COMMAND, "text": commit}] if kind == "patch" else []
        call = {
            "lease": lease,
            "kind": kind,
            "gist": report.gist if report.ended == "done" else f"{report.gist} It is commit {commit[:12]}.",
            "summary": report.summary,
            "scope": report.scope if kind == "fail" else "",
            "evidence": evidence or self._seen_in(report, self._tree.base),
            "base_version": self.seen,
            "completes": True,
        }
        answer = await self.board.call("propose_update", **call)
        if answer["state"] == "pending" and not self._site.peers:
            answer = await self._decided(answer, lease)
        self.proposed[f"{kind} {answer['state']}"] += 1
        return answer

    async def _decided(self, answer: dict[str, Any], lease: str) -> dict[str, Any]:
        """Wait for the verdict of a command, so that the model can go on where it was if it has to."""
        while answer["state"] == "pending":
            await anyio.sleep(POLL_S)
            page = await self.board.call("read_context", entries=[answer["entry"]], agent=self.name)
            item = page["items"][0]
            answer = {**answer, "state": item["state"], "reasons": [item["reason"] or "no reason was given"]}
        if answer["state"] == "rejected":  # the task went back to the queue; showing the lease takes it again
            await self.board.call("update_task", lease=lease, action="renew")
        return answer

    def _short(self, gist: str) -> str:
        """A gist of the harness's own making, which no model could mend."""
        line = " ".join(gist.split())
        most = CHARACTERS_PER_TOKEN * self._site.desk.habits.gist_tokens
        return line if len(line) <= most else f"{line[: most - 4]} ..."

    def _seen_in(self, report: Report, commit: str) -> list[dict[str, str]]:
        """What shows a finding: lines of files at a commit, else what was run, else what is said."""
        quotes = [
            {"type": "quote", "ref": f"{quote.path}@{commit}", "text": quote.text} for quote in report.quotes
        ]
        seen = report.output or report.summary
        if quotes or not seen.strip():
            return quotes
        return [
            {"type": "artifact", "ref": "run" if report.output else "report", "text": cut(seen, EVIDENCE_MAX)}
        ]

    async def _rule_out(self, report: Report, reasons: str) -> None:
        """Tell peers of a change that the command refused, so that nobody tries it again."""
        if report.kind != "patch" or report.ended != "done" or not reasons.startswith(COMMAND_SAYS):
            return
        try:
            await self.board.call(
                "propose_update",
                kind="fail",
                gist=self._short(f"The board refused this change: {report.gist}"),
                scope=cut(report.gist, 400),
                evidence=[{"type": "artifact", "ref": "refusal", "text": cut(reasons, EVIDENCE_MAX)}],
                agent=self.name,
                run=self._site.run,
            )
        except BoardGone:
            raise
        except BoardError:
            self.proposed["fail refused"] += 1
        else:
            self.proposed["fail told"] += 1

    # -- the answer ------------------------------------------------------------------------------

    async def _decide(self, lease: str) -> None:
        """Queue what is missing, or answer with what is merged."""
        known = await self.news()
        head = await self._head()
        change = await anyio.to_thread.run_sync(difference, self._tree.folder, self._site.base, head)
        given = await self._lead.decide(known, change)
        if given.more and await self._queued(given.more, lease):
            return
        live = [entry["entry"] for kind in ("patch", "fact") for entry in await self.live(kind)]
        answer = await self.board.call(
            "propose_update",
            lease=lease,
            kind="answer",
            gist=self._short(given.answer.strip() or (f"Head is {head[:12]}." if change else NO_CHANGE)),
            derived_from=live[-PARENTS_MAX:],
            base_version=self.seen,
            completes=True,
        )
        if answer["state"] == "rejected":
            await self.leave(lease, "fail", " ".join(answer["reasons"]))

    async def _queued(self, parts: list[str], lease: str) -> bool:
        """Whether tasks were added; the board bounds how often."""
        try:
            await self.board.call("add_tasks", tasks=[task_of(part) for part in parts], lease=lease)
        except BoardGone:
            raise
        except BoardError:
            return False
        return True


def task_of(part: str) -> dict[str, str]:
    """A part of the work as `add_tasks` and `init --tasks-file` take it."""
    line = " ".join(part.split())
    return {"subject": line if len(line) <= 200 else line[:200] + " ...", "detail": part}


def _part(task: Mapping[str, Any]) -> str:
    return str(task.get("detail") or task["subject"])


def _reason(earlier: Mapping[str, Any]) -> str:
    return f"«{earlier['gist']}»: {earlier['reason']}"
