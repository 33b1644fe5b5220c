"""What a command showed of head goes stale when its inputs change there, and the server runs it again."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from delm_mcp.board.answers import Claim
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Command, Entry, EntryId, Evidence, Kind
from delm_mcp.domain.policy import Policy, build
from delm_mcp.domain.proposal import Proposal
from delm_mcp.store.base import Tx
from tests.test_merge_queue import ADA, BOB, Shop, opened_shop

pytestmark = pytest.mark.anyio

NET = Command("net", (sys.executable, "-c", "import prices; assert prices.net(119) == 100.0"), 30.0)
MANUAL = Command("manual", (sys.executable, "-c", "assert 'net' in open('manual.md').read()"), 30.0)
BROKEN = {
    "prices.py": "def net(gross):\n    return gross - 20\n\n\ndef rounded(price):\n    return price\n",
    "manual.md": "net takes the tax off.\n",
    "tests/test_nothing.py": "",
}
MENDED = BROKEN["prices.py"].replace("gross - 20", "gross * 100 / 119")
ROUNDED = BROKEN["prices.py"].replace("return price\n", "return round(price, 2)\n")


def policy(**settings: object) -> Policy:
    executed = {"checks": ["novel", "command"]}
    return build({"protect": ["tests/**"], "fact": executed, "fail": executed, **settings})


async def say(shop: Shop, claim: Claim, kind: Kind, gist: str, command: str) -> Entry:
    """Propose a fact or a fail that a command stands behind, and insist on admission."""
    proposal = Proposal(
        kind=kind, gist=gist, evidence=(Evidence("command", command),), scope="prices.py at head"
    )
    proposed = await shop.board.propose_update(ADA, proposal, lease=claim.lease)
    assert proposed.state == "admitted", proposed.reasons
    return await entry_of(shop, proposed.entry)


async def entry_of(shop: Shop, label: str) -> Entry:
    found = await shop.board.store.read(lambda tx: tx.entry(EntryId(int(label[1:]))))
    assert found is not None
    return found


async def until(shop: Shop, label: str, right: Callable[[Entry], bool]) -> Entry:
    """The entry as soon as it is as it should be."""
    while True:
        cursor = shop.board.store.committed()
        entry = await entry_of(shop, label)
        if right(entry):
            return entry
        await shop.board.store.wait(cursor, 1.0)


async def mend(
    shop: Shop, caller: Caller, commit: str, command: str = "net", claim: Claim | None = None
) -> str:
    claim = claim or await shop.hold(caller)
    proposal = Proposal(
        Kind.PATCH,
        f"Mend it with {commit[:10]}",
        evidence=(Evidence("command", command, commit),),
        completes=True,
    )
    proposed = await shop.board.propose_update(caller, proposal, lease=claim.lease)
    assert proposed.state in {"admitted", "pending"}, proposed.reasons
    return proposed.entry


async def test_a_fail_that_a_patch_mends_is_retracted_by_the_server_and_what_rests_on_it_is_suspect(
    tmp_path: Path,
) -> None:
    async with opened_shop(tmp_path, policy=policy(), files=BROKEN, named=(NET, MANUAL)) as shop:
        held = await shop.hold(ADA)
        fails = await say(shop, held, Kind.FAIL, "net of 119 is not 100 at head", "net")
        rests = await shop.board.propose_update(
            ADA,
            Proposal(
                Kind.FACT,
                "Every price in the shop is wrong because of net",
                evidence=(Evidence("artifact", "note", "all totals use net"),),
                derived_from=(fails.id,),
            ),
            lease=held.lease,
        )
        patch = await mend(shop, BOB, shop.commit({"prices.py": MENDED}))
        fallen = await until(shop, fails.label, lambda entry: entry.state == "retracted")
        assert "net passes at" in fallen.reason
        assert (await entry_of(shop, rests.entry)).doubts == (fails.label,)
        changes = await shop.board.store.read(lambda tx: tx.changes(fails.run, 0, 99))
        notes = [change.note for change in changes if change.entry == fails.id]
        assert any(f"{patch} changed what net depends on" in note for note in notes)
        told = [change.what.value for change in changes if change.entry == fails.id]
        assert told == ["admitted", "suspect", "retracted"]


async def test_a_fact_that_still_holds_at_the_new_head_is_not_doubted(tmp_path: Path) -> None:
    async with opened_shop(tmp_path, policy=policy(), files=BROKEN, named=(NET, MANUAL)) as shop:
        held = await shop.hold(ADA)
        fact = await say(shop, held, Kind.FACT, "The manual speaks of net at head", "manual")
        patch = await mend(shop, BOB, shop.commit({"prices.py": MENDED}))
        kept = await until(shop, fact.label, lambda entry: len(entry.receipts) > len(fact.receipts))
        assert (kept.state, kept.version) == ("admitted", fact.version)
        assert f"ran there for {patch}" in kept.receipts[-1].reason


async def test_a_command_with_named_inputs_is_stale_only_when_they_change(tmp_path: Path) -> None:
    inputs = {"command": {"inputs": {"manual": ["*.md"]}}}
    async with opened_shop(tmp_path, policy=policy(**inputs), files=BROKEN, named=(NET, MANUAL)) as shop:
        held = await shop.hold(ADA)
        fact = await say(shop, held, Kind.FACT, "The manual speaks of net at head", "manual")
        await mend(shop, BOB, shop.commit({"prices.py": MENDED}))
        assert (await entry_of(shop, fact.label)).receipts == fact.receipts


async def test_what_was_shown_on_a_commit_of_ones_own_does_not_go_stale(tmp_path: Path) -> None:
    async with opened_shop(tmp_path, policy=policy(), files=BROKEN, named=(NET, MANUAL)) as shop:
        tried = shop.commit({"prices.py": ROUNDED})
        held = await shop.hold(ADA)
        proposal = Proposal(
            Kind.FAIL,
            "Rounding the price does not mend net",
            evidence=(Evidence("command", "net", tried),),
            scope="rounded in prices.py",
        )
        proposed = await shop.board.propose_update(ADA, proposal, lease=held.lease)
        assert proposed.state == "admitted", proposed.reasons
        await mend(shop, BOB, shop.commit({"prices.py": MENDED}))
        assert (await entry_of(shop, proposed.entry)).state == "admitted"


async def test_a_patch_that_peers_judge_while_head_moves_is_run_again_on_the_new_head(tmp_path: Path) -> None:
    reviewed = policy(patch={"checks": ["novel", "command", "peers"]}, command={"fail_at_base": "note"})
    async with opened_shop(tmp_path, policy=reviewed, files=BROKEN, named=(NET, MANUAL)) as shop:
        ours, theirs = await shop.hold(ADA), await shop.hold(BOB)
        first = await mend(shop, ADA, shop.commit({"prices.py": MENDED}), claim=ours)
        reworded = shop.commit({"manual.md": "net takes off the tax.\n"})
        second = await mend(shop, BOB, reworded, "manual", theirs)
        await _reviewed(shop, second)
        await _approve(shop, ADA, second)
        await until(shop, second, lambda entry: entry.state == "admitted")
        moved = await shop.head()
        await _reviewed(shop, first)
        await _approve(shop, BOB, first)
        done = await until(shop, first, lambda entry: entry.state == "admitted")
        assert done.admitted_as == await shop.head() != moved
        ran = await shop.board.store.read(lambda tx: [c.name for c in tx.checks_of(done.id)])
        assert ran == ["command", "peers", "command"]
        assert [receipt.check for receipt in done.receipts[-2:]] == ["peers", "command"]


async def _reviewed(shop: Shop, label: str) -> None:
    """Until peers are asked about an entry."""

    def asked(tx: Tx) -> bool:
        return bool(tx.verifications(EntryId(int(label[1:]))))

    while True:
        cursor = shop.board.store.committed()
        if await shop.board.store.read(asked):
            return
        await shop.board.store.wait(cursor, 1.0)


async def _approve(shop: Shop, caller: Caller, label: str) -> None:
    claim = await shop.hold(caller)
    assert claim.task is not None
    assert claim.task.kind == "verify"
    await shop.board.verify(caller, Opinion(label, "pass", "I ran it as well"), lease=claim.lease)
