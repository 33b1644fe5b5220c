"""When a moved head makes what a command showed stale."""

from typing import Any

import pytest

from delm_mcp.domain.model import Check, CheckId, CheckState, Entry, EntryId, Evidence, Kind, RunId
from delm_mcp.domain.staleness import Ran, expected, ran_for, stale

RUN = RunId("r-1")
HEAD: dict[str, Any] = {
    "outcomes": {"test": True, "lint": False},
    "inputs": {"test": "t1", "lint": "l1"},
    "of_head": True,
}


def cites(*names: str, kind: Kind = Kind.FACT) -> Entry:
    """An entry that stands on commands."""
    return Entry(EntryId(1), RUN, kind, "a gist", evidence=tuple(Evidence("command", name) for name in names))


def ran(test: str = "t1", lint: str = "l1", *, of_head: bool = True) -> Ran:
    return Ran({"test": True, "lint": True}, {"test": test, "lint": lint}, of_head)


def check(name: str = "command", verdict: str = "pass", receipt: Any = None, **values: Any) -> Check:
    shown = {"ran": HEAD} if receipt is None else receipt
    usual = {"id": CheckId(0), "run": RUN, "entry": EntryId(1), "state": CheckState.DONE}
    return Check(**{**usual, "name": name, "verdict": verdict, "receipt": shown, **values})


@pytest.mark.parametrize(
    ("entry", "now", "names"),
    [
        (cites("test"), ran(), []),
        (cites("test"), ran(lint="l2"), []),  # somebody else's inputs
        (cites("test"), ran(test="t2"), ["test"]),
        (cites("lint", "test"), ran("t2", "l2"), ["lint", "test"]),
        (cites("lint", "test", "lint"), ran(lint="l2"), ["lint"]),
        (cites("test"), Ran({"lint": True}, {"lint": "l1"}, of_head=True), ["test"]),  # it did not run
        (cites("test"), Ran(), ["test"]),
        (cites(), ran("t2", "l2"), []),
    ],
)
def test_what_a_command_showed_of_head_is_stale_once_its_inputs_differ(
    entry: Entry, now: Ran, names: list[str]
) -> None:
    assert stale(entry, ran(), now) == names


def test_what_it_showed_of_another_tree_stays_true_of_that_tree() -> None:
    assert stale(cites("test"), ran(of_head=False), ran("t2", "l2")) == []
    assert stale(cites("test"), Ran(), ran("t2", "l2")) == []


def test_quotes_and_artifacts_have_no_inputs() -> None:
    quoted = Entry(EntryId(1), RUN, Kind.FACT, "a gist", evidence=(Evidence("quote", "test", "a quote"),))
    assert stale(quoted, ran(), ran("t2", "l2")) == []


@pytest.mark.parametrize("kind", Kind)
def test_only_of_a_fail_a_command_is_expected_to_fail(kind: Kind) -> None:
    assert expected(cites("test", kind=kind)) is (kind is not Kind.FAIL)


def test_the_last_command_check_that_ended_says_what_ran() -> None:
    newer = {**HEAD, "inputs": {"test": "t2"}}
    found = ran_for([check(), check(receipt={"ran": newer}), check("peers", receipt={}), check("quotes")])
    assert found == Ran({"test": True, "lint": False}, {"test": "t2"}, of_head=True)
    waiting = [check(), check(receipt={"ran": newer}, state=CheckState.WAITING, verdict="")]
    assert ran_for(waiting) == Ran(**HEAD)


@pytest.mark.parametrize(
    "checks",
    [
        [],
        [check("quotes")],
        [check(receipt={})],  # a receipt from before inputs were kept
        [check(), check(verdict="fail")],
        [check(), check(verdict="abstain")],
        [check(state=CheckState.RUNNING, verdict="")],
    ],
)
def test_without_a_command_that_passed_last_nothing_is_known(checks: list[Check]) -> None:
    assert ran_for(checks) == Ran()
