"""Leases, proposals, verdicts and reads that cannot be: a clear error, and a board as it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.board.reading import MAX_BUDGET
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Evidence, Kind
from delm_mcp.domain.proposal import MAX_EVIDENCE, MAX_EVIDENCE_TEXT, MAX_GIST, MAX_LIST, MAX_RAW, Proposal
from delm_mcp.errors import (
    Conflict,
    InvalidInput,
    LeaseLost,
    NotAllowed,
    NotFound,
    RequestReused,
    RunClosed,
)
from tests.boards import ADA, BOB, OWNER, Desk, answer, desk_in, fact, refused, result

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two")
        yield desk
        await desk.audit()


# -- leases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lease", ["T1", "nonsense", "E1.abcd", "T1.", "T1.UPPER", f"T{'9' * 16}.abcd"])
async def test_what_is_no_lease_is_told_where_leases_come_from(desk: Desk, lease: str) -> None:
    async with refused(desk, InvalidInput, "is not a lease", "claim_task"):
        await desk.propose(lease, fact())
    async with refused(desk, InvalidInput, "is not a lease"):
        await desk.board.update_task(ADA, lease=lease, action="renew")
    async with refused(desk, InvalidInput, "is not a lease"):
        await desk.add("x", lease=lease)


async def test_a_wrong_lease_changes_nothing(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    for wrong in ("T1.aaaaaaaaaaaa", held.lease.replace("T1.", "T2."), "T99.aaaaaaaaaaaa"):
        async with refused(desk, LeaseLost, "claim_task"):
            await desk.propose(wrong, result())
        async with refused(desk, LeaseLost, "claim_task"):
            await desk.add("x", lease=wrong)
        for action in ("renew", "release", "fail"):
            async with refused(desk, LeaseLost, "claim_task"):
                await desk.board.update_task(ADA, lease=wrong, action=action, note="n")


async def test_a_lease_that_was_retaken_is_fenced(desk: Desk) -> None:
    old = await desk.hold(task="T1")
    desk.clock.advance(301)
    new = await desk.hold(BOB, task="T1")
    async with refused(desk, LeaseLost, f"T1 was retaken by {new.agent}"):
        await desk.propose(old, result())
    async with refused(desk, LeaseLost, "T1 was retaken"):
        await desk.add("x", lease=old.lease, split=True)
    await desk.admit(new, result(), BOB)
    async with refused(desk, LeaseLost, "T1, which is done"):
        await desk.propose(old, result("Something else altogether was found"))


async def test_a_lease_names_its_own_agent_and_run(desk: Desk) -> None:
    held, other = await desk.hold(), await desk.hold()
    async with refused(desk, NotAllowed, f"This lease is of {held.agent}"):
        await desk.board.propose_update(ADA, fact(), lease=held.lease, agent=other.agent)
    async with refused(desk, NotAllowed, f"in run {desk.run}"):
        await desk.board.propose_update(ADA, fact(), lease=held.lease, run="r-other")


@pytest.mark.parametrize(
    ("action", "note", "words"), [("stop", "", "no action 'stop'"), ("fail", " ", "note")]
)
async def test_an_odd_update_is_refused(desk: Desk, action: str, note: str, words: str) -> None:
    held = await desk.hold()
    async with refused(desk, InvalidInput, words):
        await desk.board.update_task(ADA, lease=held.lease, action=action, note=note)


# -- proposals that cannot even be kept ------------------------------------------------------------

ODD: list[tuple[Proposal, str]] = [
    (fact(" "), "gist is empty"),
    (fact("g" * (MAX_GIST + 1)), f"gist has {MAX_GIST + 1} characters; the limit is {MAX_GIST}"),
    (fact(summary="s" * 20_001), "summary has 20001 characters"),
    (fact(raw="r" * (MAX_RAW + 1)), f"the limit is {MAX_RAW}"),
    (fact(scope="s" * 501), "scope has 501 characters"),
    (fact(key="k" * 501), "key has 501 characters"),
    (fact(evidence=(Evidence("url", "u" * 501),)), "evidence 1 ref has 501 characters"),
    (fact(evidence=(Evidence("artifact", "a", "t" * (MAX_EVIDENCE_TEXT + 1)),)), "evidence 1 text has"),
    (fact(evidence=(Evidence("t" * 501, "a", "text"),)), "evidence 1 type has 501 characters"),
    (fact(evidence=(Evidence("url", "https://x.org"),) * (MAX_EVIDENCE + 1)), "evidence has 21 items"),
    (fact(supersedes=tuple(range(MAX_LIST + 1))), "at most 50 entries"),
    (fact(derived_from=tuple(range(MAX_LIST + 1))), "at most 50 entries"),
    (fact(base_version=2**63), "base_version"),
    (fact(supersedes=(2**63,)), "63 bits"),
    (fact("The parser \ud800 drops lists"), "half a surrogate pair"),
    (fact(raw="a \udfff b"), "surrogate"),
]


@pytest.mark.parametrize(("proposal", "words"), ODD, ids=[words[:28] for _, words in ODD])
async def test_what_is_over_a_limit_is_not_kept_at_all(desk: Desk, proposal: Proposal, words: str) -> None:
    held = await desk.hold()
    async with refused(desk, InvalidInput, words):
        await desk.propose(held, proposal)


async def test_a_result_needs_the_lease_of_its_task(desk: Desk) -> None:
    held = await desk.hold()
    async with refused(desk, InvalidInput, "completes needs the lease"):
        await desk.board.propose_update(ADA, result(), agent=held.agent, run=desk.run)


async def test_an_answer_needs_the_decide_lease(desk: Desk) -> None:
    held = await desk.hold()
    async with refused(desk, NotAllowed, "Only the holder of the decide task may answer", "kind=fact"):
        await desk.propose(held, answer())
    async with refused(desk, NotAllowed, "Only the holder of the decide task"):
        await desk.board.propose_update(
            ADA, Proposal(Kind.ANSWER, "The parser is mended now"), agent=held.agent, run=desk.run
        )


async def test_an_answer_completes_and_a_decide_task_takes_nothing_less(desk: Desk) -> None:
    await desk.open("only")
    first = await desk.hold()
    decide = await desk.work_off(first, "The parser reads every list again")
    assert decide.task is not None
    assert decide.task.kind == "decide"
    async with refused(desk, InvalidInput, "completes=true with kind=answer"):
        await desk.propose(decide, Proposal(Kind.ANSWER, "The parser is mended now", derived_from=(1,)))
    async with refused(desk, NotAllowed, "kind=answer"):
        await desk.propose(decide, result("The lexer counts a tab as eight columns"))


async def test_a_request_id_has_one_content(desk: Desk) -> None:
    held = await desk.hold()
    await desk.board.propose_update(ADA, fact(), lease=held.lease, request="r1")
    async with refused(desk, RequestReused, "'r1' was used before", "new request_id"):
        await desk.board.propose_update(
            ADA, fact("The lexer counts a tab as eight columns"), lease=held.lease, request="r1"
        )
    await desk.add("three", request="r2")
    async with refused(desk, RequestReused, "'r2' was used before"):
        await desk.add("four", request="r2")


async def test_a_request_id_means_one_run(desk: Desk) -> None:
    first, here = await desk.add("three", request="r2"), desk.run
    await desk.open("elsewhere")
    second = await desk.add("three", request="r2")
    assert (first.run, second.run) == (here, desk.run)
    assert not second.tasks[0].existed
    assert (await desk.add("three", run=here, request="r2")).tasks == first.tasks


# -- verdicts --------------------------------------------------------------------------------------


async def test_a_verdict_on_ones_own_entry_is_refused(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact())
    async with refused(desk, NotAllowed, f"{made.entry} is your own entry"):
        await desk.board.verify(ADA, Opinion(made.entry, "pass", "it holds"))


async def test_odd_verdicts_are_refused(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact())
    async with refused(desk, NotFound, "no entry E99"):
        await desk.board.verify(BOB, Opinion("E99", "pass", "r"))
    async with refused(desk, InvalidInput, "no verdict 'maybe'", "pass, fail, abstain"):
        await desk.board.verify(BOB, Opinion(made.entry, "maybe", "r"))
    async with refused(desk, InvalidInput, "not a label"):
        await desk.board.verify(BOB, Opinion("T1", "pass", "r"))


async def test_a_verdict_without_a_verify_task_says_what_would_work(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact())
    bob = (await desk.hold(BOB)).agent
    async with refused(desk, Conflict, "Only the lease of a verify task", "verdict=fail disputes"):
        await desk.board.verify(BOB, Opinion(made.entry, "pass", "it does hold"), agent=bob, run=desk.run)


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"since": 1}, "since=1 is not a version"),
        ({"at": 7}, "at=7 is not a version"),
        ({"since": -1}, "since=-1"),
        ({"view": "all"}, "Views: context, queue, why"),
        ({"level": "deep"}, "Levels: gist, summary, raw"),
        ({"kind": "rumour"}, "Kinds: fact, fail, patch, answer"),
        ({"budget_tokens": 0}, "budget_tokens=0"),
        ({"budget_tokens": MAX_BUDGET + 1}, f"1 to {MAX_BUDGET}"),
        ({"view": "why"}, "entries="),
        ({"entries": ("E 1",)}, "not a label"),
    ],
)
async def test_an_odd_read_is_refused(desk: Desk, wanted: dict[str, Any], words: str) -> None:
    async with refused(desk, InvalidInput, words):
        await desk.read(**wanted)


async def test_an_unknown_entry_is_not_read(desk: Desk) -> None:
    async with refused(desk, NotFound, "has no entry E7"):
        await desk.read(entries=("E7",))
    held = await desk.hold()
    await desk.admit(held, fact())
    await desk.open("elsewhere")
    async with refused(desk, NotFound, "has no entry E1"):
        await desk.read(entries=("E1",))


async def test_only_an_owner_cancels_a_run_and_only_once(desk: Desk) -> None:
    async def cancel(caller: Caller) -> object:
        return await desk.board.cancel_run(caller, desk.run, "enough")

    async with refused(desk, NotAllowed, "Only an owner"):
        await cancel(ADA)
    held = await desk.hold()
    await cancel(OWNER)
    assert [(await desk.task(t)).state for t in ("T1", "T2")] == ["cancelled", "cancelled"]
    async with refused(desk, RunClosed, "is cancelled: «enough»"):
        await cancel(OWNER)
    async with refused(desk, RunClosed, "is cancelled: «enough»"):
        await desk.propose(held, result())
