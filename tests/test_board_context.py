"""The gate of the board: what is admitted, what is turned down, and what follows from either."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delm_mcp.board.cases import CHECK_LEASE_S
from delm_mcp.domain.model import Command, EntryState, Evidence, Kind
from delm_mcp.domain.proposal import Proposal
from tests.boards import BOB, SEEN, Desk, desk_in, fact, quote, result, turned_down

pytestmark = pytest.mark.anyio

SOURCE = "The parser drops a trailing\n    comma in lists.\nThe lexer counts a tab as 8 columns.\n"
LEXER = "The lexer counts a tab as eight columns"
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"  # not a real one


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        await desk.open("one", "two", sources=(("notes", SOURCE),))
        yield desk
        await desk.audit()


# -- the gate --------------------------------------------------------------------------------------


async def test_an_admitted_entry_takes_the_next_version_and_can_be_unfolded(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact(summary="seen in list.py", raw="a long log"))
    assert (made.version, made.state, made.strength) == (1, "admitted", "attested")
    seen = await desk.read(entries=(made.entry,), level="raw")
    assert "a long log" in seen.text
    assert "seen in list.py" in seen.text


async def test_a_quote_is_found_in_its_source_and_its_place_is_kept(desk: Desk) -> None:
    held = await desk.hold()
    made = await desk.admit(held, fact(evidence=quote("notes", "drops a trailing comma in lists")))
    assert made.strength == "quoted"
    (item,) = (await desk.entry(made.entry)).evidence
    at = item.at
    assert SOURCE[at["offset"] :][: at["length"]] == "drops a trailing\n    comma in lists"


async def test_a_quote_that_is_not_in_its_source_is_turned_down_with_the_nearest_line(desk: Desk) -> None:
    held = await desk.hold()
    wrong = fact(evidence=quote("notes", "The lexer counts a tab as 4 columns"))
    await turned_down(desk, held, wrong, "does not stand in", "nearest line is «The lexer counts a tab as 8")


async def test_a_source_that_only_an_agent_vouches_for_proves_nothing(desk: Desk) -> None:
    held = await desk.hold()
    mine = (Evidence("artifact", "my.log", "All 9 tests pass"), *quote("my.log", "All 9 tests pass"))
    await turned_down(desk, held, fact(evidence=mine), "«my.log» is not a registered source", "notes")


async def test_a_number_that_stands_in_no_quote_is_turned_down(desk: Desk) -> None:
    held = await desk.hold()
    wrong = fact("The lexer counts a tab as 16 columns", evidence=quote("notes", "counts a tab as 8 columns"))
    await turned_down(desk, held, wrong, "16 stands in no quote")


async def test_a_command_that_the_run_does_not_have_is_turned_down(desk: Desk) -> None:
    held = await desk.hold()
    cited = fact(evidence=(Evidence("command", "pytest"),))
    await turned_down(desk, held, cited, "no command «pytest»", "this run has none")
    await desk.open("one", commands=(Command("test", ("true",)),))
    held = await desk.hold()
    await turned_down(desk, held, cited, "no command «pytest»", "use one of test")


async def test_a_key_that_is_taken_shows_its_holder_and_how_to_replace_it(desk: Desk) -> None:
    held = await desk.hold()
    first = await desk.admit(held, fact(key="tab-width"))
    refused_one = await turned_down(
        desk, held, fact(LEXER, key="tab-width"), "key «tab-width» has the live entry E1", "supersedes=[E1]"
    )
    assert first.entry in refused_one.conflicts[0]
    assert (await desk.admit(held, fact(LEXER, key="tab-width", supersedes=(1,)))).entry == "E3"
    assert (await desk.entry("E1")).state is EntryState.SUPERSEDED


async def test_a_key_is_the_same_with_blanks_around_it(desk: Desk) -> None:
    held = await desk.hold()
    await desk.admit(held, fact(key="tab-width"))
    proposed = await turned_down(desk, held, fact(LEXER, key=" tab-width "), "has the live entry E1")
    assert "while it was checked" not in proposed.reasons[0]


async def test_what_is_no_longer_live_is_neither_superseded_nor_built_upon(desk: Desk) -> None:
    held = await desk.hold()
    await desk.admit(held, fact())
    await desk.admit(held, fact(LEXER, supersedes=(1,)))
    other = "The printer writes lists without a comma"
    await turned_down(desk, held, fact(other, supersedes=(1,)), "supersedes names E1, which is superseded")
    again = "The printer writes dicts without a comma"
    await turned_down(desk, held, fact(again, derived_from=(1,)), "derived_from names E1", "by E2")


async def test_a_parent_that_does_not_exist_is_turned_down(desk: Desk) -> None:
    held = await desk.hold()
    await turned_down(
        desk, held, fact(supersedes=(99,)), "supersedes names E99, which this run does not have"
    )
    await turned_down(desk, held, fact(derived_from=(99,)), "derived_from names E99, which this run does not")


async def test_an_entry_named_twice_is_superseded_once(desk: Desk) -> None:
    held = await desk.hold()
    await desk.admit(held, fact())
    await desk.admit(held, fact(LEXER, supersedes=(1, 1), derived_from=()))
    await desk.admit(held, fact("The printer writes no comma", derived_from=(2, 2)))
    assert (await desk.entry("E1")).state is EntryState.SUPERSEDED


async def test_superseding_tells_dependants_and_leaves_them_as_they_are(desk: Desk) -> None:
    held = await desk.hold()
    await desk.admit(held, fact())
    await desk.admit(held, fact("The writer must add a comma itself", derived_from=(1,)))
    await desk.admit(held, fact(LEXER, supersedes=(1,)))
    assert (await desk.entry("E2")).state is EntryState.ADMITTED
    text = (await desk.read()).text
    assert "v3 ~ E1 superseded (by E3; E2 derive from it)\n" in text


async def test_what_is_said_already_is_turned_down_by_name(desk: Desk) -> None:
    held = await desk.hold()
    await desk.admit(held, fact("The parser drops a trailing comma."))
    await turned_down(desk, held, fact("  the PARSER drops a trailing comma"), "E1 already says exactly this")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Calling f(-1) returns three", "Calling f(1) returns three"),
        ("After the loop x == y holds", "After the loop x != y holds"),
        ("The order is → ← ↑", "The order is ↑ ← →"),
    ],
)
async def test_a_contradiction_is_no_duplicate(desk: Desk, one: str, two: str) -> None:
    held = await desk.hold()
    await desk.admit(held, fact(one))
    await desk.admit(held, fact(two))


async def test_a_rejected_result_keeps_the_lease_and_leaves_the_context_alone(desk: Desk) -> None:
    held = await desk.hold()
    bad = await turned_down(desk, held, result("It should work now"), "which is a hope")
    assert bad.next.startswith("Mend what the reasons say")
    assert (await desk.read()).text == ""
    await desk.admit(held, result())


async def test_what_changed_while_it_was_checked_is_judged_again(desk: Desk) -> None:
    held, other = await desk.hold(), await desk.hold(BOB)
    slow = result(key="comma", evidence=quote("notes", "drops a trailing comma"))
    pending = await desk.propose_and_die(held, slow)
    await desk.admit(other, fact(LEXER, key="comma"), BOB)
    desk.clock.advance(CHECK_LEASE_S + 1)
    await desk.board.checker.run_next()
    entry = await desk.entry(pending.entry)
    assert entry.state is EntryState.REJECTED
    assert "changed while it was checked" in entry.reason
    assert "has the live entry E2" in entry.reason


async def test_two_that_rest_on_one_another_at_once_leave_nothing_pending(desk: Desk) -> None:
    held, other = await desk.hold(), await desk.hold(BOB)
    await desk.admit(held, fact(LEXER))
    slow = result(supersedes=(1, 1), evidence=quote("notes", "drops a trailing comma"))
    pending = await desk.propose_and_die(held, slow)
    desk.clock.advance(CHECK_LEASE_S + 1)
    await desk.board.checker.run_next()
    assert (await desk.entry(pending.entry)).state is EntryState.ADMITTED
    assert (await desk.entry("E1")).state is EntryState.SUPERSEDED
    await desk.admit(other, fact("The printer writes no comma"), BOB)


async def test_a_fail_says_where_it_holds(desk: Desk) -> None:
    held = await desk.hold()
    bare = Proposal(Kind.FAIL, "Widening the regex breaks nested lists", evidence=SEEN)
    await turned_down(desk, held, bare, "a fail needs a scope")
    scoped = Proposal(
        Kind.FAIL, "Widening the regex breaks nested lists", evidence=SEEN, scope="list.py regex"
    )
    await desk.admit(held, scoped)
    assert "scope «list.py regex»" in (await desk.read()).text
