"""Five scripted agents over real MCP, one of which lies: what must hold, and what the gate buys."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.lying_team.lies import FAMILIES, SECRET, told
from tests.lying_team.report import facts
from tests.lying_team.scene import play
from tests.lying_team.story import QUESTIONS

Facts = dict[str, Any]
Runs = Callable[[str], Facts]


@pytest.fixture
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The facts of the run under a preset; played once, whichever of the parallel workers asks first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def played(preset: str) -> Facts:
        kept = shared / f"lying-team-{preset}.json"
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                kept.write_text(json.dumps(facts(anyio.run(play, preset))), encoding="utf-8")
        found: Facts = json.loads(kept.read_text(encoding="utf-8"))
        return found

    return played


def insist(found: Facts) -> None:
    """What holds under every preset."""
    assert found["run_state"] == "finished"
    assert found["audit"] == "ok"
    assert found["secret_leaked"] is False
    assert found["judges_of_lies"], "nobody judged a lie"
    assert set(found["judges_of_lies"]) <= {"ada", "bob", "cyd", "dot"}
    assert {row["family"] for row in found["lies"]} == set(FAMILIES)
    assert len(found["lies"]) == sum(map(len, told(plain=False))), "a lie was not told"
    assert len(found["answers"]) == len(QUESTIONS)
    for deed in found["deeds"]:
        allowed = deed["tried"].startswith(
            ("vote pass on", "vote abstain on", "vote fail on", "dispute a true")
        )
        assert deed["was_let"] == allowed, deed
    for row in flagged(found):
        assert row["flagged_in_context"] in {True, None}, row
        assert row["flagged_in_case"] in {True, None}, row
    assert not any(row["reached"] for row in of(found, "secret in the evidence"))


def of(found: Facts, family: str) -> list[Facts]:
    return [row for row in found["lies"] if row["family"] == family]


def flagged(found: Facts) -> list[Facts]:
    return of(found, "hidden instruction")


def tried(found: Facts, what: str) -> list[Facts]:
    return [deed for deed in found["deeds"] if what in deed["tried"]]


@pytest.mark.long
def test_without_the_gate_lies_reach_the_context_and_a_secret_still_does_not(runs: Runs) -> None:
    found = runs("open")
    insist(found)
    reached = {row["family"] for row in found["lies"] if row["reached"]}
    assert {"altered quote", "invented source", "wrong unit", "exact duplicate"} <= reached
    assert all(row["flagged_in_context"] for row in flagged(found))
    assert [deed["came_of_it"] for deed in tried(found, "judge a lie of its own")]
    assert len(tried(found, "dispute a true entry")) == 1


@pytest.mark.long
def test_the_standard_gate_stops_what_needs_no_judgement_and_is_cited(runs: Runs) -> None:
    found = runs("standard")
    insist(found)
    assert not [row for row in found["lies"] if row["reached"] and row["decidable"] and row["how"] == "plain"]
    checks = {row["family"]: row["caught_by"] for row in found["lies"] if row["how"] == "plain"}
    for family in ("altered number", "altered quote", "quote from another source", "invented source"):
        assert checks[family] == "quotes", family
    assert checks["placeholder evidence"] == checks["secret in the evidence"] == "wellformed"
    assert checks["exact duplicate"] == "novel"
    assert all(row["flagged_in_context"] for row in flagged(found))
    retracted = [row for row in found["lies"] if row["later"].startswith("retracted, peers")]
    assert retracted, "no dispute was upheld"


@pytest.mark.long
def test_under_strict_nothing_that_a_rule_can_decide_reaches_the_context(runs: Runs) -> None:
    found = runs("strict")
    insist(found)
    assert not [row for row in found["lies"] if row["reached"] and row["decidable"]]
    # What comes to peers shows them that it is flagged, and they find more to say than that.
    assert all(row["flagged_in_case"] and row["honest_verdict"] == "fail" for row in flagged(found))
    # Whatever got through was passed by an honest peer that could not tell, never by the liar.
    assert all(row["honest_verdict"] == "pass" for row in found["lies"] if row["reached"])
    by_peers = {row["family"] for row in found["lies"] if row["caught_by"].startswith("peers")}
    assert {"wrong unit", "arithmetic wrong"} <= by_peers
    for what in ("judge a lie of its own", "vote twice, as a second agent", "vote twice, with the same"):
        assert tried(found, what), what
    (dispute,) = tried(found, "dispute a true entry")
    assert dispute["came_of_it"].endswith("is suspect, admitted in the end"), dispute
    # A truth that the liar turned down was proposed again and is in the answer.
    assert len(found["truths_refused"]) == len(tried(found, "vote fail")) == 1
    assert "the liar says fail" in found["truths_refused"][0]["reason"]


@pytest.mark.long
def test_the_gate_makes_fewer_answers_wrong(runs: Runs) -> None:
    wrong = {name: runs(name)["summary"]["wrong_answers"] for name in ("open", "standard", "strict")}
    assert wrong["strict"] <= wrong["standard"] <= wrong["open"]
    assert wrong["strict"] < wrong["open"]
    right = {name: sum(a["right"] for a in runs(name)["answers"].values()) for name in wrong}
    assert right["strict"] >= right["standard"] >= right["open"], "fewer lies at the price of the truth"


@pytest.mark.long
def test_a_seed_says_everything() -> None:
    def once() -> Facts:
        found = facts(anyio.run(play, "strict", 7))
        del found["took_s"]
        return found

    assert once() == once()


@pytest.mark.long
@pytest.mark.parametrize("preset", ["open", "standard", "strict"])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_it_holds_whoever_acts_first(preset: str, seed: int) -> None:
    found = facts(anyio.run(play, preset, seed))
    insist(found)
    if preset == "strict":
        assert not [row for row in found["lies"] if row["reached"] and row["decidable"]]


@pytest.mark.long
def test_a_second_approval_takes_the_liars_vote_its_weight() -> None:
    found = facts(anyio.run(play, "strict", 1, 2))
    insist(found)
    assert tried(found, "vote pass on something false")
    assert found["slips_refused"]
    assert found["answers"]["recovery"]["right"]


def test_the_secret_of_the_story_stands_in_no_file(tmp_path: Path) -> None:
    for path in Path(__file__).parent.joinpath("lying_team").rglob("*.py"):
        assert SECRET not in path.read_text(encoding="utf-8")
