"""The budget of a team: what its clients report is added up; what nobody reports is unknown, not nothing."""

from collections.abc import Callable

from delm_client.team.record import Ended, Line, Spent, Started
from delm_client.team.supervise import Ending
from delm_client.team.tally import Tally, usd


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
        self._spent: dict[str, Tally] = {}
        self._silent: set[str] = set()

    @property
    def spent_usd(self) -> float:
        """What is known to be spent."""
        return sum(tally.known_usd for tally in self._spent.values())

    def hear(self, line: Line) -> None:
        """Add what a line says was spent."""
        if self._limit_usd is None or not line.agent:
            return
        tally = self._spent.setdefault(line.agent, Tally())
        match line.what:
            case Started():
                tally.next_process()
            case Spent():
                tally.add(line.what)
            case Ended() if tally.unpriced and line.agent not in self._silent:
                # Some clients tell the cost of everything at their end, so before it nothing is lacking.
                self._silent.add(line.agent)
                self._note(f"{line.agent} did not say what it cost, so the budget does not count all of it.")
            case _:
                pass
        if self.spent_usd >= self._limit_usd and not self._ending.asked.is_set():
            self._note(
                f"{usd(self.spent_usd)} are spent, of a budget of {usd(self._limit_usd)}: the team ends."
            )
            self._ending.ask("budget")
