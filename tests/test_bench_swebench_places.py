"""SWE-bench: where agents work, and what judges their patches, with docker and without."""

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

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.reading import Row
from delm_client.bench.swebench import data
from delm_client.bench.swebench.checkouts import Checkouts
from delm_client.bench.swebench.docker import DockerHarness, gold
from delm_client.bench.swebench.environments import Judge, Projects
from delm_client.bench.swebench.local import LocalSandbox
from delm_client.bench.swebench.outcomes import Outcome
from delm_client.bench.swebench.predictions import Prediction, Predictions
from delm_client.git import git
from tests.bench_data import instance_row


def instance(**changed: Any) -> Instance:
    return data.parse([Row("here", instance_row(**changed))])[0]


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
    workspaces: Projects = Checkouts(folder.parent)
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
    judge: Judge = harness
    judged = judge.judge(instances, predictions.path)
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
    judge: Judge = sandbox
    judged = judge.judge(issues, predictions.path)
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
