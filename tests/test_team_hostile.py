"""A launcher among what harms it: agents that print anything, readers that leave, disks that are full."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TextIO

import anyio
import pytest
from rich.console import Console

from delm_client.team.folder import Record, read_lines
from delm_client.team.harnesses.command import CommandHarness
from delm_client.team.hearing import EVENTS_MAX, Hearing, Log, Quota
from delm_client.team.record import Ended, Event, Joined, Line, Noted, Said, Spent, TeamFacts, Used
from delm_client.team.show import Screen
from delm_client.team.spending import Budget
from delm_client.team.supervise import Ending
from delm_client.team.work import ending_signals
from tests.outside import environment
from tests.team_scene import BIN, PATIENCE_S, Scene, scene_in


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path, ("one",)) as made:
        yield made


@pytest.mark.long
def test_a_team_outlives_the_reader_of_its_output_and_takes_any_goal(small: Scene) -> None:
    """`delm-run team ... | head -1`, in a terminal that knows ASCII only, with a goal that is no option."""
    goal = '--goal of "{label}" {braces} [red]\N{PARTY POPPER}'
    agent = 'cmd:sh -c \'printf "%s\\n" "$1"; printf "\\303\\251\\377\\033[2J\\n"; exit 3\' sh {prompt}'
    options = ("--run", "mend", "--agents", agent, "--restarts", "0", "--transport", "stdio")
    process = subprocess.Popen(
        [str(BIN / "delm-run"), "team", *options, "--task=-x", "--", goal],
        cwd=small.repo,
        env=environment(PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}", PYTHONIOENCODING="ascii"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    small.running.append(process)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "No --check" in process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()

    assert process.wait(PATIENCE_S) == 1
    assert said == ""
    assert small.facts()["outcome"] == "no agent left"
    assert (small.team_folder / "report.md").exists()
    assert goal in (small.team_folder / "logs" / "sh-1.out").read_text(errors="replace")
    assert small.status()["goal"] == goal
    assert [row["subject"] for row in small.status()["queue"]] == ["-x"]


HOSTILE = [
    '{"event": "said", "text": 5}',
    '{"event": "said", "text": "\\ud800"}',
    '{"event": "faulted", "text": null}',
    '{"event": "spent", "output_tokens": "many"}',
    '{"event": "spent", "output_tokens": -5, "cost_usd": NaN}',
    '{"event": ["said"]}',
    '{"event": "started", "harness": "x", "pid": 1, "attempt": "z"}',
    "[" * 100_000,
    "\x00\x1b[2J\ufffd",
]
NOT_ITS_OWN = [
    '{"event": "run", "state": "finished", "version": 1, "tasks": {}}',
    '{"event": "entered", "entry": "E9", "kind": "fact", "state": "admitted"}',
    '{"event": "holds", "task": "T1"}',
    '{"event": "ended", "code": 0}',
    '{"event": "noted", "text": "a-1 is given up"}',
]


def test_an_agent_that_prints_anything_tells_only_of_itself_and_harms_nobody(tmp_path: Path) -> None:
    record, ending = Record(tmp_path / "events.jsonl"), Ending()
    screen = Screen(Console(file=StringIO(), width=80), facts())
    record.listeners += [screen.hear, Budget(1.0, ending, lambda _: None).hear]
    record.open()
    hearing = Hearing(CommandHarness("a").parser(), lambda what: record.tell(what, "a-1"))

    for line in [*HOSTILE, *NOT_ITS_OWN, '{"event": "spent", "output_tokens": 5, "cost_usd": 0.5}']:
        assert hearing.take(line, 0.0)
    record.close()

    assert {type(line.what) for line in record.lines} == {Said, Spent}
    kept, _ = read_lines(record.path)
    assert len(kept) == len(record.lines) == len(HOSTILE) + len(NOT_ITS_OWN) + 1
    assert not ending.asked.is_set()


class Strange:
    """A parser that a client's new version has surprised."""

    def feed(self, line: str) -> list[Event]:
        return [Said(7), Used("x")] if line else []  # type: ignore[arg-type]


def test_a_parser_that_tells_nonsense_is_noted_and_the_next_line_is_heard() -> None:
    told = list[Event]()
    hearing = Hearing(Strange(), told.append)
    assert hearing.take("x", 0.0)
    assert hearing.take("", 0.0)
    assert [type(what) for what in told] == [Noted]
    assert "not understood" in str(told[0])


def test_a_flood_of_words_is_told_in_part_and_what_was_spent_always() -> None:
    told = list[Event]()
    hearing = Hearing(CommandHarness("a").parser(), told.append)

    heard = [hearing.take("y", 0.0) for _ in range(3 * EVENTS_MAX)]
    for _ in range(3):
        assert hearing.take('{"event": "spent", "output_tokens": 1}', 0.0)

    assert sum(heard) == EVENTS_MAX
    assert sum(isinstance(what, Said) for what in told) == EVENTS_MAX
    assert [type(what) for what in told[EVENTS_MAX:]] == [Noted, Spent, Spent, Spent]
    assert hearing.take("later", 1.0)
    assert hearing.words == "later"


def test_a_quota_fills_up_again_and_not_beyond_its_most() -> None:
    quota = Quota(most=2, per_s=1.0)
    assert [quota.takes(100.0) for _ in range(3)] == [True, True, False]
    assert [quota.takes(101.0) for _ in range(2)] == [True, False]
    assert [quota.takes(900.0) for _ in range(3)] == [True, True, False]


def test_a_log_ends_at_its_bound_and_a_full_disk_is_nothing_to_fail_of(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.out", bytes_max=10)
    for _ in range(5):
        log.write("sixsix")
    assert (tmp_path / "a.out").read_text() == "sixsix" * 2
    Log(Path("/dev/full")).write("x")
    Log(tmp_path / "no" / "folder").write("x")


# -- terminals that go away ------------------------------------------------------------------------


def facts() -> TeamFacts:
    return TeamFacts("r", "goal", "/r", "/r/b", "0" * 40, {"a-1": "cmd"}, {}, "open", {}, 1.0)


@pytest.fixture
def closed_terminal() -> Iterator[TextIO]:
    ours, theirs = os.openpty()
    os.close(ours)
    file = os.fdopen(theirs, "w")
    yield file
    with suppress(OSError):  # it flushes what it could not write before
        file.close()


@pytest.mark.anyio
@pytest.mark.parametrize("live", [True, False])
async def test_a_team_goes_on_in_silence_when_its_terminal_is_closed(
    closed_terminal: TextIO, live: bool
) -> None:
    console = Console(file=closed_terminal, force_terminal=live, width=80, height=24)
    screen = Screen(console, facts())
    with anyio.fail_after(PATIENCE_S):
        async with screen.drawn():
            screen.hear(Line(1.0, "a-1", Joined()))
            screen.hear(Line(2.0, "a-1", Ended(0)))
    assert console.quiet  # else it would keep what it cannot write, for as long as the team works


def test_nohup_keeps_a_team_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in ending_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert ending_signals() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
