"""The launcher's parts: what it reads, what it keeps, what it tells, and what it refuses in clear words."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from delm_client.cli import app
from delm_client.team.causes import cause_of
from delm_client.team.folder import Folder, Record, read_lines
from delm_client.team.following import Seen, Told, news
from delm_client.team.harness import Assignment, Permissions, Server
from delm_client.team.harnesses.command import CommandHarness
from delm_client.team.processes import end_leftovers
from delm_client.team.record import Ended, Entered, Holds, Joined, Line, Noted, RunIs, Said, Spent
from delm_client.team.spending import Budget
from delm_client.team.supervise import Ending, write_files
from delm_client.team.wish import Member, TeamError, Wish, read_members, run_name, wish_of
from delm_client.team.worktrees import find_repository, snapshot, uncommitted
from tests.outside import environment, git
from tests.team_scene import BIN, Scene, scene_in

KINDS = ["claude", "codex", "cmd"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path, ("one",)) as made:
        yield made


# -- what is asked for -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        (["claude"], ["claude-1"]),
        (["claude:2,codex:1"], ["claude-1", "claude-2", "codex-1"]),
        (["Claude:1", "claude"], ["claude-1", "claude-2"]),
        (["cmd:my-agent --mcp {config}, really"], ["my-agent-1"]),
        (["cmd:2:/opt/My_Agent.sh -x", "codex"], ["my-agent-1", "my-agent-2", "codex-1"]),
        (["cmd:python3 -u tools/agent.py", "cmd:sh -c 'a; b'"], ["agent-1", "sh-1"]),
    ],
)
def test_agents_are_named_after_what_they_are(wanted: list[str], labels: list[str]) -> None:
    assert [member.label for member in read_members(wanted, (), KINDS)] == labels


@pytest.mark.parametrize(
    ("wanted", "models", "said"),
    [
        ([], [], "at least one agent"),
        (["claude:0"], [], "at least one agent"),
        (["cluade"], [], "Did you mean claude?"),
        (["aider"], [], "Known: claude, cmd, codex"),
        (["claude:two"], [], "not a number"),
        (["claude:99"], [], "99 agents are too many"),
        (["claude:" + "9" * 5000], [], "too many"),
        (["claude:\N{SUPERSCRIPT TWO}"], [], "not a number"),
        (["claude,cmd:x"], [], "an --agents of its own"),
        (["cmd:"], [], "no command"),
        (["cmd:x 'y"], [], "No closing quotation"),
        (["claude"], ["codex=x"], "not among --agents"),
        (["claude"], ["claude="], "names no model"),
    ],
)
def test_agents_that_cannot_be_are_refused(wanted: list[str], models: list[str], said: str) -> None:
    with pytest.raises(TeamError, match=said.replace("?", r"\?")):
        read_members(wanted, models, KINDS)


def test_a_model_is_for_all_or_for_a_kind() -> None:
    members = read_members(["claude,codex"], ["big,codex=small"], KINDS)
    assert [member.model for member in members] == ["big", "small"]


def test_a_run_is_named_after_its_goal_and_never_twice() -> None:
    assert run_name("Fix the failing tests, please!", []) == "fix-the-failing"
    assert run_name("Fix the failing tests", ["fix-the-failing", "fix-the-failing-2"]) == "fix-the-failing-3"
    assert run_name("Über", []) == "ber"
    assert run_name("…", []) == "team"


def test_a_wish_is_read_back_as_it_was() -> None:
    members = (Member("agent-1", "cmd", "agent {config}"), Member("claude-1", "claude", model="m"))
    wish = Wish("goal", members, ("a", "b"), permissions=Permissions.READ, budget_usd=1.5)
    assert wish_of(json.loads(json.dumps(wish.as_json()))) == wish


# -- refusals --------------------------------------------------------------------------------------


def launcher(folder: Path, *words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run `delm-run` within this process; its exit code and what it printed."""
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        ("repo", ["team", "x"], "at least one agent"),
        ("repo", ["team", "--agents", "cmd:true"], "Say what the team is to reach"),
        ("repo", ["team", "x", "--goal-file", "y", "--agents", "cmd:true"], "once"),
        ("repo", ["team", "--goal-file", "missing", "--agents", "cmd:true"], "cannot be read"),
        ("repo", ["team", "x", "--agents", "cmd:no-such-agent"], "no-such-agent is not installed"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--budget-usd", "0"], "more than 0"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--budget-usd", "nan"], "more than 0"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--timeout", "-1"], "more than 0"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--timeout", "inf"], "more than 0"),
        ("repo", ["team", "x" * 4001, "--agents", "cmd:true"], "at most 4000 characters"),
        ("repo", ["team", "x\0y", "--agents", "cmd:true"], "NUL character"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--run", "A b"], "lower-case"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--run", "old"], "exists already"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--check", "a=b", "--check", "a=c"], "called 'a'"),
        ("repo", ["team", "x", "--agents", "cmd:true", "--policy", "strct"], "strct"),
        ("dirty", ["team", "x", "--agents", "cmd:true"], "one.py"),
        ("folder", ["team", "x", "--agents", "cmd:true"], "git init"),
        ("empty", ["team", "x", "--agents", "cmd:true"], "no commit yet"),
        ("bare", ["team", "x", "--agents", "cmd:true"], "bare repository"),
        ("branch", ["team", "x", "--agents", "cmd:true"], "stands in the way"),
        ("blocked", ["team", "x", "--agents", "cmd:true"], "cannot be written"),
        ("repo", ["attach"], "No team was launched"),
        ("repo", ["stop"], "No team was launched"),
        ("repo", ["resume", "nope"], "No team was launched"),
    ],
)
def test_what_cannot_work_is_said_and_leaves_nothing_behind(
    small: Scene, make: str, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small.folder / make
    folder.mkdir(exist_ok=True)
    match make:
        case "empty":
            git(folder, "init", "-q")
        case "bare":
            git(folder, "init", "-q", "--bare")
        case "repo" | "dirty" | "branch" | "blocked":
            folder = small.repo
            git(folder, "branch", "delm/old")
    if make == "dirty":
        (folder / "one.py").write_text("changed\n")
    if make == "branch":
        git(folder, "branch", "-m", "delm/old", "delm")
    if make == "blocked":
        (folder / ".git" / "info" / "exclude").write_text(".delm\n")
        (folder / ".delm").write_text("in the way")
    before = git(folder, "for-each-ref") if make != "folder" else ""

    code, printed = launcher(folder, *words, monkeypatch=monkeypatch)

    assert code == 2, printed
    assert said in " ".join(printed.split())
    assert not list(folder.glob(".delm/teams/*"))
    assert make == "folder" or git(folder, "for-each-ref") == before


def test_a_missing_git_is_said(small: Scene) -> None:
    words = [str(BIN / "delm-run"), "team", "x", "--agents", f"cmd:{BIN / 'python'}"]
    env = environment(PATH=str(small.folder))
    done = subprocess.run(words, cwd=small.repo, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "git is not installed" in done.stderr


def test_a_dry_run_shows_everything_and_makes_nothing(small: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "team",
        "Mend it",
        "--agents",
        "cmd:2:agent {config} {label}",
        "--check",
        "pytest -q",
        "--dry-run",
    )
    code, printed = launcher(small.repo, *words, monkeypatch=monkeypatch)
    assert code == 0
    assert "run mend-it" in printed
    assert ".delm/teams/mend-it/homes/agent-2/mcp.json agent-2" in printed
    assert "Bearer ${DELM_TOKEN}" in printed
    assert not (small.repo / ".delm").exists()
    assert git(small.repo, "branch", "--list", "delm*") == ""


# -- the repository --------------------------------------------------------------------------------


def test_a_team_starts_anywhere_in_a_repository(small: Scene) -> None:
    (small.repo / "deep").mkdir()
    linked = small.folder / "linked"
    git(small.repo, "worktree", "add", "-q", "-b", "topic", str(linked))
    git(linked, "commit", "-q", "--allow-empty", "-m", "further")

    deep, other = find_repository(small.repo / "deep"), find_repository(linked)

    assert (deep.main, deep.here) == (small.repo, small.repo)
    assert (other.main, other.here, other.board) == (small.repo, linked, deep.board)
    assert other.head == git(linked, "rev-parse", "HEAD") != deep.head


def test_uncommitted_work_is_found_and_carried_without_touching_the_index(small: Scene) -> None:
    (small.repo / "one.py").write_text("changed\n")
    (small.repo / "a new one.py").write_text("new\n")
    (small.repo / "gone.py").write_text("")
    git(small.repo, "add", "gone.py")
    (small.repo / "gone.py").unlink()
    (small.repo / "__pycache__").mkdir()
    (small.repo / "__pycache__" / "one.pyc").write_text("")
    before = small.print_of_users()

    assert sorted(uncommitted(small.repo)) == ["a new one.py", "gone.py", "one.py"]
    commit = snapshot(find_repository(small.repo), "as it was")

    assert git(small.repo, "show", f"{commit}:one.py") == "changed"
    assert git(small.repo, "ls-tree", "--name-only", commit).splitlines() == [
        "a new one.py",
        "one.py",
        "test_one.py",
    ]
    assert small.print_of_users() == before


# -- what is kept ----------------------------------------------------------------------------------


def test_a_torn_last_line_harms_no_other(tmp_path: Path) -> None:
    record = Record(tmp_path / "events.jsonl")
    record.open()
    record.tell(Joined(), "a-1")
    record.close()
    with record.path.open("a") as torn:
        torn.write('{"at": 1, "agent"')

    again = Record(record.path)
    again.open()
    again.tell(Noted("further"))
    again.close()

    assert [line.what for line in read_lines(record.path)[0]] == [Joined(), Noted("further")]
    lines, offset = read_lines(record.path)
    assert read_lines(record.path, offset) == ([], offset)
    assert lines[0].agent == "a-1"


def test_a_full_disk_is_said_once_and_the_team_goes_on() -> None:
    record, heard = Record(Path("/dev/full")), list[Line]()
    record.listeners.append(heard.append)
    record.open()
    record.tell(Said("one"))
    record.tell(Said("two"))
    record.close()
    assert [type(line.what) for line in heard] == [Said, Noted, Said]
    assert "No space left" in str(heard[1].what)


def test_a_reused_process_id_is_never_taken_for_the_launcher(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.locked():
        assert folder.launcher() == psutil.Process()
        with pytest.raises(TeamError, match="under way already"), folder.locked():
            pass
        (tmp_path / "lock").write_text(json.dumps({"pid": os.getpid(), "started": 12.0}))
        assert folder.launcher() is None
    assert folder.launcher() is None
    (tmp_path / "processes.json").write_text(json.dumps({"a-1": {"pid": os.getpid(), "started": 12.0}}))
    assert end_leftovers(folder) == []


# -- what is told ----------------------------------------------------------------------------------


def seen(**more: Any) -> Seen:
    row: dict[str, Any] = {
        "state": "open", "version": 3, "tasks": {"leased": 1}, "log": {"rows": 9},
        "agents": [{"agent": "a-1", "task": "T2", "admitted": 0, "rejected": 1}],
        "queue": [{"task": "T2", "kind": "work", "subject": "mend", "lease_left_s": 4.0}],
        "latest": [
            {"entry": f"E{n}", "kind": "fact", "state": "admitted", "strength": "quoted", "agent": "a-1",
             "gist": "g", "reason": ""} for n in (10, 9)
        ],
    }  # fmt: skip
    return Seen({**row, **more})


def test_what_changed_on_the_board_is_told_once_and_in_order() -> None:
    told = Told()
    first = news(told, seen(), ["a-1", "a-2"])
    for label, what in first:
        told.hear(Line(0.0, label, what))

    assert [type(what) for _, what in first] == [Joined, Entered, Entered, Holds, RunIs]
    assert [what.entry for _, what in first if isinstance(what, Entered)] == ["E9", "E10"]
    assert news(told, seen(), ["a-1", "a-2"]) == []
    assert news(told, seen(agents=[], queue=[]), ["a-1"]) == [("a-1", Holds())]


def test_a_budget_counts_what_is_known_and_says_what_is_not() -> None:
    ending, notes = Ending(), list[str]()
    budget = Budget(1.0, ending, notes.append)
    for cost in (None, None, 0.4, 0.1):
        budget.hear(Line(0.0, "a-1", Spent(9, cost_usd=cost)))
    budget.hear(Line(0.0, "a-1", Ended(0)))
    assert not notes  # a bill at the end covers the tokens before it
    budget.hear(Line(0.0, "a-2", Spent(9)))
    budget.hear(Line(0.0, "a-2", Ended(-9)))
    assert not ending.asked.is_set()
    assert len(notes) == 1
    budget.hear(Line(0.0, "a-1", Spent(cost_usd=0.6)))
    assert ending.reason == "budget"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Invalid API key · Please run /login", "not signed in"),
        ("Error 429: rate limit", "limits its rate"),
        ("getaddrinfo ENOTFOUND api.example", "network"),
        ("error: unknown option '--mcp'", "version"),
        ("everything is fine", ""),
    ],
)
def test_the_likely_cause_is_said(said: str, cause: str) -> None:
    assert cause in cause_of(said, "agent")


# -- any agent -------------------------------------------------------------------------------------


def assignment(tmp_path: Path, server: Server) -> Assignment:
    return Assignment(
        "agent-1", tmp_path / "tree", tmp_path / "home", tmp_path / ".git", server, "do it; {label}"
    )


def test_a_command_is_started_with_what_it_names(tmp_path: Path) -> None:
    harness = CommandHarness("agent --mcp {config} -p {prompt} --at={url} {label} {worktree} {other}")
    launch = harness.launch(assignment(tmp_path, Server(url="http://127.0.0.1:1/mcp")))

    config = tmp_path / "home" / "mcp.json"
    assert launch.argv == (
        "agent", "--mcp", str(config), "-p", "do it; {label}", "--at=http://127.0.0.1:1/mcp", "agent-1",
        str(tmp_path / "tree"), "{other}",
    )  # fmt: skip
    write_files(launch)
    assert config.stat().st_mode & 0o777 == 0o600
    entry = json.loads(config.read_text())["mcpServers"]["delm"]
    assert entry["headers"] == {"Authorization": "Bearer ${DELM_TOKEN}"}

    server = Server(command=("delm-mcp", "stdio"), variables={"DELM_AGENT": "agent-1"})
    (text,) = harness.launch(assignment(tmp_path, server)).files.values()
    assert json.loads(text)["mcpServers"]["delm"]["env"] == {"DELM_AGENT": "agent-1"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("hello\n", [Said("hello")]),
        ("  ", []),
        ('{"event": "spent", "output_tokens": 7}', [Spent(output_tokens=7)]),
        ('{"event": "said", "text": "x", "more": 1}', [Said("x")]),
        ('{"event": "said"}', [Said('{"event": "said"}')]),
        ('{"event": "new"}', [Said('{"event": "new"}')]),
        ("[1]", [Said("[1]")]),
        ("{", [Said("{")]),
    ],
)
def test_lines_of_a_command_are_events_or_words(line: str, told: list[object]) -> None:
    assert CommandHarness("agent").parser().feed(line) == told
