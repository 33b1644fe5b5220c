"""Disputes, retractions, and how they reach everything that rests on an entry."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.errors import Conflict, InvalidInput, LeaseLost, NotAllowed, NotFound
from tests.boards import ADA, BOB, CYD, OWNER, SEEN, Desk, desk_in, fact, ids_of, quote, refused, result

pytestmark = pytest.mark.anyio

DOT = Caller(Principal("dot"))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two", "three", "four")
        yield desk
        await desk.audit()


async def states(desk: Desk) -> dict[str, str]:
    rows = await desk.look(lambda tx: tx.entries(desk.run))
    return {row.label: row.state.value for row in rows}


async def chain(desk: Desk, held: Claim, length: int, bare: int = 0) -> list[str]:
    """Entries that each derive from the one before; the last `bare` cite nothing else."""
    labels: list[str] = []
    for number in range(length):
        made = await desk.admit(
            held,
            fact(
                f"Step number {number} of the argument holds",
                derived_from=(int(labels[-1][1:]),) if labels else (),
                evidence=() if number >= length - bare else SEEN,
            ),
        )
        labels.append(made.entry)
    return labels


async def test_a_disputed_entry_is_suspect_at_once_and_everybody_hears_of_it(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    bob, cyd = await desk.hold(BOB), await desk.hold(CYD)
    judged = await desk.dispute(made.entry, "drift", by=cyd)
    assert (judged.state, judged.votes_needed) == ("suspect", 1)
    heard = await desk.read(BOB, agent=bob.agent)
    assert f"? {made.entry} suspect, do not rely on" in heard.text
    assert "disputed by" in heard.text
    assert "drift" in heard.text


async def test_neither_author_nor_challenger_judges_a_dispute(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    cyd = await desk.hold(CYD)
    await desk.dispute(made.entry, "drift", by=cyd)
    await desk.board.update_task(ADA, lease=held.lease, action="release")
    await desk.board.update_task(CYD, lease=cyd.lease, action="release")
    assert ids_of([await desk.hold(ADA, agent=held.agent)]) == ["T1"]
    assert ids_of([await desk.hold(CYD, agent=cyd.agent)]) == ["T2"]
    verify = await desk.hold(BOB)
    assert ids_of([verify]) == ["T5"]
    assert verify.task is not None
    assert "The source says otherwise" in verify.task.case


async def test_a_dispute_that_is_dismissed_clears_the_entry_and_all_that_rests_on_it(desk: Desk) -> None:
    held = await desk.hold(ADA)
    labels = await chain(desk, held, 4)
    cyd = await desk.hold(CYD)
    before = (await desk.home()).version
    await desk.dispute(labels[0], "support", by=cyd)
    assert set((await states(desk)).values()) == {"suspect"}
    assert (await desk.home()).version == before + 1
    judged = await desk.vote(await desk.hold(BOB), "pass")
    assert judged.state == "admitted"
    assert set((await states(desk)).values()) == {"admitted"}
    open_tasks = await desk.look(lambda tx: [t for t in tx.tasks(desk.run) if t.kind == "verify"])
    assert {task.state.value for task in open_tasks} == {"done", "cancelled"}


async def test_a_dispute_that_is_upheld_retracts_the_entry(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    await desk.dispute(made.entry, "support", by=await desk.hold(CYD))
    judged = await desk.vote(await desk.hold(BOB), "fail", "support")
    assert judged.state == "retracted"
    assert f"! {made.entry} retracted, do not rely on" in (await desk.read()).text


async def test_a_chain_of_six_is_suspect_at_once_and_verified_again_in_order(desk: Desk) -> None:
    held = await desk.hold(ADA)
    labels = await chain(desk, held, 6, bare=2)
    bob = await desk.hold(BOB)
    version = (await desk.home()).version
    await desk.board.retract(OWNER, labels[0], "the log was of another day")
    assert (await desk.home()).version == version + 1
    found = await states(desk)
    assert [found[label] for label in labels] == ["retracted"] + ["suspect"] * 5
    await desk.board.update_task(BOB, lease=bob.lease, action="release")
    judged_order = []
    for verdict in ("pass", "pass", "fail"):
        verify = await desk.hold(BOB, agent=bob.agent)
        assert verify.task is not None
        about = (await desk.task(verify.task.id)).about
        judged_order.append(f"E{about}")
        assert f"{labels[0]} was retracted" in verify.task.case
        await desk.vote(verify, verdict, *(["support"] if verdict == "fail" else []))
    assert judged_order == labels[1:4]
    found = await states(desk)
    assert [found[label] for label in labels] == ["retracted", "admitted", "admitted"] + ["retracted"] * 3


async def test_retracting_a_result_opens_its_task_again_and_blocks_what_has_not_begun(desk: Desk) -> None:

    added = await desk.add(NewTask("five", after=("T1",)))
    held = await desk.hold(ADA)
    made = await desk.admit(held, result())
    assert (await desk.task(added.tasks[0].id)).state == "ready"
    await desk.board.retract(OWNER, made.entry, "it was a mistake")
    task = await desk.task("T1")
    assert (task.state, task.attempts, task.result) == ("ready", 1, 0)
    assert (await desk.task(added.tasks[0].id)).state == "blocked"
    again = await desk.hold(BOB, task="T1")
    assert again.task is not None
    assert [row.entry for row in again.task.earlier] == [made.entry]
    await desk.admit(again, result("The parser keeps its commas since today"), BOB)
    assert (await desk.task(added.tasks[0].id)).state == "ready"


async def test_superseding_does_not_cascade(desk: Desk) -> None:
    held = await desk.hold(ADA)
    labels = await chain(desk, held, 3)
    await desk.admit(held, fact("The first step holds on Linux only", supersedes=(int(labels[0][1:]),)))
    found = await states(desk)
    assert [found[label] for label in labels] == ["superseded", "admitted", "admitted"]


async def test_a_retraction_reaches_through_a_superseded_entry(desk: Desk) -> None:
    held = await desk.hold(ADA)
    labels = await chain(desk, held, 3)
    await desk.admit(held, fact("The second step holds on Linux only", supersedes=(int(labels[1][1:]),)))
    await desk.board.retract(OWNER, labels[0], "wrong")
    assert (await states(desk))[labels[2]] == "suspect"


async def test_a_dispute_needs_a_ground_and_an_independent_witness(desk: Desk) -> None:
    held = await desk.hold(ADA)
    labels = await chain(desk, held, 2)
    cyd = await desk.hold(CYD)
    async with refused(desk, InvalidInput, "fail needs the axes"):
        await desk.dispute(labels[0], by=cyd)
    async with refused(desk, Conflict, "rests on E1 itself"):
        await desk.dispute(labels[0], by=cyd, against=[labels[1]])
    async with refused(desk, Conflict, "rests on E1 itself"):
        await desk.dispute(labels[0], by=cyd, against=[labels[0]])
    async with refused(desk, NotFound, "E99"):
        await desk.dispute(labels[0], by=cyd, against=["E99"])
    async with refused(desk, NotAllowed, "your own entry"):
        await desk.dispute(labels[0], "drift", by=held, caller=ADA)
    witness = await desk.admit(cyd, fact("The log of Monday shows no dropped comma"), CYD)
    judged = await desk.dispute(labels[0], by=cyd, against=[witness.entry])
    assert judged.state == "suspect"


async def test_one_principal_disputes_an_entry_once(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    cyd = await desk.hold(CYD)
    await desk.dispute(made.entry, "drift", by=cyd)
    again = await desk.dispute(made.entry, "drift", by=cyd)
    assert again.state == "suspect"  # the same call is answered again
    async with refused(desk, Conflict, "disputed E1 before"):
        await desk.dispute(made.entry, "support", by=cyd)


async def test_a_second_challenger_starts_the_vote_again_and_may_not_judge_either(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    cyd, dot = await desk.hold(CYD), await desk.hold(DOT)
    await desk.dispute(made.entry, "drift", by=cyd)
    verify = await desk.hold(BOB)
    await desk.dispute(made.entry, "support", by=dot, caller=DOT)
    async with refused(desk, LeaseLost, "a new doubt"):
        await desk.vote(verify, "pass")
    await desk.board.update_task(DOT, lease=dot.lease, action="release")
    assert ids_of([await desk.hold(DOT, agent=dot.agent)]) == ["T3"]
    judged = await desk.vote(await desk.hold(BOB, agent=verify.agent), "pass")
    assert judged.state == "admitted"


async def test_a_suspect_entry_cannot_be_built_upon(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    await desk.dispute(made.entry, "drift", by=await desk.hold(CYD))
    proposed = await desk.propose(held, fact("So the printer drops it too", derived_from=(1,)))
    assert proposed.state == "rejected"
    assert "E1, which is suspect" in proposed.reasons[0]


async def test_a_dispute_that_nobody_can_judge_does_not_keep_the_run_open(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, result())
    cyd = await desk.hold(CYD)
    await desk.dispute(made.entry, "drift", by=cyd)
    for gist in ("Two is done as well", "Three is done as well", "Four is done as well"):
        cyd = await desk.work_off(cyd, gist, CYD)
    assert cyd.task is not None
    assert cyd.task.kind == "decide"
    assert "T5" in cyd.task.detail


async def test_pass_without_a_verify_task_is_refused(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    bob = await desk.hold(BOB)
    async with refused(desk, Conflict, "Only the lease of a verify task"):
        await desk.board.verify(BOB, Opinion(made.entry, "pass", "looks right"), lease=bob.lease)


async def test_only_an_owner_retracts(desk: Desk) -> None:
    made = await desk.admit(await desk.hold(ADA), fact())
    async with refused(desk, NotAllowed, "Dispute it"):
        await desk.board.retract(BOB, made.entry, "no")
    await desk.board.retract(OWNER, made.entry, "no")
    async with refused(desk, Conflict, "retracted"):
        await desk.board.retract(OWNER, made.entry, "no")


async def test_an_author_cannot_replace_its_own_entry_while_it_is_disputed(desk: Desk) -> None:
    held = await desk.hold(ADA)
    made = await desk.admit(held, fact())
    await desk.dispute(made.entry, "drift", by=await desk.hold(CYD))
    again = fact("The parser drops a trailing comma in every list", supersedes=(1,))
    refusal = await desk.propose(held, again)
    assert refusal.state == "rejected"
    assert "disputed; its verdict comes first" in refusal.reasons[0]
    by_another = await desk.propose(await desk.hold(BOB), again, BOB)
    assert by_another.state == "admitted"


async def test_an_entry_cannot_replace_what_it_rests_on_however_deep(desk: Desk) -> None:
    held = await desk.hold(ADA)
    labels = await chain(desk, held, 3)
    for parent in (labels[0], labels[2]):
        circle = fact("The whole argument holds", supersedes=(1,), derived_from=(int(parent[1:]),))
        refusal = await desk.propose(held, circle)
        assert refusal.state == "rejected"
        assert "on which it rests" in refusal.reasons[0]


async def test_a_bare_word_does_not_replace_what_the_server_checked_for_somebody_else(
    tmp_path: Path,
) -> None:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two", sources=(("notes", "The parser drops a trailing comma in lists."),))
        held = await desk.hold(ADA)
        made = await desk.admit(held, fact(evidence=quote("notes", "drops a trailing comma")))
        assert made.strength == "quoted"
        weak = fact("The parser keeps every comma in lists", supersedes=(1,))
        bob = await desk.hold(BOB)
        refusal = await desk.propose(bob, weak, BOB)
        assert refusal.state == "rejected"
        assert "would replace E1 [quoted]" in refusal.reasons[0]
        await desk.admit(held, weak)  # its own author may take it back
        await desk.audit()
