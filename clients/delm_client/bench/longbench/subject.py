"""LongBench-v2 for the runner: reading topologies, graded by the letter."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from delm_client.bench.items import Item, Question
from delm_client.bench.longbench.prompts import THOUGHT_TOKENS
from delm_client.bench.longbench.scoring import GROUPS, extract_answer
from delm_client.bench.longbench.split import tokens
from delm_client.bench.parts import parts_of
from delm_client.bench.reader import Habits
from delm_client.bench.statistics import tally, tally_of
from delm_client.bench.subjects import Estimated, Outcome, Row, Scene, Team, Topology, known_to
from delm_client.bench.topologies import Reading, answer

PROMPT_TOKENS = 350
"""Of instructions, in each call."""
READ_TOKENS, LOOK_TOKENS, ANSWER_TOKENS, JUDGE_TOKENS, COT_TOKENS = 350, 60, 20, 80, 400
"""Usual sizes of answers."""


@dataclass(frozen=True, slots=True)
class LongBench:
    """Multiple-choice questions about long texts."""

    habits: Habits
    topologies = tuple(Topology)
    groups = GROUPS
    scripted = "reader"
    on_top = "Unfolding, further rounds, mended notes and retries come on top."

    @property
    def max_tokens(self) -> int:
        """See `Subject.max_tokens`."""
        return THOUGHT_TOKENS if self.habits.cot else 2048

    @classmethod
    def wished(cls, wishes: Mapping[str, Any]) -> Self:
        """With what a user or a folder says."""
        return cls(known_to(Habits, wishes))

    async def answer(self, scene: Scene) -> Outcome:
        """See `Subject.answer`."""
        team = scene.team
        reading = Reading(
            _question(scene.item), self.habits, team.agents, scene.ask, scene.folder, scene.rules
        )
        return await answer(team.topology, reading)

    async def cut_short(self, scene: Scene, why: str) -> Outcome:
        """See `Subject.cut_short`: without its answer, all that was read is nothing."""
        return Outcome("", why)

    async def row(self, scene: Scene, outcome: Outcome | None) -> dict[str, Any]:
        """See `Subject.row`."""
        question = _question(scene.item)
        letter = extract_answer(outcome.reply) if outcome else None
        own = [extract_answer(reply) for reply in outcome.replies] if outcome else []
        return {
            "right": letter == question.answer,
            "letter": letter,
            "wanted": question.answer,
            "reply": outcome.reply if outcome else "",
            "agents": [{"letter": each, "right": each == question.answer} for each in own],
            "sub_domain": question.sub_domain,
            "length": question.length,
            "difficulty": question.difficulty,
        }

    def estimate(self, item: Item, team: Team) -> Estimated:
        """See `Subject.estimate`."""
        question = _question(item)
        base = tokens(question.shown()) + PROMPT_TOKENS
        if team.topology is Topology.DIRECT:
            given = base + min(tokens(question.context), self.habits.context_tokens)
            if not self.habits.cot:
                return 1, given, ANSWER_TOKENS
            return 2, given + base + COT_TOKENS, COT_TOKENS + ANSWER_TOKENS
        sizes = [tokens(part.text) for part in parts_of(question, self.habits.chunk_tokens)]
        count, gist = len(sizes), self.habits.gist_tokens
        notes = gist * count
        growing = gist * count * (count - 1) // 2
        text = sum(sizes)
        calls, given = count + 2, (count + 2) * base + text + 2 * notes
        taken = count * READ_TOKENS + LOOK_TOKENS + ANSWER_TOKENS
        if team.topology is Topology.CENTRAL:
            rounds = -(-count // team.agents)
            return (
                calls + rounds,
                given + rounds * base + growing // team.agents,
                taken + rounds * LOOK_TOKENS,
            )
        given += growing
        if team.topology is Topology.INDEPENDENT:
            return team.agents * calls, team.agents * given, team.agents * taken
        if team.policy == "strict":
            judged = count + 1
            return calls + judged, given + judged * (base + 3 * gist), taken + judged * JUDGE_TOKENS
        return calls, given, taken

    def sums(self, done: Sequence[Row]) -> dict[str, Any]:
        """See `Subject.sums`: the floors, and the mean of the sub-domains as it is often reported."""
        wanted = Counter(row["wanted"] for row in done)
        letter, count = max(sorted(wanted.items()), key=lambda pair: pair[1]) if wanted else ("", 0)
        inside = [
            tally(row["right"] for row in done if row["sub_domain"] == name)
            for name in sorted({row["sub_domain"] for row in done})
        ]
        return {
            "answered": sum(row["letter"] is not None for row in done),
            "sub_domain_mean": sum(each["rate"] for each in inside) / len(inside) if inside else None,
            "floors": {"majority_letter": letter, "majority": tally_of(count, len(done)), "chance": 0.25},
            "each_agent": _each_agent(done),
        }


def _each_agent(done: Sequence[Row]) -> dict[str, Any]:
    """With independent agents: one agent's mean success, and the oracle's best of them."""
    teams = [[agent["right"] for agent in row["agents"]] for row in done if row["agents"]]
    if not teams:
        return {}
    return {
        "avg_at_1": tally(right for team in teams for right in team),
        f"oracle_best_of_{max(map(len, teams))}": tally(any(team) for team in teams),
    }


def _question(item: Item) -> Question:
    assert isinstance(item, Question)  # noqa: S101  # the registry loads nothing else for this benchmark
    return item
