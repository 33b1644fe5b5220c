"""The replay of a repair study: what it conserves, whom it believes, and that seeds are shared."""

import random
from pathlib import Path

import pytest

from delm_client.bench.items import Benchmark, Exercise
from delm_client.study.division import DIVISIONS, Queue, Rounds, Silent
from delm_client.study.errors import StudyError
from delm_client.study.kills import executed
from delm_client.study.luck import Luck, Mistakes
from delm_client.study.recording import Program, Space, Suite, Trial, from_row, kept, to_line
from delm_client.study.subjects import subject
from delm_client.study.swarm import SWARMS, Claims, OpenClaims, StrictClaims
from delm_client.study.sweep import PARTS, Plan, Study, replay
from delm_client.study.teams import Costs, Outcome, Team

COSTS = Costs(call_s=0.125, gate_s=2.0, check_s=1.0, lease_s=30.0)


def trial(seconds: float, passes: bool = False, kills: str = "kp", right: bool | None = None) -> Trial:
    tests = len(kills) if passes else kills.index("k") + 1
    return Trial("an edit", tests, seconds, seconds, "completed", passes, right, "pp" if passes else kills)


def program(name: str, *spaces: tuple[Trial, ...], start_s: float = 0.0) -> Program:
    made = tuple(Space(f"{name}:{place}", trials, 2, 0.0, whole=True) for place, trials in enumerate(spaces))
    return Program(name, "", "", 2, 4, start_s, made, 0, "exhausted")


def drawn(seed: int, count: int = 12) -> list[Program]:
    """Programs as a recording may have them: some with a repair, one that has no suspicious place."""
    chance = random.Random(seed)  # noqa: S311
    found = [program("nothing", ())]
    for number in range(count):
        spaces = tuple(
            tuple(
                trial(
                    chance.choice((0.1, 0.2, 0.5)),
                    passes=chance.random() < 0.04,
                    kills=chance.choice(("kp", "pk", "kk")),
                )
                for _ in range(chance.randint(1, 6))
            )
            for _ in range(chance.randint(1, 5))
        )
        found.append(program(f"p{number}", *spaces, start_s=0.25))
    return found


def runs(
    team: type[Team], programs: list[Program], seed: int, agents: int, mistakes: Mistakes | None = None
) -> list[Outcome]:
    """One run on all programs, or one for each where all agents are on the same."""
    if team in SWARMS.values():
        return [team([one], Luck(seed, mistakes), COSTS, agents).run() for one in programs]
    return [team(programs, Luck(seed, mistakes), COSTS, agents).run()]


EVERY = [*DIVISIONS.values(), *SWARMS.values()]


@pytest.mark.parametrize("team", EVERY, ids=lambda team: f"{team.__module__.rpartition('.')[2]}-{team.name}")
@pytest.mark.parametrize("agents", [1, 2, 4, 8])
def test_nobody_runs_an_edit_twice_and_what_some_edit_repairs_is_repaired(
    team: type[Team], agents: int
) -> None:
    if team.name == "single":
        agents = 1
    for seed in range(4):
        programs = drawn(seed)
        outcomes = runs(team, programs, seed, agents)
        for outcome in outcomes:
            by_agent = [(agent, work, place) for _, agent, work, place in outcome.log]
            assert len(by_agent) == outcome.edits
            assert len(set(by_agent)) == len(by_agent) or team is Silent  # which tries twice what it gives up
            assert all(0 <= at_s <= outcome.makespan_s + 1e-9 for at_s, *_ in outcome.log)
            assert outcome.busy_s <= agents * outcome.makespan_s + 1e-9
        repairable = {one.name for one in programs if one.repairable}
        assert set().union(*(outcome.repaired for outcome in outcomes)) == repairable
        assert not any(outcome.false for outcome in outcomes)
        shared_out = team.name not in ("independent", "context", "delm-strict", "delm-silent")
        if shared_out or (agents == 1 and team is not Silent):
            assert sum(outcome.repeated for outcome in outcomes) == 0


def test_a_team_of_one_does_the_same_edits_in_every_topology() -> None:
    programs = drawn(7)
    for teams in (DIVISIONS, SWARMS):
        alike = {
            tuple(
                (work, place) for outcome in runs(team, programs, 3, 1) for _, _, work, place in outcome.log
            )
            for team in teams.values()
            if team is not Silent
        }
        assert len(alike) == 1


def test_the_same_seed_gives_the_same_replay_and_another_seed_another() -> None:
    study = Study(
        drawn(1), Suite(10, 1.0), COSTS, Plan(agents=(1, 3), seeds=2, weights=(1, 5), missed=(0, 0.2))
    )
    first, again = replay(study, lambda seed: None), replay(study, lambda seed: None)
    assert first == again
    assert {row.key[0] for row in first} == set(PARTS)
    by_seed = {row.seed: row.measures for row in first if row.key[:3] == ("programs", "independent", 3)}
    assert by_seed[1] != by_seed[2]


def test_an_agent_has_the_same_luck_in_every_topology_and_team() -> None:
    eyes = [Luck(5, Mistakes(0.5, 0.5)), Luck(5, Mistakes(0.5, 0.5))]
    places = [
        (agent, name, space, place)
        for agent in (0, 1)
        for name in "ab"
        for space in (0, 1)
        for place in (0, 40)
    ]
    told = [
        {at: luck.seems(*at, True) for at in order}
        for luck, order in zip(eyes, (places, places[::-1]), strict=True)
    ]
    assert told[0] == told[1]
    assert set(told[0].values()) == {True, False}
    assert Luck(5).order("queue", 9) == Luck(5).order("queue", 9)


def test_seconds_are_those_of_starts_tests_calls_and_a_gate_that_takes_one_after_another() -> None:
    """By hand: two agents, two programs that are repaired at once, a start of 1 s and an edit of 1 s."""
    programs = [program(name, (trial(1.0, passes=True),), start_s=1.0) for name in "ab"]
    outcome = Queue(programs, Luck(1), COSTS, 2).run()
    proposed_s = 2 * 0.125 + 1.0 + 1.0 + 0.125  # claim, read; start; edit; propose
    assert outcome.makespan_s == pytest.approx(proposed_s + 2 * COSTS.gate_s)
    assert outcome.tests == 2 * (4 + 2)
    rounds = Rounds(programs, Luck(1), COSTS, 2).run()
    assert rounds.makespan_s == pytest.approx(2.0 + 2 * COSTS.check_s)


def test_fail_entries_save_what_a_dead_agent_had_ruled_out_and_without_them_it_is_done_again() -> None:
    programs = [program("a", *[(trial(1.0),)] * 10)]
    dying = (0, 5.9)
    told, silent = (
        team([*programs, program("b", (trial(0.5),))], Luck(1), COSTS, 2, order=[0, 1]).run(dying)
        for team in (Queue, Silent)
    )
    ruled_out = 5  # of 1.125 s each, after a claim and a read
    again = 10 + 1  # scopes of both programs, which are tried once more when they were given up
    assert told.saved_tests == (ruled_out + again) * programs[0].spaces[0].tests
    assert told.repeated == 0
    assert silent.repeated == ruled_out + again
    assert silent.saved_tests == 0
    assert silent.makespan_s > told.makespan_s > dying[1] + COSTS.lease_s


def test_without_the_gate_what_an_agent_imagines_stands_and_with_it_the_search_goes_on() -> None:
    imagining = Mistakes(imagined=1.0)
    programs = [program("a", (trial(1.0), trial(1.0), trial(1.0, passes=True))), program("b", (trial(1.0),))]
    open_, gated = (
        [team([one], Luck(1, imagining), COSTS, 1).run() for one in programs] for team in (OpenClaims, Claims)
    )
    assert [(set(one.repaired), set(one.false)) for one in open_] == [(set(), {"a"}), (set(), {"b"})]
    assert [(set(one.repaired), set(one.false)) for one in gated] == [({"a"}, set()), (set(), set())]
    assert [one.checks for one in gated] == [3, 1]


def test_a_missed_repair_is_lost_unless_a_peer_runs_the_scope_again() -> None:
    programs = [program(f"p{number}", (trial(1.0, passes=True),)) for number in range(60)]
    missing = Mistakes(missed=0.3)
    found = {
        team.name: sum(len(one.repaired) for one in runs(team, programs, 1, 2, missing))
        for team in (Claims, StrictClaims)
    }
    assert found["delm"] < found["delm-strict"] < len(programs)
    blind = [one for team in SWARMS.values() for one in runs(team, programs[:3], 1, 2, Mistakes(missed=1.0))]
    assert not any(one.repaired for one in blind)


def test_the_deadliest_test_first_saves_tests_and_shared_kills_are_learnt_sooner() -> None:
    edits = tuple(trial(1.0, kills="ppk") for _ in range(4))
    one = program("a", *[(edit,) for edit in edits])
    alone = executed(one, Claims([one], Luck(1), COSTS, 1).run())
    assert alone == {"fixed": 12, "own": 3 + 3, "shared": 3 + 3}
    two = executed(one, Claims([one], Luck(1), COSTS, 2).run())
    assert two == {"fixed": 12, "own": 2 * (3 + 1), "shared": 3 + 3}


def test_a_line_that_a_killed_recorder_left_half_written_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    first, second = (program(name, (trial(0.5), trial(0.25, passes=True, right=True))) for name in "ab")
    path.write_text(to_line(first) + to_line(second)[:50], encoding="utf-8")
    assert kept(path) == [first]
    assert path.read_text(encoding="utf-8") == to_line(first)
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(StudyError, match="line 1"):
        kept(path)
    with pytest.raises(KeyError):
        from_row({})


def test_half_of_the_assertions_are_held_out_and_none_is_in_both_halves() -> None:
    asserted = "".join(f"    assert candidate({number}) == {number}\n" for number in range(5))
    called = "\n\ndef test_f():\n    check(f)\n"
    head = "from solution import f\n\n\ndef check(candidate):\n"

    def exercise(body: str) -> Exercise:
        right = {"solution.py": "def f(x):\n    return x\n"}
        tests = {"test_solution.py": head + body + called}
        return Exercise("HumanEval/7", Benchmark.HUMANEVAL, "", {}, tests, right)

    made = subject(exercise(asserted))
    assert made is not None
    seen, held = made.tests["test_humaneval_7.py"], made.held_out["test_humaneval_7_held_out.py"]
    assert [(seen + held).count(f"candidate({number})") for number in range(5)] == [1] * 5
    assert (seen.count("assert"), held.count("assert")) == (3, 2)
    assert "from humaneval_7 import f" in seen
    assert subject(exercise(asserted + "    for x in ():\n        assert x\n")) is None
