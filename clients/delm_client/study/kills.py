"""Which test first? Tests executed if agents began with what killed most edits, their own or everybody's.

The recording says of each edit which tests kill it, so any order of tests can be replayed, but for the
seconds.
"""

from collections import Counter
from collections.abc import Sequence

from delm_client.study.recording import KILLS, UNKNOWN, Program, Trial
from delm_client.study.teams import Outcome

ORDERS = ("fixed", "own", "shared")


def executed(program: Program, outcome: Outcome) -> dict[str, int]:
    """Tests that the edits of one program's run take, by who learns from whom; no controls, no starts."""
    learnt: dict[tuple[str, int], Counter[int]] = {}
    totals = dict.fromkeys(ORDERS, 0)
    for _, agent, work, place in outcome.log:
        trial = program.spaces[work.space].trials[place]
        totals["fixed"] += trial.tests
        for order, who in (("own", agent), ("shared", -1)):
            counts = learnt.setdefault((order, who), Counter())
            totals[order] += _first_kill(trial, counts)
    return totals


def _first_kill(trial: Trial, counts: Counter[int]) -> int:
    """Tests until the first that kills, most deadly first; learns from what it saw."""
    if trial.passes or UNKNOWN in trial.kills or KILLS not in trial.kills:
        return trial.tests
    order: Sequence[int] = sorted(range(len(trial.kills)), key=lambda test: -counts[test])
    for count, test in enumerate(order, 1):
        if trial.kills[test] == KILLS:
            counts[test] += 1
            return count
    return trial.tests
