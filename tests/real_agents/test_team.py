"""All four real agents on one board."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from delm_client.scripted import Conversation, ScriptedModel, Turn, scripted_model, worker
from delm_client.scripted.answers import BoardAnswer, board_answer
from delm_client.scripted.clients import BOARD_TOOLS
from delm_client.team.record import Connected, Faulted, Spent
from tests.real_agents import modules
from tests.real_agents.scene import (
    FORMS,
    NAMES,
    Agent,
    Place,
    board_server,
    ended,
    over_http,
    over_stdio,
    place,
    started,
)

BROKEN, PLAIN = 4, 8
WORK = BROKEN + PLAIN
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("installed")]


class Together:
    """Lets no agent begin before all are there, so that the fast ones leave the slow ones some work."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._all = anyio.Event()

    async def __call__(self, client: str) -> None:
        self._there.add(client)
        if len(self._there) == len(NAMES):
            self._all.set()
        await self._all.wait()


@asynccontextmanager
async def team(place: Place, model: ScriptedModel, url: str = "") -> AsyncIterator[list[Agent]]:
    """One agent of each kind, each a principal of its own, over HTTP or over stdio."""
    model.gate = Together()
    async with AsyncExitStack() as stack:
        agents = []
        for name in NAMES:
            label = f"{name}-1"
            server = over_http(url) if url else over_stdio(place, name, label)
            agents.append(await stack.enter_async_context(started(name, place, model, server)))
        yield agents


def opened(folder: Path) -> Place:
    """A run of twelve tasks in which a peer verifies everything."""
    made = place(folder, modules.files(BROKEN, PLAIN))
    made.opened(modules.tasks(BROKEN, PLAIN), *modules.checks(BROKEN), policy="strict")
    return made


def shown(model: ScriptedModel) -> dict[str, list[str]]:
    """What each client showed its model of the board's answers, as it came."""
    return {
        said.client: [step.output for step in said.steps if step.action.name in BOARD_TOOLS]
        for said in model.seen.values()
    }


def claims(outputs: list[str]) -> dict[str, BoardAnswer]:
    """The work that was claimed, by lease: a claim that is repeated gets the same one."""
    answers = map(board_answer, outputs)
    return {answer.lease: answer for answer in answers if answer.kind == "work" and answer.lease}


def finished_together(place: Place, model: ScriptedModel, agents: list[Agent]) -> None:
    """Insist on what a team promises."""
    said = {agent.name: (agent.code, agent.errors[-5:]) for agent in agents}
    status = place.status()
    assert status["state"] == "finished", (status, said)
    assert status["tasks"]["done"] >= WORK
    rows = place.exported()
    entries = {row["id"]: row for row in rows if row["type"] == "entry"}
    live = [entry for entry in entries.values() if entry["state"] == "admitted"]
    assert Counter(entry["kind"] for entry in live) == {"patch": BROKEN, "fact": PLAIN, "answer": 1}
    assert {entry["strength"] for entry in live if entry["kind"] == "patch"} == {"executed"}
    approved = Counter[int]()
    for vote in (row for row in rows if row["type"] == "vote"):
        assert vote["principal"] != entries[vote["entry"]]["principal"], "nobody judges its own"
        approved[vote["entry"]] += vote["verdict"] == "pass"
    assert all(approved[entry["id"]] >= 1 for entry in live), "a different vendor's agent verified it"
    authors = {entry["principal"].partition(":")[2] for entry in live}
    assert authors == set(NAMES), "everybody contributed"
    assert place.delm("audit")
    outputs = shown(model)
    assert set(outputs) == set(NAMES)
    tasks = Counter(claim.task for name in NAMES for claim in claims(outputs[name]).values())
    assert len(tasks) == WORK
    assert set(tasks.values()) == {1}, "claims are disjoint"
    gists = {entry["gist"]: entry["agent"] for entry in live if entry["kind"] != "answer"}
    for name, given in outputs.items():
        assert {board_answer(output).form for output in given} - {"none"} == {FORMS[name]}
        answered = [output for output in given if board_answer(output).form != "none"]
        peers = [gist for gist, author in gists.items() if author != f"{name}-1"]
        assert any(gist in output for gist in peers for output in answered), "it was shown what peers found"
    for agent in agents:
        assert agent.code == 0, said[agent.name]
        assert [event.ok for event in agent.of(Connected)] == [True], agent.name
        assert not agent.of(Faulted), agent.name
        spent = agent.of(Spent)
        assert sum(one.input_tokens for one in spent) > sum(one.cached_tokens for one in spent) > 0
        assert sum(one.output_tokens for one in spent) > 0


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_four_vendors_agents_finish_a_run_together(ground: Path, transport: str) -> None:
    place = opened(ground)
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(scripted_model())
        url = (await stack.enter_async_context(board_server(place))).url if transport == "http" else ""
        agents = await stack.enter_async_context(team(place, model, url))
        await ended(agents, within_s=450)
    finished_together(place, model, agents)


class Watched:
    """The worker, and an eye on what the clients' models have been shown."""

    def __init__(self) -> None:
        self._proposed: dict[str, int] = {}
        self._lost: set[str] = set()
        self.under_way = anyio.Event()
        self.all_lost = anyio.Event()

    def __call__(self, said: Conversation) -> Turn:
        calls = [step for step in said.steps if step.action.name in BOARD_TOOLS]
        self._proposed[said.client] = sum(step.action.name == "propose_update" for step in calls)
        if sum(self._proposed.values()) >= len(NAMES):
            self.under_way.set()
        if calls and board_answer(calls[-1].output).form == "none":
            self._lost.add(said.client)
        if len(self._lost) == len(NAMES):
            self.all_lost.set()
        return worker(said)


async def test_everybody_carries_on_when_the_server_is_killed_and_comes_back(ground: Path) -> None:
    place, watched = opened(ground), Watched()
    async with (
        scripted_model(watched) as model,
        board_server(place) as server,
        team(place, model, server.url) as agents,
    ):
        with anyio.fail_after(300):
            await watched.under_way.wait()
            await server.kill()
            done = place.status()["tasks"].get("done", 0)
            await watched.all_lost.wait()  # each has called into the void
            await server.start()
        await ended(agents, within_s=450)
    assert done < WORK, "it was killed in the middle"
    finished_together(place, model, agents)
