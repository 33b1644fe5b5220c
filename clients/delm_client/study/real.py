"""Real runs beside replayed ones: real agents on a real board, as `delm-run demo` has them, on some programs.

The seconds of calls, gate and tests are fitted to the runs of one agent; what is replayed for more agents is
then a prediction, which the real runs of more agents can refute.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import anyio

from delm_client import demo
from delm_client.bench.exercises.project import CHECK
from delm_client.prepare import Wish, prepare
from delm_client.scene import Scene
from delm_client.study.division import Queue
from delm_client.study.errors import StudyError
from delm_client.study.luck import Luck
from delm_client.study.programs import Fault, Place
from delm_client.study.recording import Program, Suite, stretched
from delm_client.study.teams import Costs, Outcome

TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class RealRun:
    """One run of real agents. Seconds by the clock, from the first claim to the last verdict."""

    agents: int
    repeat: int
    wall_s: float
    tests: int
    edits: int
    cpu_s: float
    repaired: int
    admitted: tuple[str, ...]
    gate_s: float
    """From proposal to verdict, on average; 0 where there was none."""
    call_s: float
    """Of a call of the board, on average: the proposals of `fail` entries."""
    suite_s: float
    finished: bool
    load: float
    """The machine's load before it began: what others were doing there."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Real and replayed for one number of agents: means over the repetitions, and their spread."""

    agents: int
    repeats: int
    programs: int
    real: dict[str, tuple[float, float, float]]
    """Mean, least and most."""
    replayed: dict[str, float]
    fitted: bool
    """Whether the costs were fitted to these very runs."""


def run_real(
    place: Place,
    faults: dict[str, Fault],
    programs: Sequence[Program],
    agents: Sequence[int],
    repeats: int,
    mutants: int,
    told: Callable[[str], None],
) -> list[RealRun]:
    """Let real agents repair these programs; what an earlier study ran is kept.

    Raises:
        DemoError: The project cannot be prepared.
        BoardError: The board cannot be reached.
    """
    names = [program.name for program in programs]
    known = place.folder / "real.json"
    done = _kept(known, names)
    for repeat in range(1, repeats + 1):
        for count in agents:
            if any((run.agents, run.repeat) == (count, repeat) for run in done):
                continue
            told(f"real run {repeat} of {repeats} with {count} agents on {len(names)} programs")
            done.append(_one(place, faults, names, count, repeat, mutants))
            rows = {"programs": names, "runs": [asdict(run) for run in done]}
            known.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return [run for run in done if run.agents in agents and run.repeat <= repeats]


def _kept(known: Path, names: list[str]) -> list[RealRun]:
    if not known.exists():
        return []
    try:
        rows: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        runs = [RealRun(**{**row, "admitted": tuple(row["admitted"])}) for row in rows["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{known} cannot be read ({error}): delete it, and the real runs are done anew."
        ) from error
    return runs if rows["programs"] == names else []


def _one(
    place: Place, faults: dict[str, Fault], names: list[str], agents: int, repeat: int, mutants: int
) -> RealRun:
    source = place.folder / "real-source"
    team = place.folder / "real-team"
    for folder in (source, team):
        shutil.rmtree(folder, ignore_errors=True)
    _subset(place, faults, names, source)
    load = os.getloadavg()[0]
    wish = Wish(source, CHECK, agents, into=team, mutants=mutants, timeout_s=TIMEOUT_S)
    try:
        scene = prepare(wish)
        anyio.run(demo.run, wish, scene, _unseen)
        return _summed(scene, agents, repeat, load)
    finally:
        for folder in (source, team):
            shutil.rmtree(folder, ignore_errors=True)


async def _unseen(scene: Scene) -> None:
    await anyio.sleep_forever()


def _subset(place: Place, faults: dict[str, Fault], names: list[str], into: Path) -> None:
    """Only these programs; all of a project whose programs are not known by file."""
    if not faults:
        shutil.copytree(place.project, into)
        return
    dropped = {
        name for fault in faults.values() if fault.test not in names for name in (fault.program, fault.test)
    }
    shutil.copytree(
        place.project, into, ignore=lambda folder, found: [name for name in found if name in dropped]
    )


def _summed(scene: Scene, agents: int, repeat: int, load: float) -> RealRun:
    searched = [line for line in scene.told if line["event"] == "searched"]
    verdicts = [line for line in scene.told if line["event"] == "verdict"]
    claims = [line["at"] for line in scene.told if line["event"] == "claim" and line.get("task")]
    ends = [line["at"] for line in scene.told if line["event"] in ("verdict", "gave_up", "passes")]
    if not claims or not ends:
        notes = "; ".join(scene.notes) or "nothing was claimed"
        raise StudyError(f"The real run with {agents} agents came to nothing: {notes}")
    proposed = [
        line
        for line in scene.told
        if line["event"] == "phase" and line["phase"] == "checking" and "edit" in line
    ]
    calls = [line["call_s"] for line in scene.told if line["event"] == "ruled_out"]
    waited = [_wait(line, verdicts) for line in proposed]
    return RealRun(
        agents=agents,
        repeat=repeat,
        wall_s=max(ends) - min(claims),
        tests=sum(line["test_runs"] for line in searched),
        edits=sum(line["mutants"] for line in searched),
        cpu_s=sum(line["cpu_s"] for line in searched),
        repaired=sum(line["state"] == "admitted" for line in verdicts),
        admitted=tuple(sorted(line["target"] for line in verdicts if line["state"] == "admitted")),
        gate_s=fmean(waited) if waited else 0.0,
        call_s=fmean(calls) if calls else 0.0,
        suite_s=scene.before.duration_s,
        finished=scene.run_state == "finished",
        load=load,
    )


def _wait(proposed: dict[str, Any], verdicts: list[dict[str, Any]]) -> float:
    after = [
        line["at"] - proposed["at"]
        for line in verdicts
        if line["agent"] == proposed["agent"]
        and line["target"] == proposed["target"]
        and line["at"] >= proposed["at"]
    ]
    return float(min(after, default=0.0))


def fit(programs: Sequence[Program], runs: Sequence[RealRun], suite: Suite) -> tuple[Costs, Costs]:
    """What a call, the gate and a second of tests take, from the runs with one agent.

    Calls and gate are as measured. What remains of the wall time is put down to the tests: what forking them,
    starting their server and a busy machine cost beside their processor time.

    Returns:
        The costs for these programs alone, and for the whole project, whose suite takes longer.

    Raises:
        StudyError: There is no run with one agent.
    """
    alone = [run for run in runs if run.agents == 1]
    if not alone:
        raise StudyError("Real runs need one with 1 agent, to which seconds are fitted: --real 1,2.")
    costs = Costs(call_s=fmean(run.call_s for run in alone), gate_s=fmean(run.gate_s for run in alone))
    tests_s = _replayed(programs, replace(costs, call_s=0.0, gate_s=0.0), 1).makespan_s
    others_s = _replayed(programs, costs, 1).makespan_s - tests_s
    stretch = max(0.01, (fmean(run.wall_s for run in alone) - others_s) / tests_s)
    costs = replace(costs, stretch=stretch, check_s=stretch * suite.seconds)
    longer_s = max(0.0, costs.check_s - fmean(run.suite_s for run in alone))
    return costs, replace(costs, gate_s=costs.gate_s + longer_s)


def _replayed(programs: Sequence[Program], costs: Costs, agents: int) -> Outcome:
    slower = [stretched(program, costs.stretch, costs.stretch) for program in programs]
    return Queue(slower, Luck(0), costs, agents, order=range(len(programs))).run()


def beside(programs: Sequence[Program], runs: Sequence[RealRun], costs: Costs) -> list[Beside]:
    """Real and replayed by number of agents. The board's queue has the order of the programs."""
    found = []
    for agents in sorted({run.agents for run in runs}):
        those = [run for run in runs if run.agents == agents]
        outcome = _replayed(programs, costs, agents)
        real = {
            name: (fmean(values), min(values), max(values))
            for name in ("tests", "edits", "repaired", "wall_s", "cpu_s", "gate_s", "load")
            if (values := [float(getattr(run, name)) for run in those])
        }
        replayed = {
            "tests": float(outcome.tests),
            "edits": float(outcome.edits),
            "repaired": float(len(outcome.repaired)),
            "wall_s": outcome.makespan_s,
            "gate_s": outcome.gated_s / outcome.checks if outcome.checks else 0.0,
        }
        found.append(Beside(agents, len(those), len(programs), real, replayed, fitted=agents == 1))
    return found


def chosen(programs: Sequence[Program], count: int, whole: bool) -> list[Program]:
    """Programs spread over the recording, in its order; all of them where they cannot be taken apart."""
    if whole or count >= len(programs):
        return list(programs)
    return [programs[index * len(programs) // count] for index in range(count)]
