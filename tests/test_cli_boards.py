"""Boards that cannot be used, and how the command line says so; help; tokens."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outside import delm, delm_here, environment, git, opened_by_cli, repository

COMMANDS = """
init install doctor stdio serve status context why diff stats retract cancel audit export backup tools
agent hook token
""".split()
READING = (
    ["status"],
    ["context"],
    ["why", "E1"],
    ["diff", "1"],
    ["stats"],
    ["retract", "E1", "x"],
    ["audit"],
    ["export"],
    ["cancel", "x"],
    ["agent", "list"],
    ["agent", "keep", "x"],
    ["token", "list"],
    ["token", "revoke", "x"],
)
READING_IDS = [words[-1] for words in READING]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    opened_by_cli(tmp_path, "Mend the parser")
    return tmp_path / ".delm" / "board.db"


@pytest.mark.parametrize("words", READING, ids=READING_IDS)
def test_without_a_board_every_command_says_how_to_open_one(tmp_path: Path, words: list[str]) -> None:
    done = delm_here(*words, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert f"no board at {tmp_path / '.delm' / 'board.db'}" in done.err.replace("\n", "")
    assert "delm-mcp init" in done.err
    assert not (tmp_path / ".delm").exists()


def test_a_board_is_found_from_folders_below_it_and_through_the_environment(
    board: Path, tmp_path: Path
) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert json.loads(delm_here("status", "--json", cwd=below).out)["board"] == str(board)
    elsewhere = tmp_path.parent
    assert json.loads(delm_here("status", "--json", cwd=elsewhere, DELM_BOARD=str(board)).out)[
        "board"
    ] == str(board)


@pytest.mark.parametrize("words", READING, ids=READING_IDS)
def test_a_folder_is_no_board(tmp_path: Path, words: list[str]) -> None:
    done = delm_here(*words, "--board", tmp_path, cwd=tmp_path)
    assert done.code == 1
    assert "is a folder" in done.err
    assert "hint" in done.err


@pytest.mark.parametrize("words", READING, ids=READING_IDS)
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Buy milk.\n" * 50)
    done = delm_here(*words, "--board", file, cwd=tmp_path)
    assert done.code == 1
    assert "not a SQLite database" in done.err
    assert file.read_text() == "Buy milk.\n" * 50
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "bookmarks.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmark (url)")
    connection.close()
    before = file.read_bytes()
    for words in (["status"], ["init", "goal"], ["token", "create", "ada"]):
        done = delm_here(*words, "--board", file, cwd=tmp_path)
        assert done.code == 1
        assert "another program" in done.err
    assert file.read_bytes() == before


def test_a_board_from_the_future_asks_for_an_upgrade(board: Path, tmp_path: Path) -> None:
    with sqlite3.connect(board) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    done = delm_here("status", cwd=tmp_path)
    assert done.code == 1
    assert "schema 999" in done.err
    assert "pip install -U delm-mcp" in done.err


def test_a_board_that_lost_its_end_is_said_to_be_damaged(board: Path, tmp_path: Path) -> None:
    content = board.read_bytes()
    for suffix in ("-wal", "-shm"):
        Path(f"{board}{suffix}").unlink(missing_ok=True)
    board.write_bytes(content[: len(content) // 3])
    done = delm_here("audit", cwd=tmp_path)
    assert done.code == 1
    assert "damaged" in done.out + done.err


@pytest.mark.parametrize("linked", [False, True])
def test_a_board_that_came_with_a_repository_is_not_opened(tmp_path: Path, linked: bool) -> None:
    repo = repository(tmp_path / "repo", {"a.py": "x = 1\n"})
    delm("init", "Mend it", "--check", "touch owned", cwd=repo)
    (repo / ".delm" / ".gitignore").unlink()
    if linked:
        (repo / ".delm").rename(repo / "data")
        (repo / ".delm").symlink_to("data")
    git(repo, "add", "--force", "--all")
    git(repo, "commit", "-q", "-m", "A board for whoever clones this")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    for words in (["status"], ["stdio"], ["init", "another goal"]):
        done = delm_here(*words, cwd=clone)
        assert done.code == 1
        assert "git tracks the board" in done.err.replace("\n", " ")


def test_a_locked_board_says_who_has_to_let_go(board: Path, tmp_path: Path) -> None:
    with sqlite3.connect(board, isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        done = delm("init", "another goal", cwd=tmp_path, check=False)
        holder.execute("ROLLBACK")
    holder.close()
    assert (done.returncode, done.stdout) == (1, "")
    assert "locked by another program" in done.stderr


AS_NOBODY = """
import os, sys
from delm_mcp.cli import app
app(["init", "imports what is imported late", "--board", sys.argv.pop()], standalone_mode=False)
print("---", flush=True)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
app(sys.argv[1:])
"""


def test_a_board_that_may_not_be_written_is_said_to_be_read_only(board: Path, tmp_path: Path) -> None:
    for path in (*board.parent.iterdir(), board.parent):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in (tmp_path, *tmp_path.parents[:3]):
        if path.stat().st_uid == os.getuid():
            path.chmod(0o755)
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                AS_NOBODY,
                "init",
                "more",
                "--board",
                str(board),
                str(tmp_path / "other.db"),
            ],
            env=environment(HOME=str(tmp_path), DELM_PRINCIPAL="nobody"),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        board.parent.chmod(0o755)
    assert done.returncode == 1, done.stdout
    assert done.stdout.endswith("---\n")
    assert "read-only" in done.stderr or "cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


FULL_DISK = """
import json, subprocess, sys
from pathlib import Path
from tests.outside import delm_here

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", disk], check=True)
tasks = disk.parent / "tasks.json"
tasks.write_text(json.dumps([{"subject": f"part {n}", "detail": "x" * 19_000} for n in range(60)]))

def delm(*words):
    done = delm_here(*words, "--board", disk / "board.db", cwd=disk.parent)
    return [done.code, done.out, done.err]

print(json.dumps([
    delm("init", "goal", "--task", "first"),
    delm("init", "another", "--tasks-file", tasks),
    delm("audit"),
    delm("status", "--json"),
    delm("init", "a small one"),
]))
"""


def test_a_full_disk_is_said_and_keeps_nothing_of_the_write(tmp_path: Path) -> None:
    """In a namespace of its own, where anybody may mount a small file system."""
    probe = ["unshare", "-r", "-m", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "-r", "-m", sys.executable, "-c", FULL_DISK, str(disk)],
        env=environment(),
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, full, audit, status, small = json.loads(done.stdout)
    assert first[0] == 0, first
    assert full[:2] == [1, ""]
    assert "is full" in full[2]
    assert audit[0] == 0, audit
    assert [run["goal"] for run in json.loads(status[1])["runs"]] == ["goal"]
    assert small[0] == 0, small  # what still fits is taken


# -- help ----------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_how_to_start(tmp_path: Path) -> None:
    text = delm_here("--help", cwd=tmp_path).out
    assert [name for name in COMMANDS if name not in text] == []
    assert 'delm-mcp init "goal"' in text
    assert "delm-mcp stdio" in text
    bare = delm_here(cwd=tmp_path)
    assert "Usage" in bare.out + bare.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["init"], ["--task", "--check", "pytest -q", "--policy", "standard", "--source", "--protect"]),
        (["stdio"], ["--board", "--agent", "DELM_AGENT", "--commands", "bubblewrap"]),
        (["serve"], ["--host", "--port", "tokens", "/healthz", "--commands"]),
        (
            ["install"],
            ["claude", "--scope", "--url", "--token-variable", "--dry-run", "--undo", "byte for byte"],
        ),
        (["doctor"], ["each client", "--json", "Exits with 1"]),
        (["agent"], ["keep", "release", "list"]),
        (["agent", "keep"], ["about once a minute", "--run", "--board", "ceiling"]),
        (["agent", "release"], ["--note", "a loss is counted"]),
        (["hook", "stop"], ["DELM_AGENT", "decision", "never joined", "three times"]),
        (["hook", "session-end"], ["Hand on"]),
        (["status"], ["--watch", "--json"]),
        (["context"], ["--at", "--since", "--why", "E12", "--unfold"]),
        (["why"], ["E12", "--json", "derives from"]),
        (["diff"], ["between two versions", "--json", "came and went"]),
        (["stats"], ["saved, cost and missed", "--run", "--json"]),
        (["retract"], ["agents are told", "suspect"]),
        (["cancel"], ["agents are told"]),
        (["audit"], ["--head", "hash", "Exits with 1"]),
        (["export"], ["JSON Lines"]),
        (["tools"], ["tokens"]),
        (["token"], ["create", "list", "revoke"]),
        (["token", "create"], ["--role", "observer", "--ttl", "30d", "--run", "--agent"]),
    ],
    ids=lambda part: "-".join(part)[:20],
)
def test_the_help_of_each_command_teaches(tmp_path: Path, command: list[str], words: list[str]) -> None:
    done = delm_here(*command, "--help", cwd=tmp_path)
    text = re.sub(r"[\s│]+", " ", done.out)
    assert done.code == 0
    assert [word for word in words if word not in text] == [], text


def test_an_option_with_a_typo_names_the_one_that_was_meant(tmp_path: Path) -> None:
    done = delm_here("init", "goal", "--taks", "x", cwd=tmp_path)
    assert done.code == 2
    assert "--task" in done.err


def test_the_cost_of_the_tools_is_printed_and_within_its_bound(tmp_path: Path) -> None:
    text = delm_here("tools", cwd=tmp_path).out
    match = re.search(r"(\d+) of (\d+)", text)
    assert match is not None
    assert int(match.group(1)) <= int(match.group(2)) <= 1500


def test_the_version_is_printed_by_the_installed_command(tmp_path: Path) -> None:
    assert re.fullmatch(r"delm-mcp \d+\.\d+\.\d+\S*\n", delm("--version", cwd=tmp_path).stdout)


# -- tokens --------------------------------------------------------------------------------------


def test_a_token_is_shown_once_alone_on_standard_output(board: Path, tmp_path: Path) -> None:
    done = delm_here("token", "create", "ada", "--ttl", "30d", "--role", "observer", cwd=tmp_path)
    assert re.fullmatch(r"delm_[A-Za-z0-9_-]{40,}\n", done.out)
    assert "shown once" in done.err
    listed = delm_here("token", "list", cwd=tmp_path).out
    for word in ("ada", "observer", "valid until"):
        assert word in listed
    assert done.out.strip() not in listed
    assert delm_here("token", "revoke", "ada", cwd=tmp_path).code == 0
    assert "revoked" in delm_here("token", "list", cwd=tmp_path).out
    assert board.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", ""], "name"),
        (["create", "x" * 65], "name"),
        (["create", "ada"], "already"),
        (["create", "bob", "--ttl", "soon"], "30d"),
        (["create", "bob", "--run", "r-none"], "no run"),
        (["create", "bob", "--agent", "No Such Name!"], "name"),
        (["create", "bob", "--agent", "x" * 100], "name"),
        (["revoke", "nobody"], "token list"),
    ],
)
def test_tokens_that_cannot_be_are_refused(board: Path, tmp_path: Path, words: list[str], said: str) -> None:
    assert delm_here("token", "create", "ada", cwd=tmp_path).code == 0
    done = delm_here("token", *words, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert board.exists()


def test_an_unknown_role_lists_the_roles(board: Path, tmp_path: Path) -> None:
    done = delm_here("token", "create", "bob", "--role", "king", cwd=tmp_path)
    assert done.code == 2
    assert "observer" in done.err
    assert board.exists()
