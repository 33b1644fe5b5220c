"""Every kind of answer says the same in its text and in its structured form."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import TextResourceContents

from delm_mcp.board.adding import NewTask
from delm_mcp.domain.model import Caller, Command, Principal, Role
from tests.outside import MODES, SEEN, Hall, Mode, ask, do, finish, hall_in, hold, refused

pytestmark = pytest.mark.anyio

BOB = Caller(Principal("bob"))
GIST = "The parser drops a trailing comma in lists"


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with hall_in(tmp_path, answer_wait_s=0.05) as opened:
        yield opened


async def test_a_claim_names_task_lease_time_and_the_next_call(hall: Hall, mode: Mode) -> None:
    run = await hall.open(NewTask("mend the comma", detail="see lists\nand tuples"))
    async with Client(hall.server(), mode=mode) as client:
        claim = await do(client, "claim_task")
        task = claim["task"]
        assert task["kind"] == "work"
        assert task["subject"] == "mend the comma"
        assert task["detail"] == "see lists\nand tuples"
        facts = [claim["agent"], run, task["id"], claim["lease"], "«mend the comma»", "| and tuples"]
        assert [fact for fact in facts if fact not in claim.text] == []
        assert claim["run"] == run
        assert claim["lease"].startswith(f"{task['id']}.")
        assert claim["expires_s"] == pytest.approx(300, abs=5)
        assert f"{claim['expires_s']:g} s" in claim.text
        assert claim["version"] == 0
        assert claim["news"] == []
        assert f"next: {claim['next']}" in claim.text
        assert claim["lease"] in claim["next"]

        again = await do(client, "claim_task", agent=claim["agent"])
        assert (again["lease"], again["reclaimed"]) == (claim["lease"], True)
        assert "you hold it already" in again.text


async def test_an_agent_that_lost_the_answer_gets_the_same_lease_and_the_same_news(
    hall: Hall, mode: Mode
) -> None:
    await hall.open("first", "second")
    async with Client(hall.server(), mode=mode) as ada, Client(hall.server(BOB), mode=mode) as bob:
        other = await hold(bob)
        mine = await hold(ada)
        await finish(bob, other, GIST)
        lost = await do(ada, "claim_task", agent=mine["agent"])
        found = await do(ada, "claim_task", agent=mine["agent"])
        assert lost["news"] == found["news"] != []
        assert GIST in found["news"][0]
        assert found["news"][0] in found.text
        assert found["version"] == 1
        assert "version 1" in found.text


async def test_nothing_to_claim_says_why_and_what_to_do(hall: Hall, mode: Mode) -> None:
    run = await hall.open(NewTask("on a graphics card", needs=("gpu",)))
    async with Client(hall.server(), mode=mode) as client:
        busy = await hold(client, tags=["gpu"])
        none = await do(client, "claim_task")
        assert "task" not in none.facts or none["task"] is None
        assert "1 leased" in none["reason"]
        assert none["reason"] in none.text
        assert (none["run"], none["run_state"]) == (run, "open")
        assert none["agent"] != busy["agent"]
        assert none["agent"] in none.text
        assert f"claim_task(agent={none['agent']}" in none["next"]
        assert f"next: {none['next']}" in none.text


async def test_two_empty_waits_in_a_row_say_to_stop(hall: Hall, mode: Mode) -> None:
    await hall.open("only one")
    async with Client(hall.server(), mode=mode) as client:
        await hold(client)
        first = await do(client, "claim_task", wait_s=0.02)
        second = await do(client, "claim_task", wait_s=0.02, agent=first["agent"])
        assert "Waited 2 times" not in first.text
        assert "Stop here" in second["next"]
        assert second["next"] in second.text


async def test_an_admitted_proposal_names_entry_strength_and_task(hall: Hall, mode: Mode) -> None:
    await hall.open("find it", sources=(("notes.txt", "Lists lose their trailing comma in parse()."),))
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        proposed = await do(
            client,
            "propose_update",
            lease=claim["lease"],
            kind="fact",
            gist=GIST,
            evidence=[{"type": "quote", "ref": "notes.txt", "text": "lose their trailing comma"}],
            completes=True,
        )
        assert (proposed["entry"], proposed["state"], proposed["strength"]) == ("E1", "admitted", "quoted")
        assert proposed["task_state"] == "done"
        for fact in ("E1 is admitted [quoted]", "your task is done", "version 1"):
            assert fact in proposed.text
        assert proposed["version"] == 1
        assert f"next: {proposed['next']}" in proposed.text
        assert proposed["next"].startswith("claim_task")


async def test_a_rejected_proposal_says_what_would_pass_and_what_stands_in_the_way(
    hall: Hall, mode: Mode
) -> None:
    await hall.open("first", "second")
    async with Client(hall.server(), mode=mode) as ada, Client(hall.server(BOB), mode=mode) as bob:
        await finish(bob, await hold(bob), GIST)
        claim = await hold(ada)
        rejected = await do(
            ada, "propose_update", lease=claim["lease"], kind="fact", gist=GIST, evidence=SEEN, completes=True
        )
        assert rejected["state"] == "rejected"
        assert rejected["task_state"] == "leased"
        assert "E1 already says exactly this" in rejected["reasons"][0]
        assert GIST in rejected["conflicts"][0]
        for line in (*rejected["reasons"], *rejected["conflicts"], rejected["next"], *rejected["news"]):
            assert line in rejected.text
        assert "same lease" in rejected["next"]

        await do(ada, "update_task", lease=claim["lease"], action="release", note="off for lunch")
        taken = await hold(bob)
        earlier = taken["task"]["earlier"]
        assert [(row["entry"], row["gist"]) for row in earlier] == [(rejected["entry"], GIST)]
        assert f"- {rejected['entry']} fact «{GIST}» because {earlier[0]['reason']}" in taken.text


async def test_a_proposal_whose_check_takes_long_is_answered_pending(hall: Hall, mode: Mode) -> None:
    # Nobody on this board can run commands, so the check waits.
    await hall.open(
        "mend it", preset="strict", commands=(Command("check", ("true",), 5.0),), repo=str(hall.path.parent)
    )
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        evidence = [{"type": "command", "ref": "check"}]
        pending = await do(
            client, "propose_update", lease=claim["lease"], kind="fact", gist=GIST, evidence=evidence
        )
        assert pending["state"] == "pending"
        assert pending["entry"] in pending["next"]
        assert "comes as news" in pending["next"]
        for fact in (f"{pending['entry']} is pending", pending["next"]):
            assert fact in pending.text


async def test_the_same_proposal_again_is_answered_as_the_first_time(hall: Hall, mode: Mode) -> None:
    await hall.open("mend it")
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        call = {"lease": claim["lease"], "kind": "fact", "gist": GIST, "evidence": SEEN}
        first = await do(client, "propose_update", **call)
        before = await hall.rows()
        again = await do(client, "propose_update", **call)
        assert (again["entry"], again["state"]) == (first["entry"], "admitted")
        assert again["replayed"] is True
        assert "the same call was made before" in again.text
        assert await hall.rows() == before


async def test_a_request_id_means_one_content(hall: Hall, mode: Mode) -> None:
    await hall.open("mend it")
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        call = {"lease": claim["lease"], "kind": "fact", "evidence": SEEN, "request_id": "r1"}
        first = await do(client, "propose_update", gist=GIST, **call)
        assert (await do(client, "propose_update", gist=GIST, **call))["entry"] == first["entry"]
        before = await hall.rows()
        await refused(
            client, "propose_update", "request_id", "new request_id", gist=f"{GIST} and tuples", **call
        )
        assert await hall.rows() == before
        queued = await do(client, "add_tasks", tasks=[{"subject": "more"}], request_id="r2")
        again = await do(client, "add_tasks", tasks=[{"subject": "more"}], request_id="r2")
        assert queued["tasks"] == again["tasks"]
        await refused(client, "add_tasks", "request_id", tasks=[{"subject": "less"}], request_id="r2")


async def test_queued_tasks_are_listed_with_their_states(hall: Hall, mode: Mode) -> None:
    run = await hall.open("first")
    async with Client(hall.server(), mode=mode) as client:
        queued = await do(
            client,
            "add_tasks",
            tasks=[{"subject": "first"}, {"subject": "second", "after": ["#1"], "copies": 2}],
        )
        assert queued["tasks"] == [
            {"id": "T1", "state": "ready", "existed": True},
            {"id": "T2", "state": "blocked", "existed": False},
            {"id": "T3", "state": "blocked", "existed": False},
        ]
        assert queued["run"] == run
        for line in ("T1 ready (was there already)", "T2 blocked", "T3 blocked", f"run {run} is open"):
            assert line in queued.text
        assert f"next: {queued['next']}" in queued.text


async def test_an_agent_can_open_a_run(hall: Hall, mode: Mode) -> None:
    async with Client(hall.server(), mode=mode) as client:
        await refused(client, "claim_task", "No run is open", "delm-mcp init", "add_tasks(goal=")
        queued = await do(client, "add_tasks", goal="Port it", tasks=[{"subject": "read the old one"}])
        claim = await hold(client)
        assert (claim["run"], claim["task"]["id"]) == (queued["run"], queued["tasks"][0]["id"])


async def test_updates_say_the_state_and_the_time_left(hall: Hall, mode: Mode) -> None:
    await hall.open("mend it")
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        kept = await do(client, "update_task", lease=claim["lease"], action="renew")
        assert (kept["task"], kept["state"]) == ("T1", "leased")
        assert f"T1 is leased, {kept['expires_s']:g} s left" in kept.text
        gone = await do(client, "update_task", lease=claim["lease"], action="release")
        assert (gone["task"], gone["state"]) == ("T1", "ready")
        assert "expires_s" not in gone.facts
        assert "T1 is ready" in gone.text
        assert f"next: claim_task(agent={claim['agent']})" in gone.text
        again = await do(client, "update_task", lease=claim["lease"], action="release")
        assert again["state"] == "ready"
        await refused(client, "update_task", "T1", "claim_task", lease=claim["lease"], action="renew")


async def test_a_verdict_on_ones_own_entry_is_refused(hall: Hall, mode: Mode) -> None:
    await hall.open("mend it")
    async with Client(hall.server(), mode=mode) as ada, Client(hall.server(BOB), mode=mode) as bob:
        await finish(ada, await hold(ada), GIST)
        await refused(ada, "verify", "your own", entry="E1", verdict="pass", reason="I saw it")
        await refused(
            bob, "verify", "Nobody is named", "agent=", entry="E1", verdict="pass", reason="I did not"
        )
        await refused(bob, "verify", "no entry", entry="E99", verdict="pass", reason="which one")


async def test_reading_gives_lines_and_where_to_go_on(hall: Hall, mode: Mode) -> None:
    run = await hall.open("a", "b", "c")
    async with Client(hall.server(), mode=mode) as client:
        for part in ("lists", "tuples", "sets"):
            await finish(client, await hold(client), f"The parser drops a trailing comma in {part}")
        everything = await do(client, "read_context")
        assert everything["run"] == run
        assert everything["version_read"] == everything["version"] == 3
        assert everything["text"].rstrip("\n") in everything.text
        assert "read up to version 3." in everything.text
        assert "more" not in everything.facts

        first = await do(client, "read_context", budget_tokens=1)
        assert (first["version_read"], first["more"]) == (1, True)
        assert "read up to version 1, more to read" in first.text
        assert first["next"] == "read_context(since=1)"
        rest = await do(client, "read_context", since=1)
        assert first["text"] + rest["text"] == everything["text"]

        past = await do(client, "read_context", at=2)
        assert everything["text"].startswith(past["text"])
        assert past["version_read"] == 2
        (resource,) = (await client.read_resource("delm://context")).contents
        assert isinstance(resource, TextResourceContents)
        assert resource.text == everything["text"]


async def test_unfolding_and_why_say_the_same_in_both_forms(hall: Hall, mode: Mode) -> None:
    await hall.open("a")
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        await do(
            client,
            "propose_update",
            lease=claim["lease"],
            kind="fail",
            gist="Retrying the parse with a wider buffer does not help",
            scope="parse() in lists.py",
            summary="tried 1 k and 64 k",
            raw="buffer=1024: lost\nbuffer=65536: lost",
            evidence=SEEN,
        )
        unfolded = await do(client, "read_context", entries=["E1"], level="raw")
        (item,) = unfolded["items"]
        assert (item["entry"], item["kind"], item["state"]) == ("E1", "fail", "admitted")
        assert item["scope"] == "parse() in lists.py"
        for line in ("tried 1 k and 64 k", "| buffer=65536: lost", "«parse() in lists.py»"):
            assert line in unfolded["text"]
            assert line in unfolded.text
        why = await do(client, "read_context", view="why", entries=["E1"])
        assert "check wellformed: pass" in why["text"]
        assert why["text"].rstrip("\n") in why.text


async def test_the_queue_says_who_has_what(hall: Hall, mode: Mode) -> None:
    await hall.open("first", NewTask("second", after=("#1",)))
    async with Client(hall.server(), mode=mode) as client:
        claim = await hold(client)
        queue = await do(client, "read_context", view="queue")
        rows = {row["task"]: row for row in queue["items"]}
        assert (rows["T1"]["state"], rows["T1"]["agent"]) == ("leased", claim["agent"])
        assert rows["T2"]["state"] == "blocked"
        assert f"T1 leased by {claim['agent']}" in queue.text
        assert "T2 blocked after T1: «second»" in queue.text


async def test_the_end_of_a_run_says_stop(hall: Hall, mode: Mode) -> None:
    run = await hall.open("a", limits={"decide_grace_s": 0})
    async with Client(hall.server(), mode=mode) as client:
        done = await finish(client, await hold(client), GIST)
        decide = await hold(client)
        assert decide["task"]["kind"] == "decide"
        assert "kind=answer" in decide["next"]
        answer = await do(
            client,
            "propose_update",
            lease=decide["lease"],
            kind="answer",
            gist="The parser keeps every trailing comma now",
            derived_from=[done["entry"]],
            completes=True,
        )
        assert answer["state"] == "admitted"
        assert answer["next"].startswith("Stop")
        await refused(client, "claim_task", "is finished", run=run)
        over = await do(client, "claim_task", agent=decide["agent"])
        assert over["run_state"] == "finished"
        assert "finished" in over.text
        assert over["next"].startswith("Stop")


async def test_a_wait_ends_as_soon_as_there_is_work(hall: Hall, mode: Mode) -> None:
    await hall.open("first")
    async with Client(hall.server(), mode=mode) as ada, Client(hall.server(BOB), mode=mode) as bob:
        held = await hold(ada)
        waiting = await do(bob, "claim_task")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    claim = await hold(bob, agent=waiting["agent"], wait_s=25)
                    assert claim["task"]["subject"] == "second"

                group.start_soon(wait)
                await do(ada, "add_tasks", lease=held["lease"], tasks=[{"subject": "second"}])


async def test_a_caller_who_may_only_read_can_read(hall: Hall, mode: Mode) -> None:
    await hall.open("first")
    observer = Caller(Principal("eve"), role=Role.OBSERVER)
    async with Client(hall.server(observer), mode=mode) as client:
        before = await hall.rows()
        assert not (await ask(client, "read_context")).is_error
        calls: dict[str, dict[str, Any]] = {
            "claim_task": {},
            "propose_update": {"kind": "fact", "gist": GIST},
            "verify": {"entry": "E1", "verdict": "pass", "reason": "yes"},
            "add_tasks": {"tasks": [{"subject": "more"}]},
            "update_task": {"lease": "T1.abcdef", "action": "renew"},
        }
        for tool, arguments in calls.items():
            await refused(client, tool, "may only read", "role agent", **arguments)
        assert await hall.rows() == before
