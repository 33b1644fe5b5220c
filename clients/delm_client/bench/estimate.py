"""What a run will take, before it is started: calls, tokens and cost without any cache."""

from collections.abc import Sequence
from dataclasses import dataclass

from delm_client.bench.items import Question
from delm_client.bench.longbench.split import tokens
from delm_client.bench.models import Wanted
from delm_client.bench.parts import parts_of
from delm_client.bench.runner import Plan
from delm_client.bench.topologies import Topology

PROMPT_TOKENS = 350
"""Of instructions, in each call."""
READ_TOKENS, LOOK_TOKENS, ANSWER_TOKENS, JUDGE_TOKENS = 350, 60, 20, 80
"""Usual sizes of answers."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Sums over all items; the cost is None where no price is known."""

    items: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None

    def __str__(self) -> str:
        cost = "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.2f} without any cache"
        return (
            f"about {self.calls:,} calls, {self.input_tokens:,} tokens in, {self.output_tokens:,} out for "
            f"{self.items} items: {cost}. Unfolding, further rounds, mended notes and retries come on top."
        )


def estimate(questions: Sequence[Question], plan: Plan, wanted: Wanted) -> Estimate:
    """Estimate the items that are still to be run."""
    from pydantic_ai.usage import RequestUsage

    calls = given = taken = 0
    for question in questions:
        more = _of_item(question, plan)
        calls, given, taken = calls + more[0], given + more[1], taken + more[2]
    cost = wanted.price_of(RequestUsage(input_tokens=given, output_tokens=taken))
    return Estimate(len(questions), calls, given, taken, cost)


def _of_item(question: Question, plan: Plan) -> tuple[int, int, int]:
    """Calls, tokens in, tokens out."""
    base = tokens(question.shown()) + PROMPT_TOKENS
    if plan.topology is Topology.DIRECT:
        return 1, base + min(tokens(question.context), plan.habits.context_tokens), ANSWER_TOKENS
    sizes = [tokens(part.text) for part in parts_of(question, plan.habits.chunk_tokens)]
    count, gist = len(sizes), plan.habits.gist_tokens
    notes = gist * count
    growing = gist * count * (count - 1) // 2
    text = sum(sizes)
    calls, given = count + 2, (count + 2) * base + text + 2 * notes
    taken = count * READ_TOKENS + LOOK_TOKENS + ANSWER_TOKENS
    if plan.topology is Topology.CENTRAL:
        rounds = -(-count // plan.agents)
        return calls + rounds, given + rounds * base + growing // plan.agents, taken + rounds * LOOK_TOKENS
    given += growing
    if plan.topology is Topology.INDEPENDENT:
        return plan.agents * calls, plan.agents * given, plan.agents * taken
    if plan.policy == "strict":
        judged = count + 1
        return calls + judged, given + judged * (base + 3 * gist), taken + judged * JUDGE_TOKENS
    return calls, given, taken
