"""The metrics of SWE-bench runs, each with its counts.

Several attempts at an instance are several threads of the paper: `Avg@1` is how often one succeeds, `Pass@k`
whether one of the first k does. What only says that an environment broke counts as a failure in the official
rate, and is left out of the rate of those judged; both are given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from delm_client.bench.swebench.outcomes import Judged, Outcome


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one instance; a cost that is not known is None, and never 0."""

    judged: Judged
    cost_usd: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent: `known_usd` is a lower bound while `unknown` attempts have no price."""

    known_usd: float
    unknown: int
    per_task_usd: float | None
    """Over all attempts at an instance, per instance; None while any is unknown."""
    per_submission_usd: float | None
    """Per attempt, as the paper's $/task for a single thread; None while any is unknown."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A run of `attempts` attempts at each of `instances` instances."""

    instances: int
    attempts: int
    outcomes: Mapping[Outcome, int]
    avg_at_1: float
    """Resolved attempts of all attempts: the official rate, everything else counts as failed."""
    avg_at_1_judged: float | None
    """Resolved attempts of those judged; None where none was."""
    oracle_pass_at: Mapping[int, float]
    """Instances of which one of the first k attempts is resolved, as an oracle would choose: the paper's
    Pass@k.
    """
    unbiased_pass_at: Mapping[int, float]
    """The expectation over all choices of k of the attempts (Chen et al., arXiv 2107.03374)."""
    cost: Cost


def unbiased(attempts: int, resolved: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): how probable it is that k of n attempts hold one of the c resolved.

    Raises:
        ValueError: Not 1 <= k <= n, or not 0 <= c <= n.
    """
    if not (1 <= k <= attempts and 0 <= resolved <= attempts):
        raise ValueError(f"pass@{k} of {attempts} attempts with {resolved} resolved does not exist.")
    return 1.0 - comb(attempts - resolved, k) / comb(attempts, k)


def summarise(runs: Mapping[str, Sequence[Attempt]], ks: Iterable[int] = ()) -> Summary:
    """Add up attempts by instance; every instance needs the same number of them.

    Args:
        ks: The k of Pass@k; empty: 1, 2, 4, ... as far as there are attempts.

    Raises:
        ValueError: There is nothing, or instances differ in their attempts: pad with `not_run`.
    """
    counts = {len(attempts) for attempts in runs.values()}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(
            f"Every instance needs the same number of attempts, at least 1; here: {sorted(counts)}."
        )
    per_instance = counts.pop()
    wanted = sorted(ks) or [
        2**power for power in range(per_instance.bit_length()) if 2**power <= per_instance
    ]
    if not 1 <= wanted[0] <= wanted[-1] <= per_instance:
        raise ValueError(f"Pass@k needs 1 <= k <= {per_instance}, not {wanted}.")
    everything = [attempt for attempts in runs.values() for attempt in attempts]
    outcomes = {
        outcome: sum(attempt.judged.outcome is outcome for attempt in everything) for outcome in Outcome
    }
    judged = sum(count for outcome, count in outcomes.items() if outcome.is_judged)
    resolved = outcomes[Outcome.RESOLVED]
    return Summary(
        instances=len(runs),
        attempts=per_instance,
        outcomes=outcomes,
        avg_at_1=resolved / len(everything),
        avg_at_1_judged=resolved / judged if judged else None,
        oracle_pass_at={
            k: _mean(float(_resolved(attempts[:k]) > 0) for attempts in runs.values()) for k in wanted
        },
        unbiased_pass_at={
            k: _mean(unbiased(per_instance, _resolved(attempts), k) for attempts in runs.values())
            for k in wanted
        },
        cost=_cost(everything, len(runs)),
    )


def _resolved(attempts: Sequence[Attempt]) -> int:
    return sum(attempt.judged.outcome is Outcome.RESOLVED for attempt in attempts)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _cost(attempts: Sequence[Attempt], instances: int) -> Cost:
    """What did not run costs nothing; all else is known or unknown."""
    ran = [attempt for attempt in attempts if attempt.judged.outcome is not Outcome.NOT_RUN]
    known = [attempt.cost_usd for attempt in ran if attempt.cost_usd is not None]
    unknown = len(ran) - len(known)
    total = sum(known)
    return Cost(
        known_usd=total,
        unknown=unknown,
        per_task_usd=None if unknown else total / instances,
        per_submission_usd=None if unknown or not ran else total / len(ran),
    )
