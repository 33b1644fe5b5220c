"""`delm-mcp install`: one entry more in files that belong to others, who find all else as they left it."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delm_mcp.cli.joining import jsonc
from delm_mcp.cli.joining.recipes import CLIENTS, Scope, file_of
from tests.outside import COMMAND, Printed, delm_here, environment, git, repository

NAMES = tuple(CLIENTS)
JSON_NAMES = tuple(name for name in NAMES if CLIENTS[name].format == "json")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return repository(tmp_path / "project", {"a.txt": "a\n"})


@pytest.fixture
def install(home: Path, project: Path) -> Callable[..., Printed]:
    """Runs the command with an empty home, in the project unless told otherwise."""

    def run(*words: str, cwd: Path = project, stdin: str = "", **more: str) -> Printed:
        variables = {"HOME": str(home), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": "", "CODEX_HOME": ""}
        return delm_here("install", *words, cwd=cwd, stdin=stdin, **{**variables, **more})

    return run


def done(printed: Printed) -> str:
    assert printed.code == 0, printed.err
    return printed.out + printed.err


def place_of(name: str, project: Path, home: Path) -> Path:
    client = CLIENTS[name]
    return client.user(home) if client.scope is Scope.USER else client.project(project)


def entry_of(name: str, file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8-sig")
    facts = tomllib.loads(text) if CLIENTS[name].format == "toml" else jsonc.read(text).value
    for key in (*CLIENTS[name].section, "delm"):
        facts = facts[key]
    assert isinstance(facts, dict)
    return facts


# -- into nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_client_gets_its_recipe_once_and_gives_it_back(
    name: str, install: Callable[..., Printed], project: Path, home: Path
) -> None:
    file = place_of(name, project, home)
    assert not file.parent.exists() or file.parent in (project, home)
    assert "+++" in done(install(name, "--yes"))
    entry = entry_of(name, file)
    command = entry["command"] if name == "opencode" else [entry["command"], *entry["args"]]
    assert command == [*COMMAND, "stdio"]  # not on PATH here, so by its whole path
    assert "env" not in entry
    first = file.read_bytes()
    again = done(install(name, "--yes"))
    assert "nothing to do" in again
    assert "+++" not in again
    assert file.read_bytes() == first
    done(install(name, "--undo", "--yes"))
    assert not file.exists()
    assert {path.name for path in project.iterdir()} == {".git", "a.txt"}  # nor a folder that we made
    assert "nothing to do" in done(install(name, "--undo", "--yes"))


def test_the_recipes_say_what_was_measured(
    install: Callable[..., Printed], project: Path, home: Path
) -> None:
    wanted: dict[str, dict[str, Any]] = {
        "claude": {"type": "stdio", "alwaysLoad": True},
        "codex": {"required": True, "default_tools_approval_mode": "approve", "tool_timeout_sec": 120},
        "gemini": {"trust": True, "timeout": 60_000},
        "opencode": {"type": "local", "enabled": True, "timeout": 60_000},
        "vscode": {"type": "stdio"},
        "cursor": {},
    }
    for name, facts in wanted.items():
        done(install(name, "--yes"))
        assert facts.items() <= entry_of(name, place_of(name, project, home)).items()


def test_over_http_only_the_name_of_the_tokens_variable_is_written(
    install: Callable[..., Printed], project: Path, home: Path
) -> None:
    for name in NAMES:
        done(install(name, "--yes"))  # first over stdio, so that the other way replaces it
        words = ("--url", "https://board.example.org/mcp", "--token-variable", "TEAM_TOKEN", "--yes")
        done(install(name, *words, TEAM_TOKEN="delm_secret"))
        text = place_of(name, project, home).read_text()
        assert "TEAM_TOKEN" in text
        assert "https://board.example.org/mcp" in text
        for gone in ("delm_secret", "stdio", "command"):
            assert gone not in text, (name, text)
        assert "nothing to do" in done(install(name, *words))


def test_by_name_where_path_leads_to_this_very_program(
    install: Callable[..., Printed], project: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "delm-mcp").symlink_to(COMMAND[0])
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert "elsewhere" not in done(install("claude", "--yes", PATH=path))
    assert entry_of("claude", project / ".mcp.json")["command"] == "delm-mcp"


# -- asking --------------------------------------------------------------------------------------


def test_a_dry_run_and_a_no_change_nothing(install: Callable[..., Printed], project: Path) -> None:
    assert '+    "delm": {' in done(install("claude", "--dry-run"))
    refused = install("claude", stdin="n\n")
    assert refused.code == 1
    assert install("claude", stdin="").code == 1  # nobody is there to be asked
    assert not (project / ".mcp.json").exists()
    done(install("claude", stdin="y\n"))
    assert (project / ".mcp.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["emacs"], "claude, codex, gemini, opencode, vscode, cursor"),
        (["claude", "--token-variable", "T"], "--url"),
        (["claude", "--url", "board.example.org"], "https://"),
        (["claude", "--url", "https://h/mcp", "--token-variable", "delm_a-b"], "DELM_TOKEN"),
        (["claude", "--url", "https://h/mcp", "--token-variable", "delm_secret"], "DELM_TOKEN"),
        (["claude", "--url", "https://me:secret@h/mcp"], "--token-variable"),
    ],
)
def test_what_cannot_be_installed_is_refused_with_what_can(
    install: Callable[..., Printed], project: Path, words: list[str], said: str
) -> None:
    refused = install(*words, "--yes")
    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err
    assert "secret" not in refused.err
    assert not (project / ".mcp.json").exists()


# -- into what is there --------------------------------------------------------------------------

COMMENTED = """\
// for the whole team
{
\t/* servers */
\t"servers": {
\t\t"other": { "command": "other", "args": [] }, // keep
\t},
\t"inputs": [], // and this
\t"zeta": 1, "alpha": {"mcpServers": {"x": 1}},
}
"""
CODEX = """\
# mine
model = "o9"   # the good one

[mcp_servers.other]
command = 'other'
args = [ "a",
  "b", ]

[tui]
theme = "dark"
"""
FILES = {
    "comments, tabs, trailing commas": ("vscode", COMMENTED.encode()),
    "windows line ends": ("vscode", COMMENTED.replace("\n", "\r\n").encode()),
    "byte order mark": ("cursor", b'\xef\xbb\xbf{\r\n    "mcpServers": {}\r\n}\r\n'),
    "one line": ("claude", b'{"mcpServers":{"other":{"command":"x"}},"n":1e2}'),
    "no last line end": ("gemini", b'{\n    "theme": "dark",\n    "mcpServers": { }\n}'),
    "empty object": ("opencode", b"{}\n"),
    "empty file": ("claude", b""),
    "only a comment inside": ("opencode", b"{\n  // nothing yet\n}\n"),
    "line comment at the end": ("cursor", b'{\n  "mcpServers": {\n    "a": {} // one\n  }\n}\n'),
    "other letters": ("gemini", '{\n  "größe": "\\u00fc ü"\n}\n'.encode()),
    "toml": ("codex", CODEX.encode()),
    "toml, windows": ("codex", CODEX.replace("\n", "\r\n").encode()),
    "toml, no last line end": ("codex", CODEX.rstrip("\n").encode()),
    "toml, inline table": ("codex", b'mcp_servers = { other = { command = "x" } } # why\nn = 1\n'),
    "toml, byte order mark": ("codex", b"\xef\xbb\xbf" + CODEX.encode()),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_a_file_keeps_all_that_was_in_it_and_comes_back_byte_for_byte(
    name: str, content: bytes, install: Callable[..., Printed], project: Path, home: Path
) -> None:
    file = place_of(name, project, home)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o640)
    done(install(name, "--yes"))
    changed = file.read_bytes()
    assert entry_of(name, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    # Nothing was taken away: what was there is still there, in its order, as it was written.
    letters = iter(changed)
    assert all(letter in letters for letter in content), changed.decode()
    assert changed.startswith(content[:1])
    if b"\r\n" in content:
        assert changed.count(b"\n") == changed.count(b"\r\n")
    if b"\t" in content:
        assert b"\n  " not in changed
    assert "nothing to do" in done(install(name, "--yes"))
    done(install(name, "--undo", "--yes"))
    assert file.read_bytes() == content


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_a_file_changed_since_loses_our_entry_alone(
    name: str, content: bytes, install: Callable[..., Printed], project: Path, home: Path
) -> None:
    file = place_of(name, project, home)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    before = facts_of(name, file)
    done(install(name, "--yes"))
    mark = b"# a later thought\n" if name == "codex" else b"// a later thought\n"
    file.write_bytes(file.read_bytes() + b"\n" + mark)
    assert "only our entry is removed" in done(install(name, "--undo", "--yes"))
    assert mark in file.read_bytes()
    after = facts_of(name, file)
    after.pop(CLIENTS[name].section[0], None)
    rest = before.pop(CLIENTS[name].section[0], {})
    assert after == before
    assert all(json.dumps(key) in file.read_text() or key in file.read_text() for key in rest)
    for comment in (
        "// keep",
        "/* servers */",
        "# mine",
        "# the good one",
        "// nothing yet",
        "// one",
        "# why",
    ):
        assert comment.encode() not in content or comment.encode() in file.read_bytes()


def facts_of(name: str, file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8-sig")
    if not text.strip():
        return {}
    facts: dict[str, Any] = tomllib.loads(text) if CLIENTS[name].format == "toml" else jsonc.read(text).value
    return facts


def test_what_a_user_changed_between_two_installs_stays_when_both_are_undone(
    install: Callable[..., Printed], project: Path
) -> None:
    file = project / ".mcp.json"
    file.write_text('{"mcpServers": {"a": {}}}')
    done(install("claude", "--yes"))
    file.write_text(file.read_text().replace('"a": {}', '"a": {}, "b": {}'))
    done(install("claude", "--url", "https://h/mcp", "--yes"))
    done(install("claude", "--undo", "--yes"))
    assert file.read_text() == '{"mcpServers": {"a": {}, "b": {}}}'


def test_a_read_only_file_is_not_replaced_and_nothing_is_kept_in_the_project(
    install: Callable[..., Printed], project: Path
) -> None:
    file = project / ".mcp.json"
    file.write_text("{}\n")
    file.chmod(0o444)
    refused = install("claude", "--yes", XDG_STATE_HOME="state")
    assert refused.code == 1
    assert "read-only" in refused.err
    assert file.read_text() == "{}\n"
    assert not (project / "state").exists()


def test_what_the_user_tuned_in_our_entry_stays(install: Callable[..., Printed], project: Path) -> None:
    file = project / ".gemini" / "settings.json"
    file.parent.mkdir()
    words = ["stdio", "--agent", "ada"]
    tuned = {"command": "/old/delm-mcp", "args": words, "timeout": 5, "env": {"DELM_PRINCIPAL": "ada"}}
    file.write_text(json.dumps({"mcpServers": {"delm": tuned}}, indent=4))
    done(install("gemini", "--yes"))
    assert entry_of("gemini", file) == {**tuned, "command": COMMAND[0], "trust": True}
    other = project / "opencode.json"
    other.write_text(
        json.dumps({"mcp": {"delm": {"type": "local", "command": ["old", *words], "enabled": False}}})
    )
    done(install("opencode", "--yes"))
    entry = entry_of("opencode", other)
    assert (entry["command"], entry["enabled"]) == ([COMMAND[0], *words], False)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("claude", b'{\n  "mcpServers": {\n    "a": 1\n    "b": 2\n  }\n}', "line 4, column 5"),
        ("claude", b'{"a": tru}', "line 1, column 7"),
        ("claude", b'{"a": "open', "line 1"),
        ("claude", b"[1]", "object"),
        ("claude", b'{"mcpServers": 5}', "mcpServers"),
        ("claude", b'{"a": 1}\n{"b": 2}', "line 2"),
        ("claude", b'{"a": "\xff\xfe"}', "UTF-8 in line 1"),
        ("claude", b"[" * 100_000, "deep"),
        ("codex", b"a = 1\nb = = 2\n", "line 2"),
        ("codex", b"a = " + b"[" * 100_000, "deep"),
        ("codex", b"a = " + b"[" * 101 + b"]" * 101, "deep"),
        ("codex", b".".join([b"a"] * 3_000) + b" = 1\n", "deep"),
        ("codex", b"mcp_servers = 3\n", "mcp_servers"),
    ],
)
def test_a_broken_file_is_left_alone_and_the_place_is_named(
    name: str, content: bytes, said: str, install: Callable[..., Printed], project: Path, home: Path
) -> None:
    file = place_of(name, project, home)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    for words in (["--yes"], ["--undo", "--yes"]):
        if (words[0] == "--undo" and b": 5" in content) or b"= 3" in content:
            continue  # readable, and without an entry of ours
        refused = install(name, *words)
        assert refused.code == 1, refused.out
        assert said in refused.err
        assert str(file) in refused.err
    assert file.read_bytes() == content


def test_a_link_is_followed_and_stays_a_link(
    install: Callable[..., Printed], project: Path, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles" / "mcp.json"
    real.parent.mkdir()
    real.write_text("{}\n")
    (project / ".mcp.json").symlink_to(real)
    done(install("claude", "--yes"))
    assert (project / ".mcp.json").is_symlink()
    assert entry_of("claude", real)
    done(install("claude", "--undo", "--yes"))
    assert (project / ".mcp.json").is_symlink()
    assert real.read_text() == "{}\n"


def test_a_link_to_nothing_is_one_again_afterwards(
    install: Callable[..., Printed], project: Path, tmp_path: Path
) -> None:
    (project / ".mcp.json").symlink_to(tmp_path / "later.json")
    done(install("claude", "--yes"))
    done(install("claude", "--undo", "--yes"))
    assert (project / ".mcp.json").is_symlink()
    assert not (tmp_path / "later.json").exists()


@pytest.mark.parametrize("one_line", [True, False])
def test_no_credential_of_another_server_is_shown(
    install: Callable[..., Printed], project: Path, *, one_line: bool
) -> None:
    secrets = ("s3cret-of-no-shape", "hunter22-and-more", "dXNlcjpodW50ZXIyMg", "ghp_" + "aB3" * 12)
    servers = {
        "a": {"url": "https://a.example.org", "headers": {"X-Api-Key": secrets[0]}},
        "b": {"command": "b", "args": ["--token", secrets[1]]},
        "c": {"url": "https://c.example.org", "headers": {"Authorization": f"Basic {secrets[2]}"}},
        "d": {"args": [secrets[3]]},
    }
    file = project / ".mcp.json"
    for name, server in servers.items():
        file.write_text(json.dumps({"mcpServers": {name: server}}, indent=None if one_line else 2))
        for words in (["--url", "https://h/mcp", "--token-variable", "DELM_TOKEN"], ["--undo"]):
            said = done(install("claude", *words, "--yes"))
            assert not [secret for secret in secrets if secret in said], said
            assert name == "d" or "${DELM_TOKEN}" in said
        assert json.loads(file.read_text())["mcpServers"][name] == server


# -- where ---------------------------------------------------------------------------------------


def test_a_project_begins_at_the_top_of_its_worktree(
    install: Callable[..., Printed], project: Path, tmp_path: Path
) -> None:
    git(project, "worktree", "add", "-q", str(tmp_path / "linked"))
    for root in (project, tmp_path / "linked"):
        below = root / "deep" / "down"
        below.mkdir(parents=True)
        done(install("claude", "--yes", cwd=below))
        assert (root / ".mcp.json").exists()
        assert not list(below.iterdir())
    bare = tmp_path / "no-repository"
    bare.mkdir()
    (tmp_path / ".git").mkdir()  # as a sandbox leaves behind
    done(install("claude", "--yes", cwd=bare))
    assert (bare / ".mcp.json").exists()


def test_the_users_files_are_where_each_client_looks(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))

    def place(name: str) -> str:
        return str(file_of(CLIENTS[name], Scope.USER, tmp_path).relative_to(home))

    assert [place(name) for name in ("claude", "codex", "gemini", "opencode", "cursor")] == [
        ".claude.json",
        ".codex/config.toml",
        ".gemini/settings.json",
        ".config/opencode/opencode.json",
        ".cursor/mcp.json",
    ]
    jsonc_file = home / ".config" / "opencode" / "opencode.jsonc"
    jsonc_file.parent.mkdir(parents=True)
    jsonc_file.write_text("{}")
    assert place("opencode") == ".config/opencode/opencode.jsonc"
    monkeypatch.setenv("CODEX_HOME", str(home / "elsewhere"))
    assert place("codex") == "elsewhere/config.toml"


AS_NOBODY = """
import os, sys
from delm_mcp.checks.secrets import find_secrets
from delm_mcp.cli import app
find_secrets("")  # what is imported late cannot be read by nobody
app(["install", "--help"], standalone_mode=False)
print("---", flush=True)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
app(sys.argv[1:])
"""


def test_a_folder_that_may_not_be_written_keeps_its_file(project: Path, home: Path) -> None:
    file = project / ".mcp.json"
    file.write_text("{}\n")
    home.chmod(0o777)
    project.chmod(0o555)
    for folder in (home.parent, *home.parent.parents[:3]):
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o755)
    try:
        refused = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "install", "claude", "--yes"],
            env=environment(HOME=str(home), XDG_STATE_HOME=str(home / "state")),
            cwd=project,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        project.chmod(0o755)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert file.read_text() == "{}\n"
    assert not list((home / "state").rglob("*.json"))  # and nothing is remembered of what never was
    assert {path.name for path in project.iterdir()} == {".git", "a.txt", ".mcp.json"}
