"""What two observations of a command say about a patch, or about an answer. Pure.

Test names and output come from the code that is judged: reasons quote little of them, shortened and between
guillemets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from delm_mcp.checks.commands import Outcome
from delm_mcp.domain.text import fenced, shortened

Verdict = Literal["pass", "fail", "abstain"]
FailAtBase = Literal["require", "note"]

_NAMED_MAX = 5
_NAME_CHARS_MAX = 120
_LISTED_MAX = 50
_END_LINES = 4
_END_CHARS_MAX = 300


@dataclass(frozen=True)
class Judgement:
    """A verdict, what it rests on in a sentence or two, and the facts as JSON-ready values."""

    verdict: Verdict
    reason: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Difference:
    """What a second observation changed, by test.

    `fixed` did not pass before and pass now; `new` were not there before and pass now; `broken`
    passed before and now fail, err, are skipped or are gone (the value says which); `failing` are all
    that do not pass now, skipped ones aside.
    """

    fixed: list[str]
    new: list[str]
    broken: dict[str, str]
    failing: list[str]


def judge_patch(
    before: Outcome,
    after: Outcome,
    *,
    cited: bool,
    fail_at_base: FailAtBase = "require",
    head: str = "head",
) -> Judgement:
    """Whether a command speaks for a patch.

    With a report on both sides: no test that passed on head may fail, err, be skipped or vanish, the
    exit code may not get worse, and for a cited command at least one test that did not pass on head
    (failed, was skipped, could not be collected, or did not exist) passes now. Without a report on
    head, or without reports at all: a cited command must fail on head and exit 0 with the patch; one
    that is not cited must not stop passing. Being stopped counts as failing, on head as well: a
    patch may be the end of an endless loop, but then has to exit 0.

    Args:
        before: The command on head.
        after: The command on head with the patch.
        cited: Whether the patch's evidence names this command.
        fail_at_base: What it means when a cited command shows nothing that failed on head: `require`
            refuses the patch, `note` only says so.
        head: How head is called in reasons, for example `head 1a2b3c4`.
    """
    if before.tree == after.tree:
        return _fail(
            f"The patch changes nothing on {head}: both have the same files.",
            "Propose a commit that changes something.",
            {"tree": after.tree},
        )
    if after.killed_reason:
        return _stopped(before, after, "with your patch", head)
    if after.report_problem:
        return _fail(
            f"With your patch the command exits {after.exit_code} and leaves no test report: "
            f"{after.report_problem}." + _end(after),
            "Run the command yourself, see why it ends early, and propose again.",
            _facts(before, after, None),
        )
    if before.tests is not None and after.tests is not None:
        return _judge_by_tests(before, after, cited, fail_at_base, head)
    return _judge_by_exit(before, after, cited, fail_at_base, head)


def judge_tree(outcome: Outcome, baseline: Outcome | None, *, base: str = "the run's base") -> Judgement:
    """Whether a command lets a tree be the run's answer.

    Exit code 0 is enough. Otherwise, with reports, nothing that passed at the base may not pass now.

    Args:
        outcome: The command on the tree of the answer.
        baseline: The command on the run's base commit, if it was run.
        base: How the base is called in reasons.
    """
    if outcome.killed_reason:
        return _stopped(baseline, outcome, "on the answer's tree", base)
    facts = _facts(baseline, outcome, None)
    if outcome.exit_code == 0 and not outcome.report_problem:
        return Judgement("pass", "The command exits 0 on the answer's tree.", facts)
    if outcome.tests is None or baseline is None or baseline.tests is None:
        return _fail(
            f"The command exits {outcome.exit_code} on the answer's tree"
            + (f" and leaves no test report: {outcome.report_problem}." if outcome.report_problem else ".")
            + _end(outcome),
            "Mend what it reports with a patch, then propose the answer again.",
            facts,
        )
    difference = _compare(baseline.tests, outcome.tests)
    facts = _facts(baseline, outcome, difference)
    if difference.broken:
        return _fail(
            f"{_broken(difference)} on the answer's tree, after passing at {base}.",
            "Mend those with a patch, then propose the answer again.",
            facts,
        )
    if baseline.exit_code == 0 or _is_worse(baseline, outcome):
        return _fail(
            f"The command exits {outcome.exit_code} on the answer's tree, and exited "
            f"{baseline.exit_code} at {base}." + _end(outcome),
            "Mend what it reports with a patch, then propose the answer again.",
            facts,
        )
    return Judgement(
        "pass",
        f"Nothing that passed at {base} fails on the answer's tree; {_count(difference.failing)} still "
        f"{_verb(difference.failing, 'fail')} as before.",
        facts,
    )


def _judge_by_tests(
    before: Outcome, after: Outcome, cited: bool, fail_at_base: FailAtBase, head: str
) -> Judgement:
    difference = _compare(before.tests or {}, after.tests or {})
    facts = _facts(before, after, difference)
    if difference.broken:
        return _fail(
            f"{_broken(difference)} with your patch, after passing on {head}.",
            "Fix those and propose again.",
            facts,
        )
    if _is_worse(before, after):
        return _fail(
            f"The command exits {after.exit_code} with your patch; it exited {before.exit_code} on {head}."
            + (f" Not passing: {_names(difference.failing)}." if difference.failing else ""),
            "Make it exit as before or better, and propose again.",
            facts,
        )
    shown = len(difference.fixed) + len(difference.new)
    if cited and not shown and fail_at_base == "require":
        return _fail(
            f"No test that fails on {head} passes with your patch, so the command does not speak for it."
            + (f" Still not passing: {_names(difference.failing)}." if difference.failing else ""),
            "Make one of those pass and propose again.",
            facts,
        )
    return Judgement("pass", _praise(difference, head), facts)


def _praise(difference: _Difference, head: str) -> str:
    parts = []
    if difference.fixed:
        parts.append(
            f"{_count(difference.fixed)} that did not pass on {head} {_verb(difference.fixed, 'pass')} now"
        )
    if difference.new:
        parts.append(f"{_count(difference.new)} that {head} does not have {_verb(difference.new, 'pass')}")
    if not parts:
        parts.append(f"it shows only that nothing broke, as no test that fails on {head} passes now")
    failing = difference.failing
    rest = f" {_count(failing)} still {_verb(failing, 'fail')}." if failing else ""
    return f"Nothing that passed on {head} broke; {'; '.join(parts)}.{rest}"


def _judge_by_exit(
    before: Outcome, after: Outcome, cited: bool, fail_at_base: FailAtBase, head: str
) -> Judgement:
    facts = _facts(before, after, None)
    passed_before, passes = before.exit_code == 0, after.exit_code == 0
    was = f"was stopped ({before.killed_reason})" if before.killed_reason else f"exits {before.exit_code}"
    if cited and passed_before and fail_at_base == "require":
        return _fail(
            f"The command passes on {head} already, so that it passes with your patch shows nothing.",
            "Cite a command that fails there, or propose without citing this one.",
            facts,
        )
    if not passes and (cited or passed_before):
        return _fail(
            f"The command exits {after.exit_code} with your patch; it {was} on {head}." + _end(after),
            "It has to exit 0: fix what it reports and propose again.",
            facts,
        )
    if not passes:
        return Judgement("pass", f"The command {was} on {head} too: there was nothing to break.", facts)
    if passed_before:
        return Judgement("pass", f"The command exits 0 with your patch, as on {head}.", facts)
    return Judgement("pass", f"The command {was} on {head} and exits 0 with your patch.", facts)


def _stopped(before: Outcome | None, after: Outcome, where: str, base: str) -> Judgement:
    why = {
        "timeout": f"did not end within its time limit ({after.duration_s:.0f} s)",
        "processes": "started too many processes",
    }.get(after.killed_reason, "ended its own supervision")
    also = f"; it was stopped on {base} too" if before is not None and before.killed_reason else ""
    return _fail(
        f"The command {why} {where}{also}.",
        "Find what hangs or multiplies, fix it, and propose again.",
        _facts(before, after, None),
    )


def _compare(before: dict[str, str], after: dict[str, str]) -> _Difference:
    passing = [test for test, outcome in after.items() if outcome == "passed"]
    return _Difference(
        fixed=sorted(test for test in passing if before.get(test, "passed") != "passed"),
        new=sorted(test for test in passing if test not in before),
        broken={
            test: after.get(test, "vanished")
            for test, outcome in sorted(before.items())
            if outcome == "passed" and after.get(test) != "passed"
        },
        failing=sorted(test for test, outcome in after.items() if outcome in ("failed", "error")),
    )


def _is_worse(before: Outcome, after: Outcome) -> bool:
    """Test runners exit 1 for failing tests; anything else but 0 means that more went wrong."""
    if before.exit_code == 0:
        return after.exit_code != 0
    return after.exit_code not in (0, 1, before.exit_code)


def _broken(difference: _Difference) -> str:
    """`3 tests (2 failed, 1 vanished: ...)`."""
    kinds = list(difference.broken.values())
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    return f"{_count(kinds)} no longer {_verb(kinds, 'pass')} ({counts}: {_names(list(difference.broken))})"


def _facts(before: Outcome | None, after: Outcome, difference: _Difference | None) -> dict[str, object]:
    facts: dict[str, object] = {"exit_code": after.exit_code, "killed_reason": after.killed_reason}
    if before is not None:
        facts |= {"base_exit_code": before.exit_code, "base_killed_reason": before.killed_reason}
        if before.report_problem:
            facts["base_report_problem"] = before.report_problem
    if difference is not None:
        for name in ("fixed", "new", "broken", "failing"):
            tests: Sequence[str] = list(getattr(difference, name))
            facts[name] = list(tests[:_LISTED_MAX])
            facts[f"{name}_count"] = len(tests)
    return facts


def _fail(problem: str, remedy: str, facts: dict[str, object]) -> Judgement:
    return Judgement("fail", f"{problem} {remedy}", facts)


def _end(outcome: Outcome) -> str:
    """How its output ends: what is missing where the check runs does not show where the author runs it."""
    lines = [line for line in outcome.tail.splitlines() if line.strip()][-_END_LINES:]
    text = " / ".join(" ".join(line.split()) for line in lines)
    cut = "..." + text[-_END_CHARS_MAX:] if len(text) > _END_CHARS_MAX else text
    return f" Its output ends: {fenced(cut)}." if text else ""


def _count(tests: Sequence[str]) -> str:
    return "1 test" if len(tests) == 1 else f"{len(tests)} tests"


def _verb(tests: Sequence[str], verb: str) -> str:
    return verb if len(tests) != 1 else {"pass": "passes", "fail": "fails"}[verb]


def _names(tests: Sequence[str]) -> str:
    shown = [fenced(shortened(test, _NAME_CHARS_MAX)) for test in tests[:_NAMED_MAX]]
    more = len(tests) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
