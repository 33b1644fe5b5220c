"""What is spent, and the caps on it: for one item, and for a whole run.

A cap that is reached ends an item (it is graded by what it has, which is nothing) or stops the run (which can
be resumed with a higher one). Calls that are under way when a cap is reached are still paid.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from delm_client.bench.errors import BenchError


class OverLimit(BenchError):
    """A cap is reached; its text names it."""

    def __init__(self, text: str, *, whole_run: bool) -> None:
        super().__init__(text)
        self.whole_run = whole_run


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call of the model.

    Attributes:
        input_tokens: All that was read, from a cache or not; 0 where the server does not count.
        cached_tokens: Those of them that came from the provider's cache.
        cost_usd: None where no price is known or nothing was counted: unknown, not free.
        cost_uncached_usd: What it would have cost without the cache.
        latency_s: From asking to the whole answer, retries and their waits included.
        measured: Whether the server counted tokens.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    cost_uncached_usd: float | None = None
    latency_s: float = 0.0
    measured: bool = True


@dataclass(slots=True)
class Spending:
    """The sum of calls. The costs are lower bounds where `unpriced` is not 0."""

    calls: int = 0
    unpriced: int = 0
    """Calls whose cost is unknown."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cost_uncached_usd: float = 0.0
    latency_s: float = 0.0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def cost_known(self) -> float | None:
        """The cost, or None where a part of it is unknown."""
        return None if self.unpriced else self.cost_usd

    def add(self, call: Call) -> None:
        """Count one call."""
        self.calls += 1
        self.input_tokens += call.input_tokens
        self.cached_tokens += call.cached_tokens
        self.output_tokens += call.output_tokens
        self.latency_s += call.latency_s
        if call.cost_usd is None or call.cost_uncached_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += call.cost_usd
            self.cost_uncached_usd += call.cost_uncached_usd

    def plus(self, other: "Spending") -> "Spending":
        """Both together."""
        return Spending(*(getattr(self, name.name) + getattr(other, name.name) for name in fields(self)))

    def as_json(self) -> dict[str, Any]:
        """All of it; costs are null where a part is unknown."""
        known = self.unpriced == 0
        return {
            "calls": self.calls,
            "unpriced_calls": self.unpriced,
            "input_tokens": self.input_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd if known else None,
            "cost_uncached_usd": self.cost_uncached_usd if known else None,
            "latency_s": self.latency_s,
        }

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> "Spending":
        """What `as_json` gave; a cost that was unknown then is unknown now."""
        return cls(
            calls=given["calls"],
            unpriced=given["unpriced_calls"],
            input_tokens=given["input_tokens"],
            cached_tokens=given["cached_tokens"],
            output_tokens=given["output_tokens"],
            cost_usd=given["cost_usd"] or 0.0,
            cost_uncached_usd=given["cost_uncached_usd"] or 0.0,
            latency_s=given["latency_s"],
        )


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper bounds; None: none."""

    cost_usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None

    def refuse_nothing(self, of: str) -> None:
        """Raises BenchError where a cap leaves room for no call at all."""
        for cap in fields(self):
            value = getattr(self, cap.name)
            if value is not None and not value > 0:  # nor is NaN
                raise BenchError(
                    f"The {cap.name.replace('_usd', '')} limit of {of} is {value:g}: "
                    "that allows no call of the model. Name a larger one, or leave it out."
                )


@dataclass
class Meter:
    """Counts against the caps of one item, or of the run when it has no `run` above it."""

    caps: Caps
    of: str
    run: "Meter | None" = None
    spent: Spending = field(default_factory=Spending)
    clock: Callable[[], float] = time.monotonic
    started: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def check(self) -> None:
        """Before a call. Raises OverLimit where a cap is reached, of the item or of the run."""
        if self.run is not None:
            self.run.check()
        so_far = {
            "cost_usd": self.spent.cost_usd,
            "tokens": self.spent.tokens,
            "calls": self.spent.calls,
            "seconds": self.clock() - self.started,
        }
        for name, value in so_far.items():
            cap = getattr(self.caps, name)
            if cap is not None and value >= cap:
                raise OverLimit(
                    f"the {name.replace('_usd', '')} limit of {self.of} is reached ({value:g} of {cap:g})",
                    whole_run=self.run is None,
                )

    def add(self, call: Call) -> None:
        """After a call."""
        self.spent.add(call)
        if self.run is not None:
            self.run.add(call)
