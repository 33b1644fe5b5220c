"""A configured model judges an entry along the axes.

The model is asked through pydantic-ai, an optional extra that takes seconds to import: nothing outside
the functions here imports it, and they do so in a thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from delm_mcp.checks.judge_unavailable import (
    ADDRESSES,
    JudgeUnavailable,
    called,
    explained,
    insist,
    is_loopback,
    provider_of,
    quoted,
)
from delm_mcp.domain.axes import Axis, questions
from delm_mcp.domain.model import Verdict
from delm_mcp.domain.policy import JudgePolicy
from delm_mcp.domain.text import one_line, shortened
from delm_mcp.prompts import shipped

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model
    from pydantic_ai.settings import ModelSettings

REPAIRS = 2
"""How often the model may mend an answer that does not fit the form."""
AXES_HERE = "{axes}"
"""Where the axes go in the instructions; instructions without it get them at the end."""

_REASON_CHARS = 2000
_MODEL_CHARS = 200
_RETRY_WAIT_MAX_S = 120.0  # the longest `Retry-After` that the SDKs keep
_NO_KEY = "no-key-needed"
_ELSEWHERE = "elsewhere"  # a name with a provider's in it ("openai-compatible") would get that one's prices
# The library counts missing, wrong and parallel tool calls apart; requests are what is bounded.
_UNBOUNDED = 1000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a judgement has cost.

    Attributes:
        requests: Answers that the model gave. What the SDK tried again after a 429, a 5xx or a broken
            connection is not among them.
        input_tokens, output_tokens: As the server counted; 0 from one that does not count.
        cost_usd: None where no price is known, or where the server did not count.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the model says of a case.

    Attributes:
        verdict: `abstain` also when the model declined, or did not keep to the form.
        reason: One line, at most 2,000 characters; the model's own words unless it abstains.
        fails: The axes that fail; at least one with `fail`, else none.
        model: What the server said it was, else what was asked for.
        requests, input_tokens, output_tokens, cost_usd: As in `Spent`.
    """

    verdict: Verdict
    reason: str
    fails: tuple[Axis, ...]
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Judge:
    """Asks the model of a policy.

    Args:
        key_of: Reads the key for a policy; empty when there is none.
    """

    def __init__(self, key_of: Callable[[JudgePolicy], str]) -> None:
        self._key_of = key_of

    async def opinion(self, policy: JudgePolicy, case: str) -> Opinion:
        """Judge one case.

        Asks once, and up to twice more to mend an answer that does not fit the form. Each of these takes at
        most `(max_retries + 1) * timeout_s` seconds and the waits between (8 s, or a `Retry-After` of 120 s).

        Args:
            policy: The model, where it is, and how it is asked.
            case: The gist, its evidence unfolded and the author's claim; text of agents in it is fenced.

        Raises:
            CheckUnavailable: No opinion could be had: the library or the key is missing, or the model
                cannot be reached, is overloaded, or refuses to be asked in this way. Says which, fit to
                be shown as the reason why an entry is still pending; never with the key.
        """
        key = self._key_of(policy)
        insist(policy, key)
        try:
            asked = await anyio.to_thread.run_sync(_assembled, policy, key)
        except ImportError as error:
            raise JudgeUnavailable(
                f"The judge needs a library that is not here: {one_line(str(error))[:300]}.",
                "Where the server runs: pip install 'delm-mcp[judge]'.",
            ) from error
        except Exception as error:
            raise JudgeUnavailable(
                f"The judge {called(policy)} cannot be set up ({type(error).__name__}).",
                "Check [judge] in the policy.",
            ) from error
        async with asked.client:
            return await _ask(asked, case)


# -- asking --------------------------------------------------------------------------------------


class _Answer(BaseModel):
    """Your judgement of the entry."""

    model_config = ConfigDict(extra="ignore")

    # The reason stands first, so that a model without hidden reasoning thinks before it decides.
    reason: str = Field(
        description="One line for the author: what decided it, and what would have to change."
    )
    verdict: Annotated[Verdict, WithJsonSchema({"type": "string", "enum": list(Verdict)})]
    fails: list[Annotated[Axis, WithJsonSchema({"type": "string", "enum": list(Axis)})]] = Field(
        description="The axes that fail: at least one with `fail`, none with `pass`."
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        """What small models write otherwise and cannot mean otherwise: `PASS`, or no list at all."""
        if not isinstance(given, dict):
            return given
        fails = given.get("fails") or []
        return {
            **given,
            "verdict": _lower(given.get("verdict")),
            "fails": [_lower(name) for name in fails] if isinstance(fails, list) else fails,
        }

    @field_validator("reason")
    @classmethod
    def _some_reason(cls, reason: str) -> str:
        if not (line := one_line(reason)):
            raise ValueError("say in one line what decided it")
        return shortened(line, _REASON_CHARS)

    @model_validator(mode="after")
    def _agrees(self) -> "_Answer":
        if self.verdict is Verdict.FAIL and not self.fails:
            raise ValueError("a fail names at least one axis in `fails`")
        if self.verdict is Verdict.PASS and self.fails:
            raise ValueError("a pass names no axis in `fails`; if one fails, the verdict is fail")
        return self


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whom to ask, and how. The client is closed by whoever got this."""

    policy: JudgePolicy
    key: str
    client: "httpx2.AsyncClient"
    agent: "Agent[object, _Answer]"
    settings: "ModelSettings"


def _assembled(policy: JudgePolicy, key: str) -> _Asked:
    """Imports the library, reads certificates and prices: slow, so it runs in a thread."""
    import httpx2
    from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
    from pydantic_ai.models import create_async_httpx2_client

    output = {"tool": ToolOutput, "native": NativeOutput, "prompted": PromptedOutput}[policy.output]
    url = policy.base_url or ADDRESSES[provider_of(policy)]
    # A proxy from the environment would be asked to reach its own loopback. Reading certificates takes 25 ms.
    transport = httpx2.AsyncHTTPTransport(verify=url.startswith("https:")) if is_loopback(url) else None
    client = create_async_httpx2_client(transport=transport)
    model = _model(policy, url, key or _NO_KEY, client)
    agent = Agent(
        model,
        name="judge",
        output_type=output(_Answer, name="judgement"),
        instructions=_instructions(policy),
        retries={"output": _UNBOUNDED},
    )
    settings: ModelSettings = {
        # Else the library tells the model that `<system>` in a user's message has authority.
        "framing_announcement": "never",
        "max_tokens": policy.max_output_tokens,
        "timeout": policy.timeout_s,
        "max_retries": policy.max_retries,
        # `timeout` restarts with every byte; this one does not.
        "request_timeout": (policy.timeout_s + _RETRY_WAIT_MAX_S) * policy.max_retries + policy.timeout_s,
    }
    if not (
        _flag(model, "openai_supports_reasoning") or _flag(model, "anthropic_disallows_sampling_settings")
    ):
        settings["temperature"] = 0.0
    return _Asked(policy, key, client, agent, settings)


def _model(policy: JudgePolicy, url: str, key: str, client: "httpx2.AsyncClient") -> "Model[Any]":
    name = policy.model.partition(":")[2]
    if provider_of(policy) == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        class Elsewhere(AnthropicProvider):
            """Anthropic's protocol at another address, where Anthropic's prices say nothing."""

            @property
            def name(self) -> str:
                return _ELSEWHERE

        provider = Elsewhere if policy.base_url else AnthropicProvider
        return AnthropicModel(name, provider=provider(api_key=key, base_url=url, http_client=client))

    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    if policy.base_url:
        elsewhere = OpenAICompatibleProvider(_ELSEWHERE, base_url=url, api_key=key, http_client=client)
        return OpenAIChatModel(name, provider=elsewhere)
    return OpenAIChatModel(name, provider=OpenAIProvider(base_url=url, api_key=key, http_client=client))


def _flag(model: "Model[Any]", name: str) -> bool:
    """A property of the model that only the profile of its provider names."""
    return bool(dict(model.profile).get(name))


def _instructions(policy: JudgePolicy) -> str:
    text = policy.prompt or shipped("judge")
    if AXES_HERE not in text:
        text = f"{text.rstrip()}\n\nThe axes:\n\n{AXES_HERE}\n"
    return text.replace(AXES_HERE, questions())


async def _ask(asked: _Asked, case: str) -> Opinion:
    from pydantic_ai import UsageLimits, capture_run_messages

    limits = UsageLimits(request_limit=REPAIRS + 1)
    settings = asked.settings.copy()
    while True:
        with capture_run_messages() as messages:
            try:
                result = await asked.agent.run(case, model_settings=settings, usage_limits=limits)
            except Exception as error:
                if "temperature" in settings and _refuses_temperature(error):
                    del settings["temperature"]  # newer than the library's list of those that refuse it
                    continue
                return _without_answer(asked, error, messages)
        return _with_answer(asked, result.output, messages)


def _refuses_temperature(error: Exception) -> bool:
    from pydantic_ai.exceptions import ModelHTTPError

    return isinstance(error, ModelHTTPError) and error.status_code == 400 and "temperature" in str(error.body)


def _with_answer(asked: _Asked, answer: _Answer, messages: "Sequence[ModelMessage]") -> Opinion:
    responses = _responses(messages)
    last = responses[-1]
    if last.finish_reason == "content_filter":
        return _abstention(asked, _no_judgement(asked.policy, responses), messages)
    if len({str(call.args) for call in last.tool_calls}) > 1:
        return _abstention(asked, "The model gave more than one judgement in one answer.", messages)
    fails = tuple(dict.fromkeys(answer.fails)) if answer.verdict is Verdict.FAIL else ()
    return _opinion(asked, answer.verdict, answer.reason, fails, messages)


def _without_answer(asked: _Asked, error: Exception, messages: "Sequence[ModelMessage]") -> Opinion:
    """An abstention where the model answered, but not with a judgement.

    Raises:
        JudgeUnavailable: It did not answer.
    """
    from pydantic_ai.exceptions import (
        ContentFilterError,
        ModelContextWindowExceededError,
        OutputTokenLimitExceeded,
        UsageLimitExceeded,
    )

    if isinstance(error, ModelContextWindowExceededError):
        return _abstention(asked, "The case is longer than what the model can read.", messages)
    responses = _responses(messages)
    if isinstance(error, ContentFilterError | OutputTokenLimitExceeded | UsageLimitExceeded):
        return _abstention(asked, _no_judgement(asked.policy, responses), messages)
    spent = _spent(asked.policy, responses) if responses else None
    raise JudgeUnavailable(*explained(asked.policy, asked.key, error), spent=spent) from error


def _no_judgement(policy: JudgePolicy, responses: "Sequence[ModelResponse]") -> str:
    """What the model did instead of judging, by its last answer."""
    last = responses[-1]
    if last.finish_reason == "content_filter":
        words = last.text or (last.provider_details or {}).get("refusal")
        return f"The model declined to judge{f': {quoted(words)}' if words else ''}."
    if last.finish_reason == "length":
        return f"The model's answer was cut off at {policy.max_output_tokens} tokens (max_output_tokens)."
    said = last.tool_calls[-1].args if last.tool_calls else last.text
    return f"The model did not keep to the form in {len(responses)} answers; its last: {quoted(said or '')}."


def _abstention(asked: _Asked, reason: str, messages: "Sequence[ModelMessage]") -> Opinion:
    return _opinion(asked, Verdict.ABSTAIN, reason, (), messages)


def _opinion(
    asked: _Asked, verdict: Verdict, reason: str, fails: tuple[Axis, ...], messages: "Sequence[ModelMessage]"
) -> Opinion:
    responses = _responses(messages)
    spent = _spent(asked.policy, responses)
    said = next((response.model_name for response in reversed(responses) if response.model_name), "")
    return Opinion(
        verdict=verdict,
        reason=shortened(one_line(reason), _REASON_CHARS),
        fails=fails,
        model=shortened(one_line(said or asked.policy.model.partition(":")[2]), _MODEL_CHARS),
        requests=spent.requests,
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        cost_usd=spent.cost_usd,
    )


def _responses(messages: "Sequence[ModelMessage]") -> "list[ModelResponse]":
    return [message for message in messages if message.kind == "response"]


def _spent(policy: JudgePolicy, responses: "Sequence[ModelResponse]") -> Spent:
    given = sum(response.usage.input_tokens for response in responses)
    taken = sum(response.usage.output_tokens for response in responses)
    costs = [response.usage.cost for response in responses]
    counted = not any(response.usage.unmeasured_requests for response in responses)
    cost: float | None = None
    if policy.input_usd is not None and policy.output_usd is not None:
        cost = (given * policy.input_usd + taken * policy.output_usd) / 1_000_000
    elif all(price is not None for price in costs):
        cost = float(sum(price for price in costs if price is not None))
    return Spent(len(responses), given, taken, cost if counted else None)
