"""Text of agents in every field of every call: none of it is ever read as the server's own.

The same story is told twice over MCP, with hostile and with harmless words in the same places. What is left
of the answers without their fences and blocks must be the same, word for word.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import TextResourceContents

from delm_mcp.board.adding import NewTask
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.domain.policy import build
from delm_mcp.surfaces.mcp import make_server
from tests.hostile import HOSTILE, alike, assert_visible, paths, told, unwarned
from tests.outside import Hall, Said, ask, hall_in

CALLERS = {name: Caller(Principal(name)) for name in ("ada", "bob", "cyd")}
ADA = CALLERS["ada"]
HARMLESS = "plain words that ask for nothing, and nothing else"
POLICY = build(
    {
        "fact": {"checks": ["novel", "quotes"]},
        "fail": {"checks": ["scoped", "peers"]},
        "limits": {"max_losses": 9, "max_attempts": 9, "gist_tokens": 500, "decide_grace_s": 0},
    }
)
# Fields of structured answers that hold text of agents and nothing of ours.
DATA = re.compile(
    r".*\.(subject|detail|gist|scope)|.*\.(evidence|verdicts|disputes)\[\d+\]\.(ref|text|reason|source)"
)


@dataclass
class Story:
    """What was answered, step by step."""

    hall: Hall
    text: str
    client: Client
    says: list[Caller]
    names: list[str] = field(default_factory=list)
    answers: dict[str, Said] = field(default_factory=dict)

    def of(self, lead: str, limit: int) -> str:
        """The text in question after a few words of ours, as long as a field may be."""
        return f"{lead} {self.text}"[:limit]

    async def quietly(self, who: str, tool: str, **arguments: Any) -> Said:
        """Call a tool as `who`."""
        self.says[:] = [CALLERS[who]]
        return await ask(self.client, tool, **arguments)

    async def call(self, who: str, step: str, tool: str, **arguments: Any) -> Said:
        """Call a tool, and keep the answer under the step's name."""
        answer = await self.quietly(who, tool, **arguments)
        assert step not in self.answers
        self.answers[step] = answer
        for name in (answer.facts.get("agent"), answer.facts.get("run")):
            if name and name not in self.names:
                self.names.append(name)
        return answer

    async def well(self, who: str, step: str, tool: str, **arguments: Any) -> Said:
        """The same, and insist that it is not refused."""
        answer = await self.call(who, step, tool, **arguments)
        assert not answer.is_error, answer.text
        return answer

    def agent(self, who: str) -> str:
        name: str = self.answers[f"{who} comes"]["agent"]
        return name

    async def all_hear(self) -> None:
        """Acknowledge all news, so that the next answers bring what is new, however long it is."""
        latest = (await self.quietly("ada", "read_context", budget_tokens=60_000))["version"]
        for who in CALLERS:
            await self.quietly(who, "read_context", agent=self.agent(who), since=latest)

    def proposal(self, kind: str, gist: str, **fields: Any) -> dict[str, Any]:
        """A proposal with the text in each of its fields."""
        evidence = [
            {"type": "artifact", "ref": self.of("log", 500), "text": self.of("seen", 5000)},
            {"type": "quote", "ref": "notes", "text": self.of("The notes say", 9000)},
            {
                "type": "url",
                "ref": "https://docs.python.org/" + "".join(self.text.split())[:400],
                "text": self.text,
            },
        ]
        return {
            "kind": kind,
            "gist": self.of(gist, 250),
            "summary": self.of("- ", 5000),
            "raw": self.of("raw", 5000),
            "scope": self.of("in the parser", 500),
            "key": self.of(gist, 500),
            "evidence": evidence,
            **fields,
        }

    def lines(self, text: str) -> list[str]:
        """The server's lines without names and warnings, which depend on the words."""
        return unwarned(told(text, self.names))

    def facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The structured form: every path, and each value that is not simply what an agent wrote."""
        seen: dict[str, Any] = {}
        for path, value in paths(facts):
            if path.startswith(".warnings") or ".flags[" in path:
                continue
            if not isinstance(value, str):
                seen[path] = "number" if isinstance(value, float) else value
            elif DATA.fullmatch(path):
                assert_visible(value)
                seen[path] = "what an agent wrote"
            else:
                seen[path] = self.lines(value)
        return seen


@asynccontextmanager
async def story_in(folder: Path, text: str) -> AsyncIterator[Story]:
    """A board, and three agents of different principals on it."""
    says = [ADA]
    async with (
        hall_in(folder, answer_wait_s=0.05) as hall,
        Client(make_server(hall.board, lambda: says[0])) as client,
    ):
        yield Story(hall, text, client, says)


async def tell(story: Story) -> None:
    """Everything that one agent's text can do to what the others read."""
    await opened(story)
    await found(story)
    await judged(story)
    await doubted(story)
    await read_back(story)
    await ended(story)


async def opened(story: Story) -> None:
    run = await story.hall.open(
        NewTask(story.of("mend the parser", 300), detail=story.of("see", 20_000)),
        NewTask(story.of("paint the door", 300)),
        NewTask(story.of("count to ten", 300)),
        goal=story.of("reach the goal", 4000),
        policy=POLICY,
        sources=(("notes", f"The notes say {story.text} and more"),),
    )
    story.names.append(run)
    for who in CALLERS:
        claim = await story.well(who, f"{who} comes", "claim_task")
        if who != "ada":
            note = {"action": "release", "note": story.of("Not now:", 2000)}
            await story.well(who, f"{who} waits", "update_task", lease=claim["lease"], **note)
    await story.well("ada", "the queue at first", "read_context", view="queue")


async def found(story: Story) -> None:
    lease = story.answers["ada comes"]["lease"]

    async def propose(step: str, state: str, **fields: Any) -> None:
        answer = await story.well("ada", step, "propose_update", lease=lease, **fields)
        assert answer["state"] == state, answer.text

    await propose("a fact", "admitted", **story.proposal("fact", "The parser drops a comma"))
    rival = story.proposal("fact", "The parser keeps a comma", key=story.of("The parser drops a comma", 500))
    await propose("a rival of the same key", "rejected", **rival)
    child = story.proposal("fact", "So it drops two", derived_from=["E1"], base_version=1)
    await propose("what follows", "admitted", **child)
    await story.all_hear()
    odd = {
        "a command that is none": {"type": "command", "ref": story.of("run", 500)},
        "a quote that is none": {
            "type": "quote",
            "ref": "notes",
            "text": f"They say {story.text} or so"[:9000],
        },
        "a source that is none": {"type": "quote", "ref": story.of("book", 500), "text": "never said so"},
        "an address that is none": {"type": "url", "ref": story.of("nowhere", 500)},
        "an artifact without content": {"type": "artifact", "ref": story.of("log", 500), "text": "pending"},
    }
    for step, evidence in odd.items():
        gist = story.of(f"There is {step}", 250)
        await propose(step, "rejected", kind="fact", gist=gist, evidence=[evidence])
    await propose("a fail", "pending", **story.proposal("fail", "Sorting first does not help"))


async def judged(story: Story) -> None:
    bob = story.agent("bob")
    case = await story.well("bob", "the case", "claim_task", agent=bob)
    assert case["task"]["kind"] == "verify"
    verdict = {"entry": "E9", "verdict": "fail", "fails": ["drift"], "reason": story.of("It drifts:", 2000)}
    await story.well("bob", "a verdict", "verify", lease=case["lease"], **verdict)
    lease = (await story.well("ada", "the claim after the verdict", "claim_task", agent=story.agent("ada")))[
        "lease"
    ]
    await story.well(
        "ada", "giving up", "update_task", lease=lease, action="fail", note=story.of("No:", 2000)
    )
    again = await story.well(
        "bob", "the claim of what was given up", "claim_task", agent=case["agent"], task="T1"
    )
    assert again["task"]["earlier"]
    await story.call("ada", "a lease that is lost", "update_task", lease=lease, action="renew")
    await story.well(
        "bob",
        "handing on",
        "update_task",
        lease=again["lease"],
        action="release",
        note=story.of("No use:", 2000),
    )


async def doubted(story: Story) -> None:
    bob, cyd = story.agent("bob"), story.agent("cyd")
    await story.well("bob", "the claim before the dispute", "claim_task", agent=bob)
    dispute = {"entry": "E1", "verdict": "fail", "fails": ["support"], "reason": story.of("Not so:", 2000)}
    await story.well("bob", "a dispute", "verify", agent=bob, **dispute)
    await story.well("ada", "what ada hears of the dispute", "claim_task", agent=story.agent("ada"))
    await story.all_hear()
    case = await story.well("cyd", "the disputed case", "claim_task", agent=cyd)
    assert case["task"]["kind"] == "verify"
    verdict = {"verdict": "fail", "fails": ["support"], "reason": story.of("Right:", 2000)}
    await story.well("cyd", "the end of it", "verify", lease=case["lease"], entry="E1", **verdict)
    case = await story.well("cyd", "the case of what follows", "claim_task", agent=cyd)
    assert case["task"]["kind"] == "verify"
    unsure = {"entry": "E3", "verdict": "abstain", "reason": story.of("I cannot tell:", 2000)}
    await story.well("cyd", "no verdict", "verify", lease=case["lease"], **unsure)
    await story.well("ada", "what ada hears of its end", "claim_task", agent=story.agent("ada"))


async def read_back(story: Story) -> None:
    every = [f"E{number}" for number in range(1, 10)]
    for level in ("gist", "summary", "raw"):
        wanted = {"entries": every, "level": level, "budget_tokens": 60_000}
        await story.well("cyd", f"entries at level {level}", "read_context", **wanted)
    for asked in (every[:4], every[4:]):
        wanted = {"entries": asked, "view": "why", "budget_tokens": 60_000}
        await story.well("cyd", f"why {asked[0]} to {asked[-1]}", "read_context", **wanted)
    await story.well("cyd", "the context", "read_context", budget_tokens=60_000)
    await story.well("cyd", "the context then", "read_context", at=1, budget_tokens=60_000)
    await story.well("cyd", "the facts", "read_context", kind="fact", budget_tokens=60_000)
    await story.well("cyd", "what is found", "read_context", query="parser", budget_tokens=60_000)
    await story.well("cyd", "the queue", "read_context", view="queue")
    (content,) = (await story.client.read_resource("delm://context")).contents
    assert isinstance(content, TextResourceContents)
    story.answers["the resource"] = Said(content.text, {}, False)


async def ended(story: Story) -> None:
    """A second run, which nobody can decide, and calls that do not say which run they mean."""
    limits = {"max_losses": 0, "max_attempts": 1, "decide_grace_s": 0}
    home = story.names[0]
    run = await story.hall.open("one", goal=story.of("another goal", 4000), limits=limits)
    story.names.append(run)
    await story.call("cyd", "which run", "claim_task")
    claim = await story.well("cyd", "the claim of what cannot be done", "claim_task", run=run)
    here = {"agent": claim["agent"], "run": run}
    note = {"action": "fail", "note": story.of("It cannot be done:", 2000)}
    await story.well("cyd", "what cannot be done", "update_task", lease=claim["lease"], **note)
    decide = await story.well("cyd", "the decision", "claim_task", **here)
    assert decide["task"]["kind"] == "decide"
    await story.well("cyd", "no decision", "update_task", lease=decide["lease"], **note)
    await story.well("cyd", "after the end", "claim_task", **here)
    await story.call("cyd", "from outside", "claim_task", run=run)
    await story.well("cyd", "the queue at the end", "read_context", view="queue", run=run)
    await story.call("cyd", "an unknown task", "claim_task", run=home, task="T99")


@cache
def harmless(folder: Path) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """The story in harmless words, told once in each process."""

    async def main() -> dict[str, tuple[list[str], dict[str, Any]]]:
        async with story_in(folder, HARMLESS) as story:
            await tell(story)
        return seen_in(story)

    return anyio.run(main)


def seen_in(story: Story) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """What is the server's own in each answer, in both forms."""
    return {
        step: (story.lines(answer.text), story.facts(answer.facts)) for step, answer in story.answers.items()
    }


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], dict[str, Any]]]:
    return harmless(tmp_path_factory.mktemp("harmless"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if number % 3 == 0 else pytest.mark.long)
        for number, name in enumerate(HOSTILE)
    ],
)
async def test_hostile_words_change_nothing_of_what_is_the_servers_own(
    tmp_path: Path, expected: dict[str, tuple[list[str], dict[str, Any]]], name: str
) -> None:
    async with story_in(tmp_path, HOSTILE[name]) as story:
        await tell(story)
    seen = seen_in(story)
    assert list(seen) == list(expected)
    for step, (lines, facts) in seen.items():
        assert not differences(lines, expected[step][0]), step
        assert list(facts) == list(expected[step][1]), step
        for path, value in facts.items():
            assert not differences(value, expected[step][1][path]), (step, path)


def differences(seen: Any, expected: Any) -> list[tuple[Any, Any]]:
    """The lines, or the value, that are not the same; a cut may only have taken away."""
    if not isinstance(seen, list) or not isinstance(expected, list) or len(seen) != len(expected):
        return [(seen, expected)] if seen != expected else []
    return [(one, other) for one, other in zip(seen, expected, strict=True) if not alike(one, other)]
