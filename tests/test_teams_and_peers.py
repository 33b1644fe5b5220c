"""Teams of one, of two behind one token, and of two of whom one dies: under every preset the run ends, and
says what rests on its author's word only.
"""

import json
import re
import subprocess
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from tests.outside import (
    Said,
    ask,
    delm_here,
    do,
    hold,
    http_client,
    opened_by_cli,
    process,
    refused,
    serving,
    stdio,
)
from tests.test_stdio_server import call, greet

pytestmark = pytest.mark.anyio
PRESETS = ("open", "standard", "strict")
# Each of these starts processes, and without peers there is less to see.
LESS_OFTEN = (*(pytest.param(name, marks=pytest.mark.long) for name in PRESETS[:2]), "strict")
WITHOUT_PEERS = (pytest.param("open", marks=pytest.mark.long), "standard")
WITHIN_S = 50.0
NOTES = "Part 1 was measured on Monday.\nPart 2 was measured on Tuesday.\nPart 3 was measured on Friday.\n"
LINES = NOTES.splitlines()
Process = subprocess.Popen[bytes]


def start(
    folder: Path,
    preset: str,
    *,
    no_peers: str = "attest",
    patience_s: float = 0.5,
    tasks: int = 2,
    **limits: float,
) -> None:
    """Open a run with little patience: a preset with other times, and tasks that a source answers."""
    (folder / "notes.md").write_text(NOTES, encoding="utf-8")
    lines = [
        f'preset = "{preset}"',
        "[peers]",
        f"peer_wait_s = {patience_s}",
        f'no_peers = "{no_peers}"',
        "[limits]",
        *(f"{name} = {value}" for name, value in {"decide_grace_s": 0, **limits}.items()),
    ]
    (folder / "team.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [word for number in range(1, tasks + 1) for word in ("--task", f"part {number}")]
    board = folder / "board.db"
    opened_by_cli(folder, "goal", *words, "--policy", "./team.toml", "--source", "notes.md", "--board", board)


def seen(folder: Path, *words: str) -> dict[str, Any]:
    """What a command of the owner's prints as JSON."""
    done = delm_here(*words, "--json", "--board", folder / "board.db", cwd=folder)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def printed(folder: Path, *words: str) -> str:
    done = delm_here(*words, "--board", folder / "board.db", cwd=folder)
    assert done.code == 0, done.err
    return done.out


@dataclass
class Worker:
    """An agent that does whatever it is given, until it is told that the run is over.

    Attributes:
        kinds: The tasks that it was given.
        states: What its proposals were answered.
        vouches_for: Tasks for which it gives its word instead of a quote.
        gives_up: Gives a task up once a result of it was turned down.
    """

    client: Client
    agent: str = ""
    vouches_for: frozenset[str] = frozenset()
    gives_up: bool = False
    kinds: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    async def work(self) -> Said:
        """Go on until the run is over; returns the answer that says so."""
        while True:
            claim = await do(self.client, "claim_task", agent=self.agent, wait_s=2)
            self.agent = claim["agent"]
            if claim.facts.get("run_state", "open") != "open":
                return claim
            if "lease" in claim.facts:
                await self.serve(claim)

    async def serve(self, claim: Said) -> None:
        kind = claim["task"]["kind"]
        self.kinds.append(kind)
        if kind == "verify":
            await self.judge(claim)
            return
        if self.gives_up and "earlier" in claim["task"]:
            note = "there is no peer to judge it"
            await do(self.client, "update_task", lease=claim["lease"], action="fail", note=note)
            return
        more = await self.answer() if kind == "decide" else self.finding(claim["task"]["subject"])
        proposed = await do(self.client, "propose_update", lease=claim["lease"], completes=True, **more)
        self.states.append(proposed["state"])

    async def judge(self, claim: Said) -> None:
        """Pass what the notes say word for word, or an answer that rests on something."""
        case = claim["task"]["case"]
        true = any(f"gist: «{line}»" in case for line in LINES) or "rests on" in case
        await do(
            self.client,
            "verify",
            lease=claim["lease"],
            entry=claim["task"]["about"],
            verdict="pass" if true else "fail",
            reason="read it in the notes again" if true else "the notes do not say so",
            fails=[] if true else ["support"],
        )

    async def answer(self) -> dict[str, Any]:
        """An answer that rests on whatever is live."""
        known = await do(self.client, "read_context", kind="fact")
        parents = [row["entry"] for row in known.facts.get("items", []) if row["state"] == "admitted"]
        return {
            "kind": "answer",
            "gist": "Whatever could be measured was measured",
            "derived_from": parents,
        }

    def finding(self, subject: str) -> dict[str, Any]:
        """What the notes say to a task."""
        line = LINES[int(subject.split()[1]) - 1]
        quote = {"type": "quote", "ref": "notes.md", "text": line}
        word = {"type": "artifact", "ref": "what I saw", "text": f"I was there: {line}"}
        return {"kind": "fact", "gist": line, "evidence": [word if subject in self.vouches_for else quote]}


def strengths(folder: Path) -> dict[str, str]:
    """What the context says of the strength of each entry that was ever admitted."""
    return dict(re.findall(r"^v\d+ \+ (E\d+) \w+ \[(\w+)\]", printed(folder, "context"), re.MULTILINE))


def by_peers(folder: Path) -> dict[str, str]:
    """What peers made of each admitted entry, as `why` tells; empty where nobody was asked."""
    found = {}
    for label in strengths(folder):
        receipts = {row["check"]: row["verdict"] for row in seen(folder, "why", label)["receipts"]}
        found[label] = receipts.get("peers", "")
    return found


def ended(folder: Path, state: str = "finished") -> dict[str, Any]:
    """Insist on how the only run ended, and that its history is whole; returns what `status` says of it."""
    (run,) = seen(folder, "status")["runs"]
    assert run["state"] == state, run
    audited = delm_here("audit", "--board", folder / "board.db", cwd=folder)
    assert audited.code == 0, audited.out
    return dict(run)


def insist_unjudged(folder: Path, preset: str) -> None:
    """Every entry got in without a peer's word, and is not said to have more."""
    ended(folder)
    nobody = "abstain" if preset == "strict" else ""
    assert set(by_peers(folder).values()) == {nobody}
    answer = list(strengths(folder))[-1]
    assert strengths(folder)[answer] == "attested"
    proposals = seen(folder, "stats")["total"]["proposals"]
    assert proposals["without_peers"] == (proposals["admitted"] if preset == "strict" else 0)
    if preset == "strict":
        assert "no other principal there" in printed(folder, "why", answer)


# -- alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", LESS_OFTEN)
async def test_a_lone_agent_ends_its_run_with_what_is_attested_only(tmp_path: Path, preset: str) -> None:
    start(tmp_path, preset)
    # Where the policy lets it, one finding has nothing behind it that the server could look up.
    vouched = frozenset() if preset == "strict" else frozenset({"part 2"})
    async with stdio(tmp_path, "--board", tmp_path / "board.db") as client:
        with anyio.fail_after(WITHIN_S):
            worker = Worker(client, vouches_for=vouched)
            end = await worker.work()
    assert end["run_state"] == "finished"
    assert worker.kinds == ["work", "work", "decide"]
    if preset == "strict":
        assert set(worker.states) == {"pending"}
    assert "attested" in end.text, "its own answer comes as news with its strength"
    insist_unjudged(tmp_path, preset)
    expected = {
        "open": ["attested", "attested", "attested"],
        "standard": ["quoted", "attested", "attested"],
        "strict": ["quoted", "quoted", "attested"],
    }
    assert list(strengths(tmp_path).values()) == expected[preset]


@pytest.mark.parametrize("preset", LESS_OFTEN)
async def test_two_agents_behind_one_token_never_verify_each_other(tmp_path: Path, preset: str) -> None:
    start(tmp_path, preset, tasks=3, patience_s=2)
    secret = printed(tmp_path, "token", "create", "ada").strip()
    with serving(tmp_path / "board.db") as served, anyio.fail_after(WITHIN_S):
        async with (
            http_client(served.url, token=secret) as one,
            http_client(served.url, token=secret) as two,
        ):
            workers = [Worker(one), Worker(two)]
            first = await hold(one)
            workers[0].agent = first["agent"]
            await workers[0].serve(first)
            if preset == "strict":
                other = await hold(two)
                assert (other["agent"] != first["agent"], other["task"]["kind"]) == (True, "work")
                await refused(
                    two, "claim_task", "your own entry, or of an agent of your principal", task="T4"
                )
                workers[1].agent = other["agent"]
                await workers[1].serve(other)
            async with anyio.create_task_group() as group:
                for worker in workers:
                    group.start_soon(worker.work)
    assert "verify" not in [kind for worker in workers for kind in worker.kinds]
    assert workers[0].agent != workers[1].agent
    insist_unjudged(tmp_path, preset)


# -- two, of whom one dies -----------------------------------------------------------------------


async def waits_for_a_peer(client: Client) -> Worker:
    """An author whose only result waits for a verdict."""
    worker = Worker(client)
    claim = await hold(client)
    worker.agent = claim["agent"]
    await worker.serve(claim)
    assert worker.states == ["pending"]
    return worker


def raw(peer: Process, number: int, tool: str, **arguments: Any) -> Awaitable[dict[str, Any]]:
    """Call a tool of a server over its pipes."""
    return anyio.to_thread.run_sync(lambda: call(peer, number, tool, **arguments))


@pytest.mark.long
async def test_a_peer_killed_with_the_verify_task_does_not_hold_up_the_run(tmp_path: Path) -> None:
    start(tmp_path, "strict", patience_s=5, tasks=1, lease_s=1, agent_live_s=1)
    board = tmp_path / "board.db"
    with process("stdio", "--board", board, cwd=tmp_path) as peer, anyio.fail_after(WITHIN_S):
        async with stdio(tmp_path, "--board", board) as client:
            await anyio.to_thread.run_sync(greet, peer)
            author = await waits_for_a_peer(client)
            held = await raw(peer, 2, "claim_task", wait_s=5)
            assert held["task"]["kind"] == "verify"
            peer.kill()
            end = await author.work()
    assert end["run_state"] == "finished"
    assert author.kinds == ["work", "decide"]
    insist_unjudged(tmp_path, "strict")


@pytest.mark.long
async def test_a_peer_that_falls_silent_with_the_verify_task_does_not_hold_up_the_run(
    tmp_path: Path,
) -> None:
    start(tmp_path, "strict", patience_s=5, tasks=1, lease_s=2, agent_live_s=2)
    secrets = [printed(tmp_path, "token", "create", name).strip() for name in ("ada", "bob")]
    with serving(tmp_path / "board.db") as served, anyio.fail_after(WITHIN_S):
        async with (
            http_client(served.url, token=secrets[0]) as one,
            http_client(served.url, token=secrets[1]) as two,
        ):
            author = await waits_for_a_peer(one)
            held = await hold(two, wait_s=5)
            assert held["task"]["kind"] == "verify"
            end = await author.work()
            late = await ask(
                two, "verify", lease=held["lease"], entry="E1", verdict="fail", reason="no", fails=["support"]
            )
    assert end["run_state"] == "finished"
    assert late.is_error, "a verdict after the end changed something"
    insist_unjudged(tmp_path, "strict")


@pytest.mark.parametrize("preset", WITHOUT_PEERS)
@pytest.mark.long
async def test_a_peer_killed_with_half_of_the_work_does_not_hold_up_the_run(
    tmp_path: Path, preset: str
) -> None:
    start(tmp_path, preset, lease_s=1, agent_live_s=1)
    board = tmp_path / "board.db"
    with process("stdio", "--board", board, cwd=tmp_path) as peer, anyio.fail_after(WITHIN_S):
        async with stdio(tmp_path, "--board", board) as client:
            author = Worker(client)
            claim = await hold(client)
            author.agent = claim["agent"]
            await anyio.to_thread.run_sync(greet, peer)
            held = await raw(peer, 2, "claim_task")
            assert held["task"]["kind"] == "work"
            peer.kill()
            await author.serve(claim)
            await author.work()
    assert author.kinds == ["work", "work", "decide"]
    insist_unjudged(tmp_path, preset)


@pytest.mark.parametrize("preset", WITHOUT_PEERS)
async def test_a_dispute_whose_challenger_dies_leaves_an_entry_on_which_nobody_relies(
    tmp_path: Path, preset: str
) -> None:
    start(tmp_path, preset, lease_s=1, agent_live_s=1)
    board = tmp_path / "board.db"
    with process("stdio", "--board", board, cwd=tmp_path) as peer, anyio.fail_after(WITHIN_S):
        async with stdio(tmp_path, "--board", board) as client:
            author = Worker(client)
            claim = await hold(client)
            author.agent = claim["agent"]
            await author.serve(claim)
            await anyio.to_thread.run_sync(greet, peer)
            held = await raw(peer, 2, "claim_task")
            doubt = {"verdict": "fail", "reason": "I was there on Monday", "fails": ["support"]}
            judged = await raw(peer, 3, "verify", entry="E1", lease=held["lease"], **doubt)
            assert judged["state"] == "suspect"
            peer.kill()
            end = await author.work()
    assert end["run_state"] == "finished"
    assert "verify" not in author.kinds
    run = ended(tmp_path)
    states = {row["entry"]: row["state"] for row in run["latest"]}
    assert states == {"E1": "suspect", "E2": "admitted", "E3": "admitted"}
    assert "? E1 suspect, do not rely on" in printed(tmp_path, "context")
    assert "rests on E1" not in printed(tmp_path, "why", "E3")


# -- no peers, and none wanted -------------------------------------------------------------------


@pytest.mark.parametrize("preset", LESS_OFTEN)
async def test_where_peers_are_required_a_stubborn_lone_agent_stalls_and_hears_why(
    tmp_path: Path, preset: str
) -> None:
    start(tmp_path, preset, no_peers="reject", tasks=1, max_rejections=2, max_attempts=1)
    async with stdio(tmp_path, "--board", tmp_path / "board.db") as client:
        worker = Worker(client)
        with anyio.fail_after(WITHIN_S):
            end = await worker.work()
            heard = await do(client, "read_context", agent=worker.agent)
    if preset != "strict":
        assert end["run_state"] == "finished"
        return
    assert end["run_state"] == "stalled"
    assert worker.kinds == ["work", "work", "decide", "decide"]
    run = ended(tmp_path, "stalled")
    assert "nobody could decide" in run["reason"]
    assert {row["state"] for row in run["latest"]} == {"rejected"}
    assert all("no other principal there" in row["reason"] for row in run["latest"])
    assert "by policy it is rejected" in heard.text
    assert strengths(tmp_path) == {}


async def test_where_peers_are_required_a_lone_agent_can_give_up_in_good_order(tmp_path: Path) -> None:
    start(tmp_path, "strict", no_peers="reject", tasks=1, max_attempts=1)
    async with stdio(tmp_path, "--board", tmp_path / "board.db") as client:
        worker = Worker(client, gives_up=True)
        with anyio.fail_after(WITHIN_S):
            end = await worker.work()
    assert end["run_state"] == "stalled"
    run = ended(tmp_path, "stalled")
    assert "no peer to judge it" in run["reason"]


# -- two who do not depend on each other ---------------------------------------------------------


@pytest.mark.long
async def test_two_independent_agents_judge_everything_under_strict(tmp_path: Path) -> None:
    start(tmp_path, "strict", tasks=3)
    board = tmp_path / "board.db"
    async with stdio(tmp_path, "--board", board) as one, stdio(tmp_path, "--board", board) as two:
        workers = [Worker(one), Worker(two)]
        with anyio.fail_after(WITHIN_S):
            claims = [await hold(one), await hold(two)]
            for worker, claim in zip(workers, claims, strict=True):
                worker.agent = claim["agent"]
                await worker.serve(claim)
            async with anyio.create_task_group() as group:
                for worker in workers:
                    group.start_soon(worker.work)
    ended(tmp_path)
    assert all("verify" in worker.kinds for worker in workers)
    assert set(by_peers(tmp_path).values()) == {"pass"}
    assert list(strengths(tmp_path).values()) == ["quoted", "quoted", "quoted", "judged"]
    for row in seen(tmp_path, "status")["runs"][0]["latest"]:
        (verdict,) = seen(tmp_path, "why", row["entry"])["verdicts"]
        assert verdict["verdict"] == "pass"
        assert verdict["agent"] != row["agent"]
    proposals = seen(tmp_path, "stats")["total"]["proposals"]
    assert (proposals["without_peers"], proposals["attested_only"]) == (0, 0)
