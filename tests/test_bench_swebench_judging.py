"""SWE-bench: patches that are kept are judged, once each; what agents may run; where docker has a part."""

import gzip
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.swebench import data
from delm_client.bench.swebench.checkouts import Checkouts
from delm_client.bench.swebench.docker import DockerHarness
from delm_client.bench.swebench.grading import TEAM, Verdicts, judge_left, predictions_file, write_predictions
from delm_client.bench.swebench.images import Images
from delm_client.bench.swebench.local import LocalSandbox
from delm_client.bench.swebench.outcomes import Judged, Outcome, log_folder
from delm_client.bench.swebench.parses import broken
from delm_client.bench.swebench.testbeds import DockerTestbed, LocalTestbed
from delm_client.git import git
from tests.bench_data import real
from tests.swebench_scene import Scene, harness_stand_in, needs_bubblewrap, program, scene, stand_in


def local(given: Scene, folder: Path, by: str) -> LocalSandbox:
    return LocalSandbox(
        Checkouts(given.clones),
        {"owner/project": given.python},
        folder,
        by,
        harness_python=given.harness_python,
    )


def test_a_patch_is_judged_once_whoever_submits_it_and_again_only_where_the_environment_broke(
    tmp_path: Path,
) -> None:
    needs_bubblewrap()
    given, run = scene(tmp_path, "add", "times"), tmp_path / "run"
    add, times = given.instances
    submissions = {
        TEAM: {add.id: add.patch, times.id: times.patch},
        "agent-1": {add.id: add.patch, times.id: ""},
        "agent-2": {
            add.id: add.patch.replace("a + b", "b"),
            times.id: add.patch.replace("calc.py", "gone.py"),
        },
    }
    write_predictions(run, submissions, "scripted")
    asked: list[tuple[str, int]] = []
    broken = {times.id: "owner/gone"}

    def judge_of(by: str) -> "Moved":
        return Moved(local(given, run / "judging", by), broken)

    def judged() -> None:
        judge_left(run, given.instances, submissions, judge_of, lambda by, count: asked.append((by, count)))

    judged()
    verdicts = Verdicts(run / "judged.jsonl")
    assert asked == [(TEAM, 2), ("agent-2", 2)]  # agent-1 has submitted nothing that is new
    assert verdicts.of(add.id, add.patch).outcome is Outcome.RESOLVED
    assert verdicts.of(times.id, times.patch).outcome is Outcome.ENVIRONMENT_BROKE
    assert "No Python environment is named for owner/gone@1.0" in verdicts.of(times.id, times.patch).reason
    assert verdicts.of(times.id, "").outcome is Outcome.EMPTY_PATCH
    assert verdicts.of(add.id, submissions["agent-2"][add.id]).outcome is Outcome.UNRESOLVED
    with (run / "judged.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"instance_id": "cut o')
    asked.clear()
    broken.clear()
    judged()
    verdicts = Verdicts(run / "judged.jsonl")
    assert asked == [(TEAM, 1), ("agent-2", 1)]
    assert verdicts.of(times.id, times.patch).outcome is Outcome.RESOLVED
    unapplied = verdicts.of(times.id, submissions["agent-2"][times.id])
    assert (unapplied.outcome, unapplied.reason) == (Outcome.UNRESOLVED, "patch_does_not_apply")
    asked.clear()
    judged()
    assert asked == []


@dataclass(frozen=True)
class Moved:
    """The local judge, on instances whose project cannot be found for a while."""

    judge_: LocalSandbox
    repos: dict[str, str]

    def check(self) -> None:
        self.judge_.check()

    def judge(self, instances: Sequence[Instance], predictions: Path) -> dict[str, Judged]:
        moved = [replace(each, repo=self.repos.get(each.id, each.repo)) for each in instances]
        return self.judge_.judge(moved, predictions)


def test_a_workspace_out_of_an_image_has_the_base_commit_alone_and_commands_run_on_the_agents_version(
    tmp_path: Path,
) -> None:
    given = scene(tmp_path, "add")
    (issue,) = given.instances
    docker = stand_in(tmp_path / "docker", given.clones / "owner__project")
    work = tmp_path / "work"
    images = Images(docker)
    images.open(issue, work)
    assert git(work, "rev-list", "--all", "--count") == "1"
    assert git(work, "cat-file", "--batch-check", "--batch-all-objects").count("commit") == 1
    assert git(work, "diff", "HEAD") == images.patch(issue, work) == ""
    (work / "calc.py").write_text((work / "calc.py").read_text().replace("a - b", "a + b"))
    assert images.patch(issue, work) == issue.patch
    testbed = DockerTestbed(docker)
    testbed.check()
    ended = testbed.run(issue, work, "python3 -c 'import calc; print(calc.add(2, 2))'; ls -A; exit 3")
    assert ended.code == 3
    assert ended.output.split()[0] == "4"
    assert ".git" not in ended.output.split()
    assert images.patch(issue, work) == issue.patch
    assert "rm --force delm-" in (tmp_path / "docker" / "asked.txt").read_text()
    with pytest.raises(PlugError, match="its project cannot be copied out of gone:1"):
        images.open(replace(issue, image="gone:1"), tmp_path / "other")
    with pytest.raises(PlugError, match="is not empty"):
        images.open(issue, work)


def test_what_an_agent_runs_locally_gets_a_copy_and_no_network(tmp_path: Path) -> None:
    needs_bubblewrap()
    given = scene(tmp_path, "add")
    (issue,) = given.instances
    work = tmp_path / "work"
    Checkouts(given.clones).open(issue, work)
    (work / "calc.py").write_text((work / "calc.py").read_text().replace("a - b", "a * 5"))
    testbed = LocalTestbed({"owner/project": given.python}, timeout_s=20)
    testbed.check()
    command = (
        "python -c 'import calc; print(calc.add(2, 2))'; grep -c : /proc/net/dev; "
        "echo x > left.txt; rm calc.py; ls -A; exit 3"
    )
    ended = testbed.run(issue, work, command)
    assert ended.code == 3
    assert ended.output.split() == ["10", "1", "left.txt"]  # the loopback is its only interface
    assert git(work, "status", "--porcelain") == "M calc.py"
    with pytest.raises(PlugError, match=r"No Python environment is named for owner/project@1\.0"):
        LocalTestbed({}).run(issue, work, "true")


def test_the_harness_tries_again_what_its_own_report_says_is_broken(tmp_path: Path) -> None:
    instances = scene(tmp_path, "add", "times").instances
    write_predictions(tmp_path, {TEAM: {each.id: each.patch for each in instances}}, "m")
    harness_python = harness_stand_in(tmp_path / "harness")
    docker = program(tmp_path / "docker", "echo 28")
    harness = DockerHarness("d", tmp_path / "judging", "run", python=harness_python, docker=docker)
    reports = []
    for each, broke in zip(instances, (False, True), strict=True):
        logs = log_folder(tmp_path / "judging", "run", "m") / each.id
        logs.mkdir(parents=True)
        reports.append(logs / "report.json")
        reports[-1].write_text(json.dumps({each.id: {"resolved": not broke, "infra_failure": broke}}))
    judged = harness.judge(instances, predictions_file(tmp_path, TEAM))
    assert [each.outcome for each in judged.values()] == [Outcome.RESOLVED, Outcome.UNRESOLVED]
    assert [report.exists() for report in reports] == [True, False]


def test_only_what_a_patch_made_unparsable_is_told(tmp_path: Path) -> None:
    base, checkout = tmp_path / "base", tmp_path / "checkout"
    for folder in (base, checkout):
        (folder / "sub").mkdir(parents=True)
        (folder / "wrong_on_purpose.py").write_text("print 1\n")
        (folder / "sub" / "same.py").write_text("x = 1\n")
    (base / "sub" / "gone.py").write_text("x = 1\n")
    (base / "changed.py").write_text("x = 1\n")
    assert list(broken(checkout, base)) == []
    (checkout / "changed.py").write_text("x = 1\ny = (\n")
    (checkout / "wrong_on_purpose.py").write_text("print 2\n")
    (checkout / "new.py").write_bytes(b"\x00")
    told = list(broken(checkout, base))
    assert [line.partition(":")[0] for line in told] == ["changed.py, line 2", "new.py, line 1"]


# Runs in a Python that has the harness: loads and checks predictions as `run_evaluation` does before docker.
VALIDATE = """
import json, sys
from swebench.harness.run_evaluation import get_dataset_from_preds
from swebench.harness.utils import get_predictions_from_file
dataset, predictions, *ids = sys.argv[1:]
found = {each["instance_id"]: each for each in get_predictions_from_file(predictions, dataset, "test")}
rows = get_dataset_from_preds(dataset, "test", ids, found, "run", False)
print(json.dumps({"to_run": [row["instance_id"] for row in rows], "found": found}))
"""


@pytest.mark.long
@pytest.mark.parametrize("which", ["made", "official"])
def test_the_official_harness_takes_the_predictions_that_are_written(which: str, tmp_path: Path) -> None:
    harness = os.environ.get("DELM_SWEBENCH_PYTHON")
    if harness is None:
        pytest.skip("optional: set DELM_SWEBENCH_PYTHON to a python with swebench 5")
    if which == "official":
        dataset = tmp_path / "test.parquet"
        dataset.write_bytes(gzip.decompress(real("swe_bench_verified/test.parquet.gz").read_bytes()))
        instances = data.load(dataset)[:40:13]
    else:
        given = scene(tmp_path)
        dataset, instances = given.data, given.instances
    patches = {each.id: each.patch for each in instances} | {instances[0].id: ""}
    patches[instances[1].id] += "+ «Zürich»\u2028\n"
    write_predictions(tmp_path, {TEAM: patches, "agent-1": patches}, "delm-4-openai:gpt")
    for by in (TEAM, "agent-1"):
        argv = [harness, "-c", VALIDATE, str(dataset), str(predictions_file(tmp_path, by)), *patches]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        assert {name: each["model_patch"] for name, each in said["found"].items()} == patches
        assert sorted(said["to_run"]) == sorted(each.id for each in instances[1:])
