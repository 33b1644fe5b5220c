"""What the rows of a SWE-bench run come to, beside what all coding benchmarks count."""

from collections.abc import Mapping, Sequence
from typing import Any

from delm_client.bench.coding.subject import EMPTY
from delm_client.bench.statistics import tally
from delm_client.bench.swebench.metrics import Attempt, summarise
from delm_client.bench.swebench.outcomes import Judged, Outcome

Row = Mapping[str, Any]
NOT_SUBMITTED = Judged("", Outcome.NOT_RUN)


def sums(rows: Sequence[Row]) -> dict[str, Any]:
    """Over rows whose team's submission is judged; each agent's own submission is a thread of the paper.

    Returns:
        `each_agent`: Avg@1 of the submissions that are judged, and Pass@k of all that a team has;
        `submission_outcomes`: of agents' submissions; `avg_at_1_official`: resolved of all of those, where
        what could not be judged counts as failed; `oracle_pass_at`: by k, the best of the first k;
        `unbiased_pass_at`: by k, its expectation over which k. Nothing where there are no rows.
    """
    if not rows:
        return {}
    most = max(1, *(len(row["submissions"]) for row in rows))
    summary = summarise({row["id"]: _attempts(row, most) for row in rows})
    teams = [[outcome_of(each["outcome"]) for each in row["submissions"]] for row in rows]
    return {
        "each_agent": {
            "avg_at_1": tally(one is Outcome.RESOLVED for team in teams for one in team if one.is_judged),
            f"pass_at_{most}": tally(Outcome.RESOLVED in team for team in teams),
        },
        "submission_outcomes": {outcome.value: count for outcome, count in summary.outcomes.items() if count},
        "avg_at_1_official": summary.avg_at_1,
        "oracle_pass_at": {str(k): rate for k, rate in summary.oracle_pass_at.items()},
        "unbiased_pass_at": {str(k): rate for k, rate in summary.unbiased_pass_at.items()},
    }


def _attempts(row: Row, count: int) -> list[Attempt]:
    """One attempt for each agent."""
    made = [Attempt(Judged(row["id"], outcome_of(each["outcome"]))) for each in row["submissions"]]
    return made + [Attempt(NOT_SUBMITTED)] * (count - len(made))


def outcome_of(word: str) -> Outcome:
    """The outcome that a row names; before any judging only empty patches have one."""
    return Outcome.EMPTY_PATCH if word == EMPTY else Outcome(word)
