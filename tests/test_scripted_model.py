"""The scripted model that agents can work with: one script, four protocols."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from delm_client.scripted import Action, Conversation, Step, Turn, scripted_model, worker
from delm_client.scripted.answers import board_answer, live_entries
from delm_client.scripted.clients import CLAUDE, CODEX, GEMINI, OPENCODE, Client
from delm_client.scripted.conversation import Call

CLIENTS = (CLAUDE, CODEX, GEMINI, OPENCODE)
ACTIONS = [
    Action("claim_task", {"run": "r1", "wait_s": 3}),
    Action("shell", {"command": "git commit -q -m 'two words'"}),
    Action("read", {"path": "a folder/one.py"}),
    Action("edit", {"path": "one.py", "old": "    a\n    b", "new": "    c"}),
    Action("write", {"path": "new.py", "text": "x = 1\n\ny = 2\n"}),
]
CLAIMED = """\
You are ada-1 in run r1. Your task is T1 (work): «Mend it»
| Its test fails.
| recipe: {"read": ["one.py"], "propose": {"kind": "fact", "gist": "g", "artifact": "a"}}
lease: T1.secret (300 s, renewed by each call that shows it)
version 3
news:
v3 + E3 fact [quoted] by bob: «something»
next: Do the task."""
RECIPE = (
    'Its test fails.\nrecipe: {"read": ["one.py"], "propose": {"kind": "fact", "gist": "g", "artifact": "a"}}'
)
STRUCTURED = json.dumps(
    {
        "agent": "ada-1",
        "run": "r1",
        "task": {"id": "T1", "kind": "work", "subject": "Mend it", "detail": RECIPE},
        "lease": "T1.secret",
        "version": 3,
        "next": "Do the task.",
    }
)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_an_action_survives_the_way_to_a_client_and_back(client: Client, action: Action) -> None:
    assert client.action(client.call(action, "c1")) == action


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_tools_that_no_script_uses_are_left_alone(client: Client) -> None:
    assert client.action(Call("c1", "todo_write", {"x": 1})) == Action("todo_write", {"x": 1})
    assert client.can(["todo_write"]) == frozenset()


def test_both_forms_of_an_answer_say_the_same() -> None:
    texts = [CLAIMED, f"<untrusted_context>\n{CLAIMED}\n</untrusted_context>"]
    forms = [STRUCTURED, f"Wall time: 0.1 seconds\nOutput:\n{STRUCTURED}"]
    read = [board_answer(text) for text in (*texts, *forms)]
    assert [answer.form for answer in read] == ["text", "text", "structured", "structured"]
    for answer in read:
        assert (answer.agent, answer.run, answer.task, answer.kind) == ("ada-1", "r1", "T1", "work")
        assert (answer.lease, answer.detail, answer.next) == ("T1.secret", RECIPE, "Do the task.")


@pytest.mark.parametrize("output", ["", "fetch failed", "{}", '{"x": 1}', "MCP error -32000: closed", "{"])
def test_what_is_no_answer_of_the_board_is_none(output: str) -> None:
    assert board_answer(output).form == "none"


def test_what_fell_is_not_live() -> None:
    lines = ["v1 + E1 fact", "v2 + E2 fact", "v3 ! E1 retracted", "v4 ~ E2 superseded", "v4 + E3 fact"]
    lines += ["v5 ? E3 suspect", "v6 + E3 cleared"]
    answer = board_answer(json.dumps({"version": 6, "text": "\n".join(lines)}))
    assert live_entries(answer) == ["E3"]


def test_a_worker_tries_again_what_the_board_did_not_answer_and_then_stops() -> None:
    lost = Step(Action("claim_task", {}), "fetch failed", failed=True)
    said = Conversation("claude", "", [lost] * 3, frozenset({"claim_task"}))
    again = worker(said)
    assert again.actions == (lost.action,)
    assert again.think_s > 0
    assert not worker(Conversation("claude", "", [lost] * 100, frozenset({"claim_task"}))).actions


# -- the four protocols --------------------------------------------------------------------------


def anthropic(steps: list[tuple[Call, str]], tools: list[str]) -> tuple[str, dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "work"}]
    for call, output in steps:
        use = {"type": "tool_use", "id": call.id, "name": call.tool, "input": dict(call.arguments)}
        result = {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": [{"type": "text", "text": output}],
        }
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    body = {"model": "m", "stream": True, "messages": messages, "tools": [{"name": name} for name in tools]}
    return "/v1/messages", body


def chat(steps: list[tuple[Call, str]], tools: list[str]) -> tuple[str, dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "s"}, {"role": "user", "content": "work"}]
    for call, output in steps:
        function = {"name": call.tool, "arguments": json.dumps(dict(call.arguments))}
        made = {"id": call.id, "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [made]},
            {"role": "tool", "tool_call_id": call.id, "content": output},
        ]
    listed = [{"type": "function", "function": {"name": name}} for name in tools]
    return "/v1/chat/completions", {"model": "m", "stream": True, "messages": messages, "tools": listed}


def responses(steps: list[tuple[Call, str]], tools: list[str]) -> tuple[str, dict[str, Any]]:
    items: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": [{"text": "work"}]}]
    for call, output in steps:
        space, _, name = call.tool.rpartition("/")
        items += [
            {"type": "function_call", "call_id": call.id, "name": name, "namespace": space,
             "arguments": json.dumps(dict(call.arguments))},
            {"type": "function_call_output", "call_id": call.id, "output": output},
        ]  # fmt: skip
    spaces = [{"type": "namespace", "name": "mcp__delm", "tools": [{"name": name.split("/")[1]}]}
              for name in tools if "/" in name]  # fmt: skip
    plain = [{"type": "function", "name": name} for name in tools if "/" not in name]
    return "/v1/responses", {"model": "m", "stream": True, "input": items, "tools": [*spaces, *plain]}


def gemini(steps: list[tuple[Call, str]], tools: list[str]) -> tuple[str, dict[str, Any]]:
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "work"}]}]
    for call, output in steps:
        made = {"name": call.tool, "args": dict(call.arguments)}
        result = {"name": call.tool, "response": {"output": output}}
        contents += [
            {"role": "model", "parts": [{"functionCall": made}]},
            {"role": "user", "parts": [{"functionResponse": result}]},
        ]
    listed = [{"functionDeclarations": [{"name": name} for name in tools]}]
    path = "/v1beta/models/m:streamGenerateContent?alt=sse"
    return path, {"contents": contents, "tools": listed}


SPEAKERS = {"claude": (CLAUDE, anthropic), "codex": (CODEX, responses), "gemini": (GEMINI, gemini),
            "opencode": (OPENCODE, chat)}  # fmt: skip


def streamed(text: str) -> list[Mapping[str, Any]]:
    """The data of server-sent events."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.anyio
@pytest.mark.parametrize("name", SPEAKERS)
async def test_each_protocol_carries_the_script_and_counts_tokens(name: str) -> None:
    client, speak = SPEAKERS[name]
    seen: list[Conversation] = []

    def script(said: Conversation) -> Turn:
        seen.append(said)
        return Turn("thinking", (ACTIONS[len(said.steps)],))

    calls = [client.call(action, f"c{number}") for number, action in enumerate(ACTIONS[:2])]
    tools = [client.prefix + "claim_task", *(tool for tool, *_ in client.tools.values())]
    with anyio.fail_after(30):
        async with scripted_model(script) as model, httpx2.AsyncClient(base_url=model.url) as http:
            path, body = speak([(call, f"output {call.id}") for call in calls], tools)
            answer = await http.post(path, json=body)
            _, aside = speak([], [])
            title = await http.post(path, json=aside)
    assert answer.status_code == title.status_code == 200
    (said,) = seen
    assert said.client == name
    assert "work" in said.prompt
    assert [(step.action, step.output) for step in said.steps] == [
        (action, f"output c{number}") for number, action in enumerate(ACTIONS[:2])
    ]
    assert said.actions == {"claim_task", "shell", "read", "edit", "write"}
    events = json.dumps(streamed(answer.text))
    wanted = client.call(ACTIONS[2], "x")
    assert f'"{wanted.tool.rpartition("/")[2]}"' in events
    assert "a folder/one.py" in events
    assert "thinking" in events
    cached = re.findall(r'"(?:cache_read_input_tokens|cached_tokens|cachedContentTokenCount)": (\d+)', events)
    assert max(map(int, cached)) > 0
    assert "A conversation" in title.text, "side calls without tools are answered with text"


@pytest.mark.anyio
async def test_it_starts_as_a_program_and_prints_its_address(tmp_path: Path) -> None:
    process = await anyio.open_process([sys.executable, "-m", "delm_client.scripted"], cwd=tmp_path)
    try:
        assert process.stdout is not None
        with anyio.fail_after(60):
            url = (await process.stdout.receive()).decode().strip()
            path, body = chat([], ["delm_claim_task"])
            async with httpx2.AsyncClient() as http:
                answer = await http.post(url + path, json=body)
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    (called,) = [event for event in streamed(answer.text) if "delm_claim_task" in json.dumps(event)]
    assert called["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "delm_claim_task"
