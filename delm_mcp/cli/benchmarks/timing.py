"""Callers in a closed loop, and what is said of the times they saw."""

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


@dataclass
class Timing:
    """Calls that were made, and how long that took; several passes can be added up.

    Attributes:
        calls_s: How long each call took, as its caller saw it.
        cpu_s: What the process that served them used of the processor, in all its threads.
    """

    calls_s: list[float] = field(default_factory=list)
    count: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, other: "Timing") -> None:
        self.calls_s += other.calls_s
        self.count += other.count
        self.elapsed_s += other.elapsed_s
        self.cpu_s += other.cpu_s

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.count / self.elapsed_s if self.elapsed_s else 0.0

    def summary(self) -> dict[str, Any]:
        """Rate, median, 99th percentile and processor time, as they are printed.

        On a machine that others use, the processor time of a call is what can be trusted.
        """
        return {
            "per_s": round(self.rate, 1),
            "p50_ms": round(percentile(self.calls_s, 50) * 1e3, 3),
            "p99_ms": round(percentile(self.calls_s, 99) * 1e3, 3),
            "cpu_us": round(self.cpu_s / self.count * 1e6) if self.count else 0,
            "calls": self.count,
        }


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def ratio(part: float, whole: float) -> float:
    """To two digits; 0 where there is nothing to compare with."""
    return round(part / whole, 2) if whole else 0.0


async def closed_loop(
    callers: int,
    limit_s: float,
    items: Iterator[T],
    call: Callable[[T], Awaitable[None]],
    cpu_time: Callable[[], float] = time.process_time,
) -> Timing:
    """Let callers make one call after the other until the time or the items are used up."""
    timing = Timing()
    cpu_before = cpu_time()
    began = time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - began < limit_s:
            item = next(items, None)
            if item is None:
                return
            start = time.perf_counter()
            await call(item)
            timing.calls_s.append(time.perf_counter() - start)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed  # what one call met, as its caller would have seen it
    timing.elapsed_s = time.perf_counter() - began
    timing.count, timing.cpu_s = len(timing.calls_s), cpu_time() - cpu_before
    return timing
