"""Intervals and tests for counts of right answers."""

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

Z95 = 1.959963984540054
RESAMPLES = 10_000


def wilson(right: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate (Wilson 1927); (0, 1) where nothing was counted."""
    if not total:
        return 0.0, 1.0
    rate, square = right / total, Z95 * Z95
    middle = (rate + square / (2 * total)) / (1 + square / total)
    half = Z95 * math.sqrt(rate * (1 - rate) / total + square / (4 * total * total)) / (1 + square / total)
    # The rate is inside; at 0 and 1, rounding would leave it a hair outside.
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))


def tally(rights: Iterable[bool]) -> dict[str, Any]:
    """Right, total, rate, and the rate's 95 % interval."""
    listed = list(rights)
    return tally_of(sum(listed), len(listed))


def tally_of(right: int, total: int) -> dict[str, Any]:
    """The same from counts."""
    return {
        "right": right,
        "total": total,
        "rate": right / total if total else 0.0,
        "interval": wilson(right, total),
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: items that only one of two runs got right, as fair coin
    throws; 1 where there are none.
    """
    throws = only_first + only_second
    if not throws:
        return 1.0
    tail = sum(math.comb(throws, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, float(2 * tail / 2**throws))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p for several tests (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def bootstrap(differences: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of paired differences, over resampled items."""
    if not differences:
        raise ValueError("There is nothing to resample.")
    chance = random.Random(seed)  # noqa: S311  # statistics, not secrets
    size = len(differences)
    means = sorted(sum(chance.choices(differences, k=size)) / size for _ in range(RESAMPLES))
    return means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies (nearest rank); 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
