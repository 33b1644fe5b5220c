"""Benchmark runs under trouble: a model that fails often, kills, interrupts, peers and further rounds."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delm_client.bench.scripted import Scripted, reader, scripted
from tests.bench_model import CHUNK, PARTS, calls, command, every, found, item, questions, ran

pytestmark = pytest.mark.long
TROUBLES = ("429", "500", "malformed", "empty", "drop", "late")
SOON = ("--call-timeout", "1.5")
TOPOLOGIES = ("single", "independent", "central", "delm")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_model_that_fails_every_fifth_call_loses_no_item(topology: str, tmp_path: Path) -> None:
    data = questions(tmp_path, "ABCD")
    with scripted(trouble=every(5, *TROUBLES)) as model:
        results = ran(data, tmp_path / "run", model, "--topology", topology, "-n", "2", *SOON)
    assert results["overall"]["right"] == results["overall"]["total"] == 4
    assert len(model.asked) > results["spent"]["calls"]


def test_every_fifth_call_is_not_answered_in_time_and_no_item_is_lost(tmp_path: Path) -> None:
    with scripted(trouble=every(5, "late")) as model:
        results = ran(questions(tmp_path), tmp_path / "run", model, "-n", "2", *SOON)
    assert results["overall"]["right"] == results["overall"]["total"] == 2
    late = len(model.asked) // 5
    assert len(model.asked) == results["spent"]["calls"] + late


def test_a_model_that_falls_silent_is_asked_for_its_notes_again_but_not_for_its_answer(
    tmp_path: Path,
) -> None:
    def script(prompt: str) -> str:
        note_at_first = "<part>" in prompt and "Your reply before" not in prompt
        answer = "Please read the following text" in prompt and "report 2" in prompt
        return "" if note_at_first or answer else reader(prompt)

    with scripted(script) as model:
        results = ran(questions(tmp_path), tmp_path / "run", model, "-n", "2")
    assert (results["overall"]["right"], results["overall"]["total"], results["answered"]) == (1, 2, 1)
    assert len(calls(tmp_path / "run", "q1")) == 2 * PARTS + 2


@contextmanager
def _held(hold: re.Pattern[str]) -> Iterator[tuple[Scripted, threading.Event, threading.Event]]:
    """A model that does not answer prompts like this until it is let go."""
    reached, let_go = threading.Event(), threading.Event()

    def script(prompt: str) -> str:
        if hold.search(prompt) and not let_go.is_set():
            reached.set()
            let_go.wait(60)
        return reader(prompt)

    with scripted(script) as model:
        try:
            yield model, reached, let_go
        finally:
            let_go.set()


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_half_way_loses_and_repeats_no_item(
    topology: str, by: signal.Signals, tmp_path: Path
) -> None:
    data, folder = questions(tmp_path, "ABC"), tmp_path / "run"
    # The second item is held in its second part; the first one is done by then.
    with _held(re.compile(r"Paragraph 7 of report 2.*<|report 2.*sailed first was", re.S)) as held:
        model, reached, let_go = held
        argv = ["bench", "--data", str(data), "--into", str(folder), "--topology", topology, "-n", "2"]
        argv += ["--model", "openai:any", "--base-url", model.openai_url, "--at-once", "1", *CHUNK]
        program = [sys.executable, "-c", "from delm_client.cli import main; main()"]
        process = subprocess.Popen([*program, *argv], stderr=subprocess.PIPE, text=True)
        assert reached.wait(120)
        os.kill(process.pid, by)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if by is signal.SIGINT else -signal.SIGKILL)
        if by is signal.SIGINT:
            assert f"go on with: delm-run bench --resume {folder}" in said
        assert [path.stem for path in (folder / "items").glob("*.json")] == ["q1"]
        let_go.set()
        first = calls(folder, "q1")
        result = command("bench", "--resume", folder)
        assert result.exit_code == 0, result.output
    results = found(folder)
    assert results["overall"]["right"] == results["overall"]["total"] == 3
    assert calls(folder, "q1") == first
    assert [item(folder, name)["attempt"] for name in ("q1", "q2", "q3")] == [1, 2, 1]
    assert results["spent"]["calls"] == len(calls(folder))
    told = json.loads(command("report", folder, "--json").stdout)
    assert (told["source"]["topology"], told["source"]["scripted"]) == (topology, True)


def test_peers_judge_every_note_and_a_part_is_read_again_when_asked_for(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        if '"unfold"' in prompt and "round 1" not in prompt:
            return json.dumps({"unfold": [], "deep": [], "look": [{"part": 2, "for": "the weather"}]})
        if "look in particular for: the weather" in prompt:
            quote = "Paragraph 8 of report 1 speaks of weather"
            return json.dumps({"gist": "Report 1 speaks of weather too.", "quotes": [quote]})
        return reader(prompt)

    with scripted(script) as model:
        ran(questions(tmp_path, "A"), tmp_path / "run", model, "-n", "2", "--policy", "strict")
    steps = [line["step"] for line in calls(tmp_path / "run")]
    assert steps.count("read") == PARTS + 1
    assert steps.count("judge") >= PARTS + 2  # the notes, the note of the second round, and the answer
    done = item(tmp_path / "run", "q1")
    assert done["right"]
    assert done["board"]["notes"] == {"pending": PARTS + 1}


@pytest.mark.parametrize("spoilt", ["notes", "answer"])
def test_a_team_answers_as_single_does_where_it_has_no_notes_or_its_gate_refuses_the_answer(
    spoilt: str, tmp_path: Path
) -> None:
    def script(prompt: str) -> str:
        if spoilt == "notes" and "<part>" in prompt:
            return "I would rather not."
        if '"verdict"' in prompt and "«The correct answer is (" in prompt:
            return json.dumps({"reason": "nothing was cited", "verdict": "fail", "fails": ["support"]})
        return reader(prompt)

    with scripted(script) as model:
        data = questions(tmp_path, "A")
        ran(data, tmp_path / "single", model, "--topology", "single")
        ran(data, tmp_path / "delm", model, "-n", "2", "--policy", "strict")
    alone, team = item(tmp_path / "single", "q1"), item(tmp_path / "delm", "q1")
    assert team["letter"] == alone["letter"] is not None
    assert "the gate did not admit E" in team["ended"]
    assert team["board"]["notes"] == ({} if spoilt == "notes" else {"pending": PARTS})


def test_without_hierarchy_and_rounds_nothing_is_looked_at_again(tmp_path: Path) -> None:
    words = ("--no-hierarchy", "--rounds", "0", "--gist-tokens", "40", "--no-verify")
    results = ran(questions(tmp_path, "A"), tmp_path / "run", None, "-n", "2", *words)
    steps = [line["step"] for line in calls(tmp_path / "run")]
    assert sorted(steps) == ["answer", *["read"] * PARTS]
    assert results["policy"] == "open"
    assert "at most 40 tokens" in calls(tmp_path / "run")[0]["prompt"]
