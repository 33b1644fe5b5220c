"""Exercises under trouble: a model that fails often, kills, the gate and its absence, tests that hang."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from delm_client.bench.coding.scripted import ScriptedCoder
from delm_client.bench.scripted import scripted
from tests.bench_coding import coder, exercises, knows, only, program, solved
from tests.bench_data import ROOT
from tests.bench_model import calls, command, every, found
from tests.test_bench_exercises import exercism_clone, mbpp_row, quixbugs_clone

pytestmark = pytest.mark.long
TROUBLES = ("late", "429", "500", "malformed", "empty", "silent", "drop")
TOPOLOGIES = ("single", "independent", "central", "delm")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_model_that_fails_every_fifth_call_loses_no_exercise(topology: str, tmp_path: Path) -> None:
    data = exercises(tmp_path, "double", "triple")
    with coder(knows("double", "triple"), every(5, *TROUBLES)) as model:
        words = ("--topology", topology, "-n", "2", "--call-timeout", "5")
        results = solved(data, tmp_path / "run", model, *words)
    assert results["overall"]["right"] == results["overall"]["total"] == 2
    assert len(model.asked) > results["spent"]["calls"]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_run_that_is_killed_half_way_loses_and_repeats_no_exercise(topology: str, tmp_path: Path) -> None:
    data, folder = exercises(tmp_path, "double", "triple"), tmp_path / "run"
    reached, let_go, known = threading.Event(), threading.Event(), ScriptedCoder(knows("double", "triple"))

    def held(prompt: str) -> str:
        if "def triple(" in prompt and "--- step 2" in prompt and not let_go.is_set():
            reached.set()
            let_go.wait(120)
        return known(prompt)

    with scripted(held, name="scripted-coder") as model:
        words = ["bench", "humaneval", "--data", str(data), "--into", str(folder), "--topology", topology]
        words += ["-n", "2", "--model", "openai:any", "--base-url", model.openai_url, "--at-once", "1"]
        program_words = [sys.executable, "-c", "from delm_client.cli import main; main()"]
        process = subprocess.Popen([*program_words, *words], cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            assert reached.wait(240)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(60)
            let_go.set()
        first = calls(folder, "HumanEval_1*")
        assert len(list((folder / "items").iterdir())) == 1
        result = command("bench", "--resume", folder)
        assert result.exit_code == 0, result.output
    results = found(folder)
    assert results["overall"]["right"] == results["overall"]["total"] == 2
    assert calls(folder, "HumanEval_1*") == first
    attempts = {
        row["id"]: row["attempt"]
        for row in map(json.loads, map(Path.read_text, (folder / "items").iterdir()))
    }
    assert attempts == {"HumanEval/1": 1, "HumanEval/2": 2}
    assert results["spent"]["calls"] == len(calls(folder))
    assert not list(folder.glob("boards/**/work"))  # not even that of the killed attempt


def test_the_shown_tests_keep_a_wrong_patch_out_of_head_and_peers_hear_of_it(tmp_path: Path) -> None:
    data = exercises(tmp_path, "double")
    with coder(knows(wrong=("double",))) as model:
        words = ("-n", "1", "--tests", "shown")
        refused = solved(data, tmp_path / "standard", model, *words)
        merged = solved(data, tmp_path / "open", model, *words, "--policy", "open")
    compared = command("compare", tmp_path / "standard", tmp_path / "open").output
    assert "A delm x1, tests shown" in compared
    assert "B delm x1, open, tests shown" in compared
    gate = json.loads(command("report", tmp_path / "standard", "--json").stdout)["gate"]
    assert gate["told"]["stats"]["proposals"]["refused"]["command"] >= 2
    assert gate["mending"]["calls"] > 0
    assert refused["habits"]["tests"] == "shown"
    assert refused["outcomes"] == {"empty": 1}
    assert only(tmp_path / "standard")["board"]["proposed"] == {"fail told": 1, "patch rejected": 3}
    assert only(tmp_path / "standard")["submissions"][0]["outcome"] == "failed"
    assert merged["outcomes"] == {"failed": 1}
    assert only(tmp_path / "open")["board"]["proposed"] == {"patch admitted": 1}
    # Shown tests are in the folder, where they can be run, and still in no prompt by themselves.
    assert any("assert 35 == 10" in line["prompt"] for line in calls(tmp_path / "standard"))


def test_peers_judge_what_is_found_and_changed(tmp_path: Path) -> None:
    with coder(knows("double")) as model:
        words = ("-n", "2", "--policy", "strict")
        results = solved(exercises(tmp_path, "double"), tmp_path / "run", model, *words)
    steps = [line["step"] for line in calls(tmp_path / "run")]
    assert steps.count("judge") == 3  # the patch, the fact, and the answer
    assert results["overall"]["right"] == 1  # a peer's vote merged the patch
    assert only(tmp_path / "run")["board"]["proposed"] == {"fact pending": 1, "patch pending": 1}


def test_a_team_divides_its_work_anew_until_it_is_solved(tmp_path: Path) -> None:
    class Patient(ScriptedCoder):
        def __call__(self, prompt: str) -> str:
            if '"more"' in prompt and "return 2" not in prompt:
                return json.dumps({"answer": "", "more": ["Now with the right factor."]})
            if '{"submit"' in prompt and "return 2" not in prompt:
                again = {"agent": "agent-2", "part": "Now with the right factor.", "from": "agent-1"}
                return json.dumps({"submit": "", "assign": [again]})
            if '{"submit"' in prompt:
                return json.dumps({"submit": "agent-2", "assign": []})
            return super().__call__(prompt)

    def known(prompt: str) -> Mapping[str, str]:
        return {"solution.py": program("double", 2 if "right factor" in prompt else 9)}

    with scripted(Patient(known), name="scripted-coder") as model:
        data = exercises(tmp_path, "double")
        for topology in ("central", "delm"):
            results = solved(data, tmp_path / topology, model, "-n", "2", "--topology", topology)
            assert results["outcomes"] == {"passed": 1}, topology
    assert [line["step"] for line in calls(tmp_path / "central")].count("review") == 2
    assert [line["step"] for line in calls(tmp_path / "delm")].count("decide") == 2
    assert [one["submitted"] for one in only(tmp_path / "central")["submissions"]] == [False, True]


def _repaired(prompt: str) -> Mapping[str, str]:
    if "python_programs/gcd.py" in prompt:
        return {
            "python_programs/gcd.py": "def gcd(a, b):\n    return a if b == 0 else gcd(b, a % b)\n",
        }
    return {"python_programs/walk.py": "import time\n\n\ndef walk(node):\n    time.sleep(600)\n"}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_program_of_quixbugs_is_repaired_in_every_topology(topology: str, tmp_path: Path) -> None:
    clone = quixbugs_clone(tmp_path / "QuixBugs")
    (clone / "python_testcases/test_walk.py").unlink()
    with coder(_repaired) as model:
        words = ("--topology", topology, "-n", "2")
        results = solved(clone, tmp_path / "run", model, *words, benchmark="quixbugs")
    assert results["outcomes"] == {"passed": 1}
    assert all("load_json_testcases" not in line["prompt"] for line in calls(tmp_path / "run"))


def test_a_program_that_hangs_is_stopped_and_wrong(tmp_path: Path) -> None:
    clone = quixbugs_clone(tmp_path / "QuixBugs")
    with coder(_repaired) as model:
        words = ("--topology", "single", "--tests", "shown", "--tests-seconds", "6")
        results = solved(clone, tmp_path / "run", model, *words, benchmark="quixbugs")
        assert results["outcomes"] == {"passed": 1, "timed_out": 1}
        assert any("did not end within 6 s" in line["prompt"] for line in calls(tmp_path / "run"))
        # The data are a folder: what is in it is watched, too.
        (clone / "python_programs/walk.py").write_text("def walk(node):\n    return node\n")
        changed = command("bench", "--resume", tmp_path / "run")
    assert changed.exit_code == 2
    assert "an item changed" in changed.output


def test_ctrl_c_does_not_wait_for_a_program_that_hangs_and_does_not_call_it_wrong(tmp_path: Path) -> None:
    clone, folder, reached = quixbugs_clone(tmp_path / "QuixBugs"), tmp_path / "run", threading.Event()
    (clone / "python_testcases/test_gcd.py").unlink()
    (clone / "python_testcases/test_walk.py").write_text(
        f"from pathlib import Path\nimport time\n\n\ndef test_hangs():\n"
        f"    Path({str(tmp_path / 'hangs')!r}).write_bytes(b'x')\n    time.sleep(300)\n"
    )
    os.mkfifo(tmp_path / "hangs")

    def heard() -> None:
        (tmp_path / "hangs").read_bytes()
        reached.set()

    threading.Thread(target=heard, daemon=True).start()
    with coder(_repaired) as model:
        words = ["bench", "quixbugs", "--data", str(clone), "--into", str(folder), "--topology", "single"]
        words += ["--model", "openai:any", "--base-url", model.openai_url, "--tests-seconds", "300"]
        program_words = [sys.executable, "-c", "from delm_client.cli import main; main()"]
        process = subprocess.Popen([*program_words, *words], cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            assert reached.wait(120)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.wait(60)
    assert not (folder / "items").exists(), "what was under way has no result"


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("benchmark", ["mbpp", "exercism"])
def test_every_benchmark_of_exercises_runs_from_its_data_to_its_report(
    benchmark: str, topology: str, tmp_path: Path
) -> None:
    data, path = exercism_clone(tmp_path / "python"), "two_fer.py"
    solution = "def two_fer(name='you'):\n    return f'One for {name}.'\n"
    if benchmark == "mbpp":
        data, path = tmp_path / "mbpp.json", "solution.py"
        data.write_text(json.dumps([mbpp_row()]))
        solution = mbpp_row()["code"].replace("\r", "")
    with coder(lambda _: {path: solution}, every(5, *TROUBLES)) as model:
        words = ("--topology", topology, "-n", "2", "--tests", "shown", "--call-timeout", "5")
        results = solved(data, tmp_path / "run", model, *words, benchmark=benchmark)
    assert results["outcomes"] == {"passed": 1}
    told = json.loads(command("report", tmp_path / "run", "--json").stdout)
    assert (told["source"]["benchmark"], told["source"]["topology"]) == (benchmark, topology)
    assert told["source"]["scripted"]
