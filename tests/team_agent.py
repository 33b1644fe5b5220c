"""A coding agent without a model, as teams in tests launch it: it speaks MCP and commits with git.

It knows the repairs of one repository. What else it does is asked for with `--first`, and done by the first
process only (`--state` remembers it): `hang` with a task, `leave` with one, or `ponder` for two leases.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def tell(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def joined(config: str) -> AsyncIterator[Client]:
    """A session with the server that an mcp.json describes."""
    entry = json.loads(config)["mcpServers"]["delm"]
    if entry["type"] == "stdio":
        parameters = StdioServerParameters(
            command=entry["command"], args=entry["args"], env={**os.environ, **entry["env"]}
        )
        async with Client(stdio_client(parameters)) as client:
            yield client
        return
    headers = {name: os.path.expandvars(value) for name, value in entry["headers"].items()}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(entry["url"], http_client=http)) as client,
    ):
        yield client


def git(worktree: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=worktree, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Agent:
    """Works until the board says stop."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.first = ""
        self.client: Client
        self.config = asked.config.read_text()
        mark = Path(asked.state) / asked.label
        if asked.first and not mark.exists():
            mark.touch()
            self.first = asked.first

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, again while the server is being started again."""
        until = time.monotonic() + 30
        while True:
            try:
                result = await self.client.call_tool(tool, arguments)
                break
            except MCPError:
                if time.monotonic() > until:
                    raise
                await anyio.sleep(0.2)
        facts = dict(result.structured_content or {})
        if result.is_error:
            raise RuntimeError(str(facts))
        return facts

    async def work(self) -> None:
        async with joined(self.config) as self.client:
            await self.tasks()

    async def tasks(self) -> None:
        while True:
            claim = await self.call("claim_task", wait_s=25)
            task = claim.get("task")
            if task is None:
                tell(event="said", text=str(claim.get("next")))
                return
            await self.first_time(task["subject"])
            self.all_claimed()
            if task["kind"] == "decide":
                await self.decide(claim["lease"])
            else:
                await self.mend(task["subject"].split()[-1], claim["lease"])
            if self.asked.cost >= 0:
                tell(event="spent", input_tokens=1000, output_tokens=100, cost_usd=self.asked.cost or None)

    async def first_time(self, subject: str) -> None:
        if self.first == "leave":
            os._exit(0)
        if self.first == "ponder":
            self.first = ""
            await anyio.sleep(2 * self.asked.lease)
        if self.first == "hang":
            (self.asked.worktree / "notes.txt").write_text(f"half of {subject}\n")
            tell(event="said", text="hanging")
            await anyio.sleep_forever()

    def all_claimed(self) -> None:
        """Wait until each of so many agents has a task, so that none does all of them."""
        if self.asked.together:
            (Path(self.asked.state) / f"{self.asked.label}.claimed").touch()
            while len(list(Path(self.asked.state).glob("*.claimed"))) < self.asked.together:
                time.sleep(0.05)

    async def mend(self, name: str, lease: str) -> None:
        """Repair one module on the run's head, commit, and propose it."""
        worktree = self.asked.worktree
        heads = git(worktree, "for-each-ref", "--format=%(objectname)", "refs/delm/**/head")
        for head in heads.split():
            git(worktree, "merge", "--quiet", "--no-edit", head)
        (worktree / name).write_text((Path(self.asked.fixes) / name).read_text())
        git(worktree, "add", name)
        git(worktree, "commit", "--quiet", "--allow-empty", "-m", f"Mend {name}")
        evidence = [{"type": "command", "ref": "check", "text": git(worktree, "rev-parse", "HEAD")}]
        proposed = await self.call(
            "propose_update",
            lease=lease, kind="patch", gist=f"{name} does what its tests demand", evidence=evidence,
            completes=True,
        )  # fmt: skip
        while proposed["state"] == "pending":
            await anyio.sleep(0.2)
            read = await self.call("read_context", entries=[proposed["entry"]])
            proposed["state"] = read["items"][0]["state"]
        if proposed["state"] != "admitted":
            raise RuntimeError(str(proposed))

    async def decide(self, lease: str) -> None:
        read = await self.call("read_context", kind="patch")
        derived = [item["entry"] for item in read.get("items", ())]
        await self.call(
            "propose_update",
            lease=lease, kind="answer", gist=f"All {len(derived)} modules are mended", derived_from=derived,
            completes=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--worktree", type=Path)
    parser.add_argument("--label")
    parser.add_argument("--fixes", default="")
    parser.add_argument("--state", default="")
    parser.add_argument("--first", default="")
    parser.add_argument("--lease", type=float, default=0)
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--cost", type=float, default=-1)
    agent = Agent(parser.parse_args())
    anyio.run(agent.work)


if __name__ == "__main__":
    main()
