"""A judge that gives no opinion says why, and never tells the key."""

import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from delm_mcp.checks.judge import Judge
from delm_mcp.domain.model import Verdict
from tests.judge_scene import CASE, KEY, MODELS, PATIENCE_S, both, judged, policy_for, unavailable
from tests.scripted_model import (
    INPUT_TOKENS,
    Reply,
    ScriptedModel,
    drip,
    drop,
    hang,
    opinion,
    raw,
    scripted_model,
    status,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedModel]:
    async with scripted_model() as served:
        yield served


@pytest.mark.parametrize("code", [429, 500, 503, 529])
@both
async def test_a_passing_trouble_is_tried_again(scripted: ScriptedModel, provider: str, code: int) -> None:
    said = await judged(
        scripted, status(code), status(code), opinion("pass"), provider=provider, max_retries=2
    )
    assert said.verdict is Verdict.PASS
    assert (len(scripted.asked), said.requests) == (3, 1)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (429, "is over its rate limit (429) in up to 3 attempts"),
        (500, "is overloaded or broken (500) in up to 3 attempts"),
        (529, "is overloaded or broken (529) in up to 3 attempts"),
    ],
)
@both
async def test_a_trouble_that_does_not_pass_leaves_no_opinion(
    scripted: ScriptedModel, provider: str, code: int, words: str
) -> None:
    scripted.always(status(code, f"the key {KEY} is over its limit"))
    error = await unavailable(scripted, provider=provider, max_retries=2, words=(MODELS[provider], words))
    assert len(scripted.asked) == 3
    assert error.spent is None


@both
async def test_a_refused_key_is_not_repeated_in_the_reason(scripted: ScriptedModel, provider: str) -> None:
    for code in (401, 403):
        reply = status(code, f"Incorrect API key provided: {KEY[:6]}***{KEY[-4:]}")
        error = await unavailable(scripted, reply, provider=provider, api_key_env="THE_KEY", max_retries=3)
        assert f"refuses the key ({code}). Check THE_KEY" in str(error)
        assert KEY[:6] not in str(error)
    assert len(scripted.asked) == 2


@both
async def test_a_server_that_wants_a_key_says_where_to_name_it(
    scripted: ScriptedModel, provider: str
) -> None:
    await unavailable(scripted, status(401), provider=provider, key="", words=("wants a key", "api_key_env"))
    named = {"provider": provider, "key": "", "api_key_env": "THE_KEY"}
    await unavailable(scripted, status(401), words=("wants a key", "Set THE_KEY"), **named)


@both
async def test_a_model_that_is_not_there_is_named(scripted: ScriptedModel, provider: str) -> None:
    reply = status(404, "no such model", "not_found_error")
    error = await unavailable(
        scripted, reply, provider=provider, words=("There is no judge", MODELS[provider])
    )
    assert "/v1" in error.hint


@both
async def test_a_refused_request_is_quoted_without_the_key(scripted: ScriptedModel, provider: str) -> None:
    reply = status(400, f"unknown field «x» for {KEY}", "invalid_request_error")
    await unavailable(
        scripted, reply, provider=provider, words=("(400): «unknown field \u2039x\u203a for ***»",)
    )


@both
async def test_an_account_without_credit_is_said_to_be_empty(scripted: ScriptedModel, provider: str) -> None:
    kind = {"openai": "insufficient_quota", "anthropic": "billing_error"}[provider]
    await unavailable(
        scripted, status(429, "no credit", kind), provider=provider, words=("no credit", "Top it up")
    )


@both
async def test_a_model_that_does_not_answer_in_time_leaves_no_opinion(
    scripted: ScriptedModel, provider: str
) -> None:
    await unavailable(
        scripted, hang(), provider=provider, timeout_s=0.2, words=("did not answer within 0.2 s",)
    )
    with anyio.fail_after(PATIENCE_S):
        await scripted.gone.wait()


@both
async def test_an_answer_that_never_ends_is_given_up_too(scripted: ScriptedModel, provider: str) -> None:
    await unavailable(
        scripted, drip(), provider=provider, timeout_s=0.2, words=("did not answer within 0.2 s",)
    )
    with anyio.fail_after(PATIENCE_S):
        await scripted.gone.wait()


@both
async def test_a_dropped_connection_is_tried_again_and_then_told(
    scripted: ScriptedModel, provider: str
) -> None:
    said = await judged(scripted, drop(), opinion("pass"), provider=provider, max_retries=1)
    assert (said.verdict, len(scripted.asked)) == (Verdict.PASS, 2)
    await unavailable(scripted, drop(), provider=provider, words=("closed the connection before its answer",))


@both
async def test_a_port_where_nobody_listens_is_told(scripted: ScriptedModel, provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{port}/v1"
        await unavailable(
            scripted, provider=provider, base_url=url, words=(f"{host}:{port}", "Connection refused")
        )


@pytest.mark.parametrize(
    "reply", [raw("<html>hello", "text/html"), raw("not json"), raw("{}"), raw('{"choices": []}'), raw("[]")]
)
@both
async def test_a_server_that_speaks_something_else_is_told(
    scripted: ScriptedModel, provider: str, reply: Reply
) -> None:
    await unavailable(scripted, reply, provider=provider, words=("not its protocol", "base_url"))


async def test_what_was_spent_before_the_trouble_is_kept(scripted: ScriptedModel) -> None:
    error = await unavailable(scripted, opinion("fail"), status(500), input_usd=10, output_usd=50)
    assert error.spent is not None
    assert (error.spent.requests, error.spent.input_tokens) == (1, INPUT_TOKENS)
    assert error.spent.cost_usd == pytest.approx(0.002)


async def test_a_redirect_does_not_carry_the_key_elsewhere(scripted: ScriptedModel) -> None:
    away = replace(status(307), headers=(("location", f"{scripted.url}/elsewhere"),))
    for provider in MODELS:
        await unavailable(scripted, away, provider=provider)
    assert "/elsewhere" not in {asked.path for asked in scripted.asked}


@both
async def test_a_cancelled_judgement_closes_its_connection(scripted: ScriptedModel, provider: str) -> None:
    scripted.script(hang())
    policy = policy_for(scripted, provider, max_retries=5)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(Judge(lambda _: KEY).opinion, policy, CASE)
            await scripted.hanging.wait()
            group.cancel_scope.cancel()
        await scripted.gone.wait()
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ({"model": "", "base_url": ""}, KEY, "names no model for the judge"),
        ({"base_url": "http://127.0.0.1:port/v1"}, KEY, "base_url is not an address"),
        ({"base_url": ""}, "", "OPENAI_API_KEY is not set where the server runs"),
        ({"base_url": "", "api_key_env": "THE_KEY"}, "", "THE_KEY is not set where the server runs"),
        ({"base_url": "", "model": "anthropic:claude-x"}, "", "ANTHROPIC_API_KEY is not set"),
        ({"api_key_env": "THE_KEY"}, f"{KEY}\nx", "The key in THE_KEY has characters"),
        ({"output": "native", "model": "anthropic:claude-3-haiku-20240307"}, KEY, '"prompted"'),
    ],
)
async def test_what_cannot_work_is_told_before_anything_is_sent(
    scripted: ScriptedModel, settings: dict[str, str], key: str, words: str
) -> None:
    await unavailable(scripted, key=key, words=(words,), **settings)
    assert scripted.asked == []


async def test_what_an_address_may_hold_in_secret_is_not_shown(scripted: ScriptedModel) -> None:
    url = scripted.openai_url.replace("http://", "http://user:hunter2@") + "/tenant-token"
    error = await unavailable(scripted, status(500), base_url=url)
    assert f"at http://127.0.0.1:{scripted.port} " in str(error)
    assert "hunter2" not in str(error)
    assert "tenant-token" not in str(error)


async def test_without_the_library_the_judge_says_how_to_install_it(
    scripted: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    await unavailable(scripted, words=("needs a library", "pip install 'delm-mcp[judge]'"))
