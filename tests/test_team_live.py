"""What the terminal shows of a team: within its size, whatever agents say."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from delm_client.team.live import line_for, render
from delm_client.team.record import (
    Connected,
    Ended,
    Entered,
    Event,
    Faulted,
    Holds,
    Joined,
    Line,
    Noted,
    RunIs,
    Said,
    Spent,
    Started,
    Used,
)
from delm_client.team.view import View
from tests.team_story import HOSTILE, START, facts, seen, story, told

STYLE = re.compile(r"\x1b\[[0-9;]*m")


def shown(view: View, rows: int, columns: int, now: float = 0.0) -> str:
    """What a terminal is sent, without colors."""
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system="truecolor")
    console.print(render(view, rows, now=now))
    return STYLE.sub("", out.getvalue())


def crowd(agents: int) -> View:
    """A team of which there is more to tell than there is room."""
    lines = [(float(number), f"claude-{number}", Started("claude", 9, 1)) for number in range(agents)]
    events: list[tuple[float, str, Event]] = [*lines]
    for number in range(60):
        state = "admitted" if number % 2 else "rejected"
        who = f"claude-{number % agents}"
        events.append((100.0 + number, who, Holds(f"T{number}", "work", "Find what is slow " * 9)))
        events.append(
            (100.0 + number, who, Entered(f"E{number}", "fact", state, "quoted", "Long " * 90, "no " * 90))
        )
        events.append((100.0 + number, "", Noted(f"note {number}")))
    return seen(
        told(events), facts(goal="Find out " * 60, agents={f"claude-{n}": "claude" for n in range(agents)})
    )


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("rows", [24, 40, 60])
@pytest.mark.parametrize("agents", [1, 5, 32])
def test_the_view_fits_and_the_newest_stays_visible(agents: int, rows: int, columns: int) -> None:
    lines = shown(crowd(agents), rows, columns).splitlines()
    assert len(lines) <= rows
    assert all(cell_len(line) <= columns for line in lines)
    for newest in ("E59 ", "E58 ", "note 59", "version", "claude-0"):
        assert any(newest in line for line in lines), newest


def test_a_view_of_nothing_yet_is_shown() -> None:
    assert "none yet" in shown(View(), 24, 80)
    assert "starting" in shown(View(facts()), 24, 80)


def test_the_view_tells_tasks_tokens_costs_and_the_time_that_the_clock_shows() -> None:
    view = seen([line for line in story("some words") if line.at < START + 80], facts())
    text = shown(view, 24, 120, START + 200)
    row = next(line for line in text.splitlines() if "claude-1 " in line)
    assert re.search(r"○ waiting .* 1\.0k +400 +100 +\$0\.25 +1 ", row)
    assert "3 min 20 s Mend the parser" in text
    assert "1.6k tokens, at least $0.25 · 2 ready" in text
    assert re.search("E2 +fact +claude-1 +rejected +quotes: some words", text)


def test_an_agent_that_waits_for_a_check_says_so() -> None:
    assert "while E1 is checked" in shown(seen(told([
        (1, "claude-1", Started("claude", 1, 1)),
        (2, "claude-1", Entered("E1", "patch", "pending", "attested", "so it is")),
    ])), 24, 80)  # fmt: skip


def test_a_simulated_team_is_called_that_and_no_other() -> None:
    assert "SIMULATED" in shown(seen(story(), facts(simulated=True)), 24, 80)
    assert "SIMULATED" not in shown(seen(story(), facts()), 24, 80)


@pytest.mark.parametrize("columns", [80, 120])
def test_hostile_text_steers_no_terminal_and_is_no_markup(columns: int) -> None:
    view = seen(story(HOSTILE, {HOSTILE: 1}), facts(goal=HOSTILE, agents={HOSTILE: "claude"}))
    lines = shown(view, 30, columns).split("\n")
    assert all(char.isprintable() for line in lines for char in line)
    assert all(cell_len(line) <= columns for line in lines)
    assert len(lines) <= 31
    red = [Line(START, "codex-1", Faulted("[red]r[/red] [link=http://x.test]l[/link]"))]
    assert "[red]r[/red] [link=http://x.test]l[/link]" in shown(seen(red), 24, 120)


@pytest.mark.parametrize(
    ("what", "told_of"),
    [
        (Started("claude", 41, 1), "started: claude, process 41"),
        (Started("claude", 42, 2), "started: claude, process 42, attempt 2"),
        (Joined(), "joined the board"),
        (Connected(False, "refused"), "could not connect: refused"),
        (Connected(True), None),
        (Said("Let me see"), None),
        (Used("Bash", "pytest"), None),
        (Spent(1, 1, 0, None), None),
        (Faulted("no key"), "reports: no key"),
        (Holds("T1", "work", "Mend it"), "works on T1: Mend it"),
        (Holds("T2", "verify", "Judge E1"), "verifies under T2: Judge E1"),
        (Holds(), None),
        (Ended(-9, "killed"), "ended: killed by SIGKILL (killed)"),
        (Ended(0), "ended: exit code 0"),
        (Entered("E1", "fact", "admitted", "quoted", "It is so"), "E1 fact admitted (quoted): It is so"),
        (Entered("E2", "fact", "rejected", "", "It is", "novel: E1"), "E2 fact rejected: novel: E1"),
        (RunIs("open", 3, {"done": 1}), None),
        (RunIs("stalled", 3, {}, "nobody is left"), "the run is stalled: nobody is left"),
        (RunIs("finished", 3, {}), "the run is finished"),
        (Noted("the board is slow"), "the board is slow"),
    ],
    ids=lambda value: value.event if hasattr(value, "event") else "",
)
def test_without_a_terminal_what_is_notable_is_one_line(what: Event, told_of: str | None) -> None:
    line = line_for(Line(START, "claude-1", what))
    if told_of is None:
        assert line is None
    else:
        assert line is not None
        assert re.fullmatch(r"\d\d:\d\d:\d\d claude-1 " + re.escape(told_of), line)


def test_a_hostile_line_is_one_line_of_printable_characters() -> None:
    for line in map(line_for, story(HOSTILE)):
        assert line is None or (line.isprintable() and len(line) < 230)
    assert line_for(Line(float("inf"), "", Noted("when?"))) == "--:--:-- when?"


def test_a_note_that_names_its_agent_is_not_told_with_the_name_twice() -> None:
    told = line_for(Line(0.0, "a-1", Noted("a-1 ended once without a result and is given up.")))
    assert told is not None
    assert told.count("a-1") == 1
