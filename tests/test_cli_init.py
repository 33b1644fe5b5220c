"""`delm-mcp init`: what a run is opened with, and what it refuses in words that help."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from delm_mcp.domain.model import Run, Task
from delm_mcp.domain.policy import parse
from tests.outside import Printed, delm_here, git, hall_in, opened_by_cli, repository


def found(board: Path) -> tuple[Run, list[Task]]:
    """The only run of a board, and its tasks."""

    async def main() -> tuple[Run, list[Task]]:
        async with hall_in(board.parent) as hall:
            return await hall.board.store.read(lambda tx: (tx.runs()[0], tx.tasks(tx.runs()[0].id)))

    return anyio.run(main)


def refused(done: Printed, *words: str) -> None:
    """Insist on exit code 1 and an error with a hint, and nothing on standard output."""
    assert (done.code, done.out) == (1, "")
    assert "error" in done.err
    assert "hint" in done.err
    assert [word for word in words if word not in done.err] == [], done.err


def test_a_goal_alone_opens_a_run_with_it_as_the_first_task(tmp_path: Path) -> None:
    done = delm_here("init", "Mend the parser", cwd=tmp_path)
    assert done.code == 0
    assert "1 task" in done.out
    assert "attested" in done.out
    assert "delm-mcp stdio" in done.out
    board = tmp_path / ".delm" / "board.db"
    run, tasks = found(board)
    assert (run.goal, run.state.value, run.id in done.out) == ("Mend the parser", "open", True)
    assert [task.subject for task in tasks] == ["Mend the parser"]
    assert (tmp_path / ".delm" / ".gitignore").read_text() == "*\n"


def test_commands_policy_protection_and_commit_are_written_down(tmp_path: Path) -> None:
    folder = repository(tmp_path / "project", {"a.py": "A = 1\n", "tests/test_a.py": "\n"})
    policy = tmp_path / "policy.toml"
    policy.write_text('preset = "strict"\n[limits]\nlease_s = 7.5\n')
    source = tmp_path / "notes.txt"
    source.write_text("It loses the comma.\n")
    words = ["--task", "a", "--task", "b", "--check", "pytest -q", "--check", "lint=ruff check ."]
    facts = opened_by_cli(
        folder,
        "goal",
        *words,
        "--check-timeout",
        "9",
        "--policy",
        policy,
        "--source",
        source,
        "--run",
        "mine",
    )
    assert facts["run"] == "mine"
    assert facts["base"] == git(folder, "rev-parse", "HEAD")
    run, tasks = found(Path(facts["board"]))
    assert [(c.name, c.argv, c.timeout_s) for c in run.commands] == [
        ("check", ("pytest", "-q"), 9.0),
        ("lint", ("ruff", "check", "."), 9.0),
    ]
    assert parse(run.policy).limits.lease_s == 7.5
    assert parse(run.policy).preset == "strict"
    assert "tests/**" in parse(run.policy).protect
    assert facts["tasks"] == [task.label for task in tasks]
    assert (run.repo, run.head) == (str(folder.resolve()), run.base)


def test_a_test_command_that_the_repository_seems_to_have_is_proposed(tmp_path: Path) -> None:
    folder = repository(tmp_path, {"pyproject.toml": "\n"})
    assert '--check "pytest -q"' in delm_here("init", "goal", cwd=folder).out


def test_tasks_come_from_a_file_with_their_order(tmp_path: Path) -> None:
    rows = [
        {"subject": "read it"},
        {"subject": "port it", "after": ["#1"], "needs": ["rust"], "priority": 3, "detail": "all of it"},
        {"subject": "try it", "after": ["#2"], "copies": 2},
    ]
    (tmp_path / "tasks.json").write_text(json.dumps(rows))
    facts = opened_by_cli(tmp_path, "goal", "--tasks-file", "tasks.json")
    _, tasks = found(Path(facts["board"]))
    assert [(t.subject, t.state.value, t.needs, t.priority) for t in tasks] == [
        ("read it", "ready", (), 0),
        ("port it", "blocked", ("rust",), 3),
        ("try it", "blocked", (), 0),
        ("try it", "blocked", (), 0),
    ]


def test_a_file_may_hold_more_tasks_than_one_call_takes(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps([{"subject": f"part {n}"} for n in range(250)]))
    facts = opened_by_cli(tmp_path, "goal", "--tasks-file", "tasks.json")
    assert len(facts["tasks"]) == 250


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("not json", "tasks.json"),
        ('{"subject": "x"}', "list"),
        ('["x"]', "list"),
        ('[{"detail": "x"}]', "subject"),
        ('[{"subject": "x", "copies": "many"}]', "copies"),
        ('[{"subject": "x", "copies": 99}]', "16"),
        ('[{"subject": "x", "after": ["#2"]}, {"subject": "y"}]', "#2"),
        ('[{"subject": "x", "after": "#1"}]', "after"),
        ('[{"subject": "x", "needs": "gpu"}]', "needs"),
        ('[{"subject": "x", "priorty": 3}]', "priorty"),
        ('[{"subject": ""}]', "subject"),
        ("[]", ""),
        ("\udc80", "tasks.json"),
    ],
)
def test_a_tasks_file_with_a_fault_opens_nothing(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "tasks.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    done = delm_here("init", "goal", "--tasks-file", "tasks.json", cwd=tmp_path)
    if content == "[]":
        assert done.code == 0  # no tasks: the goal is the first one
        return
    refused(done, word)
    status = delm_here("status", "--json", cwd=tmp_path)
    assert status.code == 1 or json.loads(status.out)["runs"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('presett = "open"', ["presett", "Did you mean 'preset'"]),
        ('preset = "opne"', ["opne", "open, standard, strict"]),
        ("[limits]\nlease = 3", ["limits.lease", "lease_s"]),
        ("[limits]\nlease_s = -3", ["limits.lease_s", "-3"]),
        ('[limits]\nlease_s = "long"', ["limits.lease_s", "number"]),
        ('[patch]\nchecks = ["comand"]', ["patch.checks", "comand", "command"]),
        ('[command]\nfail_at_base = "maybe"', ["command.fail_at_base", "require"]),
        ("[limits\nlease_s = 3", ["not TOML", "line 1"]),
        ('[peers]\nno_peers = "shrug"', ["peers.no_peers", "attest"]),
    ],
)
def test_a_policy_with_a_typo_says_where(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "policy.toml").write_text(text)
    done = delm_here("init", "goal", "--policy", "policy.toml", cwd=tmp_path)
    assert done.code == 1
    assert "policy.toml" in done.err
    assert [word for word in words if word not in done.err] == [], done.err
    assert not (tmp_path / ".delm" / "board.db").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "none.toml"], ["none.toml cannot be read"]),
        (["--policy", "lenient"], ["lenient", "open, standard, strict"]),
        (["--check", "pytest 'unclosed", "--task", "x"], ["git repository"]),
        (["--source", "none.txt"], ["none.txt", "UTF-8"]),
        (["--source", "latin.txt"], ["latin.txt", "UTF-8"]),
        (["--source", "."], ["UTF-8"]),
        (["--tasks-file", "none.json"], ["none.json"]),
        (["--task", " "], ["subject"]),
        (["--task", "x" * 301], ["300"]),
        (["--board", "no/such/folder/at/all.db"], ["no/such/folder"]),
        (["--board", "."], ["folder"]),
        (["--run", "[/] no\nname"], ["name"]),
        (["--run", "x" * 100], ["name"]),
    ],
)
def test_options_that_cannot_be_used_are_refused_with_a_hint(
    tmp_path: Path, words: list[str], said: list[str]
) -> None:
    (tmp_path / "latin.txt").write_bytes("déjà vu".encode("latin-1"))
    refused(delm_here("init", "goal", *words, cwd=tmp_path), *said)


@pytest.mark.parametrize("goal", ["", "   ", "x" * 4001])
def test_a_goal_that_is_none_is_refused(tmp_path: Path, goal: str) -> None:
    done = delm_here("init", goal, "--task", "x", cwd=tmp_path)
    assert done.code == 1
    assert "4000" in done.err


def test_a_check_that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    folder = repository(tmp_path, {"a.py": "\n"})
    for check, word in (("pytest 'unclosed", "quotation"), ("", "no command"), ("name=", "no command")):
        refused(delm_here("init", "goal", "--check", check, cwd=folder), word)


def test_a_check_needs_a_repository(tmp_path: Path) -> None:
    refused(delm_here("init", "goal", "--check", "true", cwd=tmp_path), "git repository", "git init")


def test_a_check_in_a_repository_without_commits_says_to_make_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    refused(delm_here("init", "goal", "--check", "true", cwd=tmp_path), "commit")


def test_a_run_without_checks_needs_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert opened_by_cli(tmp_path, "goal")["base"] == ""


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    opened_by_cli(tmp_path, "goal", "--run", "mine")
    refused(delm_here("init", "goal", "--run", "mine", cwd=tmp_path), "mine", "another name")


def test_a_folder_with_brackets_in_its_name_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a [bold]b :bug: [c]"
    folder.mkdir()
    done = delm_here("init", "goal", cwd=folder, COLUMNS="400")
    assert str(folder / ".delm" / "board.db") in done.out
    assert done.code == 0
    facts: dict[str, Any] = json.loads(delm_here("status", "--json", cwd=folder).out)
    assert facts["board"] == str(folder / ".delm" / "board.db")
