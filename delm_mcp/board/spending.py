"""What judging costs a run: the bills on its receipts, their sum, and the limits that it must keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from delm_mcp.checks.judge import Opinion, Spent
from delm_mcp.domain.economics import bills_of
from delm_mcp.domain.model import Check
from delm_mcp.domain.policy import JudgePolicy
from delm_mcp.errors import CheckUnavailable


@dataclass(frozen=True, slots=True)
class Spending:
    """What judgements have cost a run: tokens in and out, and dollars, None once one price was unknown."""

    tokens: int = 0
    usd: float | None = 0.0


NOTHING = Spending()


def spent_on_judging(checks: Sequence[Check]) -> Spending:
    """The sum over the receipts of judge checks; what is unknown makes the sum unknown."""
    bills = [bill for check in checks for bill in bills_of(check)]
    costs = [bill["cost_usd"] for bill in bills]
    known = [cost for cost in costs if cost is not None]
    return Spending(
        sum(bill["input_tokens"] + bill["output_tokens"] for bill in bills),
        sum(known) if len(known) == len(costs) else None,
    )


def bill_for(model: str, used: Opinion | Spent) -> dict[str, Any]:
    """What asking a model took, as the receipt keeps it; an unknown cost is None."""
    return {
        "model": model,
        "requests": used.requests,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cost_usd": used.cost_usd,
    }


def refuse_spending(policy: JudgePolicy, spent: Spending) -> None:
    """Raises: CheckUnavailable: The run has spent what its judge may cost, or nobody knows what it has."""
    if spent.tokens >= policy.spend_tokens:
        raise CheckUnavailable(
            f"The judge has used {spent.tokens} of the run's {policy.spend_tokens} tokens.",
            "The owner can allow more with `delm-mcp judge allow`.",
        )
    if policy.spend_usd is not None and spent.usd is None:
        raise CheckUnavailable(
            f"What {policy.model} costs is unknown, so its {policy.spend_usd:g} USD limit cannot be kept.",
            "Set judge.input_usd and judge.output_usd, or only judge.spend_tokens.",
        )
    if policy.spend_usd is not None and spent.usd is not None and spent.usd >= policy.spend_usd:
        raise CheckUnavailable(
            f"The judge has spent {spent.usd:.4g} of the run's {policy.spend_usd:g} USD.",
            "The owner can allow more with `delm-mcp judge allow`.",
        )
