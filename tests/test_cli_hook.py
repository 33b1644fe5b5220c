"""`delm-mcp hook`: who is kept at work when it wants to stop, who never is, and how a session ends."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from delm_mcp.board import gate
from delm_mcp.board.adding import NewTask
from delm_mcp.board.gate import BLOCKS_MAX, Due, Memory
from delm_mcp.domain.model import Caller, Principal
from tests.outside import (
    COMMAND,
    Hall,
    Printed,
    audited,
    delm_here,
    do,
    environment,
    finish,
    git,
    hall_in,
    hold,
    http_client,
    opened_by_cli,
    process,
    repository,
    serving,
    stdio,
)

pytestmark = pytest.mark.anyio
EVE = Caller(Principal("eve"))


async def asked(folder: Path, agent: str = "", *, event: str = "stop", **facts: Any) -> Printed:
    """What a hook says to an agent that a launcher named, on the board in a folder."""
    payload = json.dumps({"session_id": "s1", "cwd": str(folder), "stop_hook_active": False, **facts})
    named = {"DELM_AGENT": agent} if agent else {}
    words = ("hook", event, "--board", folder / "board.db")
    done = await anyio.to_thread.run_sync(lambda: delm_here(*words, cwd=folder, stdin=payload, **named))
    assert done.code == 0
    return done


async def kept(folder: Path, agent: str, *words: str, **facts: Any) -> str:
    """Insist that the agent is kept at work, in these words; returns the reason."""
    answer = json.loads((await asked(folder, agent, **facts)).out)
    assert answer["decision"] == "block"
    missing = [word for word in words if word not in answer["reason"]]
    assert not missing, answer["reason"]
    return str(answer["reason"])


async def let_go(folder: Path, agent: str = "", **facts: Any) -> None:
    """Insist that the agent may stop, and that nothing is said about it."""
    done = await asked(folder, agent, **facts)
    assert (done.out, done.err) == ("", "")


async def joined(hall: Hall, caller: Caller | None = None, **arguments: Any) -> str:
    """Claim in a run; returns the agent's name."""
    async with Client(hall.server(caller) if caller else hall.server()) as client:
        return str((await do(client, "claim_task", **arguments))["agent"])


async def test_an_agent_that_holds_a_task_is_told_which_and_how_to_finish_it(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        run = await hall.open("Find where dates are parsed")
        ada = await joined(hall)
        reason = await kept(tmp_path, ada, ada, run, "T1 (work)", "«Find where dates are parsed»")
        for call in (
            "propose_update(lease=..., completes=true",
            "action=release",
            f"claim_task(agent={ada})",
        ):
            assert call in reason
        lease = (await hall.board.claim_task(Caller(Principal("ada")), agent=ada)).lease
        assert lease.split(".")[1] not in reason  # who can read a transcript need not hold the lease


async def test_an_agent_is_kept_while_the_queue_has_work_that_its_tags_cover(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one", NewTask("train it", needs=("gpu",)))
        async with Client(hall.server()) as client:
            first = await hold(client)
            ada = first["agent"]
            other = await joined(hall, EVE)
            await let_go(tmp_path, other)  # the only ready task needs a gpu
            await do(client, "update_task", lease=first["lease"], action="release")
            await kept(tmp_path, other, "T1 (work) «one»", f"claim_task(agent={other})")
            await finish(client, await hold(client, agent=ada), "Dates are parsed in one place only")
        await got_a_gpu(hall, other)
        await kept(tmp_path, other, "T2 (work)")


async def got_a_gpu(hall: Hall, agent: str) -> None:
    """Let an agent say that it has a gpu, and hand on what it gets for that."""
    async with Client(hall.server(EVE)) as client:
        claim = await hold(client, agent=agent, tags=["gpu"])
        await do(client, "update_task", lease=claim["lease"], action="release")


async def test_a_drained_run_keeps_one_agent_to_decide_and_a_finished_one_keeps_nobody(
    tmp_path: Path,
) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one", limits={"decide_grace_s": 0})
        async with Client(hall.server()) as client:
            claim = await hold(client)
            ada = claim["agent"]
            await finish(client, claim, "Dates are parsed in one place only")
            await kept(tmp_path, ada, f"claim_task(agent={ada})")
            decision = await hold(client, agent=ada)
            await kept(tmp_path, ada, "(decide)", "kind=answer")
            await do(
                client,
                "propose_update",
                lease=decision["lease"],
                kind="answer",
                gist="Dates are parsed in one place, which is all that was asked",
                derived_from=["E1"],
                completes=True,
            )
        await let_go(tmp_path, ada)


async def test_a_peer_is_kept_to_verify_what_another_proposed_and_its_author_is_not(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one", preset="strict", sources=(("notes", "Dates are parsed in one place."),))
        async with Client(hall.server()) as client:
            claim = await hold(client)
            other = await joined(hall, EVE)
            await let_go(tmp_path, other)
            proposed = await do(
                client,
                "propose_update",
                lease=claim["lease"],
                kind="fact",
                gist="Dates are parsed in one place",
                evidence=[{"type": "quote", "ref": "notes", "text": "Dates are parsed in one place"}],
                completes=True,
            )
            assert proposed["state"] == "pending", proposed.text
            await kept(tmp_path, other, "(verify)")
            await let_go(tmp_path, claim["agent"])


async def test_nobody_who_never_joined_is_kept(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one")
        await let_go(tmp_path, "never-joined")
        await let_go(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = await anyio.to_thread.run_sync(
        lambda: delm_here("hook", "stop", cwd=elsewhere, stdin="{}", DELM_AGENT="ada")
    )
    assert (done.code, done.out, done.err) == (0, "", "")
    assert not list(elsewhere.iterdir())  # no board is made by asking


async def test_an_agent_that_does_nothing_is_kept_a_bounded_number_of_times(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one", "two")
        async with Client(hall.server()) as client:
            claim = await hold(client)
            ada = claim["agent"]
            for round_ in range(BLOCKS_MAX):
                await kept(tmp_path, ada, "T1", stop_hook_active=round_ > 0)
            await let_go(tmp_path, ada, stop_hook_active=True)
            await let_go(tmp_path, ada)  # a new turn without progress neither
            await do(client, "update_task", lease=claim["lease"], action="renew")
            await let_go(tmp_path, ada)  # that its lease is renewed is no progress
            await kept(tmp_path, ada, "T1", session_id="another")
            await finish(client, claim, "Dates are parsed in one place only")
            await kept(tmp_path, ada, "T2", stop_hook_active=True)


async def test_without_a_memory_only_the_first_attempt_to_stop_is_refused(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one")
        ada = await joined(hall)
        (tmp_path / "board.db.sessions").write_text("in the way of the folder")
        await kept(tmp_path, ada, "T1")
        await let_go(tmp_path, ada, stop_hook_active=True)


def test_the_bound_counts_per_state_of_the_agents_work() -> None:
    due, memory = Due("go on", "a"), Memory()
    answers = []
    for _ in range(BLOCKS_MAX + 2):
        keeps, memory = gate.decide(due, memory, continuing=True)
        answers.append(keeps)
    assert answers == [True] * BLOCKS_MAX + [False] * 2
    assert gate.decide(Due("go on", "b"), memory, continuing=True) == (True, Memory("b", 1))
    assert gate.decide(Due("", "b"), Memory(), continuing=False)[0] is False


@pytest.mark.parametrize("text", ["not json", "[1, 2]", "\x00\xff", '{"cwd": 5, "session_id": [1]}', ""])
async def test_garbage_on_the_input_lets_the_agent_go(tmp_path: Path, text: str) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one")
        await joined(hall)
    done = await anyio.to_thread.run_sync(
        lambda: delm_here(
            "hook", "stop", "--board", tmp_path / "board.db", cwd=tmp_path, stdin=text, DELM_AGENT="nobody"
        )
    )
    assert (done.code, done.out) == (0, "")


async def test_a_client_that_never_ends_the_input_is_not_waited_for(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one")
        ada = await joined(hall)

    def ask() -> tuple[int, str]:
        words = ("hook", "stop", "--board", tmp_path / "board.db")
        with process(*words, cwd=tmp_path, DELM_AGENT=ada) as started:
            assert started.stdin is not None
            assert started.stdout is not None
            started.stdin.write(b'{"session_id": "s1"}')
            started.stdin.flush()
            answer = started.stdout.read().decode()  # ends with the process, which nobody tells to end
            return started.wait(), answer

    code, answer = await anyio.to_thread.run_sync(ask)
    assert code == 0
    assert json.loads(answer)["decision"] == "block"


async def test_a_board_that_cannot_be_opened_lets_the_agent_go_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "board.db").write_text("Buy milk.\n" * 50)
    done = await asked(tmp_path, "ada")
    assert done.out == ""
    assert "not a SQLite database" in done.err


ABRUPT = (
    "from delm_mcp.cli import app, hooks; hooks.END_S = 0.5; app(['hook', 'stop', '--board', 'board.db'])"
)


async def test_a_board_that_blocks_in_a_system_call_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "board.db")
    done = await anyio.run_process(
        [sys.executable, "-c", ABRUPT],
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment(DELM_AGENT="ada"),
    )
    assert done.stdout == b""
    assert b"did not answer" in done.stderr


async def test_an_ending_session_hands_its_tasks_on(tmp_path: Path) -> None:
    async with hall_in(tmp_path) as hall:
        await hall.open("one")
        ada = await joined(hall)
        await asked(tmp_path, ada, event="session-end")
        async with Client(hall.server(EVE)) as client:
            assert (await hold(client))["task"]["id"] == "T1"
        await asked(tmp_path, ada, event="session-end")  # and holds nothing: silence
    await anyio.to_thread.run_sync(audited, tmp_path / "board.db")


# -- without a launcher: the client's process is what hook and server have in common ---------------

ANOTHER_CLIENT = """
import subprocess, sys
command, hello = sys.argv[1:]
server = subprocess.Popen([command, "stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdin.write(hello.encode() + b"\\n")
server.stdin.flush()
server.stdout.readline()
done = subprocess.run([command, "hook", "stop"], input="{}", capture_output=True, text=True)
server.stdin.close()
server.wait()
print([done.returncode, done.stdout, done.stderr])
"""
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


@pytest.mark.long
async def test_a_hook_finds_the_agent_of_its_own_client_and_of_no_other(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", {"a.txt": "a\n"})
    git(main, "worktree", "add", "-q", str(tmp_path / "linked"))
    opened_by_cli(main, "Mend it", "--task", "one", "--task", "two")
    sessions = main / ".delm" / "sessions"
    async with stdio(tmp_path / "linked") as client:
        claim = await hold(client)
        (session,) = sessions.glob("*.json")
        assert session.stat().st_mode & 0o077 == 0
        assert json.loads(session.read_text())["seats"] == [[claim["run"], claim["agent"]]]
        payload = json.dumps({"cwd": str(tmp_path / "linked")})
        hook = ("sh", "-c", f"{COMMAND[0]} hook stop")  # as clients start it

        def ask() -> str:
            with process(cwd=tmp_path, command=hook) as started:
                return started.communicate(payload.encode(), timeout=30)[0].decode()

        answer = json.loads(await anyio.to_thread.run_sync(ask))
        assert f"claim_task(agent={claim['agent']})" in answer["reason"]
        stranger = await anyio.to_thread.run_sync(
            lambda: (
                subprocess.run(
                    [sys.executable, "-c", ANOTHER_CLIENT, COMMAND[0], json.dumps(HELLO)],
                    cwd=main,
                    env=environment(),
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=True,
                ).stdout
            )
        )
        assert stranger.strip() == "[0, '', '']"  # started below ours, but with a server of its own
    assert not list(sessions.glob("*.json"))  # removed with the server
    await anyio.to_thread.run_sync(audited, main / ".delm" / "board.db")


async def test_sessions_of_dead_servers_are_forgotten(tmp_path: Path) -> None:
    opened_by_cli(tmp_path, "Mend it", "--task", "one")
    folder = tmp_path / ".delm" / "sessions"
    folder.mkdir()
    own = os.getpid()
    dead = {
        "host": socket.gethostname(),
        "server": [own, 1.0],  # the id lives, but this is another process
        "client": [own, 1.0],
        "seats": [["r", "old"]],
    }
    (folder / "1.json").write_text(json.dumps(dead))
    (folder / "2.json").write_text("half writ")
    (folder / "3.json").write_text(json.dumps({**dead, "host": "another-machine"}))
    # As clients start a command that is a line of shell: the shell between is not the client.
    line = StdioServerParameters(
        command="sh", args=["-c", f"{COMMAND[0]} stdio; true"], cwd=tmp_path, env=environment()
    )
    async with Client(stdio_client(line)) as client:
        await hold(client)
        (session,) = (path for path in folder.glob("*.json") if path.stem not in {"1", "2", "3"})
        assert json.loads(session.read_text())["client"][0] == own
        names = {path.name for path in folder.glob("*.json")}
        assert "1.json" not in names
        assert {"2.json", "3.json"} < names  # not ours to judge
    assert {path.name for path in folder.iterdir()} == {"2.json", "3.json"}


# -- over HTTP -------------------------------------------------------------------------------------


def token_of(name: str, board: Path) -> str:
    return delm_here("token", "create", name, "--board", board, cwd=board.parent).out.strip()


async def test_over_http_the_server_says_what_is_due_and_only_to_the_agents_own_token(tmp_path: Path) -> None:
    hosted, away = tmp_path / "hosted", tmp_path / "away"
    for folder in (hosted, away):
        folder.mkdir()
    opened_by_cli(hosted, "Mend it", "--task", "one")
    board = hosted / ".delm" / "board.db"
    secrets = {name: token_of(name, board) for name in ("ada", "eve")}

    def hook(event: str, url: str, agent: str, token: str) -> Printed:
        variables = {"DELM_URL": url, "DELM_AGENT": agent, "DELM_TOKEN": token, "XDG_STATE_HOME": str(away)}
        return delm_here("hook", event, cwd=away, stdin='{"session_id": "s"}', **variables)

    with serving(board) as server:
        async with http_client(server.url, token=secrets["ada"]) as client:
            ada = (await hold(client))["agent"]

            async def asked_as(event: str, agent: str, token: str, url: str = server.url) -> Printed:
                return await anyio.to_thread.run_sync(hook, event, url, agent, token)

            for _ in range(BLOCKS_MAX):
                reason = json.loads((await asked_as("stop", ada, secrets["ada"])).out)["reason"]
                assert f"claim_task(agent={ada})" in reason
            assert (await asked_as("stop", ada, secrets["ada"])).out == ""
            for agent, token, said in (
                (ada, secrets["eve"], "somebody else"),
                (ada, "delm_wrong", "401"),
                (ada, "", "401"),
            ):
                for event in ("stop", "session-end"):
                    done = await asked_as(event, agent, token)
                    assert (done.code, done.out) == (0, "")
                    assert said in done.err
            never = await asked_as("stop", "never-joined", secrets["eve"])
            assert (never.code, never.out, never.err) == (0, "", "")
            gone = await asked_as("stop", ada, secrets["ada"], "http://127.0.0.1:1/mcp")
            assert (gone.code, gone.out) == (0, "")
            assert "127.0.0.1:1" in gone.err
            await asked_as("session-end", ada, secrets["ada"])
        async with http_client(server.url, token=secrets["eve"]) as client:
            assert (await hold(client))["task"]["id"] == "T1"
    await anyio.to_thread.run_sync(audited, board)


async def test_no_web_page_can_ask_a_server_on_loopback(tmp_path: Path) -> None:
    opened_by_cli(tmp_path, "Mend it", "--task", "one")
    with serving(tmp_path / ".delm" / "board.db") as server:
        async with http_client(server.url) as client, httpx2.AsyncClient() as page:
            ada = (await hold(client))["agent"]
            base = server.url.removesuffix("/mcp")
            assert (await page.get(f"{base}/agents/{ada}/due")).json()["reason"]
            rebound = await page.get(f"{base}/agents/{ada}/due", headers={"Host": "evil.example.org"})
            crossed = await page.post(
                f"{base}/agents/{ada}/release", json={}, headers={"Origin": "https://evil.example.org"}
            )
            assert (rebound.status_code, crossed.status_code) == (421, 403)
            near = {"Origin": "http://localhost:3000"}  # a page of another program of this machine
            form = await page.post(f"{base}/agents/{ada}/release", headers=near, data={"a": "b"})
            assert form.status_code == 400
            kept_on = await do(client, "claim_task", agent=ada)
            assert kept_on["reclaimed"]
