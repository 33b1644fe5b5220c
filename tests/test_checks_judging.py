"""What two observations of a command say about a patch or an answer."""

from dataclasses import replace
from typing import Any

import pytest

from delm_mcp.checks.commands import Outcome
from delm_mcp.checks.judging import judge_patch, judge_tree

BASE, PATCHED = "a" * 40, "b" * 40


def saw(exit_code: int | None = 0, tests: dict[str, str] | None = None, **more: Any) -> Outcome:
    return Outcome(exit_code, 1.5, "", tests, more.pop("tree", PATCHED), **more)


def at_base(exit_code: int | None = 0, tests: dict[str, str] | None = None, **more: Any) -> Outcome:
    return saw(exit_code, tests, tree=BASE, **more)


def results(passed: str = "", failed: str = "", error: str = "", skipped: str = "") -> dict[str, str]:
    kinds = {"passed": passed, "failed": failed, "error": error, "skipped": skipped}
    return {test: kind for kind, tests in kinds.items() for test in tests.split()}


STOPPED: dict[str, Any] = {"exit_code": None, "killed_reason": "timeout"}


def test_a_patch_that_changes_nothing_fails_whatever_the_command_says() -> None:
    for cited in (True, False):
        judged = judge_patch(at_base(1), saw(0, tree=BASE), cited=cited, head="head 1a2b3c4")
        assert judged.verdict == "fail"
        assert "changes nothing on head 1a2b3c4" in judged.reason


@pytest.mark.parametrize(
    ("before", "after", "cited", "uncited"),
    [
        (1, 0, "pass", "pass"),
        (0, 0, "fail", "pass"),
        (0, 1, "fail", "fail"),
        (1, 1, "fail", "pass"),
        (1, 2, "fail", "pass"),
    ],
)
def test_without_reports_the_exit_codes_decide(before: int, after: int, cited: str, uncited: str) -> None:
    assert judge_patch(at_base(before), saw(after), cited=True).verdict == cited
    assert judge_patch(at_base(before), saw(after), cited=False).verdict == uncited


def test_a_cited_command_that_passes_on_head_is_only_noted_where_the_policy_says_so() -> None:
    judged = judge_patch(at_base(0), saw(0), cited=True, fail_at_base="note")
    assert judged.verdict == "pass"
    assert judged.facts["base_exit_code"] == 0
    tests = results(passed="a", failed="b")
    judged = judge_patch(at_base(1, tests), saw(1, tests), cited=True, fail_at_base="note")
    assert judged.verdict == "pass"
    assert "shows only that nothing broke" in judged.reason


def test_a_command_that_is_stopped_on_head_counts_as_failing_there() -> None:
    judged = judge_patch(at_base(**STOPPED), saw(0), cited=True)
    assert judged.verdict == "pass"
    assert "was stopped (timeout) on head" in judged.reason
    # No report came from head, so what passed there is not known and everything has to pass.
    stopped = at_base(**STOPPED, report_problem="it was stopped (timeout)")
    assert judge_patch(stopped, saw(0, results(passed="a b")), cited=True).verdict == "pass"
    assert judge_patch(stopped, saw(1, results(passed="a", failed="b")), cited=True).verdict == "fail"


@pytest.mark.parametrize("reason", ["timeout", "processes", "supervisor"])
def test_a_command_that_is_stopped_with_the_patch_fails(reason: str) -> None:
    for before in (at_base(0), at_base(**STOPPED)):
        after = saw(None, killed_reason=reason, report_problem="it was stopped")
        for cited in (True, False):
            judged = judge_patch(before, after, cited=cited)
            assert judged.verdict == "fail"
            assert judged.facts["killed_reason"] == reason


def test_a_test_that_is_repaired_speaks_for_the_patch_while_others_still_fail() -> None:
    before = at_base(1, results(passed="a b", failed="c d", error="e", skipped="f"))
    after = saw(1, results(passed="a b c", failed="d", error="e", skipped="f"))
    judged = judge_patch(before, after, cited=True, head="head 1a2b3c4")
    assert judged.verdict == "pass"
    assert judged.facts["fixed"] == ["c"]
    assert "1 test that did not pass on head 1a2b3c4 passes now" in judged.reason
    assert "2 tests still fail" in judged.reason


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (results(failed="a", passed="b c"), "1 failed"),
        (results(error="a", passed="b c"), "1 error"),
        (results(skipped="a", passed="b c"), "1 skipped"),
        (results(passed="b c"), "1 vanished"),
    ],
)
def test_a_test_that_passed_may_not_fail_err_be_skipped_or_vanish(now: dict[str, str], word: str) -> None:
    before = at_base(1, results(passed="a b", failed="c"))
    for cited in (True, False):
        judged = judge_patch(before, saw(1, now), cited=cited)
        assert judged.verdict == "fail"
        assert word in judged.reason
        assert "«a»" in judged.reason
        assert "Fix those and propose again" in judged.reason


def test_a_cited_command_needs_a_test_that_passes_now_and_did_not_before() -> None:
    tests = results(passed="a", failed="b")
    cited = judge_patch(at_base(1, tests), saw(1, tests), cited=True)
    assert cited.verdict == "fail"
    assert "«b»" in cited.reason
    assert judge_patch(at_base(1, tests), saw(1, tests), cited=False).verdict == "pass"


def test_a_new_test_and_one_that_is_no_longer_skipped_count() -> None:
    before = at_base(0, results(passed="a", skipped="s"))
    new = judge_patch(before, saw(0, results(passed="a n", skipped="s")), cited=True)
    assert (new.verdict, new.facts["new"], new.facts["fixed"]) == ("pass", ["n"], [])
    assert "1 test that head does not have passes" in new.reason
    unskipped = judge_patch(before, saw(0, results(passed="a s")), cited=True)
    assert (unskipped.verdict, unskipped.facts["fixed"]) == ("pass", ["s"])


def test_a_command_that_exited_0_on_head_has_to_exit_0() -> None:
    before = at_base(0, results(passed="a"))
    with_a_failing_test = saw(1, results(passed="a b", failed="c"))
    judged = judge_patch(before, with_a_failing_test, cited=True)
    assert judged.verdict == "fail"
    assert "«c»" in judged.reason
    coverage_too_low = saw(2, results(passed="a"))
    assert judge_patch(before, coverage_too_low, cited=False).verdict == "fail"


def test_a_run_that_breaks_off_is_worse_than_failing_tests() -> None:
    before = at_base(1, results(failed="a b"))
    for exit_code in (2, 3, 139):
        assert (
            judge_patch(before, saw(exit_code, results(failed="a", passed="b")), cited=True).verdict == "fail"
        )
    interrupted = at_base(2, results(error="m1 m2"))
    assert judge_patch(interrupted, saw(2, results(error="m1", passed="t")), cited=True).verdict == "pass"


def test_a_report_that_is_missing_with_the_patch_fails_it() -> None:
    after = saw(0, None, report_problem="no report was written")
    for before in (at_base(1, results(passed="a")), at_base(1, None, report_problem="no report was written")):
        for cited in (True, False):
            judged = judge_patch(before, after, cited=cited)
            assert judged.verdict == "fail"
            assert "no report was written" in judged.reason


def test_reasons_stay_short_and_facts_bounded_for_any_number_of_tests() -> None:
    names = [f"{'«evil» ' * 100}{number}" for number in range(2_000)]
    judged = judge_patch(at_base(0, dict.fromkeys(names, "passed")), saw(1, {}), cited=True)
    assert judged.verdict == "fail"
    assert "2000 tests" in judged.reason
    assert "and 1995 more" in judged.reason
    assert len(judged.reason) < 1_500
    assert judged.reason.count("«") == judged.reason.count("»") == 5
    broken = judged.facts["broken"]
    assert isinstance(broken, list)
    assert (len(broken), judged.facts["broken_count"]) == (50, 2_000)


def test_an_answer_passes_where_the_command_exits_0() -> None:
    assert judge_tree(saw(0), at_base(1)).verdict == "pass"
    assert judge_tree(saw(0), None).verdict == "pass"
    assert judge_tree(saw(1), at_base(1)).verdict == "fail"
    assert judge_tree(saw(**STOPPED), at_base(0)).verdict == "fail"
    assert judge_tree(saw(0, None, report_problem="no report was written"), at_base(0)).verdict == "fail"


def test_an_answer_may_leave_failing_what_failed_at_the_base() -> None:
    base = at_base(1, results(passed="a", failed="b c"))
    better = saw(1, results(passed="a b", failed="c"))
    judged = judge_tree(better, base)
    assert judged.verdict == "pass"
    assert "1 test still fails" in judged.reason
    worse = saw(1, results(passed="b c", failed="a"))
    judged = judge_tree(worse, base, base="base 1a2b3c4")
    assert judged.verdict == "fail"
    assert "after passing at base 1a2b3c4" in judged.reason
    assert judge_tree(replace(better, exit_code=3), base).verdict == "fail"
    assert judge_tree(better, at_base(0, results(passed="a"))).verdict == "fail"


def test_a_refusal_says_how_the_output_ends_and_the_output_cannot_forge_the_rest() -> None:
    tail = "collecting ...\n\nE   ModuleNotFoundError: No module named 'numpy'\n1 error»in 0.1 s\n"
    for judged in (
        judge_patch(at_base(1), replace(saw(2), tail=tail), cited=True),
        judge_tree(replace(saw(2), tail=tail), at_base(2)),
        judge_patch(at_base(1), replace(saw(2, report_problem="no report"), tail=tail), cited=True),
    ):
        assert judged.verdict == "fail"
        assert (
            "Its output ends: «collecting ... / E ModuleNotFoundError: No module named 'numpy'"
            in judged.reason
        )
        assert judged.reason.count("»") == 1
    silent = judge_patch(at_base(1), saw(2), cited=True)
    assert "output" not in silent.reason
    long = judge_patch(at_base(1), replace(saw(2), tail="x" * 10_000 + "the end"), cited=True)
    assert "xthe end»" in long.reason
    assert len(long.reason) < 500
