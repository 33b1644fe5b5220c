"""`delm-run simulate` as users meet it: what it writes, what it refuses, and that it says what it is."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from hashlib import sha256
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from delm_client.cli import app
from delm_client.simulate import sample, traces
from delm_client.simulate.errors import SimulationError
from delm_client.simulate.parts import PARTS
from delm_client.simulate.views import VIEWS

HEADER = "instance,call,prompt,completion,cached,created\n"
SMALL = ("--quick", "--tasks", "12", "--agents", "1,4", "--team", "4", "--seeds", "2", "--workers", "1")


def simulate(*argv: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *argv], catch_exceptions=False, env={"COLUMNS": "80"})


def trace(text: str, into: Path) -> Path:
    path = into / "calls.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "parts",
    [["scale", "failures"], pytest.param(list(PARTS), marks=pytest.mark.long)],
    ids=["two parts", "every part"],
)
def test_a_run_writes_figures_plots_and_pages_that_all_say_simulated(
    parts: list[str], tmp_path: Path
) -> None:
    into = tmp_path / "out"
    done = simulate(*SMALL, "--into", str(into), *(word for part in parts for word in ("--part", part)))
    assert done.exit_code == 0, done.output
    views = [view for view in VIEWS if view.part in parts]
    assert {path.stem for path in (into / "plots").iterdir()} == {view.name for view in views}
    for view in views:
        picture = (into / "plots" / f"{view.name}.svg").read_text(encoding="utf-8")
        ElementTree.fromstring(picture)  # noqa: S314 - our own picture
        assert view.heading in picture  # as the comment beside its outlines
    page, text = ((into / f"report.{form}").read_text(encoding="utf-8") for form in ("html", "md"))
    for part in parts:
        for shown in (unescape(page), text, done.stdout):
            assert f"{PARTS[part].question} (simulated)" in shown
    headings = re.findall(r"^#{1,2} (.*)$", text, re.MULTILINE)
    assert {line for line in headings if "(simulated)" not in line} == {
        "What this does not show",
        "Assumptions",
    }
    assert "Synthetic calls" in text
    assert "Fewer than 20 seeds" in text
    assert page.count("<svg") == len(views)
    assert not re.search(r'(src|href)="(?!#)', page)  # it needs nothing else

    results = json.loads((into / "results.json").read_text(encoding="utf-8"))
    assert results["simulated"] is True
    assert results["trace"]["synthetic"] is True
    assert results["trace"]["sha256"] == sha256(traces.SAMPLE.read_bytes()).hexdigest()
    assert results["seeds"] == [1, 2]
    assert set(results["versions"]) == {"python", "delm-mcp", "matplotlib"}
    with (into / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["simulated"] for row in rows} == {"yes"}
    assert len(rows) == 2 * len(results["cells"])


def test_every_part_gives_its_tables_and_its_sentences_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = simulate(*SMALL, "--no-report", "--into", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert set(found["findings"]) == set(PARTS)
    assert all(found["findings"].values())
    told = " ".join(done.stdout.split())
    for view in VIEWS:
        assert view.heading in told


def test_the_same_seeds_give_the_same_results_however_many_processes_compute_them(tmp_path: Path) -> None:
    printed = []
    for workers in ("1", "2"):
        argv = (*SMALL, "--part", "gate", "--workers", workers, "--no-report", "--json")
        done = simulate(*argv, "--into", str(tmp_path / workers))
        assert done.exit_code == 0, done.output
        printed.append(json.loads(done.stdout))
    assert printed[0] == printed[1]
    assert [row["simulated"] for row in printed] == [True, True]
    runs = [(tmp_path / workers / "runs.csv").read_bytes() for workers in ("1", "2")]
    assert runs[0] == runs[1]
    assert not (tmp_path / "1" / "report.md").exists()


def test_a_trace_of_ones_own_is_read_and_its_imputations_are_told(tmp_path: Path) -> None:
    calls = trace(
        "created,cached,instance,call,prompt,completion,more\n"
        "100,0,a,0,10,1,x\n"
        "104,5,a,1,20,3,x\n"
        "9000,5,a,2,20,2,x\n"
        "100,0,b,0,10,2,x\n",
        tmp_path,
    )
    found = traces.load(calls)
    assert (found.imputed, found.capped, found.synthetic) == (2, 1, False)
    # One gap is known, 4 s: the long pause becomes the median of its instance, last calls what was fitted.
    assert [[call.seconds for call in each] for each in found.instances] == [[4, 4, 4], [4]]
    done = simulate(
        *SMALL, "--part", "verifying", "--no-report", "--traces", str(calls), "--into", str(tmp_path / "o")
    )
    assert done.exit_code == 0, done.output
    assert "2 last calls have imputed times, 1 long pauses were replaced" in " ".join(done.stderr.split())


def test_times_of_last_calls_follow_the_line_through_all_others(tmp_path: Path) -> None:
    rows = "".join(
        f"a,{n},10,{n},0,{sum(range(n)) * 2 + 3 * n}\n" for n in range(6)
    )  # a call takes 3 + 2 n s
    found = traces.load(trace(HEADER + rows, tmp_path))
    assert [call.seconds for call in found.instances[0]] == pytest.approx([3, 5, 7, 9, 11, 13])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (HEADER, "no calls"),
        ("instance,call,prompt\na,0,1\n", "lacks the columns completion, cached, created"),
        (HEADER + "a,0,ten,1,0,5\n", "line 2: call, prompt, completion, cached and created must be numbers"),
        (HEADER + "a,0,10,1,0\n", "line 2: call, prompt"),
        (HEADER + "a,0,10,1,0,nan\n", "line 2: call, prompt"),
        (HEADER + "a,0,10,1,11,5\n", "cached ones are part of the prompt"),
        (HEADER + "a,0,10,-1,0,5\n", "cannot be negative"),
        (HEADER + "a,0,10,1,0,5\na,1,10,1,0,4\n", "created before the last"),
        (HEADER + "a,0,10,1,0,5\nb,0,10,1,0,4\n", "no instance has two calls"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_in_words(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=re.escape(said)):
        traces.load(trace(text, tmp_path))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--agents", "0,4"), "--agents is 0: it must lie between 1 and"),
        (("--agents", "four"), "pass whole numbers with commas"),
        (("--agents", ","), "pass whole numbers with commas"),
        (("--team", "0"), "--team is 0"),
        (("--tasks", "0"), "--tasks is 0"),
        (("--seeds", "0"), "--seeds is 0"),
        (("--price-cached", "-1"), "The price of cached tokens is -1"),
        (("--turn-s", "-1"), "turn_s is -1"),
        (("--lease-s", "inf"), "lease_s is inf"),
        (("--dead-ends", "1.5"), "a share lies between 0 and 1"),
        (("--part", "nothing"), "There is no part nothing; there are: scale"),
        (("--traces", "no-such.csv"), "no-such.csv cannot be read: No such file"),
        (("--max-gap-s", "0"), "--max-gap-s is 0"),
        (("--into", "."), "pass a new folder with --into"),
        (("--into", f"{__file__}/out"), "out: Not a directory"),
    ],
)
def test_bad_input_is_refused_with_what_would_work(argv: tuple[str, ...], said: str) -> None:
    done = simulate("--no-report", *argv)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = simulate("--into", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert 'pip install "delm-mcp[bench]"' in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_bundled_sample_is_what_its_script_writes_and_says_that_it_is_synthetic() -> None:
    written = io.StringIO()
    sample.write(written)
    assert traces.SAMPLE.read_text(encoding="utf-8") == written.getvalue()
    with traces.SAMPLE.open(encoding="utf-8") as file:
        assert all(row["instance"].startswith("synthetic-") for row in csv.DictReader(file))
    assert traces.load(None).synthetic


def test_ctrl_c_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("delm-run")), "simulate", "--no-report", "--workers", "2"]
    into = tmp_path / "out"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    process = subprocess.Popen(
        [*command, "--seeds", "400", "--into", str(into)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        while "seeds, the same draws" not in process.stderr.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 130, told
    assert "Stopped: nothing was written." in told
    assert "Traceback" not in told
    assert not into.exists()
