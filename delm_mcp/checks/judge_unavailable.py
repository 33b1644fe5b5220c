"""Why a judge gives no opinion, in words that an entry's author and the server's owner can act on.

No text here comes from where the key could be: neither headers, nor what a provider says of a key.
"""

import ipaddress
import json
import os
from socket import gaierror
from ssl import SSLError
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from delm_mcp.domain.policy import JudgePolicy
from delm_mcp.domain.text import fenced, one_line, shortened
from delm_mcp.errors import CheckUnavailable

if TYPE_CHECKING:
    from pydantic_ai.exceptions import ModelHTTPError

    from delm_mcp.checks.judge import Spent

ADDRESSES = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
"""Where the providers are, by the word before the colon of a model."""
_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
_QUOTED_CHARS = 300


class JudgeUnavailable(CheckUnavailable):
    """The model gave no opinion, for a reason that has nothing to do with the case.

    Args:
        spent: What earlier answers to the same case have cost; None when there were none.
    """

    def __init__(self, problem: str, hint: str = "", spent: "Spent | None" = None) -> None:
        super().__init__(problem, hint)
        self.spent = spent


def key_variable(policy: JudgePolicy) -> str:
    """The environment variable that holds the key; empty when none is to be read.

    With a `base_url` of its own the provider's usual variable is left alone: its key belongs to the
    provider, and not to whoever listens there.
    """
    usual = "" if policy.base_url else _KEYS.get(provider_of(policy), "")
    return policy.api_key_env or usual


def provider_of(policy: JudgePolicy) -> str:
    return policy.model.partition(":")[0]


def insist(policy: JudgePolicy, key: str) -> None:
    """Refuse, before anything is sent, what cannot work."""
    provider, _, name = policy.model.partition(":")
    if provider not in ADDRESSES or not name:
        raise JudgeUnavailable(
            f"The judge's model {quoted(policy.model)} is not a provider and a name."
            if policy.model
            else "The policy names no model for the judge.",
            'Name it: [judge] model = "anthropic:<name>", or "openai:<name>" with base_url.',
        )
    if policy.base_url and not (
        _host(policy.base_url) and policy.base_url.startswith(("http://", "https://"))
    ):
        raise JudgeUnavailable(
            "The judge's base_url is not an address.",
            'For example "http://127.0.0.1:11434/v1".',
        )
    variable = key_variable(policy)
    if not key and not policy.base_url:
        raise JudgeUnavailable(
            f"There is no key for the judge {called(policy)}: {variable} is not set where the server runs.",
            "Set it there and start the server again, or name another variable: [judge] api_key_env.",
        )
    if not (key.isascii() and key.isprintable()):
        raise JudgeUnavailable(
            f"The key in {variable} has characters that no key has.", "Set it again, without line breaks."
        )


def explained(policy: JudgePolicy, key: str, error: Exception) -> tuple[str, str]:
    """Why there was no answer, and what would help; nothing in it comes from where the key could be."""
    from pydantic_ai.exceptions import (
        ModelConnectionError,
        ModelHTTPError,
        ModelRequestTimeout,
        ModelTimeoutError,
        UserError,
    )

    judge = f"The judge {called(policy)}"
    if isinstance(error, ModelHTTPError):
        return _explained_status(policy, key, error)
    if isinstance(error, ModelTimeoutError | ModelRequestTimeout):
        return (
            f"{judge} did not answer within {policy.timeout_s:g} s{_attempts(policy)}.",
            "It is asked again; [judge] timeout_s gives it longer.",
        )
    if isinstance(error, ModelConnectionError):
        return (
            f"{judge} cannot be reached{_attempts(policy)}: {_broken(error)}.",
            "Check that it runs at that address."
            if policy.base_url
            else "Check the network where the server runs, and its proxy settings.",
        )
    if isinstance(error, UserError):
        return (
            f"{judge} cannot be asked in this way: {_without_key(error.message, key)}.",
            'Try [judge] output = "tool", or "prompted", which every model understands.',
        )
    return (
        f"{judge} answers with something that is not its protocol ({type(error).__name__}).",
        _where(policy),
    )


def _explained_status(policy: JudgePolicy, key: str, error: "ModelHTTPError") -> tuple[str, str]:
    from pydantic_ai.exceptions import ModelNotFoundError, ModelQuotaExceededError

    judge, code = f"The judge {called(policy)}", error.status_code
    if code in (401, 403):
        return _explained_key(policy, key, code)  # what the provider says here may repeat parts of the key
    if isinstance(error, ModelNotFoundError):
        return (
            f"There is no judge {called(policy)} ({code}).",
            f"Check [judge] model. {_where(policy)}".rstrip(),
        )
    if isinstance(error, ModelQuotaExceededError):
        return f"{judge} refuses: the account has no credit or quota left ({code}).", "Top it up."
    if code == 429 or code >= 500:
        why = "is over its rate limit" if code == 429 else "is overloaded or broken"
        return f"{judge} {why} ({code}){_attempts(policy)}.", "It is asked again later."
    said = _without_key(_message(error.body), key)
    return f"{judge} refuses the request ({code}){said and f': {said}'}.", "Check [judge] in the policy."


def _explained_key(policy: JudgePolicy, key: str, code: int) -> tuple[str, str]:
    variable = key_variable(policy)
    if key:
        return (
            f"The judge {called(policy)} refuses the key ({code}).",
            f"Check {variable or 'it'} where the server runs.",
        )
    return (
        f"The judge {called(policy)} wants a key ({code}), and none is set where the server runs.",
        f"Set {variable} there." if variable else "Name the variable that holds it: [judge] api_key_env.",
    )


def _message(body: object) -> str:
    """What the provider says is wrong, without the wrapping."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    said = inner.get("message", inner) if isinstance(inner, dict) else inner
    return said if isinstance(said, str) else json.dumps(said, default=str) if said else ""


def _broken(error: BaseException) -> str:
    """The operating system's words for a broken connection; never the transport's, which quote headers."""
    words = "the connection broke"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, gaierror | SSLError):
            words = one_line(cause.strerror or words)[:_QUOTED_CHARS]
        elif isinstance(cause, OSError) and cause.errno:
            words = os.strerror(cause.errno)
        elif type(cause).__name__ == "RemoteProtocolError":
            words = "it closed the connection before its answer was complete"
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__
    return words


def _attempts(policy: JudgePolicy) -> str:
    return f" in up to {policy.max_retries + 1} attempts" if policy.max_retries else ""


def _where(policy: JudgePolicy) -> str:
    if not policy.base_url:
        return ""
    ending = "ends with /v1" if provider_of(policy) == "openai" else "has no /v1 at its end"
    return f"Check [judge] base_url, which mostly {ending}."


def called(policy: JudgePolicy) -> str:
    """The model and its host. The rest of an address may hold a password or a token."""
    if not policy.base_url:
        return one_line(policy.model)
    parts = urlsplit(policy.base_url)
    return one_line(f"{policy.model} at {parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def _host(url: str) -> str:
    """The host of an address, or empty if it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is no number
        return parts.hostname or ""
    except ValueError:
        return ""


def is_loopback(url: str) -> bool:
    host = _host(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def quoted(said: object) -> str:
    return fenced(shortened(one_line(str(said)), _QUOTED_CHARS))


def _without_key(said: str, key: str) -> str:
    return quoted(said.replace(key, "***") if key else said) if said else ""
