"""The report of a team: complete, honest about what is not known, and nothing but text where agents wrote."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from delm_client.pages import escaped
from delm_client.team import economics
from delm_client.team.figures import as_json, figures
from delm_client.team.record import (
    Commit,
    Ended,
    Entered,
    Event,
    Holds,
    Joined,
    Line,
    Said,
    Spent,
    Started,
    TeamFacts,
)
from delm_client.team.report import html, markdown, write, write_json
from delm_mcp.board.operation import Operation
from delm_mcp.board.stats import report as stats_of
from delm_mcp.store.base import Tx
from tests.boards import Desk, desk_in
from tests.pages import Skeleton
from tests.team_story import CALM, HOSTILE, START, facts, story, told
from tests.test_cli_stats import work


def flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def marked(text: str) -> list[Token]:
    """What a reader of Markdown makes of it, with all that could be made."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return list(flat(reader.parse(text)))


def both(known: TeamFacts, lines: list[Line]) -> tuple[str, str]:
    found = figures(known, lines)
    return html(found), markdown(found)


def worded(words: str) -> tuple[str, str]:
    """A report in which everything that somebody else worded is `words`."""
    known = facts(
        goal=words, answer=words, policy=words, command=words, version=words, repository=words, board=words,
        branch="", head="", commands={words: words}, models={"claude-1": words, "codex-1": words},
        commits=(Commit("c" * 40, words, words, words),), run="r-abc", outcome="stalled",
        stats={"runs": [{"run": "r-abc", "proposals": words}]}, status={"latest": [words, {"entry": words}]},
    )  # fmt: skip
    return both(known, story(words))


# -- what it tells -------------------------------------------------------------------------------


def test_a_report_tells_the_outcome_first_and_everything_else_after_it(tmp_path: Path) -> None:
    paths = write(tmp_path / "new", facts(), story("some words"))
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    page, text, _ = (path.read_text(encoding="utf-8") for path in paths)
    assert text.splitlines()[0] == "# Finished in 1 min 40 s"
    said = Skeleton(page).said
    for told_of in (
        "Finished in 1 min 40 s", "Mend the parser", "git merge delm/r-abc", "Every offset is accepted.",
        "Accept every offset", "quotes: some words", "at least $0.25", "pytest -q", "standard", "sonnet",
        "0.5.0", "2 agents, 1 commit, 1 entry in the context, 2 refused or taken back",
        "2027-01-15 08:00:00 UTC", "66%",
    ):  # fmt: skip
        assert told_of in said, told_of
        assert told_of in text.replace("\\", ""), told_of
    assert "imulated" not in said + text


def test_a_simulated_team_is_called_that_at_the_top() -> None:
    page, text = both(facts(simulated=True), story())
    assert text.startswith("# Simulated: Finished in 1 min 40 s")
    assert Skeleton(page).said.split("Finished")[0].count("Simulated") == 1
    assert '<p class="simulated">' in page


def test_the_figures_are_also_there_for_programs(tmp_path: Path) -> None:
    found = json.loads(write_json(tmp_path, facts(), story()).read_text(encoding="utf-8"))
    claude, codex = found["agents"]
    assert (claude["cost_usd"], codex["cost_usd"], codex["cost_usd_at_least"]) == (0.25, None, 0)
    assert (claude["working_s"], claude["waiting_s"], claude["gone_s"]) == (30, 59, 10)
    assert (codex["verifying_s"], codex["attempts"], codex["ended"]) == (30, 2, f"killed by SIGTERM ({CALM})")
    total = found["total"]
    assert (total["input_tokens"], total["cost_usd"], total["cost_usd_at_least"]) == (1500, None, 0.25)
    assert total["waiting_share"] == pytest.approx(112 / 172, abs=0.0001)
    assert found["refusals"] == {"quotes": 1, "peers": 1}
    assert found["context"]["growth"] == [[START + 40, 1], [START + 60, 2], [START + 70, 1]]
    assert [(one["what"], one["count"]) for one in found["troubles"]][:2] == [
        ("no connection", 1),
        ("fault", 1),
    ]


def test_what_the_board_says_at_the_end_counts_more_than_the_events() -> None:
    row = {
        "entry": "E1", "kind": "patch", "state": "retracted", "strength": "executed", "agent": "claude-1",
        "gist": "It is so", "reason": "dispute: it is not", "proposed_at": START, "decided_at": START + 1,
    }  # fmt: skip
    found = figures(facts(status={"runs": [{"run": "r-abc", "latest": [row]}]}), story())
    assert {entry.entry: entry.state for entry in found.entries}["E1"] == "retracted"
    assert found.admitted == 0


def test_the_economics_are_those_of_a_real_board(tmp_path: Path) -> None:
    def asked(desk: Desk) -> Callable[[Tx], dict[str, Any]]:
        return lambda tx: stats_of(Operation(tx, desk.clock(), desk.board.ids), tx.runs())

    async def counted() -> tuple[str, dict[str, Any]]:
        async with desk_in(tmp_path) as desk:
            await work(desk)
            return desk.run, await desk.look(asked(desk))

    run, stats = anyio.run(counted)
    rows = {row.name: (row.number, row.remark) for row in economics.rows(economics.of_run(stats, run))}
    assert rows["Proposals"] == ("5", "")
    assert rows["Admitted"] == ("2", "quoted 1, attested 1")
    assert rows["Refused"] == ("3", "wellformed 1, novel 1, quotes 1")
    assert rows["Judge"] == ("at least $0.0125", "2 requests")
    assert rows["Retractions"] == ("1", "by dispute 1")
    assert economics.admission(economics.of_run(stats, run))[2] == ("peers", 1, "30 s", "30 s", "30 s")
    assert "Agents&#39; time on them" in html(figures(facts(run=run, stats=stats), story()))


@pytest.mark.parametrize(
    "stats", [{}, {"runs": []}, {"runs": [{"run": "r-abc", "proposals": 5}]}, {"x": None}]
)
def test_without_economics_a_report_goes_without_them(stats: dict[str, Any]) -> None:
    page, text = both(facts(stats=stats), story())
    assert "What the gate did" not in page + text


# -- teams of every kind -------------------------------------------------------------------------


def many(agents: int, events: int) -> list[Line]:
    """Agents that work, verify and wait, with an entry now and then."""
    found: list[tuple[float, str, Event]] = [
        (n / 10, f"a-{n}", Started("claude", n, 1)) for n in range(agents)
    ]
    for number in range(events):
        who = f"a-{number % agents}"
        what: list[Event] = [
            Holds(f"T{number}", "verify" if number % 3 else "work", "Find it"),
            Said("words"),
            Entered(
                f"E{number}",
                "fact",
                "admitted" if number % 4 else "rejected",
                "quoted",
                "So it is",
                "novel: x",
            ),
            Spent(100, 10, 5, 0.001),
            Holds(),
        ]
        found.append((10 + number, who, what[number % 5]))
    return told(found)


@pytest.mark.parametrize(
    ("known", "lines", "first"),
    [
        ({"agents": {"a": "claude"}}, many(1, 50), "Finished in 1 min 40 s"),
        ({"agents": {f"a-{n}": "claude" for n in range(32)}}, many(32, 400), "Finished in 6 min 49 s"),
        ({}, [], "Finished in 1 min 40 s"),
        ({"agents": {}, "started_at": 0.0, "ended_at": 0.0, "outcome": ""}, [], "No end is recorded"),
        ({"ended_at": 0.0, "outcome": ""}, story(), "No end is recorded after 1 min 30 s"),
        ({"outcome": "interrupted", "head": "", "branch": "", "commits": ()}, [], "Interrupted after 1"),
        ({"outcome": "budget"}, story(), "Stopped: the budget is spent after 1 min 40 s"),
        ({"outcome": "who knows"}, story(), "Who knows after 1 min 40 s"),
        ({"started_at": 1e300, "ended_at": -5.0}, story(), "Finished"),
        ({}, [Line(float("nan"), "a", Joined()), Line(START, "", Said("x")), *story()], "Finished in 1 min"),
    ],
    ids=[
        "one agent", "32 agents", "no events", "nothing at all", "no end", "interrupted", "budget",
        "a new outcome", "impossible times", "events without sense",
    ],
)  # fmt: skip
def test_every_team_has_a_report(known: dict[str, Any], lines: list[Line], first: str) -> None:
    page, text = both(facts(**known), lines)
    assert text.startswith(f"# {first}")
    assert not Skeleton(page).open
    assert f"<title>{first}" in page
    for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table
    json.dumps(as_json(figures(facts(**known), lines)))


def test_a_long_record_makes_a_report_soon_and_of_a_sane_size() -> None:
    begin = monotonic()
    page, text = both(facts(agents={f"a-{n}": "claude" for n in range(8)}, ended_at=0.0), many(8, 10_000))
    assert monotonic() - begin < 20
    assert len(page) < 3_000_000
    assert len(re.findall(r"\n\| E\d+ ", text)) == 2000


# -- text is text --------------------------------------------------------------------------------


def test_no_element_and_no_attribute_of_a_page_comes_from_text() -> None:
    calm, hostile = (Skeleton(worded(words)[0]) for words in (CALM, HOSTILE))
    # Texts of several lines are broken where their author broke them; nothing else differs.
    assert [one for one in hostile.elements if one[0] != "br"] == [
        one for one in calm.elements if one[0] != "br"
    ]
    assert "<script>alert(1)</script> <img src=x onerror=alert(1)>" in hostile.said
    assert "{{ 7*7 }} {% raw %}" in hostile.said


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    page, _ = worded(HOSTILE)
    skeleton = Skeleton(page)
    names = {name for _, attrs in skeleton.elements for name, _ in attrs}
    assert not names & {"src", "href", "srcset", "style", "action"}
    assert not [name for name in names if name.startswith("on")]
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in skeleton.elements}
    assert "Content-Security-Policy" in page
    assert not re.search(r"@import|url\((?!#(?:gate)?hatch\))", page.split("</style>")[0])
    assert all(char.isprintable() or char == "\n" for char in page)


def test_nothing_of_a_markdown_report_comes_from_text() -> None:
    calm, hostile = (marked(worded(words)[1]) for words in (CALM, HOSTILE))
    lines = {"text", "hardbreak", "softbreak", "paragraph_open", "paragraph_close", "inline"}
    kinds = [[token.type for token in tokens if token.type not in lines] for tokens in (calm, hostile)]
    assert kinds[0] == kinds[1]
    told_of = "".join(token.content for token in hostile if token.type == "text")
    assert "<script>alert(1)</script> <img src=x onerror=alert(1)>" in told_of
    assert "[l](http://x.test) ![i](http://x.test) <http://x.test> **b** _i_ ~~s~~" in told_of


@settings(deadline=None)
@given(
    st.text(st.one_of(st.sampled_from("\\`*_[]<>&|~$#-+=1.)!:/ \t\n\"'(@w"), st.characters()), max_size=40)
)
def test_escaped_markdown_reads_as_the_text_that_it_was(text: str) -> None:
    plain = "".join(char if char.isprintable() else " " for char in text).split()
    for before, after in (("", ""), ("x ", ""), ("- ", ""), ("> ", ""), ("| x |\n|---|\n| ", " |")):
        tokens = marked(f"{before}{escaped(text)}{after}")
        empty = marked(f"{before}{'word' if plain else ''}{after}")
        assert [token.type for token in tokens if token.type != "text"] == [
            token.type for token in empty if token.type != "text"
        ]
        found = "".join(token.content for token in tokens if token.type == "text")
        assert "".join(found.split()) == before.strip("-> |\n") + "".join(plain)


def test_the_end_of_an_agent_says_how_it_ended() -> None:
    page, _ = both(
        facts(), told([(1, "claude-1", Started("claude", 1, 1)), (2, "claude-1", Ended(-9, "killed"))])
    )
    assert "ended: killed by SIGKILL (killed)" in page
