"""The judge in the pipeline: an opinion decides, its absence never does, and it costs what is allowed.

The model is scripted, over real HTTP on 127.0.0.1; no real model takes part.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.board.examining import Examiner
from delm_mcp.board.spending import spent_on_judging
from delm_mcp.checks.judge import Judge
from delm_mcp.domain.policy import Policy, build
from delm_mcp.errors import Conflict, NotAllowed
from tests.boards import ADA, BOB, CYD, OWNER, Desk, desk_in, fact, refused, result
from tests.scripted_model import ScriptedModel, arguments, declined, opinion, scripted_model, status

pytestmark = pytest.mark.anyio


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with scripted_model() as model:
        yield model


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    examiner = Examiner(judge=Judge(lambda policy: "sk-dummy"))
    async with desk_in(tmp_path, examiner=examiner) as desk:
        yield desk
        await desk.audit()


def judged_by(model: ScriptedModel, **settings: Any) -> Policy:
    """Facts need the judge, and nothing else that is slow."""
    judge = {"model": "openai:local", "base_url": model.openai_url, "max_retries": 0, **settings}
    return build({"fact": {"checks": ["novel", "judge"]}, "judge": judge})


async def spent(desk: Desk) -> tuple[int, float | None]:
    total = await desk.look(lambda tx: spent_on_judging(tx.checks_in(desk.run, "judge")))
    return total.tokens, total.usd


async def test_an_entry_that_the_judge_passes_is_admitted_with_what_it_cost(
    desk: Desk, model: ScriptedModel
) -> None:
    await desk.open("one", policy=judged_by(model, input_usd=1.0, output_usd=2.0))
    model.script(opinion("pass", "the log shows it"))
    proposed = await desk.propose(await desk.hold(), result())
    assert proposed.state == "pending"
    assert await desk.board.checker.run_next()
    entry = await desk.entry(proposed.entry)
    assert (entry.state, entry.strength) == ("admitted", "judged")
    assert "«the log shows it»" in entry.receipts[-1].reason
    tokens, usd = await spent(desk)
    assert tokens == 120
    assert usd == pytest.approx(0.00014)
    assert "gist: «The parser drops a trailing comma in lists»" in model.asked[0].case


async def test_an_entry_that_the_judge_fails_is_rejected_with_the_axes(
    desk: Desk, model: ScriptedModel
) -> None:
    await desk.open("one", policy=judged_by(model))
    model.script(opinion("fail", "one list is not all lists", fails=["drift"]))
    held = await desk.hold()
    proposed = await desk.propose(held, result())
    assert await desk.board.checker.run_next()
    back = await desk.hold(agent=held.agent)
    assert back.task is not None
    assert back.task.earlier[0].entry == proposed.entry
    assert "drift" in back.task.earlier[0].reason
    assert await spent(desk) == (120, None)


@pytest.mark.parametrize("reply", [declined("I cannot help with that"), arguments("{")])
async def test_no_opinion_is_not_a_pass(desk: Desk, model: ScriptedModel, reply: Any) -> None:
    await desk.open("one", policy=judged_by(model))
    model.always(reply)
    proposed = await desk.propose(await desk.hold(), result())
    assert await desk.board.checker.run_next()
    entry = await desk.entry(proposed.entry)
    assert (entry.state, entry.receipts[-1].verdict) == ("rejected", "abstain")


async def test_an_unreachable_judge_leaves_the_entry_pending_with_the_reason(
    desk: Desk, model: ScriptedModel
) -> None:
    await desk.open("one", policy=judged_by(model))
    model.script(status(429), status(500), opinion("pass"))
    proposed = await desk.propose(await desk.hold(), result())
    for code in ("429", "500"):
        assert not await desk.board.checker.run_next()
        assert (await desk.entry(proposed.entry)).state == "pending"
        assert code in (await desk.read(view="why", entries=(proposed.entry,))).text
        desk.clock.advance(10)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "admitted"


async def test_a_judge_that_stays_away_rejects_in_the_end_and_never_admits(
    desk: Desk, model: ScriptedModel
) -> None:
    await desk.open("one", policy=judged_by(model, unavailable_s=60))
    model.always(status(500))
    proposed = await desk.propose(await desk.hold(), result())
    assert not await desk.board.checker.run_next()
    desk.clock.advance(61)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "rejected"


async def test_a_run_spends_no_more_on_judging_than_its_owner_allows(
    desk: Desk, model: ScriptedModel
) -> None:
    await desk.open("one", "two", policy=judged_by(model, spend_tokens=100))
    model.always(opinion("pass"))
    first = await desk.propose(await desk.hold(), result("The parser drops a trailing comma"))
    assert await desk.board.checker.run_next()
    assert (await desk.entry(first.entry)).state == "admitted"
    second = await desk.propose(await desk.hold(), result("The lexer counts a tab as eight columns"))
    assert not await desk.board.checker.run_next()
    entry = await desk.entry(second.entry)
    assert entry.state == "pending"
    why = (await desk.read(view="why", entries=(second.entry,))).text
    assert "120 of the run's 100 tokens" in why
    assert "judge allow" in why
    async with refused(desk, NotAllowed, "Only an owner"):
        await desk.board.allow_judging(ADA, desk.run, tokens=1000)
    await desk.board.allow_judging(OWNER, desk.run, tokens=1000)
    desk.clock.advance(10)
    assert await desk.board.checker.run_next()
    assert (await desk.entry(second.entry)).state == "admitted"
    assert len(model.asked) == 2


async def test_a_limit_in_dollars_is_not_kept_by_guessing(desk: Desk, model: ScriptedModel) -> None:
    await desk.open("one", "two", policy=judged_by(model, spend_usd=1.0))
    model.always(opinion("pass"))
    await desk.propose(await desk.hold(), result("The parser drops a trailing comma"))
    assert await desk.board.checker.run_next()
    second = await desk.propose(await desk.hold(), result("The lexer counts a tab as eight columns"))
    assert not await desk.board.checker.run_next()
    assert "limit cannot be kept" in (await desk.read(view="why", entries=(second.entry,))).text


@pytest.mark.parametrize(("verdict", "state"), [("pass", "admitted"), ("fail", "retracted")])
async def test_where_the_policy_has_only_a_judge_it_settles_disputes(
    desk: Desk, model: ScriptedModel, verdict: str, state: str
) -> None:
    await desk.open("one", "two", policy=judged_by(model))
    model.script(opinion("pass"), opinion(verdict, fails=["drift"] if verdict == "fail" else []))
    held = await desk.hold()
    proposed = await desk.propose(held, fact())
    assert await desk.board.checker.run_next()
    await desk.dispute(proposed.entry, "drift", by=await desk.hold(CYD))
    assert not await desk.look(lambda tx: tx.verifications(int(proposed.entry[1:])))
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == state
    assert "The source says otherwise" in model.asked[-1].case


async def test_a_judge_that_cannot_tell_leaves_a_dispute_to_peers(desk: Desk, model: ScriptedModel) -> None:
    await desk.open("one", "two", "three", policy=judged_by(model))
    model.script(opinion("pass"), opinion("abstain"))
    proposed = await desk.propose(await desk.hold(), fact())
    assert await desk.board.checker.run_next()
    await desk.dispute(proposed.entry, "drift", by=await desk.hold(CYD))
    assert await desk.board.checker.run_next()
    assert (await desk.entry(proposed.entry)).state == "suspect"
    assert (await desk.vote(await desk.hold(BOB), "pass")).state == "admitted"


async def test_a_run_without_a_judge_has_nothing_to_allow(desk: Desk) -> None:
    await desk.open("one")
    async with refused(desk, Conflict, "has no judge"):
        await desk.board.allow_judging(OWNER, desk.run, usd=1.0)
