"""Calls that cannot be: a clear error of the right type, and a board as it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.board.adding import MAX_TASKS_A_CALL, NewTask
from delm_mcp.board.reading import MAX_BUDGET
from delm_mcp.domain.admission import MAX_EVIDENCE, MAX_EVIDENCE_TEXT, MAX_GIST, MAX_LIST, MAX_RAW, Proposal
from delm_mcp.domain.model import Caller, Evidence, Kind, Principal
from delm_mcp.errors import (
    Conflict,
    InvalidInput,
    LeaseLost,
    NotAllowed,
    NotFound,
    Refused,
    RequestReused,
    RunClosed,
)
from tests.boards import ADA, BOB, OBSERVER, OWNER, Desk, answer, desk_in, fact, limits, refused, result

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two")
        yield desk
        await desk.audit()


# -- runs ------------------------------------------------------------------------------------------


async def test_an_unknown_run_is_named_beside_those_that_exist(desk: Desk) -> None:
    async with refused(desk, NotFound, "'r-none'", desk.run):
        await desk.claim(run="r-none")
    async with refused(desk, NotFound, "'r-none'"):
        await desk.add("x", run="r-none")
    async with refused(desk, NotFound, "'r-none'"):
        await desk.board.propose_update(ADA, fact(), agent="a-b", run="r-none")


async def test_without_a_run_the_error_says_how_to_open_one(tmp_path: Path) -> None:
    async with desk_in(tmp_path) as empty:
        async with refused(empty, NotFound, "No run is open", "delm-mcp init", "add_tasks(goal="):
            await empty.board.claim_task(ADA)
        async with refused(empty, NotFound, "No run is open"):
            await empty.board.add_tasks(ADA, [NewTask("x")])


async def test_with_several_open_runs_one_must_be_named(desk: Desk) -> None:
    first = desk.run
    await desk.open("three")
    async with refused(desk, InvalidInput, "Several runs are open", first, desk.run, "run="):
        await desk.board.claim_task(ADA)


async def test_a_token_for_one_run_sees_no_other(desk: Desk) -> None:
    bound = Caller(Principal("ada"), runs=frozenset({"r-mine"}))
    async with refused(desk, NotFound, f"no run '{desk.run}' for this token", "r-mine"):
        await desk.claim(bound)
    held = await desk.hold(BOB)
    async with refused(desk, LeaseLost, "no task behind"):
        await desk.propose(held, fact(), bound)


async def test_a_token_for_named_runs_opens_none(desk: Desk) -> None:
    bound = Caller(Principal("ada"), runs=frozenset({desk.run}))
    async with refused(desk, NotAllowed, "named runs only", desk.run):
        await desk.board.add_tasks(bound, [NewTask("x")], goal="Another")


@pytest.mark.parametrize("goal", [" ", "g" * 4001])
async def test_a_goal_has_bounds(desk: Desk, goal: str) -> None:
    async with refused(desk, InvalidInput, "1 to 4000 characters"):
        await desk.board.add_tasks(ADA, [NewTask("x")], goal=goal)


async def test_a_goal_and_a_lease_exclude_each_other(desk: Desk) -> None:
    held = await desk.hold()
    async with refused(desk, InvalidInput, "goal opens a new run"):
        await desk.board.add_tasks(ADA, [NewTask("x")], goal="Another", lease=held.lease)


async def test_nothing_is_done_in_a_finished_run(desk: Desk) -> None:
    await desk.set_run(state="finished", reason="answered by E1")
    async with refused(desk, RunClosed, "is finished: answered by E1", "open a new run"):
        await desk.claim()
    async with refused(desk, RunClosed, "is finished"):
        await desk.add("three")


async def test_a_lease_in_a_finished_run_carries_no_right(desk: Desk) -> None:
    held = await desk.hold()
    await desk.set_run(state="finished", reason="answered by E1")
    async with refused(desk, RunClosed, "is finished"):
        await desk.propose(held, result())
    async with refused(desk, RunClosed, "is finished"):
        await desk.board.update_task(ADA, lease=held.lease, action="renew")
    async with refused(desk, RunClosed, "is finished"):
        await desk.board.propose_update(ADA, fact(), agent=held.agent, run=desk.run)
    stop = await desk.claim(agent=held.agent)
    assert stop.task is None
    assert stop.next.startswith("Stop")


# -- agents and roles ------------------------------------------------------------------------------


async def test_an_unknown_agent_is_told_how_to_get_a_name(desk: Desk) -> None:
    async with refused(desk, NotFound, "has no agent 'a-b'", "claim_task without agent"):
        await desk.claim(agent="a-b")
    async with refused(desk, NotFound, "has no agent 'a-b'"):
        await desk.board.propose_update(ADA, fact(), agent="a-b", run=desk.run)
    async with refused(desk, NotFound, "has no agent 'a-b'"):
        await desk.read(agent="a-b")


async def test_an_agent_of_another_principal_is_not_lent(desk: Desk) -> None:
    held = await desk.hold()
    async with refused(desk, NotAllowed, "belongs to somebody else"):
        await desk.claim(BOB, agent=held.agent)
    async with refused(desk, NotAllowed, "belongs to somebody else"):
        await desk.board.propose_update(BOB, fact(), agent=held.agent, run=desk.run)


async def test_a_token_bound_to_a_name_speaks_for_no_other(desk: Desk) -> None:
    bound = Caller(Principal("ada"), agent="fixed-name")
    other = await desk.hold()
    mine = await desk.hold(bound)
    assert mine.agent == "fixed-name"
    async with refused(desk, NotAllowed, "only for the agent 'fixed-name'"):
        await desk.claim(bound, agent=other.agent)
    async with refused(desk, NotAllowed, "This lease is somebody else's"):
        await desk.propose(other, fact(), bound)


async def test_an_author_must_be_named(desk: Desk) -> None:
    async with refused(desk, InvalidInput, "Nobody is named", "lease"):
        await desk.board.propose_update(ADA, fact(), run=desk.run)


async def test_an_observer_may_only_read(desk: Desk) -> None:
    async with refused(desk, NotAllowed, "may only read"):
        await desk.claim(OBSERVER)
    async with refused(desk, NotAllowed, "may only read"):
        await desk.add("x", caller=OBSERVER)
    async with refused(desk, NotAllowed, "may only read"):
        await desk.board.propose_update(OBSERVER, fact(), agent="a-b")
    async with refused(desk, NotAllowed, "may only read"):
        await desk.board.update_task(OBSERVER, lease="T1.abcd", action="renew")
    async with refused(desk, NotAllowed, "may only read"):
        await desk.board.verify(OBSERVER, entry="E1", verdict="pass", reason="fine")
    assert (await desk.read(OBSERVER, view="queue")).text


@pytest.mark.parametrize(
    "tags", [("Upper",), ("",), ("a b",), ("x" * 60,), tuple(f"t{n}" for n in range(21))]
)
async def test_odd_tags_are_refused(desk: Desk, tags: tuple[str, ...]) -> None:
    async with refused(desk, InvalidInput, "tag"):
        await desk.claim(tags=tags)


# -- tasks -----------------------------------------------------------------------------------------


async def test_an_unknown_task_is_not_claimed(desk: Desk) -> None:
    async with refused(desk, NotFound, "has no task T99", "view=queue"):
        await desk.claim(task="T99")
    async with refused(desk, InvalidInput, "not a label like T12"):
        await desk.claim(task="E1")


async def test_a_task_of_another_run_is_unknown_here(desk: Desk) -> None:
    first = desk.run
    other = await desk.open("elsewhere")
    async with refused(desk, NotFound, f"{first} has no task {other.tasks[0].id}"):
        await desk.claim(run=first, task=other.tasks[0].id)


async def test_a_task_that_is_held_is_not_claimed_twice(desk: Desk) -> None:
    held = await desk.hold(task="T1")
    async with refused(desk, Conflict, f"T1 is leased by {held.agent}"):
        await desk.claim(BOB, task="T1")


async def test_tags_that_do_not_cover_a_task_are_named(desk: Desk) -> None:
    queued = await desk.add(NewTask("render", needs=("gpu", "cuda")))
    async with refused(desk, NotAllowed, "needs cuda, which your tags do not cover", "tags="):
        await desk.claim(task=queued.tasks[0].id, tags=("gpu",))
    assert (await desk.hold(task=queued.tasks[0].id, tags=("gpu", "cuda"))).task


@pytest.mark.parametrize("wait_s", [-1, 25.1, float("nan")])
async def test_a_wait_has_bounds(desk: Desk, wait_s: float) -> None:
    async with refused(desk, InvalidInput, "0 to 25"):
        await desk.claim(wait_s=wait_s)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (NewTask(" "), "has no subject"),
        (NewTask("s" * 301), "subject has 301 characters; the limit is 300"),
        (NewTask("s", detail="d" * 20_001), "detail has 20001 characters"),
        (NewTask("s", priority=101), "priority 101 is not within"),
        (NewTask("s", copies=0), "copies 0 is not within"),
        (NewTask("s", copies=17), "copies 17 is not within"),
        (NewTask("s", needs=("No Way",)), "tag"),
        (NewTask("s", after=("T-1",)), "not a label like T12"),
        (NewTask("s", after=("#0",)), "does not name an earlier task"),
        (NewTask("s", after=("#1",)), "cannot wait for itself"),
        (NewTask("s", after=("#2",)), "does not name an earlier task"),
    ],
)
async def test_an_odd_task_is_refused_with_all_of_its_call(desk: Desk, new: NewTask, words: str) -> None:
    async with refused(desk, InvalidInput, words):
        await desk.add(new)
    shifted = NewTask(new.subject, new.detail, tuple(a.replace("#2", "#3") for a in new.after))
    if "#1" not in new.after and new.subject == "s" and new.after:
        async with refused(desk, InvalidInput):
            await desk.add("fine", shifted)


@pytest.mark.parametrize("count", [0, MAX_TASKS_A_CALL + 1])
async def test_a_call_takes_a_bounded_number_of_tasks(desk: Desk, count: int) -> None:
    async with refused(desk, InvalidInput, f"1 to {MAX_TASKS_A_CALL}"):
        await desk.add(*(f"task {n}" for n in range(count)))


async def test_a_task_cannot_wait_for_one_that_is_unknown_or_will_never_be_done(desk: Desk) -> None:
    async with refused(desk, NotFound, "after names T99"):
        await desk.add(NewTask("three", after=("T99",)))
    other = await desk.open("elsewhere", policy=limits(max_attempts=1))
    held = await desk.hold()
    await desk.board.update_task(ADA, lease=held.lease, action="fail", note="no")
    async with refused(desk, Conflict, f"{other.tasks[0].id}, which is failed and will never be done"):
        await desk.add(NewTask("three", after=(other.tasks[0].id,)))


async def test_a_dependency_cycle_is_refused(desk: Desk) -> None:
    await desk.add(NewTask("two", after=("T1",)), NewTask("three", after=("#1",)))
    assert [(await desk.task(t)).state for t in ("T2", "T3")] == ["blocked", "blocked"]
    async with refused(desk, InvalidInput, "T1 would wait for itself through T3"):
        await desk.add(NewTask("one", after=("T3",)))
    async with refused(desk, InvalidInput, "would wait for itself"):
        await desk.add(NewTask("one", after=("T1",)))
    async with refused(desk, InvalidInput, "would wait for itself"):
        await desk.add("four", NewTask("five", after=("#1",)), NewTask("four", after=("#2",)))


async def test_a_task_that_was_begun_cannot_be_made_to_wait(desk: Desk) -> None:
    await desk.hold(task="T1")
    async with refused(desk, Conflict, "T1 is leased already"):
        await desk.add(NewTask("one", after=("T2",)))


async def test_a_run_takes_a_bounded_number_of_tasks(desk: Desk) -> None:
    await desk.open("a", policy=limits(max_tasks=2))
    async with refused(desk, Conflict, "has 1 tasks; 2 more would pass its 2"):
        await desk.add("b", "c")
    await desk.add("b")


async def test_splitting_needs_a_lease_and_something_open(desk: Desk) -> None:
    async with refused(desk, InvalidInput, "split needs the lease"):
        await desk.add("x", split=True)
    held = await desk.hold(task="T1")
    async with refused(desk, InvalidInput, "Split it into other parts"):
        await desk.add("one", lease=held.lease, split=True, caller=ADA)


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
        await desk.board.verify(ADA, entry=made.entry, verdict="pass", reason="it holds")


async def test_odd_verdicts_are_refused(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact())
    async with refused(desk, NotFound, "no entry E99"):
        await desk.board.verify(BOB, entry="E99", verdict="pass", reason="r")
    async with refused(desk, InvalidInput, "no verdict 'maybe'", "pass, fail, abstain"):
        await desk.board.verify(BOB, entry=made.entry, verdict="maybe", reason="r")
    async with refused(desk, InvalidInput, "not a label"):
        await desk.board.verify(BOB, entry="T1", verdict="pass", reason="r")


async def test_a_verdict_without_a_verify_task_says_what_would_work(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact())
    with pytest.raises(Refused, match="supersedes"):
        await desk.board.verify(BOB, entry=made.entry, verdict="fail", reason="it does not hold")


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
    async with refused(desk, RunClosed, "is cancelled: enough"):
        await cancel(OWNER)
    async with refused(desk, RunClosed, "is cancelled: enough"):
        await desk.propose(held, result())
