"""For the tests of the judge: asking it about one case, of a scripted model."""

from typing import Any

import anyio
import pytest

from delm_mcp.checks.judge import Judge, Opinion
from delm_mcp.checks.judge_unavailable import JudgeUnavailable
from delm_mcp.domain.policy import JudgePolicy
from delm_mcp.errors import CheckUnavailable
from tests.scripted_model import Reply, ScriptedModel

KEY = "sk-scripted-0123456789"
CASE = "gist: «18 of 240 requests failed»\n\n| We measured 240 requests; 18 failed.\n"
MODELS = {"openai": "openai:local", "anthropic": "anthropic:claude-sonnet-4-6"}
PATIENCE_S = 20.0
both = pytest.mark.parametrize("provider", list(MODELS))


def policy_for(scripted: ScriptedModel, provider: str = "openai", **settings: Any) -> JudgePolicy:
    """A policy whose judge is the scripted model, asked once."""
    url = scripted.anthropic_url if provider == "anthropic" else scripted.openai_url
    given = {"model": MODELS[provider], "base_url": url, "max_retries": 0, "timeout_s": PATIENCE_S}
    return JudgePolicy.model_validate(given | settings)


async def judged(
    scripted: ScriptedModel, *replies: Reply, provider: str = "openai", key: str = KEY, **settings: Any
) -> Opinion:
    """The opinion of a model that replies as scripted."""
    scripted.script(*replies)
    with anyio.fail_after(PATIENCE_S):
        return await Judge(lambda _: key).opinion(policy_for(scripted, provider, **settings), CASE)


async def unavailable(
    scripted: ScriptedModel, *replies: Reply, words: tuple[str, ...] = (), **asked: Any
) -> JudgeUnavailable:
    """Why there is no opinion: says these words, and never the key."""
    with pytest.raises(CheckUnavailable) as raised:
        await judged(scripted, *replies, **asked)
    text = str(raised.value)
    assert KEY not in text
    assert [word for word in words if word not in text] == [], text
    assert isinstance(raised.value, JudgeUnavailable)
    return raised.value
