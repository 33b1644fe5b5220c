"""`context`, `why`, `diff` and `retract`: the context in a terminal, over time."""

import json
import re
import shutil
from pathlib import Path

import anyio
import pytest

from tests.boards import ADA, BOB, CYD, desk_in, fact, quote, result
from tests.outside import Printed, delm_here

SOURCE = "The parser drops a trailing comma in lists.\nThe lexer counts a tab as eight columns.\n"
LEXER = "The lexer counts a tab as [bold]eight[/] columns"


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a board on which entries were disputed, cleared, superseded and retracted.

    v1 to v4 admit E1 to E4 (E2 and E4 derive from E1), v5 E1 disputed, v6 cleared, v7 E5 supersedes E3,
    v8 E6, v9 E6 disputed and v10 retracted, v11 E4 disputed.
    """
    folder = tmp_path_factory.mktemp("worked")

    async def main() -> None:
        async with desk_in(folder) as desk:
            await desk.open("one", "two", "three", "four", "five", sources=(("notes", SOURCE),))
            held = await desk.hold(ADA)
            bob, cyd = await desk.claim(BOB), await desk.claim(CYD)
            for claim, caller in ((bob, BOB), (cyd, CYD)):
                await desk.board.update_task(caller, lease=claim.lease, action="release")
            await desk.admit(held, fact(evidence=quote("notes", "drops a trailing comma")))
            await desk.admit(held, fact(LEXER, derived_from=(1,)))
            await desk.admit(held, fact("The printer writes no comma"))
            await desk.admit(held, fact("The parser is to blame", derived_from=(1,)))
            desk.clock.advance(60)
            await desk.dispute("E1", "support", by=cyd)
            desk.clock.advance(30)
            await desk.vote(await desk.hold(BOB, agent=bob.agent), "pass")
            await desk.admit(held, fact("The printer writes a comma", supersedes=(3,)))
            await desk.admit(held, fact("The tests were never run"))
            desk.clock.advance(60)
            await desk.dispute("E6", "absence", by=cyd)
            await desk.vote(await desk.hold(BOB, agent=bob.agent), "fail", "absence")
            await desk.dispute("E4", "synthesis", by=cyd)

    anyio.run(main)
    return folder


@pytest.fixture
def copied(worked: Path, tmp_path: Path) -> Path:
    """A folder with a copy of that board, to be changed."""
    shutil.copy(worked / "board.db", tmp_path / "board.db")
    return tmp_path


def told(folder: Path, *words: str, **more: str) -> Printed:
    return delm_here(*words, "--board", folder / "board.db", cwd=folder, **more)


def shown(folder: Path, *words: str, **more: str) -> str:
    done = told(folder, *words, **more)
    assert done.code == 0, done.err
    return done.out


# -- context -------------------------------------------------------------------------------------


def test_the_context_at_any_version_is_a_beginning_of_the_newest(worked: Path) -> None:
    newest = shown(worked, "context")
    assert re.findall(r"^v(\d+) (\S)", newest, re.M)[4:8] == [("5", "?"), ("5", "?"), ("5", "?"), ("6", "+")]
    for version in range(1, 12):
        past = shown(worked, "context", "--at", str(version))
        assert newest.startswith(past)
        assert past + shown(worked, "context", "--since", str(version)) == newest
    assert "! E6 retracted" not in shown(worked, "context", "--at", "9")
    assert "! E6 retracted" in shown(worked, "context", "--at", "10")


# -- why -----------------------------------------------------------------------------------------


def test_why_prints_the_tree_to_the_letter_where_nobody_looks_on(worked: Path) -> None:
    text = shown(worked, "why", "E4")
    first, *others = text.splitlines()
    assert first.startswith("E4 fact [attested] by ")
    assert all(line[0] in "├│└ " for line in others)
    assert "│  " in text or "└─ rests on E1 fact [quoted]" in text
    assert LEXER in shown(worked, "why", "E2")
    assert shown(worked, "context", "--why", "E4") == text


def test_why_draws_the_same_tree_in_a_terminal(worked: Path) -> None:
    plain = shown(worked, "why", "E2")
    drawn = shown(worked, "why", "E2", FORCE_COLOR="1", TERM="dumb")
    bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert "├── " in bare
    assert LEXER in bare.replace("\n", " ") or "[bold]eight[/]" in bare
    words = re.sub(r"[│├└─\s]+", " ", plain).split()
    assert re.sub(r"[│├└─\s]+", " ", bare).split() == words


def test_why_as_json_nests_what_an_entry_rests_on(worked: Path) -> None:
    text = shown(worked, "why", "E4", "--json")
    assert text.isascii()
    facts = json.loads(text)
    assert (facts["entry"], facts["state"]) == ("E4", "suspect")
    assert facts["disputes"][0]["fails"] == ["synthesis"]
    (parent,) = facts["rests_on"]
    assert parent["evidence"][0]["offset"] == SOURCE.index("drops")
    assert [row["change"] for row in parent["history"]] == ["admitted", "suspect", "cleared"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["why", "E99"], "no entry E99"),
        (["why", "T1"], "label like E12"),
        (["diff", "1", "99"], "to=99"),
        (["diff", "99"], "from=99"),
        (["diff", "4", "2"], "Version 4 comes after 2"),
        (["diff", "1", "--run", "r-none"], "no run"),
        (["retract", "E99", "because"], "no entry E99"),
        (["retract", "E3", "because"], "E3 is superseded"),
    ],
)
def test_what_is_not_there_is_said(worked: Path, words: list[str], said: str) -> None:
    done = told(worked, *words)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "hint" in done.err


# -- diff ----------------------------------------------------------------------------------------


def test_a_diff_shows_the_net_effect_by_entry(worked: Path) -> None:
    done = told(worked, "diff", "4")
    marks = [line.split()[:2] for line in done.out.splitlines()]
    assert marks == [["=", "E1"], ["=", "E2"], ["~", "E3"], ["?", "E4"], ["+", "E5"], ["-", "E6"]]
    assert "version 4 to 11" in done.err
    assert "1 superseded" in done.err
    assert [line.split()[:2] for line in shown(worked, "diff", "5", "6").splitlines()] == [
        ["+", "E1"],
        ["+", "E2"],
        ["+", "E4"],
    ]
    assert f"«{LEXER}»" in shown(worked, "diff", "1", "2")
    same = told(worked, "diff", "3", "3")
    assert (same.out, "nothing changed" in same.err) == ("", True)


def test_a_diff_as_json_says_what_was_and_what_is(worked: Path) -> None:
    facts = json.loads(shown(worked, "diff", "4", "10", "--json"))
    assert (facts["from"], facts["to"]) == (4, 10)
    rows = {row["entry"]: row for row in facts["differences"]}
    assert (rows["E3"]["was"], rows["E3"]["now"], rows["E3"]["note"]) == (
        "admitted", "superseded", "by E5",
    )  # fmt: skip
    assert (rows["E6"]["was"], rows["E6"]["effect"], rows["E6"]["versions"]) == (
        "", "came and went", [8, 9, 10],
    )  # fmt: skip
    assert json.loads(shown(worked, "diff", "0", "--json"))["to"] == 11


# -- retract -------------------------------------------------------------------------------------


def test_retracting_says_what_became_suspect_because_of_it(copied: Path) -> None:
    done = told(copied, "retract", "E1", "the log was of another day")
    assert done.code == 0, done.err
    marks = [line.split()[1:3] for line in done.out.splitlines()]
    assert marks == [["!", "E1"], ["?", "E2"]]
    assert "by the owner: «the log was of another day»" in done.out
    assert "suspect, to be verified again: E2, E4" in done.err  # E4 was suspect already
    again = told(copied, "retract", "E1", "once more")
    assert again.code == 1
    assert "E1 is retracted" in again.err


def test_retracting_a_result_says_which_task_is_open_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with desk_in(tmp_path) as desk:
            await desk.open("one", "two")
            held = await desk.hold(ADA)
            await desk.admit(held, result())
            other = await desk.claim(ADA, agent=held.agent)
            leaning = fact("Tuples lose their comma as lists do", derived_from=(1,), evidence=())
            await desk.admit(other, leaning)

    anyio.run(main)
    done = told(tmp_path, "retract", "E1", "it was a guess")
    assert "1 more fell with it" in done.err
    assert "nothing is suspect because of it" in done.err
    assert "T1, which it had completed, is ready" in done.err
