"""`delm-run repair-study` as users meet it: what it records, keeps and refuses. Real tests run here."""

import json
import os
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from delm_client.cli import app
from delm_client.study.programs import Place, Wanted, prepare
from delm_client.study.record import record
from delm_client.study.recording import Program
from delm_client.study.views import VIEWS

PROGRAMS = {
    "largest": (
        "def largest(values):\n    return min(values)\n",
        "largest([3, 9, 4]) == 9",
        "largest([1]) == 1",
    ),
    "adults": (
        "def adults(ages):\n    return [a for a in ages if a > 18]\n",
        "adults([17, 18, 30]) == [18, 30]",
        "adults([5]) == []",
    ),
    "shout": ("def shout(text):\n    return text.lower()\n", "shout('a') == 'A!'", "shout('') == '!'"),
}
SMALL = ("--seeds", "2", "--agents", "1,2", "--team", "2")


def study(*argv: str) -> Result:
    return CliRunner().invoke(app, ["repair-study", *argv], catch_exceptions=False, env={"COLUMNS": "200"})


def project(folder: Path, *names: str) -> Path:
    """A project with these programs; two of them one edit repairs, and `shout` none."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    for name in names:
        text, *asserted = PROGRAMS[name]
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        tests = "".join(f"\n\ndef test_{place}():\n    assert {one}\n" for place, one in enumerate(asserted))
        (folder / f"test_{name}.py").write_text(f"from {name} import {name}\n{tests}", encoding="utf-8")
    return folder


def edits(programs: list[Program]) -> list[list[tuple[str, bool, str]]]:
    return [
        [(trial.edit, trial.passes, trial.kills) for space in program.spaces for trial in space.trials]
        for program in programs
    ]


@pytest.mark.long
def test_a_recording_holds_what_real_tests_said_and_is_taken_up_where_it_broke_off(tmp_path: Path) -> None:
    source = project(tmp_path / "project", "adults", "shout")
    place = Place(tmp_path / "study")
    wanted = Wanted(str(source))
    told: list[str] = []
    faults = prepare(wanted, place, told.append)
    first, suite = record(place, faults, 5, lambda done, of, now: told.append(now))
    assert [program.repairable for program in first] == [True, False]
    assert suite.tests == 4
    repairs = [trial for space in first[0].spaces for trial in space.trials if trial.passes]
    assert any(">=" in trial.edit for trial in repairs)
    assert all(trial.tests == 2 for trial in repairs)
    killed = [
        trial for program in first for space in program.spaces for trial in space.trials if not trial.passes
    ]
    assert all("k" in trial.kills for trial in killed if trial.end == "completed")

    path = place.folder / "recording-5.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 30])  # as a killed recorder leaves it
    told.clear()
    again, _ = record(place, prepare(wanted, place, told.append), 5, lambda done, of, now: told.append(now))
    assert [now for now in told if now] == ["test_shout.py"]
    assert edits(again) == edits(first)
    assert again[0] == first[0]


def test_what_cannot_be_studied_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear", encoding="utf-8")
    into = ("--into", str(tmp_path / "study"))
    for argv, told in (
        (("nowhere", *into), "neither a folder nor one of: sample, humaneval"),
        ((str(tmp_path / "empty"), *into), "is empty: give the folder"),
        (("mbpp", *into), "--source"),
        (("humaneval", "--source", str(tmp_path / "none.whl"), *into), "none.whl"),
        (("sample", "--into", str(tmp_path / "full")), "is not empty and no study"),
        (("sample", "--real", "2", *into), "needs a team of 1"),
        (("sample", "--agents", "0", *into), "between 1 and 64"),
        (("sample", "--agents", "two", *into), "pass whole numbers"),
    ):
        done = study(*argv)
        assert done.exit_code == 2, done.output
        assert told in " ".join(done.output.split())
        assert not (tmp_path / "study").exists()
    assert (tmp_path / "full" / "letter.txt").exists()


@pytest.mark.long
def test_a_project_whose_tests_all_pass_leaves_nothing_to_study(tmp_path: Path) -> None:
    source = project(tmp_path / "project", "largest")
    (source / "largest.py").write_text("def largest(values):\n    return max(values)\n", encoding="utf-8")
    done = study(str(source), "--into", str(tmp_path / "study"))
    assert done.exit_code == 2
    assert "All 2 tests pass: there is nothing to repair" in " ".join(done.output.split())


@pytest.mark.long
def test_a_study_that_was_killed_goes_on_and_its_report_says_replayed_everywhere(tmp_path: Path) -> None:
    source = project(tmp_path / "project", *PROGRAMS)
    into = tmp_path / "study"
    command = [sys.executable, "-m", "delm_client", "repair-study", str(source), "--into", str(into), *SMALL]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    command[1:3] = ["-c", "from delm_client.cli import main; main()"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        assert process.stderr is not None
        while "recording 2 of 3" not in process.stderr.readline():
            assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    kept = (into / "recording-300.jsonl").read_bytes()
    done = study(str(source), "--into", str(into), *SMALL)
    assert done.exit_code == 0, done.output
    assert "recording 1 of 3" not in done.output
    assert (into / "recording-300.jsonl").read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])

    for view in VIEWS:
        picture = (into / "plots" / f"{view.name}.svg").read_text(encoding="utf-8")
        ElementTree.fromstring(picture)  # noqa: S314 - our own picture
        assert view.heading.endswith("(replayed)")
        assert view.heading in picture
    page, text = ((into / f"report.{form}").read_text(encoding="utf-8") for form in ("html", "md"))
    for view in VIEWS:
        assert view.heading in text
        assert view.heading in unescape(page)
    assert page.count("<svg") == len(VIEWS)
    assert "Fewer than 20 seeds" in text
    results = json.loads((into / "results.json").read_text(encoding="utf-8"))
    assert results["replayed"] is True
    assert results["repairs"]["programs"] == 3
    assert results["repairs"]["repairable"] == 2

    other = study(str(source), "--into", str(into), "--seed", "9", *SMALL)
    assert other.exit_code == 2
    assert "which is not what you ask for" in " ".join(other.output.split())


@pytest.mark.long
def test_real_agents_run_the_edits_that_their_replay_runs_and_repair_the_same_programs(
    tmp_path: Path,
) -> None:
    source = project(tmp_path / "project", *PROGRAMS)
    into = tmp_path / "study"
    done = study(
        str(source), "--into", str(into), *SMALL, "--real", "1,2", "--repeats", "1", "--no-report", "--json"
    )
    assert done.exit_code == 0, done.output
    found = json.loads((into / "results.json").read_text(encoding="utf-8"))
    assert [one["agents"] for one in found["real"]] == [1, 2]
    for one in found["real"]:
        for what in ("edits", "tests", "repaired"):
            mean, low, high = one["real"][what]
            assert mean == low == high == one["replayed"][what], (one["agents"], what)
    alone = found["real"][0]
    assert alone["replayed"]["wall_s"] == pytest.approx(alone["real"]["wall_s"][0], rel=0.05)
    assert found["costs"]["call_s"] > 0
    assert found["costs"]["gate_s"] > 0


@pytest.mark.long
def test_a_clone_of_quixbugs_has_its_own_faults_and_what_never_ends_is_left_out(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    written = {
        "python_programs/bitcount.py": "def bitcount(n):\n    while n:\n        pass\n    return 0\n",
        "python_programs/double.py": "def double(n):\n    return n + 2\n",
        "correct_python_programs/bitcount.py": "def bitcount(n):\n    return n.bit_count()\n",
        "correct_python_programs/double.py": "def double(n):\n    return n * 2\n",
    }
    for name, call in (("bitcount", "bitcount(3) == 2"), ("double", "double(3) == 6")):
        test = f"from python_programs.{name} import {name}\n\n\ndef test_it():\n    assert {call}\n"
        written[f"python_testcases/test_{name}.py"] = test
    for path, text in written.items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text, encoding="utf-8")
    place = Place(tmp_path / "study")
    faults = prepare(Wanted("quixbugs", str(clone)), place, lambda text: None)
    assert {fault.name for fault in faults.values()} == {"quixbugs/double"}
    assert (place.project / "python_programs/double.py").read_text(encoding="utf-8").endswith("n + 2\n")
    assert not (place.project / "python_programs/bitcount.py").exists()
    (double,), _ = record(place, faults, 0, lambda done, of, now: None)
    assert any("n * 2" in trial.edit for space in double.spaces for trial in space.trials if trial.passes)
