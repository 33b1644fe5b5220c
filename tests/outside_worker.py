"""Agents in processes of their own: `python -m tests.outside_worker` forks one for each line that it reads.

A line is a `Spec` as JSON, or `go`, which lets everybody begin who waits. Forking saves each of them the
imports. They talk in JSON lines on standard output, each with the `pid` of who says it.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.shared.exceptions import MCPError

from delm_mcp.board import checking, proposals
from delm_mcp.cli import app
from delm_mcp.cli.wiring import opened
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.surfaces.mcp import make_server
from tests.outside import SEEN, Said, ask, http_client

Say = Callable[..., None]
WAIT_S = 2.0
CHECK_LEASE_S = 1.0  # of checks, so that one whose process was killed is soon taken over


async def board_worker(spec: dict[str, Any], ready: Callable[[], Awaitable[None]], say: Say) -> None:
    """An agent with a server of its own on the board's file, as `delm-mcp stdio` is; it runs checks too."""
    board = Path(spec["board"])
    with chdir(spec.get("repo", board.parent)):
        async with opened(board, commands="process" if "commits" in spec else "off", works=True) as served:
            caller = Caller(Principal(f"process:{os.getpid()}"))
            async with Client(make_server(served.board, lambda: caller)) as client:
                await ready()
                await work(client, spec, say)


async def http_worker(spec: dict[str, Any], ready: Callable[[], Awaitable[None]], say: Say) -> None:
    """An agent on a server somewhere else; where the server may die, it connects again."""
    await ready()
    while True:
        try:
            async with http_client(spec["url"], spec.get("mode", "auto")) as client:
                return await work(client, spec, say)
        except* (httpx2.TransportError, MCPError):
            if not spec.get("patient"):
                raise
            await anyio.sleep(0.1)  # nobody tells when a port is listened on


def serve(spec: dict[str, Any], say: Say) -> None:
    """`delm-mcp serve`, until it is killed."""
    with chdir(spec["repo"]):
        say(event="ready")
        words = ["serve", "--board", spec["board"], "--port", spec["serve"], "--commands", "process"]
        app(words, standalone_mode=False)


async def work(client: Client, spec: dict[str, Any], say: Say) -> None:
    """Claim and finish tasks until the run is over; say every acknowledged write."""
    while True:
        agent = spec.get("agent", "")
        claim = await ask(client, "claim_task", agent=agent, run=spec["run"], wait_s=WAIT_S)
        if claim.is_error or claim.facts.get("run_state", "open") != "open":
            say(event="over", why=claim.text)
            return
        spec["agent"] = claim["agent"]
        if "lease" not in claim.facts:
            continue
        task = claim["task"]
        say(event="claimed", task=task["id"], kind=task["kind"])
        proposal = await _answer(client, spec) if task["kind"] == "decide" else _result(spec, task)
        proposed = await ask(client, "propose_update", lease=claim["lease"], completes=True, **proposal)
        _report(say, task["id"], proposed)


def _report(say: Say, task: str, proposed: Said) -> None:
    if proposed.is_error:
        say(event="refused", task=task, why=proposed.text)
    else:
        facts = proposed.facts
        say(event="proposed", task=task, entry=facts["entry"], state=facts["state"], why=proposed.text)


def _result(spec: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """The result of a task: a patch where there are commits, else a fact."""
    number = task["subject"].rsplit(" ", 1)[1]
    if "commits" not in spec:
        return {"kind": "fact", "gist": f"Part {number} of the whole is settled", "evidence": SEEN}
    cited = {"type": "command", "ref": "check", "text": spec["commits"][int(number)]}
    return {"kind": "patch", "gist": f"Add part {number} of the whole", "evidence": [cited]}


async def _answer(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    kind = "patch" if "commits" in spec else "fact"
    known = await ask(client, "read_context", run=spec["run"], kind=kind)
    parents = [item["entry"] for item in known.facts.get("items", [])][:1]
    return {"kind": "answer", "gist": "Every part of the whole is there", "derived_from": parents}


def _child(spec: dict[str, Any], gate: int) -> None:
    """What a forked process does, up to its end."""

    def say(**facts: Any) -> None:
        # One write, shorter than a pipe's atomic size, so that lines of many processes do not mix.
        facts["why"] = str(facts.get("why", ""))[:1500]
        os.write(1, json.dumps({"pid": os.getpid(), **facts}).encode() + b"\n")

    async def ready() -> None:
        say(event="ready")
        if spec.get("at_once"):
            return
        await anyio.to_thread.run_sync(os.read, gate, 1)

    code = 1
    try:
        for module in (proposals, checking):
            module.CHECK_LEASE_S = CHECK_LEASE_S  # type: ignore[attr-defined]
        checking.RETRY_S = 0.3
        if "serve" in spec:
            serve(spec, say)
        else:
            anyio.run(http_worker if "url" in spec else board_worker, spec, ready, say)
        code = 0
    except BaseException:
        say(event="crashed", why=traceback.format_exc()[-1400:])
    os._exit(code)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children; the system reaps them
    gate, key = os.pipe()
    for line in iter(sys.stdin.readline, ""):
        if line.strip() == "go":
            os.close(key)
            os.close(gate)
            gate, key = os.pipe()
            continue
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(key)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            _child(json.loads(line), gate)


if __name__ == "__main__":
    main()
