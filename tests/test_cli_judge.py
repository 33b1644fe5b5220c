"""`delm-mcp judge`, and the judge's part of a policy file."""

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from typer.testing import CliRunner

from delm_mcp.cli import judging
from delm_mcp.config import PROMPT_CHARS_MAX, judge_key, load_policy
from delm_mcp.domain.policy import JudgePolicy
from delm_mcp.errors import ConfigError
from delm_mcp.prompts import shipped
from tests.scripted_model import Reply, hang, opinion, says, scripted_model, status

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0


def called(*words: str | Path, **environment: str) -> tuple[int, str]:
    """Run `delm-mcp judge`; returns its exit code and all that it printed."""
    runner = CliRunner(env={"COLUMNS": "400", "NO_COLOR": "1", **environment})
    done = runner.invoke(judging.app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def policy_file(folder: Path, **judge: Any) -> Path:
    lines = [f"{name} = {value!r}" for name, value in judge.items()]
    path = folder / "policy.toml"
    path.write_text("\n".join(["[judge]", *lines]) + "\n", encoding="utf-8")
    return path


async def tried(folder: Path, *replies: Reply, **settings: Any) -> tuple[int, str, list[str]]:
    """`judge try` against a scripted model; returns what `called` does, and the cases that it was asked."""
    async with scripted_model() as model:
        model.script(*replies)
        given = {"model": "openai:local", "base_url": model.openai_url, "max_retries": 0, **settings}
        path = policy_file(folder, **given)
        with anyio.fail_after(PATIENCE_S):
            code, text = await anyio.to_thread.run_sync(
                lambda: called("try", "--policy", path, THE_KEY="sk-1")
            )
        return code, text, [asked.case for asked in model.asked]


def test_the_instructions_are_printed_as_they_are_shipped() -> None:
    assert called("prompt") == (0, shipped("judge"))


async def test_trying_a_judge_shows_verdicts_axes_tokens_cost_and_time(tmp_path: Path) -> None:
    replies = (
        opinion("pass", "it is quoted"),
        opinion("fail", "[red]all[/] uploads", fails=["drift", "support"]),
    )
    code, text, cases = await tried(tmp_path, *replies, input_usd=2, output_usd=10)
    assert code == 0, text
    for words in (
        "true example: pass by scripted-2026-01-01; 1 request, 100 tokens in, 20 out, 0.000400 USD, ",
        "false example: fail (drift, support) by scripted",
        "«it is quoted»",
        "«[red]all[/] uploads»",
        "right about both",
    ):
        assert words in text
    assert "7.5 %" in cases[0]
    assert "18 % of all requests" in cases[1]


async def test_trying_a_judge_that_is_wrong_ends_with_an_error(tmp_path: Path) -> None:
    code, text, _ = await tried(tmp_path, opinion("pass"), opinion("pass"))
    assert code == 1
    assert "cost unknown" in text
    assert 'wrong about 1 of 2. Try another model, or output = "prompted"' in text


async def test_trying_a_judge_that_does_not_keep_to_the_form_shows_what_it_said(tmp_path: Path) -> None:
    code, text, _ = await tried(tmp_path, *[says("Looks fine!")] * 3, opinion("fail", fails=["drift"]))
    assert code == 1
    assert "true example: abstain" in text
    assert "3 requests, 300 tokens in" in text
    assert "Looks fine!" in text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (status(401, "no sk-1"), "refuses the key (401)"),
        (status(404), "There is no judge openai:local"),
        (status(429), "is over its rate limit (429)"),
        (hang(), "did not answer within 0.3 s"),
    ],
)
async def test_trying_a_judge_that_cannot_be_asked_explains_why(
    tmp_path: Path, reply: Reply, words: str
) -> None:
    code, text, _ = await tried(tmp_path, reply, api_key_env="THE_KEY", timeout_s=0.3)
    assert code == 1
    assert words in text
    assert "hint" in text
    assert "sk-1" not in text


def test_trying_a_policy_without_a_judge_says_how_to_name_one(tmp_path: Path) -> None:
    code, text = called("try", "--policy", policy_file(tmp_path))
    assert code == 1
    assert "names no judge" in text
    assert "[judge] with model" in text


# -- the policy file -----------------------------------------------------------------------------


def test_a_prompt_is_read_from_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "mine.md").write_text("Judge «hard»: {axes}\n", encoding="utf-8")
    path = policy_file(tmp_path, model="openai:x", prompt="prompts/mine.md")
    assert load_policy(str(path), (), ()).judge.prompt == "Judge «hard»: {axes}\n"


def test_a_prompt_by_its_whole_path_may_be_as_long_as_a_policy_holds(tmp_path: Path) -> None:
    longest = tmp_path / "long.md"
    longest.write_text("x" * PROMPT_CHARS_MAX, encoding="utf-8")
    path = policy_file(tmp_path, model="openai:x", prompt=str(longest))
    assert len(load_policy(str(path), (), ()).judge.prompt) == PROMPT_CHARS_MAX


def test_a_policy_without_a_prompt_uses_the_shipped_one(tmp_path: Path) -> None:
    for settings in ({}, {"prompt": ""}):
        path = policy_file(tmp_path, model="openai:x", **settings)
        assert load_policy(str(path), (), ()).judge.prompt == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"x" * (PROMPT_CHARS_MAX + 1), f"has {PROMPT_CHARS_MAX + 1} characters"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "mine.md").write_bytes(content)
    path = policy_file(tmp_path, model="openai:x", prompt="mine.md")
    with pytest.raises(ConfigError, match=r"judge\.prompt: .*mine\.md") as raised:
        load_policy(str(path), (), ())
    assert words in str(raised.value)


def test_a_prompt_of_another_type_is_refused_like_every_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"judge\.prompt"):
        load_policy(str(policy_file(tmp_path, prompt=3)), (), ())


# -- the key -------------------------------------------------------------------------------------


def test_the_key_is_read_from_where_the_policy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai\n")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-anthropic")
    monkeypatch.setenv("MINE", "sk-mine")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert judge_key(JudgePolicy(model="openai:x")) == "sk-openai"
    assert judge_key(JudgePolicy(model="anthropic:x")) == "sk-anthropic"
    assert judge_key(JudgePolicy(model="anthropic:x", api_key_env="MINE")) == "sk-mine"
    assert judge_key(JudgePolicy(model="openai:x", api_key_env="NOT_SET")) == ""


def test_a_provider_s_key_goes_to_another_address_only_when_the_policy_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    elsewhere = JudgePolicy(model="openai:x", base_url="http://127.0.0.1:1/v1")
    assert judge_key(elsewhere) == ""
    assert judge_key(elsewhere.model_copy(update={"api_key_env": "OPENAI_API_KEY"})) == "sk-openai"
