"""The four honest members of the team, and what every member can do."""

import re
from dataclasses import dataclass, field
from typing import Any

from mcp import Client

from tests.lying_team.case import parse
from tests.lying_team.library import Library
from tests.lying_team.story import BY_KEY, COUNTED, QUESTIONS, SLIP, TICKETS, Finding, Question
from tests.lying_team.verifier import judge
from tests.outside import Said, ask

_LINE = re.compile(r"^v\d+ ([+~?!]) (E\d+)( cleared)?")
_KEY = re.compile(r" key «([^»]*)»")
_BY = re.compile(r" by (\S+): «(.*?)»")
PATIENCE = 4
"""Turns for which an agent waits for the verdict on an entry that it disputes, before it goes on."""


@dataclass
class Live:
    """An entry of the context, as its lines tell."""

    label: str
    key: str
    agent: str
    gist: str
    suspect: bool = False


def live(text: str) -> dict[str, Live]:
    """The entries that the context shows as live, by label."""
    found: dict[str, Live] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        sign, label, cleared = match.groups()
        if sign == "+" and cleared:
            found[label].suspect = False
        elif sign == "+":
            title, said = line.split(": «")[0], _BY.search(line)
            assert said is not None, line
            key = _KEY.search(title)
            found[label] = Live(label, key.group(1) if key else "", said.group(1), said.group(2))
        elif sign == "?":
            found[label].suspect = True
        else:
            found.pop(label, None)
    return found


@dataclass
class Member:
    """Somebody at the board, behind a token of its own.

    Attributes:
        places: What the placeholders of findings stand for in this run.
        calls: How many calls it has made.
    """

    name: str
    client: Client
    places: dict[str, str]
    calls: int = 0

    async def call(self, tool: str, **arguments: Any) -> Said:
        self.calls += 1
        return await ask(self.client, tool, **arguments)

    async def do(self, tool: str, **arguments: Any) -> Said:
        """Call, and insist that it is not refused."""
        answer = await self.call(tool, **arguments)
        assert not answer.is_error, (self.name, tool, answer.text)
        return answer

    async def context(self) -> dict[str, Live]:
        """The live entries, from the beginning on."""
        read = await self.do("read_context", budget_tokens=60_000)
        assert not read.facts.get("more"), "the context has become too long for one answer"
        return live(read.facts.get("text", ""))

    async def propose(self, finding: Finding, key: str, **more: Any) -> Said:
        """Propose in place of whatever has the key."""
        holder = holds(await self.context(), key)
        supersedes = [holder.label] if holder else []
        arguments = {**finding.arguments(self.places), "key": key, "supersedes": supersedes, **more}
        # A finding that is proposed once more is meant to be judged once more.
        return await self.call("propose_update", request_id=f"{self.name}-{self.calls}", **arguments)

    async def queue(self) -> list[dict[str, Any]]:
        """The unfinished tasks; empty when the run is over."""
        read = await self.do("read_context", view="queue")
        return list(read.facts.get("items", [])) if read["run_state"] == "open" else []


def holds(entries: dict[str, Live], key: str) -> Live | None:
    """The live entry of a key."""
    return next((entry for entry in entries.values() if key and entry.key == key), None)


@dataclass
class Honest(Member):
    """Claims, reads, proposes what the sources say, and judges what it is given by looking it up again.

    It relies on what the context says, as agents do: it looks at an entry again only where it has found
    something else itself.
    """

    library: Library = field(kw_only=True)
    slips: set[str] = field(kw_only=True)
    """Questions on which somebody of the team still makes a mistake; shared."""
    cases: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    found: dict[str, Finding] = field(default_factory=dict)
    disputed: set[str] = field(default_factory=set)
    pending: dict[str, str] = field(default_factory=dict)
    held: Said | None = None
    waited: int = 0
    over: str = ""

    async def turn(self, wait_s: float = 0) -> bool:
        """One step; False when there was nothing to do."""
        if self.held is None:
            if await self.defend():
                return True
            claim = await self.do("claim_task", wait_s=wait_s)
            self.over = claim.facts.get("run_state", "")
            if "lease" not in claim.facts:
                return False
            self.held = claim
            if claim["task"]["kind"] == "work":
                return True  # the next turn reads and proposes
        kind = self.held["task"]["kind"]
        step = {"verify": self.verify, "work": self.work, "decide": self.decide}[kind]
        if await step(self.held):
            self.held = None
        return True

    # -- verifying -------------------------------------------------------------------------------

    async def verify(self, claim: Said) -> bool:
        text = claim["task"]["case"]
        case = parse(text)
        self.cases[case.entry] = text
        found = judge(case, self.library)
        self.verdicts[case.entry] = found.verdict
        await self.do(
            "verify",
            lease=claim["lease"],
            entry=case.entry,
            verdict=found.verdict,
            reason=found.reason,
            fails=list(found.fails),
        )
        return True

    # -- working ---------------------------------------------------------------------------------

    async def work(self, claim: Said) -> bool:
        key = claim["task"]["subject"].split(":")[0]
        question = BY_KEY[key]
        if key == COUNTED:
            return await self.tickets(claim)
        if key in self.slips:
            self.slips.discard(key)
            self.found[key] = SLIP
        else:
            self.found[key] = question.truth
        holder = holds(await self.context(), key)
        if holder is not None and self.differs(question, holder) and self.waited < PATIENCE:
            self.waited += 1
            if not holder.suspect:
                self.waited += 0 if await self.dispute(question, holder) else PATIENCE
            return False
        self.waited = 0
        return self.noted(key, await self.propose(self.found[key], key, lease=claim["lease"], completes=True))

    async def tickets(self, claim: Said) -> bool:
        for ticket in TICKETS:
            last = ticket is TICKETS[-1]
            if not last and (holds(await self.context(), ticket.key) or await self.is_pending(ticket.key)):
                continue
            answer = await self.propose(ticket, ticket.key, lease=claim["lease"], completes=last)
            if not self.noted(ticket.key, answer):
                return False
        return True

    def noted(self, key: str, answer: Said) -> bool:
        """Whether a proposal is on its way; one that is refused is made again in another turn."""
        assert not answer.is_error, answer.text
        if answer["state"] == "pending":
            self.pending[key] = answer["entry"]
        if answer["state"] == "rejected":
            self.refused.append((answer["entry"], answer["reasons"][0]))
        return bool(answer["state"] != "rejected")

    def differs(self, question: Question, holder: Live) -> bool:
        mine = question.answer(self.found[question.key].gist)[0]
        return question.answer(holder.gist)[0] != mine

    async def defend(self) -> bool:
        """Look after what it found: dispute what contradicts it, and say it again where it is gone."""
        if not self.found:
            return False
        entries = await self.context()
        for key, finding in self.found.items():
            question, holder = BY_KEY[key], holds(entries, key)
            if holder is None:
                if await self.is_open(key):
                    continue
                return self.noted(key, await self.propose(finding, key))
            if not holder.suspect and self.differs(question, holder) and await self.dispute(question, holder):
                return True
        return False

    async def is_open(self, key: str) -> bool:
        """Whether a proposal of its own is still undecided, or the question's task is to be done again."""
        return await self.is_pending(key) or any(
            item["subject"].startswith(f"{key}:") for item in await self.queue()
        )

    async def is_pending(self, key: str) -> bool:
        label = self.pending.get(key)
        if not label:
            return False
        (item,) = (await self.do("read_context", entries=[label]))["items"]
        if item["state"] == "pending":
            return True
        del self.pending[key]
        if item["state"] == "rejected":
            self.refused.append((label, item["reason"]))
        return False

    async def dispute(self, question: Question, holder: Live) -> bool:
        """Challenge an entry; False where this was done before."""
        if holder.label in self.disputed:
            return False
        self.disputed.add(holder.label)
        source = self.found[question.key].evidence[0]
        answer = await self.call(
            "verify",
            entry=holder.label,
            verdict="fail",
            reason=f"{source['ref']} says {source['text']!r}",
            fails=["support"],
        )
        return not answer.is_error

    # -- deciding --------------------------------------------------------------------------------

    async def decide(self, claim: Said) -> bool:
        """Answer from what the context says, and from nothing else."""
        entries = {label: entry for label, entry in (await self.context()).items() if not entry.suspect}
        lines, cited = [], []
        for question in QUESTIONS:
            words, labels = read_answer(question, entries)
            cited += labels
            lines.append(
                f"{question.key}: {words} [{', '.join(labels)}]"
                if labels
                else f"{question.key}: nothing is known"
            )
        answer = await self.call(
            "propose_update",
            lease=claim["lease"],
            kind="answer",
            gist="The questions about Kestrel and its sites are answered as the summary lists them.",
            summary="\n".join(lines),
            derived_from=cited,
            completes=True,
        )
        if answer.is_error:  # there is open work again
            await self.do("update_task", lease=claim["lease"], action="release", note="there is work again")
        return answer.is_error or answer["state"] != "rejected"


def read_answer(question: Question, entries: dict[str, Live]) -> tuple[str, list[str]]:
    """What a context says to a question, in its words, and the entries that say so."""
    if question.key == COUNTED:
        labels = [label for label, entry in entries.items() if question.answer(entry.gist)[0]]
        return str(len(labels)), labels
    holder = holds(entries, question.key)
    words = question.answer(holder.gist)[1] if holder else ""
    return words, [holder.label] if holder and words else []
