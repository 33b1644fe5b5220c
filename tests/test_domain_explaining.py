"""The tree behind an entry as a value: how deep it goes, and what its receipts say."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from delm_mcp.board.spending import bill_for
from delm_mcp.checks.commands import CommandSpec, Outcome
from delm_mcp.checks.judge import Spent
from delm_mcp.checks.judging import Judgement
from delm_mcp.checks.receipts import Inputs, command_receipt
from delm_mcp.domain.dossiers import Dossier
from delm_mcp.domain.explaining import DEPTH_MAX, Explanation, explain
from delm_mcp.domain.model import (
    Check,
    CheckId,
    CheckState,
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Receipt,
    RunId,
    Strength,
    Verdict,
)

RUN = RunId("r-1")
SEEN = (Evidence("artifact", "log", "saw it fail, then pass"),)


def lines(text: str) -> list[str]:
    """What the lines of a tree say, without its branches."""
    return [re.sub(r"^[│├└─ ]*", "", line) for line in text.splitlines()]


def chained(length: int) -> dict[EntryId, Entry]:
    """Entries that each derive from the one before."""
    return {
        EntryId(number): Entry(
            EntryId(number),
            RUN,
            Kind.FACT,
            f"Step {number} holds",
            state=EntryState.ADMITTED,
            agent="a-b",
            evidence=SEEN,
            derived_from=(number - 1,) if number > 1 else (),
        )
        for number in range(1, length + 1)
    }


def explained(entries: dict[EntryId, Entry], label: int, budget: int = 60_000) -> Explanation:
    return explain(
        EntryId(label),
        lambda number: Dossier(entries[number]),
        now=0.0,
        budget_tokens=budget,
        budget_max=60_000,
    )


def test_a_chain_deeper_than_a_tree_can_be_is_read_on_from_where_it_ends() -> None:
    entries = chained(3 * DEPTH_MAX)
    label, read = 3 * DEPTH_MAX, 0
    while True:
        found = explained(entries, label)
        read += found.text.count("«Step")
        if not found.more:
            break
        assert "goes on there" in found.note
        match = re.search(r"entries=\[E(\d+)\]", found.more)
        assert match is not None
        assert int(match.group(1)) < label
        label = int(match.group(1))
    assert label < DEPTH_MAX
    assert read >= 3 * DEPTH_MAX
    json.dumps(explained(entries, 3 * DEPTH_MAX).facts)


def test_an_entry_with_more_behind_it_than_is_looked_at_says_where_to_go_on() -> None:
    entries = chained(400)
    top = replace(entries[EntryId(400)], id=EntryId(401), derived_from=tuple(range(1, 400)))
    entries[EntryId(401)] = top
    found = explained(entries, 401)
    assert found.note.startswith("(cut: ")
    assert "more than" in found.note
    assert "budget_tokens=60000" in found.more


# -- receipts ------------------------------------------------------------------------------------


def outcome(exit_code: int) -> Outcome:
    return Outcome(
        exit_code=exit_code,
        killed_reason="",
        duration_s=1.25,
        tail="2 passed",
        tests={"a": "passed", "b": "passed" if exit_code == 0 else "failed"},
        report_problem="",
        sandbox="process",
        notes=(),
        tree="t" * 40,
    )


def ended(number: int, name: str, verdict: Verdict, at: float, **receipt: Any) -> Check:
    return Check(
        CheckId(number),
        RUN,
        EntryId(1),
        name,
        CheckState.DONE,
        verdict.value,
        "as it was",
        receipt,
        created_at=at - 2,
        ended_at=at,
    )


def checked(*receipts: Receipt, checks: tuple[Check, ...] = ()) -> Explanation:
    """The explanation of one entry with these receipts and the rows behind them."""
    row = replace(chained(1)[EntryId(1)], receipts=receipts, strength=Strength.EXECUTED)
    return explain(
        row.id, lambda _: Dossier(row, checks=checks), now=20.0, budget_tokens=9_000, budget_max=9_000
    )


def test_a_command_receipt_names_exit_code_commit_tree_and_duration() -> None:
    spec = CommandSpec("tests", ("pytest", "-q"), 60.0, "")
    statement = command_receipt(
        spec, outcome(0), Judgement("pass", "b passes now"), Inputs("t" * 40, "h" * 40, "u" * 40, "c" * 40)
    )
    found = checked(
        Receipt("command", Verdict.PASS, "tests: b passes now", 10.0, 1.5),
        checks=(ended(1, "command", Verdict.PASS, 10.0, statements=[statement]),),
    )
    said = lines(found.text)
    assert "check command: pass in 1.5 s: tests: b passes now" in said
    assert f"tests: exit 0 in 1.25 s, commit {'c' * 12}, tree {'t' * 12}, head {'h' * 12}, 2 passed" in said
    (row,) = found.facts["receipts"][0]["commands"]
    assert (row["exit_code"], row["commit"], row["tests"]) == (0, "c" * 40, {"passed": 2})


def test_a_receipt_that_no_longer_counts_is_told_as_such() -> None:
    found = checked(
        Receipt("command", Verdict.PASS, "passes at the new head", 20.0),
        checks=(
            ended(1, "command", Verdict.PASS, 10.0, statements=[]),
            ended(2, "command", Verdict.PASS, 20.0, statements=[]),
        ),
    )
    said = lines(found.text)
    assert "check command: pass (no longer counts): as it was" in said
    assert "check command: pass: passes at the new head" in said


@pytest.mark.parametrize(("cost", "said"), [(None, "cost unknown"), (0.0123, "0.0123 USD")])
def test_a_judges_bill_is_shown_and_an_unknown_cost_stays_unknown(cost: float | None, said: str) -> None:
    bill = bill_for("claude-x", Spent(2, 900, 40, cost))
    before = bill_for("claude-x", Spent(1, 450, 0, cost))
    found = checked(
        Receipt("judge", Verdict.PASS, "claude-x says pass: «it holds»", 10.0, 3.0),
        checks=(ended(1, "judge", Verdict.PASS, 10.0, judge={"fails": [], **bill}, judge_before=[before]),),
    )
    shown = lines(found.text)
    assert f"asked «claude-x»: 2 requests, 900 tokens in, 40 out, {said}" in shown
    assert f"asked «claude-x»: 1 request, 450 tokens in, 0 out, {said}" in shown
    assert [row["cost_usd"] for row in found.facts["receipts"][0]["bills"]] == [cost, cost]
