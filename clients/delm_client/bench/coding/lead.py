"""Dividing work, and deciding when it is done: what an orchestrator does between rounds, and a team on a
board once at its beginning and whenever its queue is empty.
"""

from dataclasses import dataclass

from pydantic import BaseModel, Field

from delm_client.bench.coding.coder import INSTRUCTIONS, Desk, Report, listed_changes
from delm_client.bench.forms import Ask, BadForm, formed

WHOLE = "Solve the task: make the change that it asks for."
PLAN = """{task}

In its folder are:
{files}

You divide this task among {agents} programmers. Give at most {agents} parts that can be worked on at the \
same time, each by one of them in a folder of its own: to investigate something, to try an approach, to \
check something. At least one has to make the change that solves the task. Each sees the task and its part.
Answer with one JSON object and nothing else: {{"parts": ["...", "..."]}}"""
REVIEW = """{task}

You lead {agents} programmers: {names}. Each works in a folder of its own. What they reported, and what \
differs in their folders from the task as it was given:

{reports}

{choice}
Answer with one JSON object and nothing else: {{"submit": "", "assign": []}}
submit: the name of the one whose folder solves the task; empty to go on.
assign: to go on, {{"agent": "...", "part": "...", "from": ""}} for each who is to work; from: whose folder \
it starts with, empty for its own."""
GO_ON = "Submit one of the folders, or assign work once more ({left} rounds are left)."
SUBMIT = "No round is left: submit one of the folders."
DECIDE = """{task}

What your team knows:
<known>
{known}
</known>

What the team changed so far, all of it merged:
{change}

Decide whether the task is solved by that. Answer with one JSON object and nothing else: \
{{"answer": "...", "more": []}}
answer: in one or two sentences, what the team's change does.
more: where it does not solve the task, at most {agents} further parts of work, each for one programmer who \
sees the task, what the team knows and its own part; empty where it is solved{last}."""
LAST = " (no further round is left: leave it empty)"


class Plan(BaseModel):
    """Parts of a task that can be worked on at the same time."""

    parts: list[str] = Field(min_length=1)


class Assigned(BaseModel):
    """One agent's work in a round."""

    agent: str
    part: str = Field(min_length=1, max_length=4000)
    start: str = Field(default="", alias="from")


class Review(BaseModel):
    """What comes after a round."""

    submit: str = ""
    assign: list[Assigned] = Field(default_factory=list)


class Decision(BaseModel):
    """What comes when a team's queue is empty."""

    answer: str = Field(default="", max_length=2000)
    more: list[str] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lead:
    """Whoever divides and decides."""

    desk: Desk
    ask: Ask
    agents: int

    async def plan(self, files: str) -> list[str]:
        """At most as many parts as there are agents; the whole task as one where the model gives none."""
        prompt = PLAN.format(task=self.desk.task, files=files, agents=self.agents)
        try:
            plan = await formed(self.ask, "plan", INSTRUCTIONS, prompt, Plan)
        except BadForm:
            return [WHOLE]
        parts = [part.strip()[:4000] for part in plan.parts if part.strip()]
        return list(dict.fromkeys(parts))[: self.agents] or [WHOLE]

    async def review(self, reports: dict[str, tuple[Report | None, str]], *, left: int) -> Review:
        """Submit or assign again; names are those of the reports.

        Args:
            reports: What each agent reported last, and its whole change.
            left: Further rounds.
        """
        said = "\n".join(_said(name, report) for name, (report, _) in reports.items())
        changes = listed_changes([(name, patch) for name, (_, patch) in reports.items()], self._characters)
        prompt = REVIEW.format(
            task=self.desk.task,
            agents=self.agents,
            names=", ".join(reports),
            reports=f"{said}\n\n{changes}",
            choice=GO_ON.format(left=left) if left else SUBMIT,
        )
        try:
            given = await formed(self.ask, "review", INSTRUCTIONS, prompt, Review)
        except BadForm:
            return Review()
        known = [one for one in given.assign if one.agent in reports and one.start in ("", *reports)]
        return Review(
            submit=given.submit if given.submit in reports else "",
            assign=list({one.agent: one for one in known}.values()) if left else [],
        )

    async def decide(self, known: str, change: str) -> Decision:
        """Whether the team's change is the answer, or what is still to be done."""
        prompt = DECIDE.format(
            task=self.desk.task,
            known=known.strip() or "Nothing yet.",
            change=listed_changes([("diff", change)], self._characters),
            agents=self.agents,
            last="" if self.desk.habits.rounds else LAST,
        )
        try:
            given = await formed(self.ask, "decide", INSTRUCTIONS, prompt, Decision)
        except BadForm:
            return Decision()
        more = [part.strip()[:4000] for part in given.more if part.strip()]
        return given.model_copy(update={"more": list(dict.fromkeys(more))[: self.agents]})

    @property
    def _characters(self) -> int:
        return 4 * self.desk.habits.output_chars


def _said(name: str, report: Report | None) -> str:
    if report is None:
        return f"{name} has not worked yet."
    lines = [f"{name} ({report.kind}, {report.ended}): {report.gist}"]
    lines += [f"  {line}" for line in report.summary.strip().splitlines()]
    return "\n".join(lines)
