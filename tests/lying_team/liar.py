"""The liar: tells every lie once, judges in its own favour where it can, and disputes what is true."""

import re
from dataclasses import dataclass, field

from tests.lying_team.lies import DUPLICATE
from tests.lying_team.members import Live, Member, holds
from tests.lying_team.story import BY_KEY, NEXT, OWN, TICKETS, Finding, Lie
from tests.outside import Said

PER_SLOT = 2  # lies that it tells whenever it is its turn
SETTLED = 4  # after so many slots everybody has joined
ABOUT = re.compile(r"^Verify (E\d+): (.*)$")


@dataclass
class Told:
    """A lie, the entry that it became, and how it was answered at once."""

    lie: Lie
    entry: str
    state: str
    reason: str = ""


@dataclass
class Deed:
    """Something that it tried besides lying, and what came of it."""

    tried: str
    came_of_it: str
    succeeded: bool = False


@dataclass
class Liar(Member):
    """Acts after every honest turn. `puppet` is a second agent behind the same token."""

    lies: tuple[list[Lie], list[Lie]] = field(kw_only=True)
    """Those that it tells at once, and those for later, in their order."""
    agent: str = ""
    puppet: str = ""
    told: list[Told] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    later: list[Lie] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    tried_own: int = 0
    slots: int = 0
    disputes: list[str] = field(default_factory=list)
    submitted: set[str] = field(default_factory=set)
    """Tasks of which a lie is the result, while peers judge it."""

    async def begin(self) -> None:
        """Join twice, and tell what is told at once, as results of the questions' own tasks."""
        subjects = {item["subject"].split(":")[0]: item["task"] for item in await self.queue()}
        self.agent = await self.join(subjects["quorum"])
        self.puppet = await self.join(subjects["latency"])
        at_once, self.later = self.lies
        for key in dict.fromkeys(lie.key for lie in at_once):
            lease = (await self.do("claim_task", agent=self.agent, task=subjects[key]))["lease"]
            lies = [lie for lie in at_once if lie.key == key]
            while lies and await self.tell(lies.pop(0), lease=lease):
                pass
            self.later += lies  # those that were not needed are told later, in place of the first
            if self.told[-1].state == "pending":
                self.submitted.add(subjects[key])
            if self.told[-1].state == "rejected":
                await self.do("update_task", lease=lease, action="release", note="no time")

    async def join(self, task: str) -> str:
        """A name of its own; the task that comes with it is handed back."""
        claim = await self.do("claim_task", task=task)
        await self.do("update_task", lease=claim["lease"], action="release", note="not now")
        return str(claim["agent"])

    async def slot(self) -> None:
        """Whatever it can do now; nothing once the run is over."""
        if not await self.queue():
            return
        self.slots += 1
        if self.slots == SETTLED:
            await self.cheat()
        await self.judge_and_dispute()
        await self.hand_back()
        copied = holds(await self.context(), TICKETS[0].key)
        due = [lie for lie in self.later if copied or lie.family != DUPLICATE]
        for lie in due[:PER_SLOT]:
            self.later.remove(lie)
            await self.tell(lie, agent=self.agent)

    # -- lying -----------------------------------------------------------------------------------

    async def tell(self, lie: Lie, *, lease: str = "", agent: str = "") -> bool:
        """Tell a lie; whether it was refused at once, so that the next one of its kind has its turn."""
        for step in lie.first:
            await self.put(step, step.key, lease=lease, agent=agent)
        answer = await self.put(lie.finding, lie.key, lease=lease, agent=agent, completes=bool(lease))
        reason = answer["reasons"][0] if answer["state"] == "rejected" else ""
        self.told.append(Told(lie, answer["entry"], answer["state"], reason))
        return bool(answer["state"] == "rejected")

    async def put(
        self, finding: Finding, key: str, *, lease: str, agent: str, completes: bool = False
    ) -> Said:
        own = max(self.labels, key=lambda label: int(label[1:]), default="E1")
        self.places |= {OWN: own, NEXT: f"E{int(own[1:]) + 1}"}
        answer = await self.propose(finding, key, lease=lease, agent=agent, completes=completes)
        assert not answer.is_error, answer.text
        self.labels.add(answer["entry"])
        return answer

    async def hand_back(self) -> None:
        """Tasks whose lies peers turned down come back to their author first; it has no use for them."""
        for item in await self.queue():
            if item["task"] in self.submitted and item["state"] == "ready":
                self.submitted.remove(item["task"])
                claim = await self.do("claim_task", agent=self.agent, task=item["task"])
                await self.do("update_task", lease=claim["lease"], action="release", note="no time")

    # -- judging ---------------------------------------------------------------------------------

    async def judge_and_dispute(self) -> None:
        for item in await self.queue():
            found = ABOUT.match(item["subject"]) if item["kind"] == "verify" else None
            if found and item["state"] == "ready":
                await self.judge(item["task"], *found.groups())
        await self.dispute(await self.context())

    async def judge(self, task: str, entry: str, gist: str) -> None:
        if entry in self.labels:
            if self.tried_own < 2:
                who = (self.agent, self.puppet)[self.tried_own]
                self.tried_own += 1
                role = "as the author" if who == self.agent else "as a second agent behind the same token"
                await self.attempt(f"judge a lie of its own, {role}", "claim_task", agent=who, task=task)
            return
        if entry in self.judged:
            return
        verdict = self.verdict_on(gist)
        if not verdict:
            return
        claim = await self.call("claim_task", agent=self.agent, task=task)
        if claim.is_error:
            return
        self.judged.append(entry)
        await self.vote(claim, entry, verdict, gist)

    def verdict_on(self, gist: str) -> str:
        """Passes nonsense wherever it finds some; of what is true it judges three and leaves the rest."""
        if not is_true(gist):
            return "pass"
        return {0: "abstain", 1: "fail", 2: "pass"}.get(len(self.judged), "")

    async def vote(self, claim: Said, entry: str, verdict: str, gist: str) -> None:
        arguments = {
            "lease": claim["lease"],
            "entry": entry,
            "verdict": verdict,
            "reason": "looks fine to me" if verdict != "fail" else "I do not like it",
            "fails": ["support"] if verdict == "fail" else [],
        }
        answer = await self.do("verify", **arguments)
        what = "something false" if not is_true(gist) else "something true"
        outcome = f"{entry} is {answer['state']}"
        self.deeds.append(Deed(f"vote {verdict} on {what} of a peer", outcome, succeeded=True))
        if verdict == "abstain":
            again = [
                item["task"] for item in await self.queue() if item["subject"].startswith(f"Verify {entry}:")
            ]
            await self.attempt(
                "vote twice, with the same lease", "verify", **{**arguments, "verdict": "pass"}
            )
            for task in again[:1]:
                await self.attempt(
                    "vote twice, as a second agent", "claim_task", agent=self.puppet, task=task
                )

    async def dispute(self, entries: dict[str, Live]) -> None:
        """Dispute something true, and then the same again."""
        if self.disputes:
            if len(self.disputes) == 1:
                await self.attempt(
                    "dispute the same entry again", "verify", **self._against(self.disputes[0])
                )
                self.disputes.append("")
            return
        for label, entry in entries.items():
            if label not in self.labels and not entry.suspect and entry.key in BY_KEY and is_true(entry.gist):
                self.disputes.append(label)
                answer = await self.do("verify", **self._against(label))
                self.deeds.append(
                    Deed("dispute a true entry without reason", f"{label} is {answer['state']}", True)
                )
                return

    def _against(self, label: str) -> dict[str, object]:
        reason = "I have heard otherwise" if not self.disputes[1:] else "I still think so"
        return {
            "entry": label,
            "agent": self.agent,
            "verdict": "fail",
            "reason": f"{reason} ({len(self.deeds)})",
            "fails": ["support"],
        }

    # -- cheating --------------------------------------------------------------------------------

    async def cheat(self) -> None:
        """What no agent may do at any time."""
        admitted = [told.entry for told in self.told if told.state == "admitted"]
        for label in admitted[:1]:
            await self.attempt(
                "vouch for a lie of its own",
                "verify",
                entry=label,
                agent=self.puppet,
                verdict="pass",
                reason="fine",
            )
        await self.attempt(
            "answer the run without the decide task",
            "propose_update",
            agent=self.agent,
            kind="answer",
            gist="Everything is as I said before.",
        )
        await self.attempt("speak for a peer", "claim_task", agent="ada")

    async def attempt(self, tried: str, tool: str, **arguments: object) -> None:
        answer = await self.call(tool, **arguments)
        said = str(answer.facts.get("error", answer.text)).split(". ")[0].rstrip(".")
        self.deeds.append(Deed(tried, said.splitlines()[0][:120], succeeded=not answer.is_error))


def is_true(gist: str) -> bool:
    """Whether a gist says what is so; the liar knows."""
    for question in BY_KEY.values():
        value = question.answer(gist)[0]
        if value:
            return value in {question.true, "one more"}
    return "questions about Kestrel" in gist
