"""`stats`, and the line in `status`: what the gate did, cost and missed, for people and as JSON."""

import json
import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from delm_mcp.board.spending import bill_for
from delm_mcp.checks.judge import Spent
from delm_mcp.cli.stats import duration
from delm_mcp.domain.model import Check, CheckId, CheckState, EntryId, Kind, RunId, Verdict
from delm_mcp.domain.policy import build
from delm_mcp.store.base import Tx
from tests.boards import ADA, BOB, CYD, Desk, desk_in, fact, quote
from tests.outside import delm_here, opened_by_cli

SOURCE = "The parser drops a trailing comma in lists.\n"
GOAL = "Mend the [bold]parser[/]"


async def work(desk: Desk) -> None:
    """Two admitted (one of them disputed and retracted), three refused, a task skipped, a model asked."""
    policy = build({"fact": {"checks": ["novel", "quotes", "peers"]}})
    await desk.open("one", "two", "three", goal=GOAL, policy=policy, sources=(("notes", SOURCE),))
    held = await desk.hold(ADA)
    await desk.propose(held, fact(evidence=quote("notes", "drops a trailing comma")))
    verify = await desk.hold(BOB)
    desk.clock.advance(30)
    await desk.vote(verify, "pass")
    dead_end = replace(fact("Widening the regex breaks lists"), kind=Kind.FAIL, scope="lexer.py")
    await desk.admit(held, dead_end)
    for gist in ("The parser should work now", "THE parser drops a trailing comma in lists"):
        await desk.propose(held, fact(gist))
    await desk.propose(held, fact("The comma is lost twice", evidence=quote("notes", "not to be found")))
    cyd = await desk.hold(CYD)
    desk.clock.advance(30)
    await desk.dispute("E1", "support", by=cyd)
    await desk.board.update_task(CYD, lease=cyd.lease, action="fail", note="E2 rules this out")
    desk.clock.advance(30)
    await desk.vote(await desk.hold(BOB), "fail", "support")

    def asks(tx: Tx) -> None:
        bills = [bill_for("claude-x", Spent(1, 1200, 80, cost)) for cost in (0.0125, None)]
        receipt = {"judge_before": [bills[1]], "judge": bills[0]}
        asked = Check(CheckId(0), RunId(desk.run), EntryId(1), "judge", CheckState.DONE, Verdict.PASS)
        tx.insert(replace(asked, receipt=receipt, ended_at=desk.clock()))

    await desk.store.write("asks", "w", desk.clock(), asks)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs: one that was worked on, and one just opened."""
    folder = tmp_path_factory.mktemp("worked")

    async def main() -> None:
        async with desk_in(folder) as desk:
            await work(desk)
            await desk.open("later")

    anyio.run(main)
    return folder


def shown(folder: Path, *words: str) -> str:
    done = delm_here(*words, "--board", folder / "board.db", cwd=folder)
    assert done.code == 0, done.err
    return done.out


def runs(folder: Path) -> list[str]:
    return [row["run"] for row in json.loads(shown(folder, "stats", "--json"))["runs"]]


def row(text: str, name: str) -> str:
    """What a table says in the row that begins with this name, with single spaces."""
    lines = [line.strip("│") for line in text.splitlines()]
    found = [place for place, line in enumerate(lines) if re.match(rf" *{re.escape(name)}(  |$)", line)]
    assert len(found) == 1, (name, text)
    cells = [lines[found[0]]]
    for line in lines[found[0] + 1 :]:
        if not line.startswith(" " * 30) or not line.strip():
            break
        cells.append(line)
    return " ".join(" ".join(cells).split())


def test_the_figures_of_a_run_are_told_with_what_they_could_be_misread_without(worked: Path) -> None:
    text = shown(worked, "stats", "--run", runs(worked)[0])
    assert GOAL in text
    assert row(text, "proposals") == "proposals 5"
    assert row(text, "admitted") == "admitted 2 quoted 1, attested 1 now live 1, retracted 1"
    assert row(text, "refused") == "refused 3 wellformed 1, novel 1, quotes 1"
    assert row(text, "duplicates refused").startswith("duplicates refused 1 ")
    assert row(text, "tasks skipped").startswith("tasks skipped 1 ")
    assert row(text, "verify tasks").startswith("verify tasks 2 2 with a verdict")
    assert row(text, "agents' time") == "agents' time 30.0 s from claim to verdict"
    assert row(text, "judge") == (
        "judge at least 0.0125 USD 2 bills, 2 requests, 2,400 tokens in, 160 out; the cost of 1 is unknown"
    )
    assert "not known to the board" in row(text, "cases")
    assert row(text, "disputes") == "disputes 1 upheld 1"
    assert row(text, "retractions") == "retractions 1 admitted at first, caught by dispute 1"
    assert row(text, "all") == "all 2 15.0 s 29.7 s 30.0 s"
    assert row(text, "the board alone") == "the board alone 1 0 s 0 s 0 s"


def test_several_runs_are_listed_and_summed_up(worked: Path) -> None:
    text = shown(worked, "stats")
    first, second = runs(worked)
    assert row(text, first).split()[1:4] == ["5", "2", "3"]
    assert row(text, second).split()[1:4] == ["0", "0", "0"]
    assert "all 2 runs" in text
    assert row(text, "retractions").startswith("retractions 1 ")


def test_the_same_as_json_with_definitions(worked: Path) -> None:
    facts = json.loads(shown(worked, "stats", "--json"))
    first, second = facts["runs"]
    assert first["proposals"]["refused"] == {"wellformed": 1, "novel": 1, "quotes": 1}
    assert first["saved"] == {"same_gist": 1, "same_key": 0, "skipped": 1, "duplicates": 1}
    assert first["verifying"]["judge"]["usd"] == 0.0125
    assert first["verifying"]["judge"]["unknown_costs"] == 1
    assert first["admission"]["peers"]["p50_s"] == 30
    assert second["proposals"]["total"] == 0
    assert second["admission"] == {}
    assert facts["total"]["proposals"]["total"] == 5
    assert "lower bound" in facts["definitions"]["saved.skipped"]


def test_without_anything_to_count_it_says_so(worked: Path, tmp_path: Path) -> None:
    assert "Nothing has been proposed yet" in shown(worked, "stats", "--run", runs(worked)[1])
    opened_by_cli(tmp_path, "goal")
    assert "Nothing has been proposed yet" in delm_here("stats", cwd=tmp_path).out
    missing = delm_here("stats", "--run", "r-none", cwd=tmp_path)
    assert (missing.code, missing.out) == (1, "")
    assert "no run" in missing.err


def test_status_tells_the_gate_in_a_line(worked: Path) -> None:
    line = "2 of 5 proposals admitted, 3 refused (wellformed 1, novel 1, quotes 1), 1 retraction"
    said = " ".join(shown(worked, "status").replace("│", " ").split())
    assert f"verification: {line}" in said
    first, second = json.loads(shown(worked, "status", "--json"))["runs"]
    assert first["verification"]["line"] == line
    assert second["verification"] == {
        "admitted": 0, "pending": 0, "refused": {}, "retracted": 0, "line": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value_s", "said"),
    [(0, "0 s"), (0.0004, "0 s"), (0.012, "12 ms"), (1.5, "1.5 s"), (600, "10 min"), (10_800, "3.0 h")],
)
def test_durations_are_told_in_a_fitting_unit(value_s: float, said: str) -> None:
    assert duration(value_s) == said
