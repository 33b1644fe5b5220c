"""Peers: k of n verdicts through verify tasks, independence, rejections, and patience."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.domain.policy import Policy, build
from delm_mcp.errors import Conflict, InvalidInput, LeaseLost, NotAllowed
from tests.boards import ADA, BOB, CYD, OWNER, Desk, answer, desk_in, fact, ids_of, quote, refused, result

pytestmark = pytest.mark.anyio

SOURCE = "The parser drops a trailing comma in lists.\nThe lexer counts a tab as eight columns.\n"
DOT = Caller(Principal("dot"))


def peers(**settings: Any) -> Policy:
    """Facts need peers; everything else is as usual."""
    return build({"fact": {"checks": ["novel", "quotes", "peers"]}, "peers": settings})


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        yield desk
        await desk.audit()


async def start(desk: Desk, policy: Policy, tasks: tuple[str, ...] = ("one", "two")) -> Claim:
    await desk.open(*tasks, policy=policy, sources=(("notes", SOURCE),))
    return await desk.hold(ADA)


async def test_an_entry_that_a_peer_approves_is_admitted_as_judged(desk: Desk) -> None:
    held = await start(desk, peers())
    proposed = await desk.propose(held, result())
    assert (proposed.state, proposed.task_state) == ("pending", "submitted")
    assert (await desk.read()).text == ""
    verify = await desk.hold(BOB)
    assert verify.task is not None
    assert verify.task.kind == "verify"
    judged = await desk.vote(verify, "pass")
    assert (judged.state, judged.votes_needed) == ("admitted", 0)
    entry = await desk.entry(proposed.entry)
    assert (entry.strength, entry.receipts[-1].check) == ("judged", "peers")
    assert (await desk.task(ids_of([held])[0])).state == "done"
    assert proposed.entry in (await desk.claim(ADA, agent=held.agent)).news[0]


async def test_a_verifier_gets_the_whole_case_in_one_answer(desk: Desk) -> None:
    held = await start(desk, peers())
    proposal = result(
        "The parser drops a trailing comma in lists",
        evidence=quote("notes", "drops a trailing comma"),
        summary="- seen in notes",
        raw="line 1 of notes",
    )
    await desk.propose(held, proposal)
    verify = await desk.hold(BOB)
    assert verify.task is not None
    for words in (
        "gist: «The parser drops a trailing comma in lists»",
        "claims: quoted",
        "| drops a trailing comma",
        "found by the server at 11",
        "- seen in notes",
        "line 1 of notes",
        "qualifier drift",
        "absence",
        "arithmetic",
    ):
        assert words in verify.task.case
    assert held.agent not in verify.task.case


async def test_neither_the_author_nor_its_principal_gets_the_verify_task(desk: Desk) -> None:
    held = await start(desk, peers())
    await desk.propose(held, result())
    again = await desk.hold(ADA, agent=held.agent)
    assert ids_of([again]) == ["T2"]
    twin = await desk.claim(ADA)
    assert twin.task is None
    assert "await the verdict of a peer" in twin.reason
    async with refused(desk, NotAllowed, "your own entry"):
        await desk.claim(ADA, agent=twin.agent, task="T3")
    assert ids_of([await desk.hold(BOB)]) == ["T3"]


async def test_verifying_goes_ahead_of_work_of_the_same_priority(desk: Desk) -> None:
    held = await start(desk, peers(), tasks=("one", "two", "three"))
    await desk.propose(held, result())
    verify = await desk.hold(BOB)
    assert verify.task is not None
    assert verify.task.kind == "verify"


async def test_k_of_n_principals_decide_and_nobody_votes_twice(desk: Desk) -> None:
    held = await start(desk, peers(approvals=2, of=3))
    proposed = await desk.propose(held, result())
    first = await desk.hold(BOB)
    twin = await desk.hold(BOB)
    assert twin.task is not None
    assert twin.task.kind == "work"
    assert (await desk.vote(first, "pass")).votes_needed == 1
    assert (await desk.claim(BOB, agent=first.agent)).task is None
    second = await desk.hold(CYD)
    assert (await desk.vote(second, "fail", "drift", caller=CYD)).state == "pending"
    third = await desk.hold(DOT)
    assert (await desk.vote(third, "pass", caller=DOT)).state == "admitted"
    assert (await desk.entry(proposed.entry)).receipts[-1].reason.count("says pass") == 2


async def test_a_rejection_names_the_axes_and_goes_to_the_author_first(desk: Desk) -> None:
    held = await start(desk, peers())
    proposed = await desk.propose(held, result())
    verify = await desk.hold(BOB)
    judged = await desk.vote(verify, "fail", "drift", "support")
    assert judged.state == "rejected"
    assert (await desk.read()).text == ""
    other = await desk.claim(BOB, agent=verify.agent)
    assert ids_of([other]) == ["T2"]
    back = await desk.hold(ADA, agent=held.agent)
    assert back.task is not None
    assert back.task.earlier[0].entry == proposed.entry
    assert "drift, support" in back.task.earlier[0].reason
    assert any(f"your {proposed.entry} was rejected" in line for line in back.news)


async def test_after_three_rejections_the_task_goes_to_somebody_else(desk: Desk) -> None:
    held = await start(desk, peers(max_rejections=3), tasks=("one",))
    bob = (await desk.claim(BOB)).agent
    for attempt in range(3):
        await desk.propose(held, result(f"The parser drops comma number {attempt}"))
        verify = await desk.hold(BOB, agent=bob)
        await desk.vote(verify, "fail", "support")
        if attempt < 2:
            held = await desk.hold(ADA, agent=held.agent)
    task = await desk.task("T1")
    assert (task.state, task.shuns, task.attempts) == ("ready", held.agent, 1)
    refusal = await desk.claim(ADA, agent=held.agent)
    assert refusal.task is None
    assert f"others than {held.agent}" in refusal.reason
    assert ids_of([await desk.hold(BOB, agent=bob)]) == ["T1"]


async def test_an_abstention_asks_somebody_else(desk: Desk) -> None:
    held = await start(desk, peers())
    await desk.propose(held, result())
    verify = await desk.hold(BOB)
    assert (await desk.vote(verify, "abstain")).state == "pending"
    assert ids_of([await desk.claim(BOB, agent=verify.agent)]) == ["T2"]
    assert (await desk.vote(await desk.hold(CYD), "pass", caller=CYD)).state == "admitted"


async def test_a_lone_agent_is_admitted_without_peers_once_patience_ends(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30), tasks=("one",))
    proposed = await desk.propose(held, result())
    assert not await desk.board.checker.run_next()
    desk.clock.advance(31)
    assert await desk.board.checker.run_next()
    entry = await desk.entry(proposed.entry)
    assert (entry.state, entry.strength) == ("admitted", "attested")
    assert "no other principal" in entry.receipts[-1].reason
    assert (await desk.task("T2")).state == "cancelled"
    assert "flagged: no peer judged it" in (await desk.read()).text


async def test_no_peers_reject_gives_the_task_back(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30, no_peers="reject"), tasks=("one",))
    proposed = await desk.propose(held, result())
    desk.clock.advance(31)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "rejected"
    assert (await desk.hold(ADA, agent=held.agent)).task is not None


async def test_no_peers_wait_waits_until_somebody_comes(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30, no_peers="wait"), tasks=("one",))
    proposed = await desk.propose(held, result())
    for _ in range(5):
        desk.clock.advance(3000)
        assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "pending"
    assert (await desk.vote(await desk.hold(BOB), "pass")).state == "admitted"


async def test_a_live_peer_is_waited_for_and_a_dead_one_is_not(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30))
    bob = await desk.hold(BOB)
    proposed = await desk.propose(held, result())
    desk.clock.advance(31)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "pending"
    desk.clock.advance(600)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "admitted"
    assert bob.task is not None


async def test_a_verdict_after_the_case_is_closed_is_refused(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30, no_peers="attest"), tasks=("one",))
    await desk.propose(held, result())
    verify = await desk.hold(BOB)
    desk.clock.advance(700)
    assert await desk.board.checker.run_next()
    async with refused(desk, LeaseLost, "cancelled"):
        await desk.vote(verify, "fail", "support")


@pytest.mark.parametrize(
    ("verdict", "fails", "reason", "words"),
    [
        ("fail", (), "no", "fail needs the axes"),
        ("fail", ("taste",), "no", "no axis 'taste'"),
        ("pass", ("drift",), "yes", "does not go with fails=drift"),
        ("pass", (), "  ", "A reason has 1 to"),
        ("perhaps", (), "yes", "no verdict 'perhaps'"),
    ],
)
async def test_an_odd_verdict_is_refused_and_the_lease_stays(
    desk: Desk, verdict: str, fails: tuple[str, ...], reason: str, words: str
) -> None:
    held = await start(desk, peers())
    await desk.propose(held, result())
    verify = await desk.hold(BOB)
    async with refused(desk, InvalidInput, words):
        await desk.vote(verify, verdict, *fails, reason=reason)
    assert (await desk.vote(verify, "pass")).state == "admitted"


async def test_the_same_verdict_sent_again_is_answered_as_the_first_time(desk: Desk) -> None:
    held = await start(desk, peers(approvals=2))
    await desk.propose(held, result())
    verify = await desk.hold(BOB)
    first = await desk.vote(verify, "pass")
    second = await desk.vote(verify, "pass")
    assert (first.state, first.votes_needed) == (second.state, second.votes_needed) == ("pending", 1)
    other = Opinion("E1", "fail", "on second thoughts", ("drift",))
    async with refused(desk, LeaseLost, "done"):
        await desk.board.verify(BOB, other, lease=verify.lease)


async def test_the_answer_of_a_strict_run_is_judged_before_the_run_ends(desk: Desk) -> None:
    await desk.open("one", policy=build({"answer": {"checks": ["parents", "peers"]}}))
    held = await desk.hold(ADA)
    made = await desk.admit(held, result())
    decide = await desk.hold(ADA, agent=held.agent)
    proposed = await desk.propose(decide, answer(int(made.entry[1:])))
    assert proposed.state == "pending"
    assert (await desk.home()).state == "open"
    await desk.vote(await desk.hold(BOB), "pass")
    assert (await desk.home()).state == "finished"


async def test_work_cannot_wait_for_a_verify_task(desk: Desk) -> None:
    held = await start(desk, peers())
    await desk.propose(held, result())
    async with refused(desk, Conflict, "verify task"):
        await desk.add(NewTask("more", after=("T3",)))


async def test_a_finding_beside_the_task_is_verified_too(desk: Desk) -> None:
    held = await start(desk, peers())
    proposed = await desk.propose(held, fact())
    assert (proposed.state, proposed.task_state) == ("pending", "leased")
    assert (await desk.vote(await desk.hold(BOB), "fail", "support")).state == "rejected"
    assert (await desk.task("T1")).state == "leased"


async def test_a_lone_agent_is_not_sent_away_while_its_entries_await_the_policys_word(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30), tasks=("one",))
    await desk.propose(held, result())
    desk.board.closing = True  # so that a wait ends at once on a clock that stands still
    for _ in range(4):
        waiting = await desk.claim(ADA, agent=held.agent, wait_s=0.001)
        assert waiting.next.startswith("claim_task")


async def test_where_only_a_peer_can_end_the_wait_a_lone_agent_may_stop(desk: Desk) -> None:
    held = await start(desk, peers(peer_wait_s=30, no_peers="wait"), tasks=("one",))
    await desk.propose(held, result())
    desk.board.closing = True  # as above
    for _ in range(2):
        waiting = await desk.claim(ADA, agent=held.agent, wait_s=0.001)
    assert "Stop here unless" in waiting.next


@pytest.mark.parametrize("choice", ["attest", "reject", "wait"])
async def test_what_awaits_peers_when_its_run_is_cancelled_is_rejected(desk: Desk, choice: str) -> None:
    held = await start(desk, peers(peer_wait_s=30, no_peers=choice))
    proposed = await desk.propose(held, result())
    await desk.board.cancel_run(OWNER, desk.run, "no longer needed")
    desk.clock.advance(31)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "rejected"
    left = await desk.look(lambda tx: {task.state.value for task in tx.tasks(desk.run)})
    assert left == {"cancelled"}


async def test_a_verify_task_is_answered_with_a_verdict_and_nothing_else(desk: Desk) -> None:
    held = await start(desk, peers())
    await desk.propose(held, result())
    verify = await desk.hold(BOB)
    async with refused(desk, NotAllowed, "answered with a verdict on E1"):
        await desk.propose(verify, result("The lexer counts a tab as eight columns"), BOB)
    async with refused(desk, Conflict, "not divided"):
        await desk.add(NewTask("part"), caller=BOB, lease=verify.lease, split=True)
    beside = await desk.propose(verify, fact("The lexer counts a tab as eight columns"), BOB)
    assert beside.state == "pending"
