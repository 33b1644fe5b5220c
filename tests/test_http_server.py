"""`delm-mcp serve` as a process: real clients of both eras, restarts, many callers, and its end."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client

from tests.outside import (
    MODES,
    Mode,
    Served,
    ask,
    audited,
    delm_here,
    do,
    finish,
    hall_in,
    hold,
    http_client,
    serving,
)

GIST = "The parser drops a trailing comma in lists"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "board.db"


@pytest.fixture(scope="module")
def server(board: Path) -> Iterator[Served]:
    """One server for the tests of this module that need no other; each opens a run of its own."""
    with serving(board) as served:
        yield served
        assert served.end(signal.SIGTERM, within_s=15) < 12


async def opened(path: Path, *tasks: str) -> str:
    """Open a run on the board from another process than the server's."""
    async with hall_in(path.parent) as hall:
        return await hall.open(*tasks)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", MODES)
async def test_a_worker_does_its_job_over_http(server: Served, board: Path, mode: Mode) -> None:
    run = await opened(board, "a", "b")
    async with http_client(server.url, mode) as client:
        assert len((await client.list_tools()).tools) == 6
        assert client.instructions
        claim = await hold(client, run=run)
        await finish(client, claim, GIST)
        read = await do(client, "read_context", run=run)
        assert GIST in read.text
        again = await hold(client, agent=claim["agent"], run=run)
        assert again["task"]["subject"] == "b"
        assert again["news"]
        wrong = await ask(client, "claim_task", run="r-none")
        assert wrong.is_error
        assert "Runs here" in wrong.text


@pytest.mark.anyio
async def test_answers_come_as_json_without_a_session(server: Served) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.post(
            server.url,
            headers={"Accept": "application/json, text/event-stream"},
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert "mcp-session-id" not in answer.headers
        assert len(answer.json()["result"]["tools"]) == 6


@pytest.mark.anyio
async def test_health_is_told_without_a_token(server: Served) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.get(server.url.replace("/mcp", "/healthz"))
    assert answer.status_code == 200
    health = answer.json()
    assert health["status"] == "ok"
    assert set(health) == {"status", "version", "runs"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:80"}, {"Origin": "http://evil.example"}],
    ids=str,
)
async def test_a_page_that_rebinds_its_name_to_loopback_is_refused(
    server: Served, headers: dict[str, str]
) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.post(
            server.url,
            headers={"Accept": "application/json, text/event-stream", **headers},
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        )
    assert answer.status_code in {403, 421}
    assert "claim_task" not in answer.text


def test_every_loopback_address_is_guarded_against_rebinding(tmp_path: Path) -> None:
    with serving(tmp_path / "board.db", "--host", "127.0.0.2") as served:
        answer = httpx2.post(
            served.url,
            headers={"Accept": "application/json, text/event-stream", "Host": "evil.example"},
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        )
        assert answer.status_code in {403, 421}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 400), (b"\xff\xfe", 400), (b'{"jsonrpc": "2.0"}', 400)]
)
async def test_a_body_that_is_no_request_is_refused_and_the_server_goes_on(
    server: Served, body: bytes, status: int
) -> None:
    async with httpx2.AsyncClient() as client:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        answer = await client.post(server.url, headers=headers, content=body)
        assert answer.status_code == status
        assert "Traceback" not in answer.text
        assert (await client.get(server.url.replace("/mcp", "/healthz"))).status_code == 200


@pytest.mark.anyio
async def test_concurrent_callers_get_tasks_of_their_own(server: Served, board: Path) -> None:
    run = await opened(board, *(f"task {number}" for number in range(24)))
    claimed: list[str] = []

    async def work(mode: Mode) -> None:
        async with http_client(server.url, mode) as client:
            for _ in range(3):
                claim = await hold(client, run=run)
                claimed.append(claim["task"]["id"])
                await finish(client, claim, f"Task {claim['task']['id']} of the parser is settled")

    with anyio.fail_after(40):
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(work, MODES[number % 2])
    assert len(claimed) == len(set(claimed)) == 24


@pytest.mark.anyio
async def test_a_waiting_caller_is_woken_by_another(server: Served, board: Path) -> None:
    run = await opened(board, "first")
    async with http_client(server.url) as ada, http_client(server.url, "legacy") as bob:
        held = await hold(ada, run=run)
        none = await do(bob, "claim_task", run=run)
        with anyio.fail_after(15):
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    woken = await hold(bob, agent=none["agent"], run=run, wait_s=25)
                    assert woken["task"]["subject"] == "second"

                group.start_soon(wait)
                await do(ada, "add_tasks", lease=held["lease"], tasks=[{"subject": "second"}])


@pytest.mark.anyio
@pytest.mark.parametrize("mode", MODES)
async def test_a_worker_goes_on_where_it_was_after_the_server_was_killed(tmp_path: Path, mode: Mode) -> None:
    board = tmp_path / "board.db"
    run = await opened(board, "a", "b")
    with ExitStack() as servers:
        first = servers.enter_context(serving(board))
        async with http_client(first.url, mode) as client:
            claim = await hold(client, run=run)
            fact = {
                "lease": claim["lease"],
                "kind": "fact",
                "gist": GIST,
                "evidence": [{"type": "url", "ref": "http://a.example"}],
            }
            noted = await do(client, "propose_update", **fact)
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            second = servers.enter_context(serving(board, port=first.port))
            assert second.url == first.url
            again = await do(client, "propose_update", **fact)
            assert (again["entry"], again["replayed"]) == (noted["entry"], True)
            await do(client, "update_task", lease=claim["lease"], action="renew")
            done = await finish(client, claim, "The parser keeps a trailing comma in sets")
            assert done["task_state"] == "done"
            following = await hold(client, agent=claim["agent"], run=run)
            assert following["task"]["subject"] == "b"
    await anyio.to_thread.run_sync(audited, board)


@pytest.mark.anyio
async def test_sigterm_ends_a_server_in_time_though_a_caller_waits(tmp_path: Path) -> None:
    board = tmp_path / "board.db"
    run = await opened(board, "only one")
    with serving(board) as served:
        async with http_client(served.url) as busy, http_client(served.url) as idle:
            await hold(busy, run=run)
            none = await do(idle, "claim_task", run=run)
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    group.start_soon(wait_in_vain, idle, none["agent"], run)
                    await do(busy, "read_context", run=run)
                    took = await anyio.to_thread.run_sync(served.end, signal.SIGTERM, 20)
                    group.cancel_scope.cancel()
        assert took < 10
        assert served.process.returncode in {0, -signal.SIGTERM}
        assert served.process.stderr is not None
        assert b"Traceback" not in served.process.stderr.read()
    await anyio.to_thread.run_sync(audited, board)


async def wait_in_vain(client: Client, agent: str, run: str) -> None:
    """A long wait that the server's end cuts off, with whatever error the SDK has for it."""
    with suppress(Exception):
        await client.call_tool("claim_task", {"agent": agent, "run": run, "wait_s": 25})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_and_without_complaint(tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "board.db") as served:
        assert served.end(number, within_s=10) < 5
        assert served.process.stderr is not None
        assert b"Traceback" not in served.process.stderr.read()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = delm_here("serve", "--board", tmp_path / "board.db", "--port", str(port), cwd=tmp_path)
    assert done.code == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.err
    assert "--port" in done.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "board.example"])  # noqa: S104
def test_without_tokens_nothing_beyond_loopback_is_served(tmp_path: Path, host: str) -> None:
    done = delm_here("serve", "--board", tmp_path / "board.db", "--host", host, "--port", "0", cwd=tmp_path)
    assert done.code == 1
    assert "no tokens" in done.err
    assert "delm-mcp token create" in done.err


@pytest.mark.parametrize("commands", ["auto", "process"])
def test_commands_without_a_sandbox_are_refused_beyond_loopback(tmp_path: Path, commands: str) -> None:
    board = ("--board", tmp_path / "board.db")
    assert delm_here("token", "create", "ada", *board, cwd=tmp_path).code == 0
    done = delm_here(
        "serve",
        *board,
        "--host",
        "192.0.2.1",
        "--port",
        "0",
        "--commands",
        commands,
        cwd=tmp_path,
    )
    assert done.code == 1
    assert "without a sandbox" in done.err
    assert "--commands bubblewrap" in done.err
