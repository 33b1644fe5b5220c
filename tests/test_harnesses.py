"""How agents are started: the least that each needs, and no secret in any of it."""

import json
import tomllib
from pathlib import Path

import pytest

from delm_client.team.harness import Assignment, Permissions, Server
from delm_client.team.harnesses import HARNESSES
from delm_client.team.harnesses.codex import Codex

HTTP = Server(url="http://127.0.0.1:8722/mcp", token_variable="DELM_TOKEN")
STDIO = Server(command=("delm-mcp", "stdio"), variables={"DELM_PRINCIPAL": "ada", "DELM_AGENT": "ada-1"})


def assignment(
    folder: Path, server: Server = HTTP, permissions: Permissions = Permissions.EDIT, model: str = ""
) -> Assignment:
    return Assignment(
        label="ada-1",
        worktree=folder / "worktree",
        home=folder / "home",
        git_dir=folder / "repository" / ".git",
        server=server,
        prompt='Call claim_task; "agent" is --ada-1',
        permissions=permissions,
        commands=("pytest",),
        model=model,
    )


@pytest.mark.parametrize("server", [HTTP, STDIO], ids=["http", "stdio"])
@pytest.mark.parametrize("permissions", Permissions)
@pytest.mark.parametrize("name", HARNESSES)
def test_a_launch_writes_only_into_our_folder_and_names_the_board(
    tmp_path: Path, name: str, permissions: Permissions, server: Server
) -> None:
    harness = HARNESSES[name]
    given = assignment(tmp_path, server, permissions)
    launch = harness.launch(given)
    assert launch.argv[0] == harness.program
    assert given.prompt in (launch.stdin, launch.argv[-1])
    assert all(path.is_relative_to(given.home) for path in launch.files)
    assert not {"HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME"} & set(launch.variables), (
        "there are the user's logins"
    )
    said = "\n".join([*launch.argv, *launch.variables.values(), *launch.files.values()])
    named = [server.url, "DELM_TOKEN"] if server.url else ["delm-mcp", "DELM_PRINCIPAL", "ada-1"]
    assert all(word in said for word in named)
    for path, text in launch.files.items():
        (json if path.suffix == ".json" else tomllib).loads(text)


@pytest.mark.parametrize("name", HARNESSES)
def test_a_model_is_passed_on_only_when_there_is_one(tmp_path: Path, name: str) -> None:
    harness = HARNESSES[name]
    assert "--model" not in harness.launch(assignment(tmp_path)).argv
    argv = harness.launch(assignment(tmp_path, model="anthropic/some")).argv
    assert argv[argv.index("--model") + 1] == "anthropic/some"


def test_codex_may_write_what_a_commit_writes_and_not_hooks_or_configuration(tmp_path: Path) -> None:
    given = assignment(tmp_path)
    own = given.git_dir / "worktrees" / "worktree7"
    given.worktree.mkdir()
    (given.worktree / ".git").write_text(f"gitdir: {own}\n", encoding="utf-8")
    argv = Codex().launch(given).argv
    (roots,) = [word.partition("=")[2] for word in argv if "writable_roots" in word]
    assert set(json.loads(roots)) == {
        str(own), *(str(given.git_dir / part) for part in ("objects", "refs", "logs"))
    }  # fmt: skip
