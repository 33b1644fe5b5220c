"""What a team spends, as its clients report it; what nobody reports is unknown, not nothing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from delm_client.team.record import Ended, Event, Line, Spent, Started
from delm_client.team.supervise import Ending


@dataclass
class Purse:
    """What one agent has spent.

    Some clients tell tokens as they go and the cost of all of them when they end. So tokens are without a
    cost for good only when their process has ended and no cost came after them.
    """

    tokens: int = 0
    usd: float = 0.0
    priced: bool = False
    unpriced: bool = False
    """Whether a process has ended whose cost nobody told."""
    _waiting: bool = False

    def hear(self, what: Event) -> None:
        """Take in what happened to the agent."""
        match what:
            case Spent(cost_usd=None):
                self.tokens += what.input_tokens + what.output_tokens
                self._waiting = True
            case Spent():
                self.tokens += what.input_tokens + what.output_tokens
                self.usd += what.cost_usd or 0.0
                self.priced, self._waiting = True, False
            case Started() | Ended():
                self.unpriced |= self._waiting
                self._waiting = False
            case _:
                pass

    def __str__(self) -> str:
        if not self.tokens and not self.priced:
            return "tokens and cost unknown"
        cost = f"{self.usd:.2f} USD" if self.priced else "cost unknown"
        lacking = " at least" if self.priced and (self.unpriced or self._waiting) else ""
        return f"{self.tokens:,} tokens, {cost}{lacking}"


def purse_of(happened: Iterable[Event]) -> Purse:
    """What an agent spent, from all that happened to it."""
    purse = Purse()
    for what in happened:
        purse.hear(what)
    return purse


class Budget:
    """Ends the team when it has spent too much.

    Args:
        limit_usd: None for no limit.
        note: Told in words what is to be said of it.
    """

    def __init__(self, limit_usd: float | None, ending: Ending, note: Callable[[str], None]) -> None:
        self._limit_usd = limit_usd
        self._ending = ending
        self._note = note
        self._purses: dict[str, Purse] = {}

    @property
    def spent_usd(self) -> float:
        """What is known to be spent."""
        return sum(purse.usd for purse in self._purses.values())

    def hear(self, line: Line) -> None:
        """Add what a line says was spent."""
        if self._limit_usd is None or not line.agent:
            return
        purse = self._purses.setdefault(line.agent, Purse())
        unpriced = purse.unpriced
        purse.hear(line.what)
        if purse.unpriced and not unpriced:
            self._note(f"{line.agent} did not say what it cost, so the budget does not count all of it.")
        if self.spent_usd >= self._limit_usd and not self._ending.asked.is_set():
            self._note(
                f"{self.spent_usd:.2f} USD are spent, of a budget of {self._limit_usd:.2f}: the team ends."
            )
            self._ending.ask("budget")
