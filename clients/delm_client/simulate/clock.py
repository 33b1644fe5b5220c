"""Simulated time: a heap of things to come, and those who serve others one after another.

A library (SimPy) was measured beside this: see the README of this folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

Action = Callable[[], None]


class Clock:
    """Simulated seconds. What falls due at the same time happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Action]] = []
        self._asked = 0

    def at(self, time_s: float, action: Action) -> None:
        """Do it at that time; never, when the time is infinite."""
        if time_s == inf:
            return
        if time_s < self.now:
            raise ValueError(f"{time_s} is past: it is {self.now}")
        self._asked += 1
        heappush(self._due, (time_s, self._asked, action))

    def after(self, delay_s: float, action: Action) -> None:
        """Do it so many seconds from now."""
        self.at(self.now + delay_s, action)

    def run(self, done: Callable[[], bool]) -> None:
        """Until it is done, or until nothing is left that could happen."""
        while self._due and not done():
            self.now, _, action = heappop(self._due)
            action()


@dataclass(frozen=True, slots=True)
class Outage:
    """From when until when somebody serves nobody; `until_s` may be infinite."""

    from_s: float
    until_s: float


class Station:
    """Serves one caller at a time, first come first served. What an outage interrupts begins anew."""

    def __init__(self, clock: Clock, outage: Outage | None = None) -> None:
        self.busy_s = 0.0
        self._clock = clock
        self._outage = outage
        self._free_s = 0.0

    def ask(self, service_s: float, then: Action) -> None:
        """Stand in line, be served for so many seconds, then go on."""
        begin_s = max(self._clock.now, self._free_s)
        if self._outage and begin_s < self._outage.until_s and begin_s + service_s > self._outage.from_s:
            begin_s = self._outage.until_s
        self._free_s = begin_s + service_s
        if self._free_s < inf:
            self.busy_s += service_s
        self._clock.at(self._free_s, then)


class BatchStation:
    """Serves everybody who waits in one turn of `turn_s`, plus `item_s` for each caller after the first."""

    def __init__(self, clock: Clock, turn_s: float, item_s: float, outage: Outage | None = None) -> None:
        self.turns = 0
        self._station = Station(clock, outage)
        self._turn_s = turn_s
        self._item_s = item_s
        self._waiting: list[Action] = []
        self._busy = False

    @property
    def busy_s(self) -> float:
        """Seconds of service."""
        return self._station.busy_s

    def ask(self, then: Action) -> None:
        """Be served in the next turn."""
        self._waiting.append(then)
        if not self._busy:
            self._turn()

    def _turn(self) -> None:
        served, self._waiting = self._waiting, []
        self._busy = True
        self.turns += 1

        def end() -> None:
            self._busy = False
            for then in served:
                then()
            if self._waiting and not self._busy:
                self._turn()

        self._station.ask(self._turn_s + self._item_s * (len(served) - 1), end)
