"""Callers that hang up or lose their right while they wait: nothing is leased to them."""

import os
import shutil
from pathlib import Path

import anyio
import httpx2
import pytest

from delm_mcp.board import tokens
from delm_mcp.domain.model import Agent, RunId
from delm_mcp.errors import StoreUnavailable
from delm_mcp.store.base import Tx
from tests.outside import ADA, Hall, do, hall_in, hold, http_client, refused, serving
from tests.test_http_tokens import app_of, caller

pytestmark = pytest.mark.anyio


def call(tool: str, arguments: dict[str, object]) -> dict[str, object]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


def list_board(folder: Path) -> list[Path]:
    return list(folder.glob("board.db*"))


async def agents(hall: Hall, run: str, at_least: int) -> list[Agent]:
    """The run's agents, once there are so many."""

    def found(tx: Tx) -> list[Agent]:
        return tx.agents(RunId(run))

    while True:
        cursor = hall.board.store.committed()
        rows = await hall.board.store.read(found)
        if len(rows) >= at_least:
            return rows
        await hall.board.store.wait(cursor, 1)


async def test_a_client_that_hangs_up_while_it_waits_takes_no_task(tmp_path: Path) -> None:
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    async with hall_in(tmp_path) as hall:
        run = await hall.open("first")
        with serving(hall.path) as served, anyio.fail_after(60):
            async with http_client(served.url) as ada:
                held = await hold(ada, run=run)
                async with (
                    httpx2.AsyncClient(headers=headers, timeout=60) as http,
                    anyio.create_task_group() as group,
                ):
                    wait = call("claim_task", {"run": run, "wait_s": 25})
                    group.start_soon(lambda: http.post(served.url, json=wait))
                    await agents(hall, run, at_least=2)
                    group.cancel_scope.cancel()
                await do(ada, "add_tasks", lease=held["lease"], tasks=[{"subject": "second"}])
                other = await hold(ada, run=run, wait_s=20)

                assert other["task"]["subject"] == "second"


async def test_a_token_that_is_revoked_during_a_wait_gets_no_task(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall, app_of(hall) as app:
        run = await hall.open("first")
        held = await hall.board.claim_task(ADA, run=run)
        _, secret = await tokens.create(hall.board.store, hall.board.clock(), name="carl")

        async def wait() -> None:
            async with caller(app, secret) as carl:
                await refused(carl, "claim_task", "not valid any more", run=run, wait_s=25)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await agents(hall, run, at_least=2)
                await tokens.revoke(hall.board.store, hall.board.clock(), "carl")
                await hall.board.update_task(ADA, lease=held.lease, action="release")


async def test_a_board_that_was_deleted_takes_no_writes(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        run = await hall.open("first", "second")
        kept = tmp_path / "kept"
        kept.mkdir()
        for path in list_board(tmp_path):
            shutil.move(path, kept / path.name)
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await hall.board.claim_task(ADA, run=run)
        for path in kept.iterdir():
            os.replace(path, tmp_path / path.name)

        assert (await hall.board.claim_task(ADA, run=run)).task is not None
