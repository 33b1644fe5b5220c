"""Who may call over HTTP, and what each token carries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from delm_mcp.surfaces.web import make_app
from tests.outside import (
    MODES,
    Hall,
    Mode,
    delm_here,
    do,
    hall_in,
    hold,
    http_client,
    refused,
    serving,
)

pytestmark = pytest.mark.anyio
GIST = "The parser drops a trailing comma in lists"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
ACCEPT = {"Accept": "application/json, text/event-stream"}


def made(board: Path, name: str, *words: str) -> str:
    """Make a token with the command line; returns its secret."""
    done = delm_here("token", "create", name, *words, "--board", board, cwd=board.parent)
    assert done.code == 0, done.err
    secret = done.out.strip()
    assert secret.startswith("delm_")
    assert "\n" not in secret
    return secret


@asynccontextmanager
async def app_of(hall: Hall) -> AsyncIterator[httpx2.ASGITransport]:
    """The application that `serve` runs, without sockets."""
    app = make_app(hall.board, host="127.0.0.1", port=8722, with_tokens=True)
    async with app.router.lifespan_context(app):
        yield httpx2.ASGITransport(app)


@asynccontextmanager
async def caller(transport: httpx2.ASGITransport, secret: str, mode: Mode = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {secret}"}
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers) as http,
        Client(streamable_http_client("http://127.0.0.1:8722/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def status(transport: httpx2.ASGITransport, secret: str | None) -> int:
    """The HTTP status that a plain request with this token gets."""
    headers = {name.encode(): value.encode() for name, value in ACCEPT.items()}
    if secret is not None:
        headers[b"Authorization"] = f"Bearer {secret}".encode("latin-1")
    async with httpx2.AsyncClient(transport=transport) as http:
        answer = await http.post("http://127.0.0.1:8722/mcp", headers=headers, json=LIST)
        if answer.status_code == 401:
            assert "bearer" in answer.headers["www-authenticate"].lower()
            assert "claim_task" not in answer.text
        return answer.status_code


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with hall_in(tmp_path, answer_wait_s=0.05) as opened:
        yield opened


async def test_a_served_board_with_tokens_lets_in_only_who_shows_one(tmp_path: Path) -> None:
    board = tmp_path / "board.db"
    secret, other = made(board, "ada"), made(board, "bob")
    async with hall_in(tmp_path) as hall:
        await hall.open("mend it")
    with serving(board) as served:
        assert "bearer tokens" in served.greeting
        async with httpx2.AsyncClient() as http:
            for wrong in ({}, {"Authorization": f"Bearer {secret}x"}, {"Authorization": f"Basic {secret}"}):
                answer = await http.post(served.url, headers={**ACCEPT, **wrong}, json=LIST)
                assert answer.status_code == 401, wrong
        for mode in MODES:
            async with http_client(served.url, mode, secret) as client:
                claim = await do(client, "claim_task")
        async with http_client(served.url, token=other) as client:
            await refused(client, "claim_task", "somebody else", agent=claim["agent"])
            await anyio.to_thread.run_sync(
                lambda: delm_here("token", "revoke", "bob", "--board", board, cwd=tmp_path)
            )
            with pytest.raises(Exception):  # noqa: B017, PT011 - the SDK's error for 401 differs by era
                await client.call_tool("read_context", {})


@pytest.mark.parametrize("mode", MODES)
async def test_an_observer_reads_and_may_not_write(hall: Hall, mode: Mode) -> None:
    await hall.open("mend it")
    secret = made(hall.path, "eve", "--role", "observer")
    before = await hall.rows()
    async with app_of(hall) as transport, caller(transport, secret, mode) as client:
        assert "mend it" in (await do(client, "read_context", view="queue")).text
        await refused(client, "claim_task", "may only read", "role agent")
        await refused(client, "add_tasks", "may only read", tasks=[{"subject": "x"}])
        await refused(client, "propose_update", "may only read", kind="fact", gist=GIST)
    assert await hall.rows() == before


async def test_a_token_for_one_run_sees_no_other(hall: Hall) -> None:
    mine, other = await hall.open("mine"), await hall.open("other")
    secret = made(hall.path, "ada", "--run", mine)
    async with app_of(hall) as transport:
        async with caller(transport, secret) as client:
            claim = await hold(client)  # no run named, and only one is within reach
            assert claim["run"] == mine
            for tool, arguments in {
                "claim_task": {},
                "read_context": {},
                "add_tasks": {"tasks": [{"subject": "x"}]},
            }.items():
                answer = await refused(client, tool, run=other, **arguments)
                assert "other" not in answer.text.replace(other, "")
            await refused(client, "add_tasks", "named runs only", goal="mine too", tasks=[{"subject": "x"}])
        async with caller(transport, made(hall.path, "bob")) as everywhere:
            there = await hold(everywhere, run=other)
            found = await do(
                everywhere,
                "propose_update",
                lease=there["lease"],
                kind="fact",
                gist=GIST,
                evidence=[{"type": "url", "ref": "https://a.example/x"}],
            )
        async with caller(transport, secret) as client:
            for lease in (there["lease"], f"{there['task']['id']}.aaaaaaaaaaaa"):
                answer = await refused(client, "update_task", "no task", lease=lease, action="release")
                assert there["agent"] not in answer.text
            await refused(client, "read_context", "no entry", entries=[found["entry"]])
            await refused(client, "verify", "no entry", entry=found["entry"], verdict="fail", reason="x")
            cited = await do(
                client,
                "propose_update",
                lease=claim["lease"],
                kind="fact",
                gist="Something that rests on the other run",
                derived_from=[found["entry"]],
            )
            assert cited["state"] == "rejected"
            assert GIST not in cited.text


async def test_a_token_bound_to_an_agent_name_speaks_for_no_other(hall: Hall) -> None:
    await hall.open("a", "b")
    bound = made(hall.path, "ada", "--agent", "ada-laptop")
    free = made(hall.path, "bob")
    async with app_of(hall) as transport, caller(transport, bound) as ada, caller(transport, free) as bob:
        claim = await hold(ada)
        assert claim["agent"] == "ada-laptop"
        again = await hold(ada, agent="ada-laptop")
        assert again["lease"] == claim["lease"]
        await refused(ada, "claim_task", "ada-laptop", agent="ada-desktop")
        other = await hold(bob)
        await refused(ada, "update_task", "lease", lease=other["lease"], action="release")
        await refused(bob, "claim_task", "somebody else", agent="ada-laptop")


async def test_a_token_that_is_wrong_expired_or_revoked_is_not_let_in(hall: Hall) -> None:
    good, soon, late = (
        made(hall.path, "good", "--ttl", "1h"),
        made(hall.path, "soon"),
        made(hall.path, "late", "--ttl", "1s"),
    )
    async with app_of(hall) as transport:
        for nonsense in (None, "", "delm_", "delm_x", good[:-1], good.upper(), "é", "x" * 10_000):
            assert await status(transport, nonsense) == 401, nonsense
        assert await status(transport, good) == 200
        with anyio.fail_after(10):
            while await status(transport, late) == 200:
                await hall.board.store.wait(hall.board.store.committed(), 0.1)
        assert await status(transport, soon) == 200
        done = await anyio.to_thread.run_sync(
            lambda: delm_here("token", "revoke", "soon", "--board", hall.path, cwd=hall.path.parent)
        )
        assert done.code == 0, done.err
        assert await status(transport, soon) == 401
        assert await status(transport, good) == 200


async def test_a_revoked_token_ends_even_a_lease_that_it_holds(hall: Hall) -> None:
    await hall.open("a")
    secret = made(hall.path, "ada")
    async with app_of(hall) as transport:
        async with caller(transport, secret) as client:
            claim = await hold(client)
        done = await anyio.to_thread.run_sync(
            lambda: delm_here("token", "revoke", "ada", "--board", hall.path, cwd=hall.path.parent)
        )
        assert done.code == 0
        call = {"name": "update_task", "arguments": {"lease": claim["lease"], "action": "renew"}}
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        async with httpx2.AsyncClient(transport=transport) as http:
            headers = {**ACCEPT, "Authorization": f"Bearer {secret}"}
            answer = await http.post("http://127.0.0.1:8722/mcp", headers=headers, json=body)
        assert answer.status_code == 401


async def test_secrets_are_kept_nowhere(hall: Hall) -> None:
    secret = made(hall.path, "ada")
    listed = await anyio.to_thread.run_sync(
        lambda: delm_here("token", "list", "--board", hall.path, cwd=hall.path.parent)
    )
    assert "ada" in listed.out
    assert secret not in listed.out + listed.err
    for file in hall.path.parent.iterdir():
        if file.is_file():
            assert secret.encode() not in file.read_bytes()
            assert secret.removeprefix("delm_").encode() not in file.read_bytes()


async def test_a_server_that_was_started_without_tokens_turns_away_who_shows_one(hall: Hall) -> None:
    app = make_app(hall.board, host="127.0.0.1", port=8722, with_tokens=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), headers=ACCEPT) as http,
    ):
        url = "http://127.0.0.1:8722/mcp"
        shown = await http.post(url, json=LIST, headers={"Authorization": "Bearer delm_late"})
        without = await http.post(url, json=LIST)
    assert (shown.status_code, without.status_code) == (401, 200)
    assert "Restart" in shown.json()["error"]
