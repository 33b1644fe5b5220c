"""`delm-mcp stdio` as a process: its protocol stream, how it ends, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.outside import (
    COMMAND,
    SEEN,
    commit,
    delm,
    do,
    finish,
    git,
    hall_in,
    hold,
    opened_by_cli,
    policy_file,
    process,
    repository,
    stdio,
)

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
Process = subprocess.Popen[bytes]


def send(server: Process, message: dict[str, Any]) -> None:
    assert server.stdin is not None
    server.stdin.write(json.dumps(message).encode() + b"\n")
    server.stdin.flush()


def receive(server: Process, wanted: int) -> dict[str, Any]:
    """The answer to a request; every line on the way must be protocol."""
    assert server.stdout is not None
    for line in server.stdout:
        message: dict[str, Any] = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        if message.get("id") == wanted:
            return message
    raise AssertionError("the server closed its output")


def call(server: Process, number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool over raw lines."""
    params = {"name": tool, "arguments": arguments}
    send(server, {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
    answer = receive(server, number)
    facts: dict[str, Any] = answer["result"]["structuredContent"]
    return facts


def greet(server: Process) -> None:
    send(server, HELLO)
    assert receive(server, 1)["result"]["serverInfo"]["name"] == "delm"
    send(server, READY)


def ended(server: Process, within_s: float = 10) -> tuple[int, bytes, bytes]:
    """Wait for the end: exit code, what was left on stdout, and stderr."""
    assert server.stdout is not None
    assert server.stderr is not None
    code = server.wait(timeout=within_s)
    return code, server.stdout.read(), server.stderr.read()


async def released(folder: Path) -> None:
    """Insist that the task can be claimed by somebody else at once, and is not merely expired."""
    async with hall_in(folder) as hall:

        def state(tx: Any) -> list[tuple[str, str]]:
            return [(task.state.value, task.reason) for run in tx.runs() for task in tx.tasks(run.id)]

        ((found, reason),) = await hall.board.store.read(state)
        assert found == "ready", (found, reason)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a board and one task in it; the board's file lies in it directly."""
    return tmp_path


def start_work(folder: Path) -> None:
    """Open a run with one task on `board.db`."""

    async def main() -> None:
        async with hall_in(folder) as hall:
            await hall.open("mend it")

    anyio.run(main)


LESS_OFTEN = [pytest.param(name, marks=pytest.mark.long) for name in ("SIGTERM", "SIGHUP")]


@pytest.mark.parametrize("way", ["end of input", "SIGINT", *LESS_OFTEN])
def test_every_way_of_ending_is_clean_and_releases_leases_at_once(folder: Path, way: str) -> None:
    start_work(folder)
    with process("stdio", "--board", folder / "board.db", cwd=folder) as server:
        greet(server)
        claim = call(server, 2, "claim_task")
        assert claim["lease"]
        if way == "end of input":
            assert server.stdin is not None
            server.stdin.close()
        else:
            server.send_signal(getattr(signal, way))
        code, output, errors = ended(server)
    assert (code, output) == (0, b"")
    assert b"Traceback" not in errors
    anyio.run(released, folder)


def test_a_signal_ends_a_server_whose_call_is_still_waiting(folder: Path) -> None:
    start_work(folder)
    with process("stdio", "--board", folder / "board.db", cwd=folder) as server:
        greet(server)
        call(server, 2, "claim_task")
        params = {"name": "claim_task", "arguments": {"wait_s": 25}}
        send(server, {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params})
        call(server, 4, "read_context")  # so the wait is open by now
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        code, output, errors = ended(server)
        assert time.monotonic() - began < 8
    assert code == 0
    assert b"Traceback" not in errors
    for line in output.splitlines():
        assert json.loads(line)["jsonrpc"] == "2.0"
    anyio.run(released, folder)


CLIENT = """
import os, subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(server.pid, flush=True)
for line in sys.stdin.buffer:
    server.stdin.write(line)
    server.stdin.flush()
    if b'"id"' in line:
        sys.stdout.buffer.write(server.stdout.readline())
        sys.stdout.buffer.flush()
"""


def test_a_server_leaves_when_its_client_is_killed(folder: Path) -> None:
    start_work(folder)
    words = [sys.executable, "-c", CLIENT, *COMMAND, "stdio", "--board"]
    with process(folder / "board.db", cwd=folder, command=words) as client:
        assert client.stdout is not None
        server = int(client.stdout.readline())
        greet(client)
        assert call(client, 2, "claim_task")["lease"]
        watched = os.pidfd_open(server)
        client.kill()
        assert anyio.run(gone, watched)
    anyio.run(released, folder)


async def gone(watched: int) -> bool:
    """Wait for the end of a process that is not our child."""
    with anyio.fail_after(10):
        await anyio.wait_readable(watched)
    os.close(watched)
    return True


NOISY = """
import logging, os, subprocess, sys, warnings
from delm_mcp.store import sqlite
from delm_mcp.board import board

async def noisy(self, *args, **kwargs):
    print("a print on the way")
    os.write(1, b"written to descriptor 1\\n")
    subprocess.run(["echo", "from a child"])
    warnings.warn("a warning on the way")
    logging.getLogger("a.library").warning("a log line on the way")
    return await quiet(self, *args, **kwargs)

quiet, board.Board.claim_task = board.Board.claim_task, noisy
from delm_mcp.cli import main
main()
"""


def test_nothing_but_protocol_gets_onto_standard_output(folder: Path) -> None:
    start_work(folder)
    words = [sys.executable, "-W", "always", "-c", NOISY, "stdio", "--board"]
    with process(folder / "board.db", cwd=folder, command=words) as server:
        greet(server)
        assert call(server, 2, "claim_task")["lease"]  # `receive` insists on JSON lines
        send(server, {"jsonrpc": "2.0", "id": 3, "method": "no/such/method"})
        assert "error" in receive(server, 3)
        assert server.stdin is not None
        server.stdin.write(b"this is not JSON\n")
        server.stdin.flush()
        assert call(server, 4, "read_context")["version"] == 0
        server.stdin.close()
        code, output, errors = ended(server)
    assert code == 0
    for line in output.splitlines():
        assert json.loads(line)["jsonrpc"] == "2.0"
    for noise in (b"a print", b"descriptor 1", b"from a child", b"a warning", b"a log line"):
        assert noise in errors


def test_a_reader_that_went_away_ends_the_server(folder: Path) -> None:
    start_work(folder)
    with process("stdio", "--board", folder / "board.db", cwd=folder) as server:
        greet(server)
        assert call(server, 2, "claim_task")["lease"]
        assert server.stdout is not None
        assert server.stdin is not None
        server.stdout.close()
        params = {"name": "read_context", "arguments": {}}
        send(server, {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params})
        server.stdin.close()
        assert server.stderr is not None
        server.wait(timeout=10)
        assert b"Traceback" not in server.stderr.read()
    anyio.run(released, folder)


@pytest.mark.anyio
@pytest.mark.long
async def test_the_keepalive_holds_even_a_short_lease_of_a_silent_agent(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, lease_s=1.0)
    opened_by_cli(tmp_path, "goal", "--task", "think long", "--policy", policy)
    async with stdio(tmp_path) as thinker, stdio(tmp_path) as rival:
        claim = await hold(thinker)
        other = await do(rival, "claim_task")
        # The rival waits through several lease times without the thinker saying anything.
        none = await do(rival, "claim_task", agent=other["agent"], wait_s=3)
        assert "lease" not in none.facts, "the lease of a live client ran out"
        await finish(thinker, claim, "The parser drops a trailing comma in lists")


@pytest.mark.anyio
async def test_the_keepalive_does_not_acknowledge_news(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, lease_s=0.5)
    opened_by_cli(tmp_path, "goal", "--task", "a", "--task", "b", "--policy", policy)
    async with stdio(tmp_path) as ada, stdio(tmp_path) as bob:
        first = await hold(ada)
        await finish(ada, first, "The parser drops a trailing comma in lists")
        told = await hold(bob)
        assert len(told["news"]) == 1
        # Time for the keepalive to renew; bob's claim would be answered only when a lease ended.
        waited = await do(ada, "claim_task", agent=first["agent"], wait_s=1.5)
        assert "lease" not in waited.facts
        again = await do(bob, "claim_task", agent=told["agent"])
        assert again["news"] == told["news"], "bob's client never said that it had read this"


@pytest.mark.anyio
async def test_servers_in_any_worktree_or_folder_of_a_repository_share_its_board(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", {"src/a.py": "A = 1\n"})
    git(main, "worktree", "add", "-q", "../side", "-b", "side")
    opened_by_cli(main, "goal", "--task", "a", "--task", "b")
    assert (main / ".delm" / ".gitignore").read_text() == "*\n"
    assert git(main, "status", "--porcelain") == ""
    async with (
        stdio(main, mode="auto") as one,
        stdio(tmp_path / "side" / "src", mode="legacy") as two,
    ):
        assert one.protocol_version != two.protocol_version
        claims = [await hold(client) for client in (one, two)]
        assert len({claim["task"]["id"] for claim in claims}) == 2
        assert len({claim["run"] for claim in claims}) == 1
        found = await finish(one, claims[0], "The parser drops a trailing comma in lists")
        news = await do(two, "read_context", agent=claims[1]["agent"])
        assert found["entry"] in news.text
    assert not (tmp_path / "side" / ".delm").exists()


@pytest.mark.anyio
async def test_a_name_given_on_the_command_line_survives_a_restart(tmp_path: Path) -> None:
    opened_by_cli(tmp_path, "goal", "--task", "a", "--task", "b")
    for gist in ("The parser drops a trailing comma in lists", "The parser keeps a comma in sets"):
        async with stdio(tmp_path, "--agent", "carol") as carol:
            claim = await hold(carol)
            assert claim["agent"] == "carol"
            await finish(carol, claim, gist)


@pytest.mark.anyio
async def test_a_principal_named_in_the_environment_may_go_on_under_its_agents_name(tmp_path: Path) -> None:
    opened_by_cli(tmp_path, "goal", "--task", "a")
    async with stdio(tmp_path, DELM_PRINCIPAL="carol") as before:
        name = (await hold(before))["agent"]
    async with stdio(tmp_path, DELM_PRINCIPAL="carol") as after:
        assert (await hold(after, agent=name))["agent"] == name


def test_a_board_that_cannot_be_opened_is_said_on_stderr_only(tmp_path: Path) -> None:
    (tmp_path / "board.db").write_bytes(b"not a database, but long enough to be looked at" * 10)
    done = delm("stdio", "--board", tmp_path / "board.db", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "is not a SQLite database" in done.stderr
    assert "hint" in done.stderr


@pytest.mark.anyio
async def test_a_patch_is_checked_by_any_server_in_the_repository(tmp_path: Path) -> None:
    main = repository(
        tmp_path / "main",
        {
            "a.py": "def f():\n    return 1\n",
            "tests/test_a.py": "from a import f\n\n\ndef test_f():\n    assert f() == 2\n",
        },
    )
    check = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    opened_by_cli(main, "goal", "--task", "repair f", "--check", check)
    git(main, "worktree", "add", "-q", "../side", "-b", "side")
    sha = commit(tmp_path / "side", {"a.py": "def f():\n    return 2\n"}, "repair")
    patch = {
        "kind": "patch",
        "gist": "Return 2 from f in a.py",
        "evidence": [*SEEN, {"type": "command", "ref": "check", "text": sha}],
        "completes": True,
    }
    with anyio.fail_after(60):
        async with stdio(tmp_path / "side", "--commands", "off") as author:
            claim = await hold(author)
            async with stdio(main, "--commands", "process"):
                proposed = await do(author, "propose_update", lease=claim["lease"], **patch)
                while proposed["state"] == "pending":
                    proposed = await do(author, "propose_update", lease=claim["lease"], **patch)
    assert (proposed["state"], proposed["strength"]) == ("admitted", "executed")
    assert proposed["head"] == sha
