"""What a command in bubblewrap cannot reach, and what happens where bubblewrap does not work."""

import os
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

import anyio
import anyio.abc
import pytest

from delm_mcp.checks import bubblewrap, sandbox
from delm_mcp.checks.bubblewrap import bubblewrap_problem, tool_roots
from delm_mcp.checks.sandbox import SandboxKind
from delm_mcp.checks.workdirs import work_dir
from delm_mcp.errors import CheckUnavailable
from tests.checks_scene import python, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


@pytest.fixture
async def bwrap() -> SandboxKind:
    if problem := await bubblewrap_problem():
        pytest.skip(f"bubblewrap does not work here: {problem}")
    return "bubblewrap"


async def test_the_network_is_not_there(cwd: Path, bwrap: SandboxKind) -> None:
    connect = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5); print('in')"
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = str(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - not Django's
        outside = await python(connect, cwd, "process", port)
        inside = await python(connect, cwd, bwrap, port)
    assert outside.output_tail == "in\n"
    assert inside.exit_code == 1
    assert "ConnectionRefusedError" in inside.output_tail


async def test_hidden_folders_and_files_cannot_be_read(cwd: Path, bwrap: SandboxKind, tmp_path: Path) -> None:
    # Not below /tmp, which is private anyway.
    async with work_dir(Path("/var/tmp") if os.path.isdir("/var/tmp") else None) as elsewhere:  # noqa: ASYNC240, S108
        folder = elsewhere / "board"
        folder.mkdir()
        (folder / "board.db").write_text("secret-content")
        (elsewhere / "token").write_text("secret-content")
        look = f"cat {folder}/board.db {elsewhere}/token; ls -A {folder}; echo x > {folder}/new"
        readable = [elsewhere]
        seen = await run(["sh", "-c", look], cwd, bwrap, readable=readable)
        hidden = await run(
            ["sh", "-c", look], cwd, bwrap, readable=readable, hidden=[folder, elsewhere / "token"]
        )
        assert seen.output_tail.startswith("secret-contentsecret-content")
        assert "secret-content" not in hidden.output_tail
        assert "board.db: No such file" in hidden.output_tail
        assert sorted(os.listdir(folder)) == ["board.db"]


async def test_programs_on_the_path_work_though_the_home_folder_is_hidden(
    cwd: Path, bwrap: SandboxKind
) -> None:
    env_path = f"{Path(sys.executable).parent}:{os.defpath}"
    ran = await run(
        [sys.executable, "-c", "import pytest, sys; print(sys.prefix)"],
        cwd,
        bwrap,
        hidden=[Path.home(), Path(sys.prefix).parent],
        env_path=env_path,
    )
    assert (ran.exit_code, ran.output_tail.strip()) == (0, sys.prefix)


async def test_nothing_outside_the_checkout_can_be_written(
    cwd: Path, bwrap: SandboxKind, tmp_path: Path
) -> None:
    places = [
        str(tmp_path / "x"),
        str(Path(sys.prefix) / "x"),
        "/usr/x",
        "/etc/x",
        "/x",
        str(Path.home() / "x"),
    ]
    code = """
import sys
for place in sys.argv[1:]:
    try:
        open(place, "w").write("x")
    except OSError as error:
        print(error.errno)
    else:
        print("written", place)
"""
    ran = await python(code, cwd, bwrap, *places)
    assert ran.exit_code == 0
    # What could be written is in a /tmp that nobody else sees.
    assert [place for place in places if os.access(place, os.F_OK)] == []
    assert "/usr/x" not in ran.output_tail
    assert ran.output_tail.count("30\n") >= 3


async def test_tmp_run_and_processes_are_private(cwd: Path, bwrap: SandboxKind) -> None:
    code = """
import os, sys
processes = sum(name.isdigit() for name in os.listdir("/proc"))
print(os.listdir("/run"), processes < 5, os.path.exists(sys.argv[1]))
print(open("/proc/self/status").read().split("CapEff:")[1].split()[0])
"""
    with NamedTemporaryFile(dir="/tmp") as somebodys:
        ran = await python(code, cwd, bwrap, somebodys.name)
    private, capabilities = ran.output_tail.splitlines()
    assert private == "[] True False"
    assert int(capabilities, 16) == 0


async def test_a_sandbox_that_cannot_be_built_makes_the_check_unavailable(
    cwd: Path, bwrap: SandboxKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "_ISOLATE", (*bubblewrap._ISOLATE, "--ro-bind", "/no/such", "/mnt"))
    with pytest.raises(CheckUnavailable, match="before the command did"):
        await run(["true"], cwd, bwrap)


async def test_a_bubblewrap_that_does_not_work_is_noticed(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.defpath}")

    assert await sandbox.choose_sandbox() == ("process", "No permissions to create new namespace")
    with pytest.raises(CheckUnavailable, match="No permissions"):
        await run(["true"], cwd, "bubblewrap")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await sandbox.choose_sandbox() == ("process", "bwrap is not installed.")


def test_tool_roots_take_an_installation_and_not_a_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    for folder in (
        "bin",
        ".local/bin",
        "project/.venv/bin",
        "python/3.12/bin",
        ".local/share/tool/bin",
        "odd",
    ):
        (home / folder).mkdir(parents=True)
    (home / "project/.venv/pyvenv.cfg").write_text(f"home = {home}/python/3.12/bin\nversion = 3.12\n")
    (home / ".local/bin/tool").symlink_to(home / ".local/share/tool/bin/tool")

    path = ":".join(str(home / name) for name in ("bin", ".local/bin", "project/.venv/bin", "odd", "missing"))
    roots = {str(root.relative_to(home)) for root in tool_roots(f"{path}:relative/bin")}

    expected = {"bin", ".local/bin", ".local/share/tool", "project/.venv", "python/3.12", "odd"}
    assert roots == expected
