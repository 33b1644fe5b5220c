"""Receipts as in-toto test-result statements."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from delm_mcp.checks.commands import CommandSpec, Outcome
from delm_mcp.checks.judging import Judgement
from delm_mcp.checks.receipts import Inputs, command_receipt, spec_digest

SPEC = CommandSpec("tests", ("pytest", "--junitxml={report}", "-q"), 60.0, "junit")
TESTS = {"t::a": "passed", "t::b": "skipped", "t::c": "failed", "t::d": "error"}
SEEN = Outcome(1, 2.5, "the end\n", TESTS, "a" * 40, sandbox="bubblewrap", notes=("A note.",))
INPUTS = Inputs("a" * 40, head="b" * 40, head_tree="c" * 40, commit="d" * 40, restored=("tests/x.py",))


def made(verdict: Any = "pass", outcome: Outcome = SEEN, inputs: Inputs = INPUTS) -> dict[str, Any]:
    return command_receipt(SPEC, outcome, Judgement(verdict, "because"), inputs)


def test_a_receipt_is_an_in_toto_statement_with_a_test_result() -> None:
    statement = made()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["subject"] == [
        {"name": "tree", "digest": {"gitTree": "a" * 40}},
        {"name": "patch", "digest": {"gitCommit": "d" * 40}},
    ]
    predicate = statement["predicate"]
    assert (predicate["passedTests"], predicate["warnedTests"]) == (["t::a"], ["t::b"])
    assert predicate["failedTests"] == ["t::c", "t::d"]
    (configuration,) = predicate["configuration"]
    assert configuration["name"] == "command:tests"
    assert configuration["digest"] == {"sha256": spec_digest(SPEC)}
    assert configuration["annotations"]["argv"] == list(SPEC.argv)
    assert configuration["annotations"]["sandbox"] == "bubblewrap"


def test_our_own_facts_stand_in_an_extension_field() -> None:
    ours = made()["predicate"]["delmMcp"]
    assert ours == {
        "verdict": "pass",
        "reason": "because",
        "exitCode": 1,
        "killedReason": "",
        "reportProblem": "",
        "durationS": 2.5,
        "outputTail": "the end\n",
        "counts": {"passed": 1, "warned": 1, "failed": 2},
        "head": "b" * 40,
        "headTree": "c" * 40,
        "commit": "d" * 40,
        "restored": ["tests/x.py"],
        "restoredCount": 1,
        "notes": ["A note."],
    }


@pytest.mark.parametrize(
    ("verdict", "outcome", "result"),
    [
        ("pass", replace(SEEN, exit_code=0, tests={"a": "passed"}), "PASSED"),
        ("pass", replace(SEEN, exit_code=0, tests=None), "PASSED"),
        ("pass", SEEN, "WARNED"),
        ("fail", replace(SEEN, exit_code=0, tests={"a": "passed"}), "FAILED"),
        ("abstain", replace(SEEN, exit_code=0, tests={"a": "passed"}), "FAILED"),
        ("fail", replace(SEEN, exit_code=None, killed_reason="timeout", tests=None), "FAILED"),
    ],
)
def test_the_result_never_says_more_than_the_verdict(verdict: str, outcome: Outcome, result: str) -> None:
    assert made(verdict, outcome)["predicate"]["result"] == result


def test_an_answer_has_no_patch_as_subject() -> None:
    assert made(inputs=Inputs("a" * 40))["subject"] == [{"name": "tree", "digest": {"gitTree": "a" * 40}}]


def test_the_digest_of_a_command_depends_on_all_of_its_definition() -> None:
    changes: list[dict[str, Any]] = [{"name": "x"}, {"argv": ("a",)}, {"timeout_s": 1.0}, {"report": ""}]
    assert len({spec_digest(replace(SPEC, **change)) for change in changes} | {spec_digest(SPEC)}) == 5


def test_a_receipt_stays_small_whatever_went_into_it() -> None:
    kinds = ("passed", "skipped", "failed")
    huge = replace(
        SEEN,
        tail="漢" * 100_000,
        tests={f"{'漢' * 390}{n}": kinds[n % 3] for n in range(5_000)},
        notes=("ü" * 10_000,) * 100,
        report_problem="ü" * 10_000,
    )
    inputs = replace(INPUTS, restored=("漢" * 5_000,) * 1_000)
    spec = replace(SPEC, argv=("ü" * 10_000,) * 100)
    statement = command_receipt(spec, huge, Judgement("fail", "ü" * 10_000), inputs)

    assert len(json.dumps(statement, ensure_ascii=False).encode()) < 64 * 1024
    predicate: Any = statement["predicate"]
    assert predicate["failedTests"]
    assert predicate["delmMcp"]["counts"] == {"passed": 1667, "warned": 1667, "failed": 1666}
    assert predicate["delmMcp"]["restoredCount"] == 1_000


def test_a_receipt_is_plain_json_even_for_odd_paths() -> None:
    odd = replace(INPUTS, restored=("a\udcffb\u202e",))
    text = json.dumps(made(inputs=odd)).encode()
    assert base64.b64encode(text)
    assert json.loads(text)["predicate"]["delmMcp"]["restored"] == ["a\ufffdb\ufffd"]
