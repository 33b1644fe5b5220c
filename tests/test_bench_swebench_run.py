"""SWE-bench end to end with a scripted model over real HTTP: agents, patches, predictions, judge, results."""

import json
import os
import re
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from delm_client.bench.scripted import Scripted, scripted
from delm_client.bench.swebench.predictions import read
from delm_client.git import git
from tests.bench_model import calls, command, every, found, item
from tests.swebench_scene import (
    FUNCTIONS,
    LATER,
    SECRET,
    Scene,
    harness_stand_in,
    needs_bubblewrap,
    program,
    scene,
    stand_in,
)

TOPOLOGIES = ("single", "independent", "central", "delm")
_ISSUE = re.compile(r"calc\.(\w+)\(a, b\) is wrong")


LEADS: dict[str, dict[str, Any]] = {
    '"parts"': {"parts": ["Mend the function.", "Check the other functions."]},
    '"submit"': {"submit": "agent-1", "assign": []},
    '"more"': {"answer": "The function gives what the issue says.", "more": []},
    '"verdict"': {"reason": "as scripted", "verdict": "pass", "fails": []},
}
"""What is asked beside steps, by a word of it, and what is said to it."""


def coder(prompt: str) -> str:
    """Changes what the issue names; knows it from FUNCTIONS, for nothing here is about models."""
    for word, reply in LEADS.items():
        if word in prompt:
            return json.dumps(reply)
    name = _ISSUE.findall(prompt)[0]
    wrong, right = FUNCTIONS[name]
    if "is changed." in prompt:
        return action("done", kind="patch", gist=f"calc.{name} gives {right} now.", summary="- one line")
    if "That cannot be done" in prompt:
        quotes = [{"path": "calc.py", "text": f"return {right}"}]
        return action("done", kind="fact", gist=f"calc.{name} gives {right} already.", quotes=quotes)
    lines = "def {name}(a, b):\n    return {body}\n"
    old, new = (lines.format(name=name, body=body) for body in (wrong, right))
    return action("replace", path="calc.py", old=old, new=new)


def action(which: str, **more: Any) -> str:
    return json.dumps({"thought": "as scripted", "action": which, **more})


def words(given: Scene, model: Scripted, into: Path, *more: str | Path) -> list[str | Path]:
    return [
        "bench", "swebench", "--data", given.data, "--into", into, "--clones", given.clones,
        "--model", "openai:any", "--base-url", model.openai_url, *more,
    ]  # fmt: skip


def judged_by(given: Scene) -> tuple[str, ...]:
    """What judges locally, for real."""
    python = f"owner/project={given.python}"
    return ("--judge", "local", "--python", python, "--harness-python", given.harness_python)


def prompts(run: Path) -> str:
    """All that the model was told."""
    return "\n".join(line["instructions"] + line["prompt"] for line in calls(run))


def test_without_its_environment_a_patch_is_kept_and_judged_on_resume_and_no_agent_is_asked_again(
    tmp_path: Path,
) -> None:
    needs_bubblewrap()
    given, run = scene(tmp_path, "add", "times"), tmp_path / "run"
    other = f"owner/other={given.python}"
    wrong = ("--judge", "local", "--python", other, "--harness-python", given.harness_python)
    with scripted(lambda prompt: _done(prompt) if "times" in prompt else coder(prompt)) as model:
        result = command(*words(given, model, run, "--topology", "single", *wrong))
        asked = len(model.asked)
        assert result.exit_code == 1
        assert "No Python environment is named for owner/project@1.0" in result.output.replace("\n", " ")
        assert "1 are not judged, and neither right nor wrong" in result.output
        results = found(run)
        assert (results["overall"]["total"], results["not_judged"]) == (1, 1)  # the empty patch is judged
        assert list(results["could_not_be_judged"]) == ["owner__project-add"]
        assert item(run, "owner__project-add")["right"] is None
        result = command("bench", "--resume", run, *judged_by(given))
        assert result.exit_code == 0, result.output
        assert len(model.asked) == asked
    results = found(run)
    assert (results["overall"]["right"], results["overall"]["total"], results["not_judged"]) == (1, 2, 0)
    assert results["outcomes"] == {"resolved": 1, "empty_patch": 1}
    assert (item(run, "owner__project-add")["attempt"], results["could_not_be_judged"]) == (1, {})
    assert SECRET not in prompts(run)
    made = {each.instance_id: each.patch for each in read(run / "predictions.jsonl")}
    assert (made["owner__project-times"], list(made)) == ("", [each.id for each in given.instances])
    assert made["owner__project-add"] == given.instances[0].patch
    assert not list(run.rglob("calc.py"))


def _done(prompt: str) -> str:
    return action("done", kind="fact", gist="Nothing is wrong here.", summary="- looked")


def test_predictions_are_written_where_nobody_judges_and_a_judge_that_is_not_there_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, run = scene(tmp_path, "add"), tmp_path / "run"
    with scripted(coder) as model:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
        refused = command(*words(given, model, run, "--topology", "single"))
        assert refused.exit_code == 2
        said = refused.output.replace("\n", " ")
        assert "`docker` is not installed" in said
        assert "With --no-judge predictions are written" in said
        assert not model.asked
        assert not run.exists()
        monkeypatch.undo()
        result = command(*words(given, model, run, "--topology", "single", "--no-judge"))
        assert result.exit_code == 0, result.output
    assert [each.patch for each in read(run / "predictions.jsonl")] == [given.instances[0].patch]
    assert [each.model for each in read(run / "predictions" / "agent-1.jsonl")] == [
        "delm-run-single-1-openai-any"
    ]
    results = found(run)
    assert (results["overall"]["total"], results["not_judged"], results["could_not_be_judged"]) == (0, 1, {})
    monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
    assert command("bench", "--resume", run).exit_code == 0  # there is nothing to be done
    assert command("bench", "--resume", run, "--judge", "docker").exit_code == 2
    assert found(run) == results


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "name their folder with --clones"),
        (["--clones", "nowhere"], "nowhere is no folder"),
        (["--clones", ".", "--environment", "local"], "name each with --python owner/name@version=FOLDER"),
        (["--python", "project=."], "that is not owner/name=FOLDER"),
        (["--python", "owner/project=."], "it has no bin/python"),
        (["--clones", ".", "--topology", "direct"], "there are: single, independent, central, delm"),
    ],
)
def test_what_a_user_can_mend_about_the_plugs_is_said_before_anything_is_asked(
    more: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = scene(tmp_path, "add")
    monkeypatch.chdir(tmp_path)
    result = command(
        "bench", "swebench", "--data", given.data, "--no-judge", "--model", "scripted:coder", *more
    )
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")
    assert not list(tmp_path.glob("swebench-*"))


def sees_nothing_that_is_hidden(work: Path) -> None:
    """What agents had on disk when they were killed: no hidden test, and no commit that came later."""
    files = [path for path in work.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.name for path in files} >= {"calc.py", "HEAD"}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    told = git(work / "repository", "log", "--all", "--reflog", "--format=%s")
    assert "base" in told
    assert LATER not in told
    objects = git(work / "repository", "cat-file", "--batch-check", "--batch-all-objects")
    assert objects.count(" commit ") == len(
        set(git(work / "repository", "rev-list", "--all", "--reflog").split())
    )


@pytest.mark.long
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_is_killed_half_way_with_every_fifth_call_failing_and_loses_nothing(
    topology: str, tmp_path: Path
) -> None:
    needs_bubblewrap()
    given, run = scene(tmp_path), tmp_path / "run"
    first, second, third = (each.id for each in given.instances)
    reached, let_go = threading.Event(), threading.Event()

    def script(prompt: str) -> str:
        if "calc.times" in prompt and "is changed." in prompt and not let_go.is_set():
            reached.set()
            let_go.wait(60)
        return coder(prompt)

    with scripted(script, every(5, "late", "429", "500", "malformed", "empty", "drop")) as model:
        argv = words(given, model, run, "--topology", topology, "-n", "2", *judged_by(given))
        argv += ["--at-once", "1", "--call-timeout", "5"]
        program = [sys.executable, "-c", "from delm_client.cli import main; main()"]
        process = subprocess.Popen([*program, *map(str, argv)], stderr=subprocess.DEVNULL)
        assert reached.wait(120)
        process.kill()
        process.wait(60)
        let_go.set()
        assert [path.stem for path in (run / "items").glob("*.json")] == [first]
        before = calls(run, first)
        sees_nothing_that_is_hidden(run / "boards" / second / "1" / "work")
        result = command("bench", "--resume", run)
        assert result.exit_code == 0, result.output
    results = found(run)
    assert results["overall"]["right"] == results["overall"]["total"] == 3
    assert calls(run, first) == before
    assert [item(run, name)["attempt"] for name in (first, second, third)] == [1, 2, 1]
    assert results["spent"]["calls"] == len(calls(run)) < len(model.asked)
    count = 1 if topology == "single" else 2
    assert results["each_agent"]["avg_at_1"]["total"] == results["submissions"] == 3 * count
    assert results["oracle_pass_at"] == {str(k): 1.0 for k in range(1, count + 1)}
    told = json.loads(command("report", run, "--json").stdout)
    assert (told["source"]["benchmark"], told["source"]["topology"]) == ("swebench", topology)
    assert told["source"]["scripted"]
    assert SECRET not in prompts(run)
    assert not list(run.rglob("calc.py"))
    for by in ("predictions.jsonl", *(f"predictions/agent-{number}.jsonl" for number in range(1, count + 1))):
        assert [each.instance_id for each in read(run / by)] == [first, second, third]
    team = [each.patch for each in read(run / "predictions.jsonl")]
    assert team == [each.patch for each in given.instances]


@pytest.mark.long
def test_a_run_that_is_killed_while_it_is_judged_judges_on_and_nothing_twice(tmp_path: Path) -> None:
    needs_bubblewrap()
    given, run = scene(tmp_path, "add", "times"), tmp_path / "run"
    graded, reached, go = (tmp_path / name for name in ("graded", "reached", "go"))
    os.mkfifo(reached)
    os.mkfifo(go)
    # The second patch is held while it is graded, until the run is killed; then its grader ends by itself.
    hold = f"[ $(wc -l < {graded}) != 2 ] || {{ echo here > {reached}; cat {go}; exit 1; }}"
    real = given.harness_python
    slow = program(
        tmp_path / "slow",
        f'case "$2" in *get_eval_report*) echo x >> {graded}; {hold};; esac\nexec {real} "$@"',
    )
    judges = (*judged_by(given)[:-1], slow)
    with scripted(coder) as model:
        argv = words(given, model, run, "--topology", "single", *judges)
        started = [sys.executable, "-c", "from delm_client.cli import main; main()", *map(str, argv)]
        process = subprocess.Popen(started, stderr=subprocess.DEVNULL)
        try:
            waiting = os.open(reached, os.O_RDONLY | os.O_NONBLOCK)
            assert select.select([waiting], [], [], 120)[0]
            os.close(waiting)
        finally:
            process.kill()
            process.wait(60)
        go.write_text("on")
        asked = len(model.asked)
        result = command("bench", "--resume", run)
        assert result.exit_code == 0, result.output
        assert len(model.asked) == asked
    assert found(run)["overall"]["right"] == 2
    assert graded.read_text().count("x") == 3  # the first once, the second twice


@pytest.mark.long
@pytest.mark.parametrize("policy", ["standard", "open"])
def test_a_patch_that_cannot_be_parsed_is_mended_before_it_is_merged(policy: str, tmp_path: Path) -> None:
    given, run = scene(tmp_path, "add"), tmp_path / "run"

    def script(prompt: str) -> str:
        reply = coder(prompt)
        if "The board refused it" in prompt:
            mended = prompt.rpartition("The board refused it")[2].count("is changed.")
            return reply if mended else action("replace", path="calc.py", old="a + b +\n", new="a + b\n")
        return reply.replace("a + b\\n", "a + b +\\n") if "replace" in reply and "def add" in reply else reply

    with scripted(script) as model:
        more = ("--topology", "delm", "-n", "1", "--no-judge", "--policy", policy)
        result = command(*words(given, model, run, *more))
    assert result.exit_code == 0, result.output
    (team,) = read(run / "predictions.jsonl")
    refused = item(run, "owner__project-add")["board"]["proposed"].get("patch rejected", 0)
    merged_right = team.patch == given.instances[0].patch
    assert (merged_right, refused > 0) == ((True, True) if policy == "standard" else (False, False))


@pytest.mark.long
def test_agents_run_commands_on_their_own_version_and_what_the_judge_refuses_is_wrong(tmp_path: Path) -> None:
    needs_bubblewrap()
    given, run = scene(tmp_path, "add"), tmp_path / "run"

    def script(prompt: str) -> str:
        if "is written." not in prompt:
            return action("write", path="calc.py", content="def add(a, b):\n    return 7\n")
        if "exit code" not in prompt:
            return action(
                "run", command="python -c 'import calc; print(calc.add(2, 2) * 11)'; git log; rm calc.py"
            )
        return action("done", gist="calc.add gives 7.")

    with scripted(script) as model:
        more = ("--topology", "independent", "-n", "2", "--environment", "local", *judged_by(given)[2:])
        result = command(*words(given, model, run, *more))
    assert result.exit_code == 0, result.output
    told = prompts(run)
    assert "77\n" in told
    assert "not a git repository" in told
    results = found(run)
    assert (results["overall"]["right"], results["overall"]["total"]) == (0, 1)
    assert (results["outcomes"], results["submission_outcomes"]) == ({"unresolved": 1}, {"unresolved": 2})
    assert len((run / "judged.jsonl").read_text().splitlines()) == 1  # the same patch, three times


@pytest.mark.long
def test_with_docker_projects_come_out_of_images_and_the_official_harness_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, run = scene(tmp_path, "add"), tmp_path / "run"
    docker = Path(stand_in(tmp_path / "docker", given.clones / "owner__project"))
    harness = Path(harness_stand_in(tmp_path / "harness"))
    (harness.parent / "broken").touch()
    monkeypatch.setenv("PATH", str(docker.parent), prepend=os.pathsep)

    def script(prompt: str) -> str:
        if "is changed." in prompt and "exit code" not in prompt:
            return action("run", command="python3 -c 'import calc; print(calc.add(2, 2) * 11)'")
        return coder(prompt)

    with scripted(script) as model:
        more = ("--topology", "delm", "-n", "2", "--environment", "docker", "--harness-python", str(harness))
        argv = [word for word in words(given, model, run, *more) if word not in ("--clones", given.clones)]
        result = command(*argv)
        assert result.exit_code == 1
        assert "owner__project-add: the environment broke" in result.output
        assert "44\n" in prompts(run)
        asked = len(model.asked)
        (harness.parent / "broken").unlink()
        result = command("bench", "--resume", run)
        assert result.exit_code == 0, result.output
        assert len(model.asked) == asked
    results = found(run)
    assert (results["overall"]["right"], results["overall"]["total"]) == (1, 1)
    assert [each.patch for each in read(run / "predictions.jsonl")] == [given.instances[0].patch]
