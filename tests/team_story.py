"""Events of made-up teams."""

from collections.abc import Iterable, Mapping
from typing import Any

from delm_client.team.record import (
    Commit,
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
    TeamFacts,
    Used,
)
from delm_client.team.view import View

START = 1_800_000_000.0
CALM = "calm words"
HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> </style></title></pre> &lt; \" ' `a` ``` ~~~ "
    "{{ 7*7 }} {% raw %} | # [l](http://x.test) ![i](http://x.test) <http://x.test> **b** _i_ ~~s~~ $m$ "
    "\\ \\| [red]r[/red] [link=http://x.test]l[/link] \x1b[31m \x1b]8;;http://x.test\x07 \x00 \r \n\n"
    "# head\n\n- item\n1. one\n> q\n===\n    code\n|a|b|\n|-|-|\n \u202egnirts \u2028 \ud800 \u6f22\u5b57 "
    "\U0001f469\u200d\U0001f680 https://x.test www.x.test"
)


def facts(**changes: Any) -> TeamFacts:
    """What is known of a team of two."""
    given: dict[str, Any] = {
        "run": "r-abc",
        "goal": "Mend the parser",
        "repository": "/home/ada/parser",
        "board": "/home/ada/parser/.delm/board.db",
        "base": "b" * 40,
        "agents": {"claude-1": "claude", "codex-1": "codex"},
        "models": {"claude-1": "sonnet", "codex-1": ""},
        "policy": "standard",
        "commands": {"test": "pytest -q"},
        "started_at": START,
        "ended_at": START + 100,
        "outcome": "finished",
        "head": "a" * 40,
        "branch": "delm/r-abc",
        "answer": "Every offset is accepted.",
        "commits": (Commit("c" * 40, "claude-1", "Accept every offset", "E1"),),
        "command": "delm-run team 'Mend the parser' --agents claude:1,codex:1",
        "version": "0.5.0",
    }
    return TeamFacts(**{**given, **changes})


def told(events: Iterable[tuple[float, str, Event]]) -> list[Line]:
    """Lines at seconds after the start."""
    return [Line(START + after_s, agent, what) for after_s, agent, what in events]


def seen(lines: Iterable[Line], known: TeamFacts | None = None) -> View:
    """A view that heard it all."""
    view = View(known)
    for line in lines:
        view.hear(line)
    return view


def story(words: str = CALM, tasks: Mapping[str, int] | None = None) -> list[Line]:
    """Two agents, of which one is started twice; an entry admitted, one refused, one taken back.

    Everything that agents, clients and checks word is `words`.
    """
    claude, codex = "claude-1", "codex-1"
    return told([
        (0, "", RunIs("open", 0, tasks or {"ready": 2})),
        (1, claude, Started("claude", 100, 1)),
        (2, codex, Started("codex", 101, 1)),
        (3, claude, Connected(True)),
        (4, claude, Joined()),
        (5, codex, Connected(False, words)),
        (10, claude, Holds("T1", "work", words)),
        (11, claude, Said(words)),
        (12, claude, Used(words, words)),
        (13, claude, Spent(1000, 100, 400, 0.25)),
        (14, codex, Faulted(words)),
        (15, codex, Ended(1, words)),
        (20, codex, Started("codex", 102, 2)),
        (22, codex, Spent(500, 50, 0, None)),
        (30, claude, Entered("E1", "patch", "pending", "attested", words)),
        (40, claude, Entered("E1", "patch", "admitted", "executed", words)),
        (40, claude, Holds()),
        (45, codex, Holds("T2", "verify", words)),
        (50, claude, Entered("E2", "fact", "rejected", "attested", words, f"quotes: {words}")),
        (60, claude, Entered("E3", "fact", "admitted", "quoted", words)),
        (70, claude, Entered("E3", "fact", "retracted", "quoted", words, f"peers: {words}")),
        (75, codex, Holds()),
        (80, "", Noted(words)),
        (85, "", RunIs("finished", 3, {"done": 2})),
        (90, claude, Ended(0, words)),
        (90, codex, Ended(-15, words)),
    ])  # fmt: skip
