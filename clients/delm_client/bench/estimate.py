"""What a run will take, before it is started: calls, tokens and cost without any cache."""

from collections.abc import Sequence
from dataclasses import dataclass

from delm_client.bench.items import Item
from delm_client.bench.models import Wanted
from delm_client.bench.subjects import Subject, Team
from delm_client.words import plural


@dataclass(frozen=True, slots=True)
class Estimate:
    """Sums over all items; the cost is None where no price is known."""

    items: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    on_top: str = ""

    def __str__(self) -> str:
        cost = "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.2f} without any cache"
        return (
            f"about {self.calls:,} calls, {self.input_tokens:,} tokens in, {self.output_tokens:,} out for "
            f"{plural(self.items, 'item')}: {cost}. {self.on_top}"
        )


def estimate(items: Sequence[Item], subject: Subject, team: Team, wanted: Wanted) -> Estimate:
    """Estimate the items that are still to be run."""
    from pydantic_ai.usage import RequestUsage

    each = [subject.estimate(item, team) for item in items]
    calls, given, taken = (sum(one[column] for one in each) for column in range(3))
    cost = wanted.price_of(RequestUsage(input_tokens=given, output_tokens=taken))
    return Estimate(len(items), calls, given, taken, cost, subject.on_top)
