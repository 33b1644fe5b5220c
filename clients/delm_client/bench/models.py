"""The model that all agents of a run use: one call in, one text out, with what it took.

Through pydantic-ai, an optional extra that takes seconds to import; nothing outside the functions here
imports it.
"""

import importlib.util
import ipaddress
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

import anyio

from delm_client.bench.errors import BenchError, ExtraMissing
from delm_client.bench.limits import Call
from delm_client.words import plural

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model as Library
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.usage import RequestUsage

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GOOGLE_API_KEY"}
SDK_RETRIES = 10
"""After a 429, a 5xx, a timeout or a broken connection. The SDKs' own 2 let one run in twenty die where
every fifth call was refused."""
MALFORMED_RETRIES = 3
"""After an answer that is none in the provider's form, such as an empty body."""
RETRY_WAIT_MAX_S = 60.0
SCRIPTED = "scripted"
"""What scripted models call themselves, so that nobody takes their results for a model's."""


class ModelBroke(BenchError):
    """The model gave no answer to this call: the item could not be run, and is run again on resume."""


class ModelRefused(BenchError):
    """No call can work: wrong key, no such model, nobody listening. The run stops."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for a million tokens, as the user says; for endpoints that no price list knows.

    What is written into a cache counts as input.
    """

    input: float
    cached: float
    output: float

    @classmethod
    def parse(cls, text: str) -> "Price":
        """`0.50/0.05/3.00`: input, cached input, output."""
        try:
            given = [float(part) for part in text.split("/")]
            price = cls(*given)
            if not all(0 <= each < math.inf for each in given):
                raise ValueError(text)  # said below as for what is no number
        except (ValueError, TypeError):
            raise BenchError(
                f"--price {text!r} is not INPUT/CACHED/OUTPUT in USD for a million tokens, "
                "such as 0.50/0.05/3.00."
            ) from None
        return price

    def cost(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """Of one call, in USD."""
        fresh = input_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * self.cached + output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Wanted:
    """The model as the user names it: `openai:NAME`, `anthropic:NAME` or `google:NAME`.

    Attributes:
        base_url: Of another server that speaks that protocol: vLLM, Ollama, a gateway.
        key_env: The variable with the key; default: the provider's own, and none with a `base_url`.
        timeout_s: How long one try of a call may be silent before it is made again.
    """

    name: str
    base_url: str = ""
    key_env: str = ""
    temperature: float | None = 0.1
    max_tokens: int = 1024
    timeout_s: float = 300.0
    price: Price | None = None

    @property
    def provider(self) -> str:
        return self.name.partition(":")[0]

    @property
    def model(self) -> str:
        return self.name.partition(":")[2]

    def known(self) -> None:
        """Raises BenchError where the name or the address is none."""
        if self.provider == SCRIPTED:
            return
        if self.provider not in KEYS or not self.model:
            known = ", ".join(f"{provider}:NAME" for provider in KEYS)
            raise BenchError(
                f"--model {self.name!r} is not a provider and a name. There are: {known}; "
                "for vLLM or Ollama openai:NAME with --base-url."
            )
        if self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise BenchError(
                f"--base-url {self.base_url!r} is no address, such as http://127.0.0.1:11434/v1."
            )

    def key(self) -> str:
        """The key. Raises BenchError where it is not set."""
        self.known()
        own = self.base_url or self.provider == SCRIPTED
        variable = self.key_env or ("" if own else KEYS[self.provider])
        key = os.environ.get(variable, "") if variable else "no-key-needed"
        if not key:
            raise BenchError(
                f"There is no key for {self.name}: {variable} is not set. Set it, name another variable with "
                "--key-env, or name a server of your own with --base-url."
            )
        return key

    def price_of(self, usage: "RequestUsage | Any") -> float | None:
        """What so many tokens cost in USD; None where nobody knows."""
        if self.price is not None:
            return self.price.cost(usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)
        if self.base_url or self.provider == SCRIPTED:
            return None  # the provider's prices say nothing about somebody else's server
        from genai_prices import calc_price

        try:
            return float(calc_price(usage, self.model, provider_id=self.provider).total_price)
        except (LookupError, ValueError):
            return None

    def priced(self) -> bool:
        """Whether costs can be known at all."""
        from pydantic_ai.usage import RequestUsage

        return self.price_of(RequestUsage(input_tokens=1, output_tokens=1)) is not None


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said, by which model as the server names it, and what it took."""

    text: str
    model: str
    finish: str
    call: Call


def insist() -> None:
    """Raises ExtraMissing where the library is not installed."""
    if importlib.util.find_spec("pydantic_ai") is None or importlib.util.find_spec("genai_prices") is None:
        raise ExtraMissing('Models are asked through pydantic-ai: `pip install "delm-mcp[bench]"` brings it.')


class Model:
    """A model that is ready to be asked. Many may ask at once; leaving it as a context closes its
    connections.

    Args:
        told: Hears of each try that was not answered in time.
    """

    def __init__(self, wanted: Wanted, told: Callable[[str], None] = lambda _: None) -> None:
        insist()
        self.wanted = wanted
        self._told_late = told
        self._late = 0
        self._http = _http(wanted, self._is_late)
        self._library = _library(wanted, wanted.key(), self._http)
        self._settings: ModelSettings = {
            "framing_announcement": "never",
            "max_tokens": wanted.max_tokens,
            "timeout": wanted.timeout_s,
            "max_retries": SDK_RETRIES,
            "request_timeout": (wanted.timeout_s + RETRY_WAIT_MAX_S) * (SDK_RETRIES + 1),
        }
        if wanted.temperature is not None:
            self._settings["temperature"] = wanted.temperature
        if wanted.provider == "anthropic":
            self._settings = cast("ModelSettings", {**self._settings, "anthropic_cache_instructions": True})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, instructions: str, blocks: Sequence[str], max_tokens: int = 0) -> Said:
        """Ask once; what can be tried again is, with growing waits.

        Args:
            blocks: The prompt in pieces; a provider whose cache works by blocks is told to keep all but the
                last one.
            max_tokens: Of the answer; 0: as wanted for all.

        Raises:
            ModelBroke: It gave no answer.
            ModelRefused: It never will.
        """
        begun = time.monotonic()
        for attempt in range(MALFORMED_RETRIES + 1):
            try:
                response = await self._request(instructions, blocks, max_tokens)
            except Exception as error:
                if _refuses_temperature(error):  # newer than the library's list of those that do
                    self._settings.pop("temperature", None)
                elif not _malformed(error):
                    raise self._told(error) from error
                elif attempt == MALFORMED_RETRIES:
                    many = f"{self.wanted.name} gave {attempt + 1} answers that are none"
                    raise ModelBroke(f"{many}: {_short(error)}") from error
                else:
                    await anyio.sleep(0.05 * 4**attempt)
            else:
                return self._said(response, time.monotonic() - begun)
        raise ModelBroke(f"{self.wanted.name} gave no answer.")

    def _is_late(self) -> None:
        self._late += 1
        self._told_late(
            f"{self.wanted.name} has not answered within {self.wanted.timeout_s:g} s (--call-timeout): "
            f"{plural(self._late, 'time')} so far. Each call is tried {SDK_RETRIES + 1} times."
        )

    async def _request(self, instructions: str, blocks: Sequence[str], max_tokens: int) -> "ModelResponse":
        from pydantic_ai.direct import model_request
        from pydantic_ai.messages import CachePoint, ModelRequest, UserPromptPart
        from pydantic_ai.models import ModelRequestParameters

        prompt: str | list[str | CachePoint] = "".join(blocks)
        if self.wanted.provider == "anthropic" and len(blocks) > 1:
            prompt = [*blocks[:-1], CachePoint(), blocks[-1]]
        return await model_request(
            self._library,
            [ModelRequest(parts=[UserPromptPart(prompt)], instructions=instructions)],
            model_settings={**self._settings, "max_tokens": max_tokens or self.wanted.max_tokens},
            model_request_parameters=ModelRequestParameters(),
        )

    def _said(self, response: "ModelResponse", latency_s: float) -> Said:
        from pydantic_ai.usage import RequestUsage

        usage = response.usage
        measured = bool(usage.input_tokens or usage.output_tokens)
        uncached = RequestUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        call = Call(
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cache_read_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=self.wanted.price_of(usage) if measured else None,
            cost_uncached_usd=self.wanted.price_of(uncached) if measured else None,
            latency_s=latency_s,
            measured=measured,
        )
        return Said(
            _whole(response.text or ""),
            _whole(response.model_name or self.wanted.model),
            response.finish_reason or "",
            call,
        )

    def _told(self, error: Exception) -> BenchError:
        """The library's error as one of ours."""
        from pydantic_ai import exceptions

        name = self.wanted.name
        status = getattr(error, "status_code", None)
        if isinstance(error, exceptions.ModelAuthenticationError) or status in (401, 403):
            return ModelRefused(f"{name} refuses the key: {_short(error)}")
        if isinstance(error, exceptions.ModelNotFoundError) or status == 404:
            return ModelRefused(f"There is no {name} there: {_short(error)}")
        if isinstance(error, exceptions.ModelQuotaExceededError):
            return ModelRefused(f"{name}: the account's quota is used up: {_short(error)}")
        if isinstance(error, exceptions.ModelTimeoutError) and error.phase != "connect":
            return ModelBroke(
                f"{name} did not answer within {self.wanted.timeout_s:g} s, in {SDK_RETRIES + 1} tries. "
                "A slow model needs a longer --call-timeout."
            )
        if isinstance(error, exceptions.ModelConnectionError):
            where = self.wanted.base_url or "its provider"
            return ModelRefused(f"{name} cannot be reached at {where}, in {SDK_RETRIES + 1} attempts.")
        if isinstance(error, exceptions.AgentRunError | OSError):
            return ModelBroke(f"{name} gave no answer: {_short(error)}")
        raise error


def _malformed(error: Exception) -> bool:
    """Whether the body was not in the provider's form: not always an error of the library's own."""
    from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior

    tripped = (UnexpectedModelBehavior, TypeError, ValueError, LookupError, AttributeError)
    return isinstance(error, tripped) or type(error) is ModelAPIError


def _refuses_temperature(error: Exception) -> bool:
    return getattr(error, "status_code", None) == 400 and "temperature" in str(getattr(error, "body", ""))


def _whole(text: str) -> str:
    """Without halves of characters, which JSON can escape and no file takes."""
    return text.encode("utf-8", "replace").decode()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def _http(wanted: Wanted, late: Callable[[], None]) -> "httpx2.AsyncClient":
    """A proxy from the environment is not asked to reach its own loopback."""
    import httpx2
    from pydantic_ai.models import create_async_httpx2_client

    transport = None
    if _is_loopback(wanted.base_url):
        transport = httpx2.AsyncHTTPTransport(verify=wanted.base_url.startswith("https:"))
    client = create_async_httpx2_client(transport=transport)
    send = client.send

    async def watched(*args: Any, **options: Any) -> "httpx2.Response":
        try:
            return await send(*args, **options)
        except httpx2.ReadTimeout:
            late()
            raise

    # The SDKs try again by themselves and say nothing of it.
    client.send = watched  # type: ignore[method-assign]
    return client


def _library(wanted: Wanted, key: str, http: "httpx2.AsyncClient") -> "Library[Any]":
    """pydantic-ai's model."""
    url = wanted.base_url or None
    if wanted.provider == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        provider = AnthropicProvider(api_key=key, base_url=url, http_client=http)
        return AnthropicModel(wanted.model, provider=provider)
    if wanted.provider == "google":
        from google.genai.types import HttpRetryOptions
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        retries = HttpRetryOptions(attempts=SDK_RETRIES + 1, max_delay=RETRY_WAIT_MAX_S)
        return GoogleModel(
            wanted.model,
            provider=GoogleProvider(api_key=key, base_url=url, http_client=http, retry_options=retries),
        )
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(wanted.model, provider=OpenAIProvider(base_url=url, api_key=key, http_client=http))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
