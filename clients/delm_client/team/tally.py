"""Tokens and cost, where what is unknown stays unknown; and how numbers are worded."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from delm_client.team.record import Spent

MINUTE_S, HOUR_S = 60, 3600


@dataclass
class Tally:
    """What was spent, as far as clients report it.

    Attributes:
        known_usd: The costs that were reported; a lower bound where `unpriced`.
        counted: Whether anything was reported at all.
        unpriced: Whether a process ended, or is at work, whose tokens were reported without a cost.
        partial: Whether somebody who belongs in it reported nothing.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    known_usd: float = 0.0
    counted: bool = False
    unpriced: bool = False
    partial: bool = False
    _unbilled: bool = False
    _billed: bool = False

    def add(self, spent: Spent) -> None:
        """Count what an agent reports.

        Some clients send a bill at the end. So a cost without tokens, and the first cost that a process
        reports, covers what the same process reported without one.
        """
        self.counted = True
        self.input_tokens += max(0, spent.input_tokens)
        self.output_tokens += max(0, spent.output_tokens)
        self.cached_tokens += max(0, spent.cached_tokens)
        tokens = bool(spent.input_tokens or spent.output_tokens)
        if spent.cost_usd is not None and 0 <= spent.cost_usd < inf:
            self.known_usd += spent.cost_usd
            if not tokens or not self._billed:
                self.unpriced = self._unbilled
            self._billed = True
        elif tokens:
            self.unpriced = True

    def next_process(self) -> None:
        """What comes now is of another process, whose bill covers nothing of the one before."""
        self._unbilled, self._billed = self.unpriced, False

    @property
    def cost_usd(self) -> float | None:
        """The cost; None as soon as a part of it is unknown."""
        return None if self.unpriced or self.partial or not self.counted else self.known_usd

    @property
    def cost(self) -> str:
        """The cost for people: `$0.42`, `at least $0.42`, or `?`."""
        if self.cost_usd is not None:
            return usd(self.cost_usd)
        return f"at least {usd(self.known_usd)}" if self.known_usd else "?"

    @property
    def cost_short(self) -> str:
        """The cost for a narrow column: `$0.42`, `≥ $0.42`, or `?`."""
        return self.cost.replace("at least ", "≥ ")

    def tokens(self, count: int, *, short: bool = False) -> str:
        """One of its counts for people: `12,345` (`12.3k` if short), `at least 12,345`, or `?`."""
        said = shortly(count) if short else f"{count:,}"
        if self.counted and not self.partial:
            return said
        return f"{'≥' if short else 'at least'} {said}" if count else "?"


def together(tallies: Iterable[Tally]) -> Tally:
    """What several spent in all."""
    parts = list(tallies)
    return Tally(
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        known_usd=sum(part.known_usd for part in parts),
        counted=any(part.counted for part in parts),
        unpriced=any(part.unpriced for part in parts),
        partial=not all(part.counted and not part.partial for part in parts),
    )


def usd(amount: float) -> str:
    """Dollars for people; small amounts keep two digits that say something."""
    if amount >= 0.1 or not amount:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= 0.0001 else "under $0.0001"


def shortly(count: int) -> str:
    """A count in five characters or so: `950`, `12.3k`, `4.5M`."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        # What would round up to a thousand of a unit is one of the next.
        if count >= size * 0.9995:
            value = count / size
            return f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"
    return str(count)


def duration(value_s: float) -> str:
    """Seconds for people: `0.4 s`, `38 s`, `12 min 5 s`, `3 h 20 min`."""
    if value_s < 0.05:
        return "0 s"
    if value_s < 9.95:
        return f"{value_s:.1f} s"
    whole = round(value_s)
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        minutes, rest = divmod(whole, MINUTE_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(whole / MINUTE_S), MINUTE_S)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def percent(share: float | None) -> str:
    """A share from 0 to 1 for people; `-` where there is none."""
    return "-" if share is None else f"{100 * share:.0f}%"
