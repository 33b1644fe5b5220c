"""Hostile text on its other ways to readers: terminals, HTTP, errors, prompts, commits, models, cuts."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import TextContent

from delm_mcp.board.adding import NewTask
from delm_mcp.board.verifying import Opinion
from delm_mcp.cli.wiring import out
from delm_mcp.domain.model import Caller, Evidence, Kind, Principal
from delm_mcp.domain.proposal import Proposal
from tests.hostile import HOSTILE, ORDERS, alike, assert_visible, told, unnamed, unwarned
from tests.outside import (
    ADA,
    Hall,
    delm,
    delm_here,
    do,
    hall_in,
    hold,
    http_client,
    said,
    serving,
)

BOB = Caller(Principal("bob"))
HARMLESS = "plain words that ask for nothing"
EVERYTHING = "\n".join(HOSTILE.values())
MANY_LOSSES = {"max_losses": 9, "max_attempts": 9, "gist_tokens": 500, "decide_grace_s": 0}


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with hall_in(tmp_path, answer_wait_s=0.05) as opened:
        yield opened


# -- terminals -------------------------------------------------------------------------------------


async def told_here(folder: Path, texts: list[str]) -> list[str]:
    """A board on which each text stands in a run of its own; the names of its agents."""
    async with hall_in(folder) as hall:
        names = []
        for number, text in enumerate(texts):
            run = await hall.open(
                NewTask(f"mend {text}"[:300]),
                NewTask(f"paint {text}"[:300]),
                goal=f"reach {text}"[:300],
                limits=MANY_LOSSES,
                run=f"r-{number}",
            )
            claims = [await hall.board.claim_task(who, run=run) for who in (ADA, BOB)]
            names += [claim.agent for claim in claims]
            proposal = Proposal(
                Kind.FACT,
                f"The parser drops it {text}"[:250],
                summary=text,
                evidence=(Evidence("artifact", f"log {text}"[:500], text),),
                scope=f"here {text}"[:500],
                key=f"key {text}"[:500],
            )
            made = await hall.board.propose_update(ADA, proposal, lease=claims[0].lease)
            assert made.state == "admitted", made.reasons
            again = await hall.board.propose_update(ADA, proposal, lease=claims[0].lease, request="again")
            assert again.state == "rejected"
            opinion = Opinion(made.entry, "fail", f"no {text}"[:2000], ("drift",))
            await hall.board.verify(BOB, opinion, agent=claims[1].agent, run=run)
            note = f"not me {text}"[:2000]
            await hall.board.update_task(BOB, lease=claims[1].lease, action="release", note=note)
        return names


# What a terminal could take for more than text, and what could look like a line of ours.
SHOWN = (
    *("lines", "returns", "old breaks", "new breaks", "bars", "closed and broken", "nested", "piled marks"),
    *("marks on the fence", "override", "tags", "escapes", "nul and delete", "markup", "words"),
)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A board of hostile texts, one of harmless ones, and the names of all agents."""
    folder = tmp_path_factory.mktemp("terminals")
    texts = [HOSTILE[name] for name in SHOWN]
    (folder / "hostile").mkdir()
    (folder / "harmless").mkdir()
    names = anyio.run(told_here, folder / "hostile", texts)
    names += anyio.run(told_here, folder / "harmless", [HARMLESS] * len(texts))
    return folder / "hostile" / "board.db", folder / "harmless" / "board.db", names


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal so wide that nothing wraps."""
    monkeypatch.setattr(out, "_width", 3300)


def printed(board: Path, *words: str) -> str:
    """What a command prints."""
    done = delm_here(*words, "--board", board, cwd=board.parent)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.parametrize(
    "words",
    [
        ("context", "--run", "r-{}"),
        ("context", "--unfold", "E{}", "--run", "r-{}"),
        ("context", "--why", "E{}", "--run", "r-{}"),
        ("why", "E{}"),
        ("diff", "0", "--run", "r-{}"),
    ],
    ids=" ".join,
)
def test_a_terminal_shows_the_servers_own_lines_and_no_others(
    boards: tuple[Path, Path, list[str]], words: tuple[str, ...]
) -> None:
    hostile, harmless, names = boards
    for number, name in list(enumerate(SHOWN))[::2]:
        here = [word.format(number if word[0] == "r" else 2 * number + 1) for word in words]
        seen, expected = (
            unwarned(told(printed(board, *here).rstrip("\n"), names)) for board in (hostile, harmless)
        )
        assert len(seen) == len(expected), name
        assert all(alike(one, other) for one, other in zip(seen, expected, strict=True)), name


def test_status_has_the_same_rows_whatever_agents_wrote(boards: tuple[Path, Path, list[str]]) -> None:
    hostile, harmless, names = boards
    seen, expected = (printed(board, "status").split("\n") for board in (hostile, harmless))
    assert len(seen) == len(expected)
    for one, other in zip(seen, expected, strict=True):
        assert_visible(one)
        starts = [
            [re.findall(r"\w+", column)[:1] for column in re.split(r"  +", unnamed(line, names))[:2]]
            for line in (one, other)
        ]
        assert starts[0] == starts[1] or not other, (one, other)


@pytest.mark.parametrize("words", [("status",), ("why", "E1"), ("diff", "0", "--run", "r-0")], ids=" ".join)
def test_a_terminal_gets_colours_of_ours_and_no_other_sequence(
    boards: tuple[Path, Path, list[str]], words: tuple[str, ...]
) -> None:
    board = boards[0]
    done = delm(
        *words, "--board", board, cwd=board.parent, FORCE_COLOR="1", NO_COLOR="", TERM="xterm-256color"
    )
    assert "\x1b[" in done.stdout
    assert_visible(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout))


@pytest.mark.parametrize(
    "words", [("status", "--json"), ("why", "E{}", "--json"), ("stats", "--json")], ids=" ".join
)
def test_json_on_a_terminal_holds_no_control_either(
    boards: tuple[Path, Path, list[str]], words: tuple[str, ...]
) -> None:
    entry = 2 * SHOWN.index("escapes") + 1
    assert_visible(printed(boards[0], *(word.format(entry) for word in words)))


def test_an_export_holds_no_control_either(boards: tuple[Path, Path, list[str]]) -> None:
    assert_visible(printed(boards[0], "export"))


# -- HTTP ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_over_http_hostile_words_change_nothing_either(tmp_path: Path) -> None:
    told_of: list[list[list[str]]] = []
    with serving(tmp_path / "board.db") as served:
        for text in (EVERYTHING, HARMLESS):
            async with hall_in(tmp_path) as hall:
                run = await hall.open(NewTask(f"mend {text}"[:300], detail=text), limits=MANY_LOSSES)
            async with http_client(served.url) as client:
                claim = await hold(client, run=run)
                answers = [claim]
                proposal = {
                    "kind": "fact",
                    "gist": f"The parser drops it {text}"[:250],
                    "evidence": [{"type": "artifact", "ref": f"log {text}"[:500], "text": text}],
                    "key": f"key {text}"[:500],
                }
                for more in ({"raw": text}, {"summary": text}):
                    answers.append(
                        await do(client, "propose_update", lease=claim["lease"], **proposal, **more)
                    )
                for wanted in ({"entries": [claim_entry(answers[1])], "level": "raw"}, {"view": "queue"}, {}):
                    answers.append(await do(client, "read_context", run=run, budget_tokens=60_000, **wanted))
                note = {"action": "fail", "note": f"no {text}"[:2000]}
                answers.append(await do(client, "update_task", lease=claim["lease"], **note))
                answers.append(await do(client, "claim_task", agent=claim["agent"]))
            names = [run, claim["agent"]]
            told_of.append([unwarned(told(answer.text, names)) for answer in answers])
            for answer in answers:
                assert_visible(json.dumps(answer.facts, ensure_ascii=False))
    labels = re.compile(r"\b([TE])\d+\b")
    for one, other in zip(*told_of, strict=True):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert alike(labels.sub(r"\1", left), labels.sub(r"\1", right))


def claim_entry(answer: Any) -> str:
    return str(answer["entry"])


# -- errors and prompts ----------------------------------------------------------------------------


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("claim_task", {"task": "{20}"}),
    ("claim_task", {"task": "\x85T99\u2028"}),
    ("claim_task", {"agent": "{64}"}),
    ("claim_task", {"run": "{64}"}),
    ("claim_task", {"tags": ["{48}"]}),
    ("claim_task", {"{300}": 1}),
    ("{300}", {}),
    ("read_context", {"entries": ["{20}"]}),
    ("read_context", {"entries": ["\n E99\r"]}),
    ("read_context", {"view": "{300}"}),
    ("propose_update", {"kind": "fact", "gist": "{200}", "lease": "{64}"}),
    ("propose_update", {"kind": "fact", "gist": "{200}", "evidence": [{"{200}": "{200}"}]}),
    ("verify", {"entry": "{20}", "verdict": "fail", "reason": "{200}"}),
    ("verify", {"entry": "\u2029E99\x0b", "verdict": "fail", "reason": "{200}"}),
    ("add_tasks", {"tasks": [{"subject": "x", "after": ["{20}"]}]}),
    ("add_tasks", {"tasks": [{"subject": "x", "after": ["\x1cT99\x1d"]}]}),
    ("update_task", {"lease": "{64}", "action": "renew"}),
]


def filled(part: Any, text: str) -> Any:
    """A call with the beginning of a text in place of `{length}`."""
    if isinstance(part, dict):
        return {filled(key, text): filled(value, text) for key, value in part.items()}
    if isinstance(part, list):
        return [filled(value, text) for value in part]
    if isinstance(part, str) and (match := re.fullmatch(r"\{(\d+)\}", part)):
        return text[: int(match[1])]
    return part


@pytest.mark.anyio
async def test_an_error_is_one_line_whatever_was_sent(hall: Hall) -> None:
    await hall.open("mend it")
    server = hall.server()
    for tool, arguments in CALLS:
        for text in (*HOSTILE.values(), "\ud800 half", ORDERS):
            call = filled(tool, text), filled(arguments, text)
            answer = said(await server.call_tool(*call))  # type: ignore[arg-type]
            assert answer.is_error
            assert answer.text.startswith("error: ")
            assert_visible(answer.text, allowed="")
            assert set(answer.facts) == {"error", "hint"}


@pytest.mark.anyio
async def test_the_worker_prompt_says_what_it_is_given_on_one_line(hall: Hall) -> None:
    async with Client(hall.server()) as client:
        for text in HOSTILE.values():
            (message,) = (await client.get_prompt("worker", {"run": text, "tags": text})).messages
            assert isinstance(message.content, TextContent)
            assert_visible(message.content.text)
            assert message.content.text.count("\n") == 1
