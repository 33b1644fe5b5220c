"""The economics of a run: what was proposed, saved, spent and missed, counted from real boards."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delm_mcp.board import cascading, stats
from delm_mcp.board.answers import Claim
from delm_mcp.board.operation import Operation
from delm_mcp.board.spending import bill_for
from delm_mcp.board.verifying import Opinion
from delm_mcp.checks.judge import Spent
from delm_mcp.domain.economics import bills_of, figures, gate_line, percentile, together
from delm_mcp.domain.figures import Figures, Rows
from delm_mcp.domain.model import (
    Caller,
    Check,
    CheckId,
    CheckState,
    EntryId,
    Kind,
    Principal,
    Receipt,
    RunId,
    Verdict,
)
from delm_mcp.domain.policy import Policy, build
from delm_mcp.store.base import Tx
from tests.boards import ADA, BOB, CYD, OWNER, Desk, desk_in, fact, quote, result

pytestmark = pytest.mark.anyio

SOURCE = "The parser drops a trailing comma in lists.\nThe lexer counts a tab as eight columns.\n"
LEXER = "The lexer counts a tab as eight columns"
DAN = Caller(Principal("dan"))


def peers(**settings: Any) -> Policy:
    return build({"fact": {"checks": ["novel", "quotes", "peers"]}, "peers": settings})


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        yield desk
        await desk.audit()


async def counted(desk: Desk, run: str = "") -> Figures:
    home = await desk.home(run)
    return figures(await desk.look(lambda tx: stats.collect(Operation(tx, desk.clock(), desk.ids), home)))


async def started(desk: Desk, policy: Policy | None = None) -> Claim:
    await desk.open("one", "two", "three", policy=policy, sources=(("notes", SOURCE),))
    return await desk.hold(ADA)


# -- nothing -------------------------------------------------------------------------------------


async def test_a_run_in_which_nothing_was_proposed_counts_nothing(desk: Desk) -> None:
    await desk.open("one")
    found = await counted(desk)
    assert (found.proposals.total, found.saved.duplicates, found.disputes.total) == (0, 0, 0)
    assert (found.admission, found.retractions) == ({}, {})
    assert found.verifying.judge.usd == 0
    assert gate_line(0, 0, {}, 0) == ""


async def test_a_board_without_runs_is_reported(desk: Desk) -> None:
    report = await desk.look(lambda tx: stats.report(Operation(tx, 0.0, desk.ids), []))
    assert report["runs"] == []
    assert report["total"]["proposals"]["total"] == 0


# -- proposals -----------------------------------------------------------------------------------


async def test_proposals_are_counted_by_what_became_of_them_and_refusals_by_check(desk: Desk) -> None:
    held = await started(desk)
    await desk.admit(held, fact(key="comma"))
    await desk.admit(held, fact(LEXER, evidence=quote("notes", "counts a tab as eight")))
    await desk.admit(held, fact("The parser keeps commas in sets", key="comma", supersedes=(1,)))
    wrong = [
        fact("The parser should work now"),
        fact(LEXER),
        fact("The comma is lost in tuples", key="comma"),
        fact("The comma is in line 7", evidence=quote("notes", "nowhere to be found")),
        fact("Sets rest on what was replaced", derived_from=(1,)),
    ]
    for proposal in wrong:
        assert (await desk.propose(held, proposal)).state == "rejected"
    found = await counted(desk)
    assert (found.proposals.total, found.proposals.admitted, found.proposals.rejected) == (8, 3, 5)
    assert (found.proposals.live, found.proposals.superseded) == (2, 1)
    assert found.proposals.refused == {"wellformed": 1, "fresh": 2, "novel": 1, "quotes": 1}
    assert found.proposals.by_strength == {"executed": 0, "quoted": 1, "judged": 0, "attested": 2}
    assert found.proposals.attested_only == 2
    assert (found.saved.same_gist, found.saved.same_key, found.saved.duplicates) == (1, 1, 2)


async def test_a_proposal_that_a_run_left_behind_was_refused_by_the_run(desk: Desk) -> None:
    held = await started(desk, peers())
    await desk.propose(held, fact())
    await desk.board.cancel_run(OWNER, desk.run, "out of time")
    desk.clock.advance(700)
    await desk.board.checker.run_next()
    assert (await counted(desk)).proposals.refused == {"run": 1}


async def test_what_peers_refuse_and_what_is_pending_is_told_apart(desk: Desk) -> None:
    held = await started(desk, peers())
    await desk.propose(held, fact())
    await desk.vote(await desk.hold(BOB), "fail", "drift")
    await desk.propose(held, fact(LEXER))
    found = (await counted(desk)).proposals
    assert (found.pending, found.refused) == (1, {"peers": 1})


async def test_admissions_without_peers_are_counted_whatever_their_strength(desk: Desk) -> None:
    held = await started(desk, peers(peer_wait_s=30))
    await desk.propose(held, fact())
    await desk.propose(held, fact(LEXER, evidence=quote("notes", "counts a tab as eight")))
    desk.clock.advance(31)
    while await desk.board.checker.run_next():
        pass
    found = (await counted(desk)).proposals
    assert (found.admitted, found.attested_only, found.without_peers) == (2, 1, 2)


async def test_a_check_that_could_not_tell_is_no_finding_against_a_proposal(desk: Desk) -> None:
    held = await started(desk, peers(peer_wait_s=30, no_peers="reject"))
    await desk.propose(held, fact())
    desk.clock.advance(31)
    await desk.board.checker.run_next()
    found = (await counted(desk)).proposals
    assert (found.rejected, found.refused, found.could_not_check) == (1, {"peers": 1}, 1)


# -- false starts --------------------------------------------------------------------------------


def dead_end(gist: str = "Widening the regex of the lexer breaks nested lists") -> Any:
    return replace(fact(gist), kind=Kind.FAIL, scope="lexer.py")


async def test_a_result_that_stands_on_somebody_elses_fail_is_work_that_was_skipped(desk: Desk) -> None:
    held = await started(desk)
    await desk.admit(held, dead_end())
    bob = await desk.hold(BOB)
    await desk.admit(bob, result("Rewriting the lexer mends it", derived_from=(1,)), BOB)
    assert (await counted(desk)).saved.skipped == 1
    await desk.admit(held, result("So the lexer has to be rewritten", derived_from=(1,)))
    assert (await counted(desk)).saved.skipped == 1  # its author's own dead end saved it nothing
    await desk.board.retract(OWNER, "E1", "it was the wrong lexer")
    assert (await counted(desk)).saved.skipped == 0


@pytest.mark.parametrize(
    ("note", "skipped"),
    [
        ("E1 rules this out", 1),
        ("ruled out, see E1 and E2", 1),
        ("E2 says so", 0),
        ("E11 and T1 and CODE1", 0),
        ("too hard for me", 0),
    ],
)
async def test_a_task_given_up_because_of_a_fail_is_skipped_if_its_note_names_it(
    desk: Desk, note: str, skipped: int
) -> None:
    held = await started(desk)
    await desk.admit(held, dead_end())
    await desk.admit(held, fact(LEXER))
    bob = await desk.hold(BOB)
    await desk.board.update_task(BOB, lease=bob.lease, action="fail", note=note)
    assert (await counted(desk)).saved.skipped == skipped
    await desk.hold(CYD)
    assert (await counted(desk)).saved.skipped == 0  # somebody is at it again


async def test_ones_own_fail_is_work_that_was_done_and_not_skipped(desk: Desk) -> None:
    held = await started(desk)
    await desk.admit(held, dead_end())
    await desk.board.update_task(ADA, lease=held.lease, action="fail", note="E1 shows that it cannot be done")
    assert (await counted(desk)).saved.skipped == 0


async def test_dependants_of_a_task_that_a_fail_ruled_out_are_skipped_with_it(desk: Desk) -> None:
    from delm_mcp.board.adding import NewTask

    policy = build({"limits": {"max_attempts": 1}})
    await desk.open("one", "two", NewTask("three", after=("#2",)), NewTask("four"), policy=policy)
    held = await desk.hold(ADA)
    await desk.admit(held, dead_end())
    bob = await desk.hold(BOB)
    await desk.board.update_task(BOB, lease=bob.lease, action="fail", note="E1 rules this out")
    assert (await desk.task("T3")).state == "cancelled"
    assert (await counted(desk)).saved.skipped == 2


# -- verifying -----------------------------------------------------------------------------------


async def test_verify_tasks_are_counted_with_the_time_that_agents_held_them(desk: Desk) -> None:
    held = await started(desk, peers())
    await desk.propose(held, fact())
    abstaining = await desk.hold(BOB)
    desk.clock.advance(20)
    await desk.vote(abstaining, "abstain")
    lost = await desk.hold(CYD)
    desk.clock.advance(400)
    await desk.board.claim_task(ADA, agent=held.agent, run=desk.run)
    deciding = await desk.hold(DAN)
    assert deciding.task is not None
    assert deciding.task.kind == "verify", lost
    desk.clock.advance(30)
    await desk.vote(deciding, "pass", caller=DAN)
    found = (await counted(desk)).verifying
    assert (found.asked, found.done, found.abstained, found.lost) == (2, 2, 1, 1)
    assert found.agents_s == 50
    assert found.case_tokens > 200
    assert (found.open, found.closed) == (0, 0)


async def test_verdicts_that_were_not_needed_any_more_are_closed(desk: Desk) -> None:
    held = await started(desk, peers(approvals=1, of=2))
    await desk.propose(held, fact())
    assert (await counted(desk)).verifying.open == 2
    await desk.vote(await desk.hold(BOB), "pass")
    found = (await counted(desk)).verifying
    assert (found.asked, found.done, found.closed, found.open) == (2, 1, 1, 0)


def judged(number: int, *bills: dict[str, Any], done: bool = True) -> Check:
    """A judge's check with its bills; the last is of its verdict."""
    receipt: dict[str, Any] = {"judge_before": list(bills[:-1])}
    receipt |= {"judge": bills[-1]} if bills and done else {}
    return Check(CheckId(number), RunId("r"), EntryId(number), "judge", CheckState.DONE, receipt=receipt)


@pytest.mark.parametrize(
    ("costs", "usd", "unknown"),
    [((), 0, 0), ((0.25, 0.5), 0.75, 0), ((0.25, None), 0.25, 1), ((None, None), None, 2)],
)
def test_a_cost_that_is_not_known_stays_unknown(
    costs: tuple[float | None, ...], usd: float | None, unknown: int
) -> None:
    checks = [judged(n, bill_for("m", Spent(1, 100, 20, cost))) for n, cost in enumerate(costs, 1)]
    found = figures(Rows(checks=checks)).verifying.judge
    assert (found.usd, found.unknown_costs) == (usd, unknown)
    assert (found.bills, found.input_tokens, found.output_tokens) == (
        len(costs),
        100 * len(costs),
        20 * len(costs),
    )


def test_attempts_without_an_opinion_and_servers_that_do_not_count_are_told() -> None:
    bills = (bill_for("m", Spent(2, 100, 0, 0.5)), bill_for("m", Spent(1, 0, 0, None)))
    check = judged(1, *bills)
    assert bills_of(check) == list(bills)
    found = figures(Rows(checks=[check])).verifying.judge
    assert (found.requests, found.uncounted, found.unknown_costs, found.usd) == (3, 1, 1, 0.5)


async def test_the_time_of_the_servers_checks_is_known_by_check_or_said_to_be_unknown(desk: Desk) -> None:
    held = await started(desk)
    made = await desk.admit(held, fact(evidence=quote("notes", "drops a trailing comma")))

    def slow(tx: Tx) -> None:
        entry = tx.entry(EntryId(int(made.entry[1:])))
        assert entry is not None
        timed = tuple(
            replace(row, duration_s=1.5 if row.check == "quotes" else 0.0) for row in entry.receipts
        )
        tx.update(entry, replace(entry, receipts=timed))
        for _ in range(2):  # a check whose entry was decided without it, and one that is not done
            tx.insert(Check(CheckId(0), entry.run, entry.id, "command", CheckState.DONE))
        tx.insert(Check(CheckId(0), entry.run, entry.id, "command", CheckState.WAITING))

    await desk.store.write("slow", "w", desk.clock(), slow)
    found = (await counted(desk)).verifying
    assert (found.server_s, found.untimed) == ({"quotes": 1.5}, 2)


# -- time to admission ---------------------------------------------------------------------------


async def test_the_time_to_admission_is_told_by_what_was_waited_for(desk: Desk) -> None:
    held = await started(desk, peers())
    for waited_s in (10, 20, 30):
        await desk.propose(held, fact(f"The parser drops {waited_s} commas"))
        verify = await desk.hold(BOB)
        desk.clock.advance(waited_s)
        await desk.vote(verify, "pass")
    await desk.admit(held, dead_end())
    challenger = await desk.hold(CYD)
    await desk.dispute("E4", "support", by=challenger)
    await desk.board.update_task(CYD, lease=challenger.lease, action="release")
    desk.clock.advance(500)
    await desk.vote(await desk.hold(BOB), "pass")
    found = (await counted(desk)).admission
    assert list(found) == ["all", "board", "peers"]
    assert (found["peers"].count, found["peers"].p50_s, found["peers"].max_s) == (3, 20, 30)
    assert 29 < found["peers"].p99_s <= 30
    assert (found["board"].count, found["board"].max_s) == (1, 0)
    assert found["all"].count == 4


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_within_the_values_and_in_order(values: list[float]) -> None:
    p50, p99 = percentile(values, 50), percentile(values, 99)
    assert min(values) - 1e-6 <= p50 <= p99 + 1e-6
    assert p99 <= max(values) + 1e-6


# -- misses --------------------------------------------------------------------------------------


async def dispute(desk: Desk, entry: str, by: Caller = CYD) -> None:
    claim = await desk.hold(by)
    await desk.board.update_task(by, lease=claim.lease, action="release")
    desk.clock.advance(5)
    opinion = Opinion(entry, "fail", "The source says otherwise", ("support",))
    await desk.board.verify(by, opinion, agent=claim.agent, run=desk.run)
    desk.clock.advance(5)


async def test_disputes_are_upheld_dismissed_open_or_moot(desk: Desk) -> None:
    held = await started(desk)
    for number in range(1, 6):
        await desk.admit(held, fact(f"Finding number {number} holds"))
    await dispute(desk, "E1")
    await desk.vote(await desk.hold(BOB), "fail", "support")
    await dispute(desk, "E2")
    await desk.vote(await desk.hold(BOB), "pass")
    await dispute(desk, "E2", DAN)
    await desk.vote(await desk.hold(BOB), "fail", "drift")
    await dispute(desk, "E3")
    await dispute(desk, "E3", DAN)
    await desk.board.retract(OWNER, "E3", "it was of another day")
    await dispute(desk, "E4")
    found = await counted(desk)
    disputes = found.disputes
    assert (disputes.total, disputes.upheld, disputes.dismissed) == (6, 2, 1)
    assert (disputes.open, disputes.moot) == (1, 2)
    assert found.retractions == {"dispute": 2, "owner": 1}
    assert (found.proposals.suspect, found.proposals.live) == (1, 1)


async def test_retractions_are_told_by_what_caught_them(desk: Desk) -> None:
    held = await started(desk)
    await desk.admit(held, fact())
    await desk.admit(held, fact(LEXER, derived_from=(1,), evidence=()))
    await desk.admit(held, fact("The printer follows the parser", derived_from=(1,)))
    await desk.admit(held, fact("The tests pass at head"))
    desk.clock.advance(5)
    await desk.board.retract(OWNER, "E1", "the log was of another day")
    desk.clock.advance(5)
    await desk.vote(await desk.hold(BOB), "fail", "synthesis")

    def reruns(tx: Tx) -> None:
        op = Operation(tx, desk.clock(), desk.ids)
        cascading.doubt(op, op.entry(4), cascading.INPUTS, "E9 changed what check depends on")
        cascading.settle(op, op.entry(4), Receipt("command", Verdict.FAIL, "check fails at head", op.now))

    await desk.store.write("rerun", "w", desk.clock(), reruns)
    found = await counted(desk)
    assert found.retractions == {"parents": 2, "command": 1, "owner": 1}
    assert found.proposals.retracted == 4
    assert found.proposals.admitted == 4


# -- several runs, and one line --------------------------------------------------------------------


async def test_runs_are_counted_apart_and_together(desk: Desk) -> None:
    first = await started(desk)
    await desk.admit(first, fact())
    await desk.propose(first, fact("THE parser drops a trailing comma in lists."))
    second = await started(desk)
    await desk.admit(second, fact())
    report = await desk.look(lambda tx: stats.report(Operation(tx, desk.clock(), desk.ids), tx.runs()))
    totals = [facts["proposals"]["total"] for facts in (*report["runs"], report["total"])]
    assert totals == [2, 1, 3]
    assert report["total"]["saved"]["duplicates"] == 1
    assert report["total"]["admission"]["all"]["count"] == 2
    assert figures(together([])).proposals.total == 0


async def test_the_gate_in_a_line_leaves_out_what_there_was_none_of(desk: Desk) -> None:
    assert gate_line(2, 0, {}, 0) == "2 of 2 proposals admitted"
    assert gate_line(12, 1, {"quotes": 2, "peers": 1}, 1) == (
        "12 of 16 proposals admitted, 3 refused (quotes 2, peers 1), 1 pending, 1 retraction"
    )
    held = await started(desk)
    await desk.admit(held, fact())
    await desk.propose(held, fact("THE parser drops a trailing comma in lists."))
    home = await desk.home()
    found = await desk.look(lambda tx: stats.gate(Operation(tx, 0.0, desk.ids), home))
    assert found["line"] == "1 of 2 proposals admitted, 1 refused (novel 1)"
    assert (found["admitted"], found["refused"]) == (1, {"novel": 1})
