"""What the agents print becomes events: samples of real output, recorded with the scripted model."""

import json
from pathlib import Path
from typing import Any

import pytest

from delm_client.team.harnesses import HARNESSES
from delm_client.team.record import Connected, Event, Faulted, Said, Spent, Used

SAMPLES = Path(__file__).parent / "harness_samples"


def heard(name: str, kind: str) -> list[Event]:
    """The events of a sample, which has what the agent printed on both of its outputs."""
    parser = HARNESSES[name].parser()
    lines = (SAMPLES / f"{name}-{kind}.txt").read_text(encoding="utf-8").splitlines()
    return [event for line in lines for event in parser.feed(line)]


@pytest.mark.parametrize(
    ("name", "tools", "input_tokens", "cached_tokens", "output_tokens"),
    [
        ("claude", ["mcp__delm__claim_task", "Read", "Edit", "Bash"], 193_673, 177_581, 234),
        ("codex", ["delm.claim_task", "shell", "file_change", "shell"], 164_955, 151_315, 250),
        (
            "gemini",
            ["mcp_delm_claim_task", "read_file", "replace", "run_shell_command"],
            159_707,
            146_515,
            284,
        ),
        ("opencode", ["delm_claim_task", "read", "edit", "bash"], 55_102, 46_203, 111),
    ],
)
def test_an_agent_at_work_is_heard(
    name: str, tools: list[str], input_tokens: int, cached_tokens: int, output_tokens: int
) -> None:
    events = heard(name, "patch")
    assert [event.ok for event in events if isinstance(event, Connected)] == [True]
    used = [event for event in events if isinstance(event, Used)]
    assert [event.tool for event in used][:4] == tools
    assert "twice_1.py" in used[1].detail
    assert used[3].detail == "python3 -m unittest -q tests.test_twice_1"
    assert [event.text for event in events if isinstance(event, Said)] == ["The run is over, so I stop."]
    spent = [event for event in events if isinstance(event, Spent)]
    totals = (
        sum(one.input_tokens for one in spent),
        sum(one.cached_tokens for one in spent),
        sum(one.output_tokens for one in spent),
    )
    assert totals == (input_tokens, cached_tokens, output_tokens)
    costs = [one.cost_usd for one in spent if one.cost_usd is not None]
    assert bool(costs) == (name == "claude"), "a cost that nobody knows is not 0"
    assert not [event for event in events if isinstance(event, Faulted)]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("claude", "nokey", "Not logged in"),
        ("codex", "nokey", "Missing environment variable"),
        ("gemini", "nokey", "you must specify the GEMINI_API_KEY"),
        ("claude", "unreachable", "The model's address gave no answer"),
        ("codex", "unreachable", "Connection failed"),
        ("gemini", "unreachable", "fetch failed"),
        ("opencode", "unreachable", "Cannot connect to API: Unable to connect"),
    ],
)
def test_what_keeps_an_agent_from_its_model_is_a_fault_with_a_clear_text(
    name: str, kind: str, words: str
) -> None:
    faults = [event.text for event in heard(name, kind) if isinstance(event, Faulted)]
    assert words in faults[0]
    assert not any("{" in text or "\n" in text for text in faults), "it is for people"


@pytest.mark.parametrize("name", HARNESSES)
def test_an_agent_that_does_not_reach_the_board_is_noticed(name: str) -> None:
    connected = [event for event in heard(name, "noboard") if isinstance(event, Connected)]
    assert connected
    assert not any(event.ok for event in connected)
    assert all("[codex_rmcp" not in event.detail for event in connected)


@pytest.mark.parametrize("name", HARNESSES)
@pytest.mark.parametrize("line", ["", "not json", "[]", "7", "null", '{"type": 7}', '{"type": "new"}', "{"])
def test_a_line_of_an_unknown_kind_says_nothing(name: str, line: str) -> None:
    assert HARNESSES[name].parser().feed(line) == []


KINDS = (
    "assistant", "error", "item.completed", "item.started", "message", "result", "step_finish", "system",
    "text", "tool_use", "turn.failed",
)  # fmt: skip


@pytest.mark.parametrize("name", HARNESSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_lacks_what_its_kind_has_breaks_nothing(name: str, kind: str) -> None:
    parser = HARNESSES[name].parser()
    less: list[dict[str, Any]] = [
        {}, {"message": {}}, {"item": {}}, {"part": {}}, {"error": {}}, {"message": {"content": [{}]}}
    ]  # fmt: skip
    for extra in less:
        parser.feed(json.dumps({"type": kind, **extra}))
    assert not any(isinstance(event, Connected) and event.ok for event in parser.feed("{}"))
