"""SWE-bench: instances, predictions, what the harness reports, metrics, and where to work and judge."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delm_client.bench.errors import DataError, ExtraMissing, PlugError
from delm_client.bench.items import Instance
from delm_client.bench.reading import Row
from delm_client.bench.swebench import data, outcomes
from delm_client.bench.swebench.checkouts import Checkouts
from delm_client.bench.swebench.docker import DockerHarness, gold
from delm_client.bench.swebench.local import LocalSandbox
from delm_client.bench.swebench.metrics import Attempt, summarise, unbiased
from delm_client.bench.swebench.outcomes import Judged, Outcome
from delm_client.bench.swebench.predictions import Prediction, Predictions, read, write_json
from delm_client.git import git
from tests.bench_data import instance_row, json_lines, real


def instance(**changed: Any) -> Instance:
    return data.parse([Row("here", instance_row(**changed))])[0]


# --- loading


def test_parquet_json_and_json_lines_give_the_same_instances(tmp_path: Path) -> None:
    core = pytest.importorskip("arro3.core")
    io = pytest.importorskip("arro3.io")
    rows = [instance_row(), instance_row(instance_id="owner__project-2", hints_text="")]
    names = list(rows[0])
    columns = [core.Array([row[name] for row in rows], core.DataType.string()) for name in names]
    parquet = tmp_path / "test.parquet"
    io.write_parquet(core.Table.from_arrays(columns, names=names), str(parquet))
    zipped = tmp_path / "test.parquet.gz"
    zipped.write_bytes(gzip.compress(parquet.read_bytes()))
    listed = tmp_path / "test.json"
    listed.write_text(json.dumps(rows))
    lines = json_lines(tmp_path / "test.jsonl", rows)
    loaded = data.load(parquet)
    assert [found.id for found in loaded] == ["owner__project-1", "owner__project-2"]
    assert loaded[0].fail_to_pass == ("tests/test_x.py::test_new",)
    assert data.load(zipped) == data.load(listed) == data.load(lines) == loaded
    assert loaded[0].shown() == "It is wrong."
    parquet.write_bytes(parquet.read_bytes()[:-20])
    with pytest.raises(DataError, match="its end is missing"):
        data.load(parquet)


def test_parquet_without_a_reader_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("arro3.io", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "test.parquet"
    path.write_bytes(b"PAR1....PAR1")
    with pytest.raises(ExtraMissing, match=r"pip install 'delm-mcp\[bench\]'"):
        data.load(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base_commit": "main"}, "`base_commit` is no full commit: 'main'"),
        ({"FAIL_TO_PASS": "tests/test_x.py"}, "`FAIL_TO_PASS` is not a JSON list"),
        ({"PASS_TO_PASS": "[1]"}, "`PASS_TO_PASS` must be a list of test ids"),
        ({"repo": 3}, "`repo` must be text, and is 3"),
    ],
)
def test_a_wrong_instance_is_named_with_its_line(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl, line 1") as caught:
        data.load(json_lines(tmp_path / "x.jsonl", [instance_row(**changed)]))
    assert said in str(caught.value)


def test_instances_are_chosen_by_id(tmp_path: Path) -> None:
    rows = [instance_row(instance_id=f"a__b-{n}", FAIL_TO_PASS=["x"]) for n in range(3)]
    path = json_lines(tmp_path / "x.jsonl", rows)
    assert [found.id for found in data.load(path, ["a__b-2", "a__b-0"])] == ["a__b-2", "a__b-0"]
    with pytest.raises(DataError, match=r"No instance is called `a_b-1`\. Did you mean `a__b-1`\?"):
        data.load(path, ["a_b-1"])


def test_the_real_instances_are_read() -> None:
    pytest.importorskip("arro3.io")
    found = data.load(real("swe_bench_verified/test.parquet.gz"))
    assert len(found) == 500
    assert all(one.fail_to_pass and one.eval_script and one.patch for one in found)
    assert not any(one.patch in one.shown() for one in found)


# --- predictions


def test_predictions_are_resumed_without_doubles(tmp_path: Path) -> None:
    path = tmp_path / "new" / "preds.jsonl"
    first = Predictions(path)
    assert first.add(Prediction("a-1", "model", "diff --git é\n"))
    assert first.add(Prediction("a-2", "model", ""))
    with path.open("ab") as out:
        out.write(b'{"instance_id": "a-3", "model_name')  # killed while it wrote
    again = Predictions(path)
    assert set(again.done) == {"a-1", "a-2"}
    assert not again.add(Prediction("a-1", "model", "another"))
    assert again.add(Prediction("a-3", "model", "diff"))
    assert "a-3" in again
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"instance_id": "a-1", "model_name_or_path": "model", "model_patch": "diff --git é\n"},
        {"instance_id": "a-2", "model_name_or_path": "model", "model_patch": ""},
        {"instance_id": "a-3", "model_name_or_path": "model", "model_patch": "diff"},
    ]


@given(st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_a_writer_may_be_killed_at_any_byte(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "preds.jsonl"
    wanted = [Prediction(f"a-{n}", "m", f"line {n}\n\u2028") for n in range(3)]
    for prediction in wanted:
        Predictions(path).add(prediction)
    path.write_bytes(path.read_bytes()[:cut])
    resumed = Predictions(path)
    assert list(resumed.done.values()) == wanted[: len(resumed.done)]
    for prediction in wanted:
        resumed.add(prediction)
    assert list(read(path)) == wanted


def test_both_official_forms_are_read_and_faults_named(tmp_path: Path) -> None:
    predictions = [Prediction("a-1", "m", "x"), Prediction("a-2", "m", "")]
    write_json(tmp_path / "preds.json", predictions)
    assert list(read(tmp_path / "preds.json")) == predictions
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([prediction.official() for prediction in predictions]))
    assert list(read(listed)) == predictions
    null = json_lines(tmp_path / "null.jsonl", [{**predictions[0].official(), "model_patch": None}])
    assert read(null)[0].patch == ""
    double = json_lines(tmp_path / "double.jsonl", [predictions[0].official()] * 2)
    with pytest.raises(DataError, match=r"line 2: a-1 has a prediction at double\.jsonl, line 1 already"):
        read(double)
    typo = json_lines(tmp_path / "typo.jsonl", [{"instance_id": "a", "model": "m", "model_patch": ""}])
    with pytest.raises(DataError, match="the field `model_name_or_path` is missing"):
        read(typo)
    with pytest.raises(DataError, match=r"must end in \.jsonl"):
        Predictions(tmp_path / "preds.txt")


# --- outcomes


def run_report(**changed: Any) -> dict[str, Any]:
    """A report as harness 5.0 writes it."""
    return {
        "resolved_ids": ["a-1"],
        "unresolved_ids": ["a-2", "a-3"],
        "empty_patch_ids": ["a-4"],
        "error_ids": ["a-5", "a-6", "a-7"],
        "incomplete_ids": ["a-8"],
        "infra_failure_ids": ["a-3"],
        "ambiguous_failure_ids": ["a-7"],
        "failure_reasons": {"a-3": "out_of_memory", "a-7": "tests_timed_out"},
        "schema_version": 2,
        **changed,
    }


def test_a_broken_environment_is_kept_apart_from_a_wrong_patch(tmp_path: Path) -> None:
    report = tmp_path / "m.run.json"
    report.write_text(json.dumps(run_report()))
    logs = outcomes.log_folder(tmp_path, "run", "org/m")
    assert logs == tmp_path / "logs" / "run_evaluation" / "run" / "org__m"
    for name, text in (("a-5", ">>>>> Patch Apply Failed:\nno"), ("a-6", "Image not found")):
        (logs / name).mkdir(parents=True)
        (logs / name / "run_instance.log").write_text(text)
    judged = outcomes.read_run_report(report, logs)
    assert {name: (one.outcome.value, one.reason) for name, one in judged.items()} == {
        "a-1": ("resolved", ""),
        "a-2": ("unresolved", ""),
        "a-3": ("environment_broke", "out_of_memory"),
        "a-4": ("empty_patch", ""),
        "a-5": ("unresolved", "patch_does_not_apply"),
        "a-6": ("environment_broke", ""),
        "a-7": ("unresolved", "tests_timed_out"),
        "a-8": ("not_run", ""),
    }


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.run.json"
    with pytest.raises(DataError, match="the harness writes its report when it ends"):
        outcomes.read_run_report(path)
    for content, said in (
        ("{", "no report of the harness"),
        ("[]", "holds no object"),
        ('{"resolved_id": []}', "`resolved_ids` is missing.*Did you mean `resolved_id`"),
        (json.dumps(run_report(error_ids={"a": 1})), "`error_ids` must be a list"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=said):
            outcomes.read_run_report(path)


def test_the_report_on_one_instance_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for report, outcome in (
        ({"resolved": True}, Outcome.RESOLVED),
        ({"resolved": False, "patch_exists": True}, Outcome.UNRESOLVED),
        ({"resolved": False, "patch_exists": False, "patch_is_None": True}, Outcome.EMPTY_PATCH),
        ({"resolved": False, "patch_exists": True, "infra_failure": True}, Outcome.ENVIRONMENT_BROKE),
    ):
        path.write_text(json.dumps({"a-1": report}))
        assert outcomes.read_instance_report(path)["a-1"].outcome is outcome
    path.write_text(json.dumps(run_report()))
    with pytest.raises(DataError, match="no report on an instance"):
        outcomes.read_instance_report(path)


def test_every_instance_has_an_outcome() -> None:
    instances = [instance(instance_id=f"a-{n}") for n in range(4)]
    predictions = [Prediction("a-0", "m", "x"), Prediction("a-1", "m", " \n"), Prediction("a-2", "m", "x")]
    judged = {"a-0": Judged("a-0", Outcome.RESOLVED)}
    found = outcomes.complete(instances, predictions, judged)
    assert [one.outcome for one in found.values()] == [
        Outcome.RESOLVED,
        Outcome.EMPTY_PATCH,
        Outcome.ENVIRONMENT_BROKE,
        Outcome.NOT_RUN,
    ]


# --- metrics


def attempts(spelled: str, cost: float | None = 0.1) -> list[Attempt]:
    kinds = {
        "R": Outcome.RESOLVED,
        "u": Outcome.UNRESOLVED,
        "e": Outcome.EMPTY_PATCH,
        "b": Outcome.ENVIRONMENT_BROKE,
        "n": Outcome.NOT_RUN,
    }
    return [Attempt(Judged("x", kinds[letter]), cost) for letter in spelled]


def test_the_metrics_of_several_attempts() -> None:
    summary = summarise(
        {"i1": attempts("uR"), "i2": attempts("RR"), "i3": attempts("bu"), "i4": attempts("en")}
    )
    assert (summary.instances, summary.attempts) == (4, 2)
    assert summary.avg_at_1 == 3 / 8
    assert summary.avg_at_1_judged == 3 / 6
    assert summary.oracle_pass_at == {1: 1 / 4, 2: 2 / 4}
    assert summary.unbiased_pass_at == {1: pytest.approx(3 / 8), 2: pytest.approx(2 / 4)}
    assert summary.outcomes[Outcome.ENVIRONMENT_BROKE] == summary.outcomes[Outcome.NOT_RUN] == 1
    assert summary.cost.known_usd == pytest.approx(0.7)  # what did not run cost nothing
    assert summary.cost.per_task_usd == pytest.approx(0.7 / 4)
    assert summary.cost.per_submission_usd == pytest.approx(0.1)


def test_an_unknown_cost_is_never_taken_for_nothing() -> None:
    cost = summarise({"i1": [*attempts("R"), *attempts("u", None)]}).cost
    assert (cost.known_usd, cost.unknown) == (0.1, 1)
    assert cost.per_task_usd is cost.per_submission_usd is None


def test_metrics_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of attempts"):
        summarise({"i1": attempts("R"), "i2": attempts("RR")})
    with pytest.raises(ValueError, match="same number of attempts"):
        summarise({})
    with pytest.raises(ValueError, match="1 <= k <= 2"):
        summarise({"i1": attempts("Ru")}, [1, 4])
    assert summarise({"i1": attempts("bn")}).avg_at_1_judged is None


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
@settings(max_examples=60, deadline=None)
def test_the_unbiased_estimate_is_the_mean_over_all_choices(tries: list[bool], picked: st.DataObject) -> None:
    from itertools import combinations

    k = picked.draw(st.integers(1, len(tries)))
    choices = list(combinations(tries, k))
    expected = sum(any(choice) for choice in choices) / len(choices)
    assert unbiased(len(tries), sum(tries), k) == pytest.approx(expected)


# --- places to work and to judge in


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str]:
    """A clone with a base commit and a later one that holds the fix."""
    folder = tmp_path / "clones" / "owner__project"
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "x.py").write_text("wrong = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "base")
    base = git(folder, "rev-parse", "HEAD")
    (folder / "x.py").write_text("right = 1\n")
    git(folder, "commit", "--quiet", "-am", "the fix")
    return folder, base


def test_a_checkout_is_at_the_base_commit_and_hides_what_came_later(
    tmp_path: Path, clone: tuple[Path, str]
) -> None:
    folder, base = clone
    issue = instance(base_commit=base)
    workspaces = Checkouts(folder.parent)
    work = tmp_path / "work"
    workspaces.open(issue, work)
    assert git(work, "rev-parse", "HEAD") == base
    assert git(work, "rev-list", "--all", "--count") == "1"
    assert git(work, "cat-file", "--batch-check", "--batch-all-objects").count("commit") == 1
    assert workspaces.patch(issue, work) == ""
    (work / "x.py").write_text("right = 2\n\n")
    (work / "new.py").write_text("added\n")
    (work / "__pycache__").mkdir()
    (work / "__pycache__" / "x.pyc").write_bytes(b"\xff")
    git(work, "commit", "--quiet", "-am", "half of it is committed")
    patch = workspaces.patch(issue, work)
    assert "pycache" not in patch
    other = tmp_path / "other"
    Checkouts({"owner/project": folder}).open(issue, other)
    (tmp_path / "p.diff").write_text(patch)
    git(other, "apply", str(tmp_path / "p.diff"))
    assert (other / "x.py").read_text() == "right = 2\n\n"
    assert (other / "new.py").read_text() == "added\n"


def test_a_checkout_that_cannot_be_made_says_why(tmp_path: Path, clone: tuple[Path, str]) -> None:
    folder, base = clone
    with pytest.raises(PlugError, match=r"no clone of owner/other .*git clone --bare"):
        Checkouts(folder.parent).open(instance(repo="owner/other"), tmp_path / "w")
    with pytest.raises(PlugError, match=r"Does the clone hold this commit\?"):
        Checkouts(folder.parent).open(instance(base_commit="0" * 40), tmp_path / "w1")
    with pytest.raises(PlugError, match="is not empty"):
        Checkouts(folder.parent).open(instance(base_commit=base), folder)
    (folder / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(PlugError, match="not UTF-8"):
        Checkouts(folder.parent).patch(instance(base_commit=base), folder)


def program(path: Path, text: str) -> str:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def test_without_docker_the_harness_says_so(tmp_path: Path) -> None:
    def harness(**changed: Any) -> DockerHarness:
        return DockerHarness("data.jsonl", tmp_path, "run", **changed)

    with pytest.raises(PlugError, match="`no-such-docker` is not installed"):
        harness(docker="no-such-docker").check()
    dead = program(tmp_path / "dead", "import sys; sys.exit('Cannot connect to the Docker daemon')")
    with pytest.raises(PlugError, match="daemon does not answer: Cannot connect to the Docker daemon"):
        harness(docker=dead).check()
    alive = program(tmp_path / "alive", "print('28.0')")
    with pytest.raises(PlugError, match=r"cannot be started"):
        harness(docker=alive, python=str(tmp_path / "none")).check()
    bare = program(tmp_path / "bare", "import sys; sys.exit('No module named swebench')")
    with pytest.raises(PlugError, match=r"cannot import the harness: .*pip install 'swebench>=5,<6'"):
        harness(docker=alive, python=bare).check()


# Stands in for the harness, which needs docker: checks its command line and leaves files as 5.0.2 does.
HARNESS = """
import json, pathlib, sys
if "-c" in sys.argv: sys.exit(0)
value = {name: sys.argv[sys.argv.index(name) + 1] for name in sys.argv if name.startswith("--")}
assert sys.argv[1:3] == ["-m", "swebench.harness.run_evaluation"], sys.argv
assert value["--split"] == "test" and value["--max_workers"] == "4" and value["--timeout"] == "1800"
rows = [json.loads(line) for line in open(value["--dataset_name"])]
preds = {p["instance_id"]: p for p in map(json.loads, open(value["--predictions_path"]))}
ids = sys.argv[sys.argv.index("--instance_ids") + 1:]
assert set(ids) <= set(preds), ids
logs = pathlib.Path("logs/run_evaluation") / value["--run_id"] / "gold"
good = [i for i in ids if preds[i]["model_patch"]]
for i in good:
    (logs / i).mkdir(parents=True)
    (logs / i / "report.json").write_text(json.dumps({i: {"resolved": True, "patch_exists": True}}))
if value["--run_id"] == "killed": sys.exit(1)
report = dict(resolved_ids=good, unresolved_ids=[], error_ids=[], incomplete_ids=[],
              empty_patch_ids=[i for i in ids if i not in good])
pathlib.Path(value["--report_dir"], f"gold.{value['--run_id']}.json").write_text(json.dumps(report))
"""


@pytest.mark.parametrize("run_id", ["whole", "killed"])
def test_the_harness_is_run_and_read(tmp_path: Path, run_id: str) -> None:
    instances = [
        instance(instance_id="a-1"),
        instance(instance_id="a-2", patch=""),
        instance(instance_id="a-3"),
    ]
    rows = [instance_row(instance_id=one.id) for one in instances]
    dataset = tmp_path / "data.jsonl.gz"
    dataset.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    predictions = Predictions(tmp_path / "preds.jsonl")
    for prediction in gold(instances[:2]):
        predictions.add(prediction)
    harness = DockerHarness(
        str(dataset),
        tmp_path / "harness",
        run_id,
        python=program(tmp_path / "python", HARNESS),
        docker=program(tmp_path / "docker", "print('28.0')"),
    )
    judged = harness.judge(instances, predictions.path)
    assert {name: one.outcome for name, one in judged.items()} == {
        "a-1": Outcome.RESOLVED,
        "a-2": Outcome.EMPTY_PATCH,
        "a-3": Outcome.NOT_RUN,
    }


def test_a_harness_that_cannot_start_judges_nothing(tmp_path: Path) -> None:
    predictions = Predictions(tmp_path / "preds.jsonl")
    predictions.add(Prediction("owner__project-1", "gold", "x"))
    failing = program(tmp_path / "python", "import sys; sys.exit(0 if '-c' in sys.argv else 'no space left')")
    docker = program(tmp_path / "docker", "print('28.0')")
    harness = DockerHarness("hub/name", tmp_path / "h", "run", python=failing, docker=docker)
    with pytest.raises(PlugError, match="ended with code 1:\nno space left"):
        harness.judge([instance()], predictions.path)


def test_gold_patches_are_taken_by_git(tmp_path: Path, clone: tuple[Path, str]) -> None:
    folder, base = clone
    fix = subprocess.run(
        ["git", "diff", base, "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    issue = instance(base_commit=base, patch=fix)
    Checkouts(folder.parent).open(issue, tmp_path / "w")
    (tmp_path / "gold.diff").write_text(gold([issue])[0].patch)
    git(tmp_path / "w", "apply", str(tmp_path / "gold.diff"))
    assert Checkouts(folder.parent).patch(issue, tmp_path / "w") == fix


EVAL_SCRIPT = """#!/bin/bash
set -uxo pipefail
source /opt/miniconda3/bin/activate
conda activate testbed
cd /testbed
git config --global --add safe.directory /testbed
git status
git show
git checkout {base} test_x.py
git apply -v - <<'EOF_1'
{test_patch}
EOF_1
: '>>>>> Start Test Output'
python -m pytest -rA -p no:cacheprovider test_x.py
: '>>>>> End Test Output'
git checkout {base} test_x.py
"""


@pytest.mark.long
def test_the_local_sandbox_judges_with_the_official_parser(tmp_path: Path) -> None:
    """Needs bubblewrap, and DELM_SWEBENCH_PYTHON: an interpreter that has swebench 5."""
    harness_python = os.environ.get("DELM_SWEBENCH_PYTHON")
    if harness_python is None or shutil.which("bwrap") is None:
        pytest.skip("optional: set DELM_SWEBENCH_PYTHON to a python with swebench 5, and install bubblewrap")
    folder = tmp_path / "clones" / "project"
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "x.py").write_text("def f():\n    return 1\n")
    (folder / "test_x.py").write_text("import x\n\n\ndef test_old():\n    assert x.f() > 0\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "base")
    base = git(folder, "rev-parse", "HEAD")
    (folder / "test_x.py").write_text(
        (folder / "test_x.py").read_text() + "\n\ndef test_new():\n    assert x.f() == 2\n"
    )
    test_patch = git(folder, "diff")
    git(folder, "checkout", "--quiet", "--", ".")
    (folder / "x.py").write_text("def f():\n    return 2\n")
    fix = git(folder, "diff") + "\n"
    issues = [
        instance(
            instance_id=f"owner__project-{n}",
            base_commit=base,
            patch=fix,
            eval_script=EVAL_SCRIPT.format(base=base, test_patch=test_patch),
            log_parser="parse_log_pytest",
            FAIL_TO_PASS=["test_x.py::test_new"],
            PASS_TO_PASS=["test_x.py::test_old"],
        )
        for n in range(5)
    ]
    predictions = Predictions(tmp_path / "preds.jsonl")
    wrong = fix.replace("+    return 2", "+    return 3")
    for issue, patch in zip(issues, [fix, wrong, fix.replace("return 1", "return 9"), ""], strict=False):
        predictions.add(Prediction(issue.id, "m", patch))
    sandbox = LocalSandbox(
        Checkouts(folder.parent),
        {"owner/project": Path(sys.prefix)},
        tmp_path / "run",
        "r1",
        harness_python=harness_python,
    )
    judged = sandbox.judge(issues, predictions.path)
    assert [(one.outcome, one.reason) for one in judged.values()] == [
        (Outcome.RESOLVED, ""),
        (Outcome.UNRESOLVED, ""),
        (Outcome.UNRESOLVED, "patch_does_not_apply"),
        (Outcome.EMPTY_PATCH, ""),
        (Outcome.NOT_RUN, ""),
    ]
    nowhere = replace(sandbox, pythons={}, run_id="r2").judge(issues[:1], predictions.path)
    assert nowhere[issues[0].id].outcome is Outcome.ENVIRONMENT_BROKE
    assert "No Python environment is named for owner/project@1.0" in nowhere[issues[0].id].reason
