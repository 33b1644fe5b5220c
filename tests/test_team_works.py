"""`delm-run team`: real processes of agents reach the board over MCP and commit with git."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from delm_client.team.folder import Folder, read_lines
from delm_client.team.record import Ended, Entered, Holds, Joined, RunIs, Started
from tests.outside import environment, git
from tests.team_scene import Scene, scene_in


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path, ("one",)) as made:
        yield made


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not alive


def test_a_team_mends_a_repository_and_touches_nothing_of_the_users(scene: Scene) -> None:
    (scene.repo / "one.py").write_text("# not committed\n" + (scene.repo / "one.py").read_text())
    (scene.repo / "new.py").write_text("NEW = 1\n")
    git(scene.repo, "add", "one.py")
    refused = scene.run(*scene.team("--agents", scene.agents()), code=2)
    assert "new.py" in refused
    assert "one.py" in refused
    before = scene.print_of_users()

    said = scene.run(*scene.team("--agents", scene.agents("--together", "2", count=2), "--include-dirty"))

    assert "| git apply" in said  # a merge would refuse to overwrite what was carried along
    assert scene.print_of_users() == before
    facts = scene.facts()
    assert facts["outcome"] == "finished"
    assert git(scene.repo, "show", f"{facts['base']}:new.py").strip() == "NEW = 1"
    tested = scene.folder / "tested"
    git(scene.repo, "worktree", "add", "-q", "--detach", str(tested), "delm/mend")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(argv, cwd=tested, env=environment(), timeout=60, check=True, stdout=subprocess.DEVNULL)
    authors = {commit["author"] for commit in facts["commits"]}
    assert {"team-agent-1", "team-agent-2"} <= authors
    assert {commit["entry"] for commit in facts["commits"]} == {"E1", "E2"}
    assert git(scene.repo, "branch", "--list", "delm-work/*") == ""
    assert not (scene.team_folder / "team-agent-1").exists()
    tokens = subprocess.run(
        [sys.executable.replace("python", "delm-mcp"), "token", "list"],
        cwd=scene.repo, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert tokens.count("revoked") == 2


@pytest.mark.long
def test_the_record_tells_what_happened_in_order(small: Scene) -> None:
    small.run(*small.team("--agents", small.agents(), "--transport", "stdio"))

    lines, _ = read_lines(Folder(small.team_folder).events)
    kinds = [type(line.what) for line in lines]
    assert kinds.index(Started) < kinds.index(Joined) < kinds.index(Entered) < kinds.index(Ended)
    states = [line.what.state for line in lines if isinstance(line.what, Entered)]
    assert states.count("admitted") == 2
    assert [line.what for line in lines if isinstance(line.what, RunIs)][-1].state == "finished"
    assert all(line.agent == "team-agent-1" for line in lines if isinstance(line.what, Started | Ended))


@pytest.mark.long
def test_a_killed_agent_one_that_leaves_and_a_killed_server_lose_nothing(scene: Scene) -> None:
    hangs, leaves = scene.agents("--first", "hang"), scene.agents("--first", "leave")

    launched = scene.start(*scene.team("--agents", hangs, "--agents", leaves))
    launched.until("team-agent-1 works on T")
    scene.kill("server")
    launched.until("server ended", "started again")
    scene.kill("team-agent-1")
    launched.until("team-agent-1 ended: killed by SIGKILL")
    said = launched.ended()

    assert launched.process.returncode == 0, said
    assert scene.facts()["outcome"] == "finished"
    lines, _ = read_lines(Folder(scene.team_folder).events)
    assert sum(isinstance(line.what, Started) for line in lines) >= 3
    admitted = [
        line.what.entry for line in lines if isinstance(line.what, Entered) if line.what.state == "admitted"
    ]
    assert len(admitted) == len(set(admitted)) == len(scene.modules) + 1
    # What the killed agent had begun is kept, though it was never committed.
    assert "half of" in git(scene.repo, "show", "delm-work/mend/team-agent-1:notes.txt")


@pytest.mark.long
def test_ctrl_c_keeps_the_work_and_resume_goes_on(small: Scene) -> None:
    before = small.print_of_users()
    launched = small.start(*small.team("--agents", small.agents("--first", "hang")))
    launched.until("team-agent-1 works on T1")
    family = launched.family()

    launched.process.send_signal(signal.SIGINT)
    said = launched.ended()

    assert launched.process.returncode == 130, said
    assert "delm-run resume mend" in said
    assert gone(family)
    assert small.print_of_users() == before
    assert "half of" in git(small.repo, "show", "delm-work/mend/team-agent-1:notes.txt")
    assert git(small.repo, "log", "-1", "--format=%s", "delm-work/mend/team-agent-1").startswith("Unfinished")
    assert small.facts()["outcome"] == "interrupted"
    assert [row["state"] for row in small.status()["queue"]] == ["ready"]

    said = small.run("resume")

    assert "The team is finished" in said
    assert "def one(x):\n    return x + 1" in git(small.repo, "show", "delm/mend:one.py")


@pytest.mark.long
def test_a_killed_launcher_leaves_a_team_that_goes_on(small: Scene) -> None:
    launched = small.start(*small.team("--agents", small.agents("--first", "hang")))
    launched.until("team-agent-1 works on T1")
    left = [psutil.Process(pid) for pid in small.pids().values()]
    os.kill(launched.process.pid, signal.SIGKILL)
    launched.process.wait(30)
    with (small.team_folder / "events.jsonl").open("a") as torn:
        torn.write('{"at": 1, "agent": "team-ag')
    assert "was killed" in small.run("attach", code=2)

    said = small.run("resume", "mend")

    assert "The team is finished" in said
    assert gone(left)
    assert "attempt 2" in said


@pytest.mark.long
def test_others_watch_and_stop_a_team_and_no_second_launcher_joins_it(small: Scene) -> None:
    launched = small.start(*small.team("--agents", small.agents("--first", "hang")))
    launched.until("team-agent-1 works on T1")

    watching = small.start("attach")
    watching.until("team-agent-1 works on T1")
    assert "under way already" in small.run("resume", "mend", code=2)
    assert "has ended" in small.run("stop")

    assert "interrupted" in watching.ended()
    assert "The team is interrupted" in launched.ended()
    assert launched.process.returncode == 1
    assert "not under way" in small.run("stop", code=2)
    assert "not under way" in small.run("attach", code=2)


@pytest.mark.long
def test_an_agent_that_is_alive_keeps_its_lease_however_long_it_thinks(small: Scene) -> None:
    (small.folder / "policy.toml").write_text('preset = "standard"\n[limits]\nlease_s = 6\n')

    small.run(*small.team("--agents", small.agents("--first", "ponder", "--lease", "6", count=2)))

    lines, _ = read_lines(Folder(small.team_folder).events)
    first = [line for line in lines if isinstance(line.what, Holds) and line.what.task == "T1"]
    assert len(first) == 1
    assert small.facts()["status"]["state"] == "finished"
    assert {commit["author"] for commit in small.facts()["commits"]} == {first[0].agent}


def shell(script: str) -> tuple[str, ...]:
    """The words for an agent that never joins, which is enough to see what becomes of its process."""
    return ("--agents", f"cmd:sh -c {shlex.quote(script)}", "--transport", "stdio")


def test_a_team_ends_at_its_budget_and_says_whose_cost_is_unknown(small: Scene) -> None:
    spends = """
        echo '{"event": "spent", "output_tokens": 5, "cost_usd": 0.7}'
        echo '{"event": "spent", "output_tokens": 5}'
        exec sleep 1000
    """

    said = small.run(*small.team(*shell(spends), "--budget-usd", "0.5"), code=1)

    assert "$0.70 are spent, of a budget of $0.50" in said
    assert "did not say what it cost" in said
    assert "10 tokens, cost at least $0.70" in said
    assert small.facts()["outcome"] == "budget"


@pytest.mark.long
def test_a_team_ends_when_its_time_is_over_with_all_that_it_started(small: Scene) -> None:
    script = 'trap "" TERM; echo begun > begun.txt; sleep 1000 & echo ready; while :; do sleep 1000; done'

    launched = small.start(*small.team(*shell(script), "--timeout", "3", "--keep"))
    launched.until("started")
    family = launched.family()
    said = launched.ended()

    assert launched.process.returncode == 1
    assert "its time is over" in said
    assert small.facts()["outcome"] == "timeout"
    assert gone(family)
    assert git(small.team_folder / "sh-1", "show", "HEAD:begun.txt").strip() == "begun"


@pytest.mark.long
def test_an_agent_that_always_fails_is_given_up_with_its_last_words(small: Scene) -> None:
    script = "echo >&2 invalid api key; exit 3"

    said = small.run(*small.team(*shell(script), "--restarts", "1"), code=1)

    assert "2 times in a row" in said
    assert "invalid api key" in said
    assert "not signed in" in said
    assert "no agent is left" in said
    assert small.status()["state"] == "open"
