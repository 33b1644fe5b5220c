"""Which checks each kind of entry must pass, and the bounds that make every run end.

A policy is a preset (`open`, `standard`, `strict`) or a preset with changes from TOML:

    preset = "standard"
    protect = ["tests/**"]

    [patch]
    checks = ["wellformed", "fresh", "novel", "quotes", "command", "peers"]

    [command]
    fail_at_base = "note"

It is snapshotted when a run opens; files that agents can edit never change it.
"""

import difflib
import re
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from delm_mcp.domain.model import Kind
from delm_mcp.errors import ConfigError


class CheckName(StrEnum):
    """The verification procedures, cheapest first; this is also the order in which they run."""

    WELLFORMED = "wellformed"
    FRESH = "fresh"
    NOVEL = "novel"
    SCOPED = "scoped"  # a `fail` names its scope and cites evidence
    PARENTS = "parents"  # everything that it derives from is live
    CHECKABLE = "checkable"  # cites something that the server can check by itself
    QUOTES = "quotes"
    COMMAND = "command"
    PEERS = "peers"  # other principals approve
    JUDGE = "judge"  # a configured model approves


OUTSIDE = (CheckName.QUOTES, CheckName.COMMAND, CheckName.PEERS, CheckName.JUDGE)
"""Checks that need more than the board's rows, so they end in a later transaction than the proposal."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KindPolicy(_Section):
    """The checks that entries of one kind must pass."""

    checks: tuple[CheckName, ...]

    def in_order(self) -> tuple[CheckName, ...]:
        """The checks, cheapest first, each once. `wellformed` and `fresh` are never optional."""
        wanted = {CheckName.WELLFORMED, CheckName.FRESH, *self.checks}
        return tuple(name for name in CheckName if name in wanted)


class PeersPolicy(_Section):
    """How other principals verify an entry, before it is admitted and when it is in doubt.

    `approvals` of `of` verdicts must be `pass` (`of = 0`: as many as approvals). `no_peers`: what becomes
    of a proposal when too few independent principals are there `peer_wait_s` after it was put to them:
    it waits on, is admitted without their word, or is rejected. After `max_rejections` verdicts against
    its results a task goes to somebody else.
    """

    approvals: int = Field(default=1, ge=1, le=9)
    of: int = Field(default=0, ge=0, le=9)
    no_peers: Literal["wait", "attest", "reject"] = "attest"
    peer_wait_s: float = Field(default=60.0, ge=0, le=86_400)
    max_rejections: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _enough_are_asked(self) -> Self:
        if self.of and self.of < self.approvals:
            raise ValueError(f"of={self.of} verdicts cannot give {self.approvals} approvals")
        return self

    @property
    def asked(self) -> int:
        """How many verdicts are asked for."""
        return max(self.of, self.approvals)


class JudgePolicy(_Section):
    """The model that judges, and what it may cost a run.

    Attributes:
        model: `anthropic:<name>`, `openai:<name>`, or `openai:<name>` with a `base_url` for any server that
            speaks OpenAI's protocol (vLLM, Ollama, llama.cpp).
        base_url: Where the model is; empty for the provider's own address.
        api_key_env: The environment variable of the server that holds the key; empty for the provider's
            usual one, or for none where there is a `base_url`. A key itself never stands in a policy.
        output: How the model is made to answer in the form: as a tool call, by the provider's JSON
            schema, or by asking in the prompt (for small local models).
        timeout_s: For one request.
        max_retries: After a failed connection, a 429 or a 5xx; waits grow, and `Retry-After` is kept.
        spend_usd: What all judgements of a run may cost; None for no such bound.
        spend_tokens: How many tokens, in and out, all judgements of a run may take.
        input_usd, output_usd: The price of a million tokens where no price list knows the model.
        unavailable_s: How long an entry waits for a judge that cannot be reached before it is rejected.
        prompt: The judge's instructions; empty for those that come with delm-mcp. In a TOML file it is the
            path of a text file, read when the run opens.
    """

    model: str = Field(default="", max_length=200)
    base_url: str = Field(default="", max_length=500)
    api_key_env: str = Field(default="", max_length=100)
    output: Literal["tool", "native", "prompted"] = "tool"
    timeout_s: float = Field(default=60.0, ge=0.05, le=3600)
    max_retries: int = Field(default=5, ge=0, le=20)
    max_output_tokens: int = Field(default=2000, ge=100, le=100_000)
    spend_usd: float | None = Field(default=None, ge=0)
    spend_tokens: int = Field(default=2_000_000, ge=0)
    input_usd: float | None = Field(default=None, ge=0)
    output_usd: float | None = Field(default=None, ge=0)
    unavailable_s: float = Field(default=86_400.0, ge=1, le=604_800)
    prompt: str = Field(default="", max_length=20_000)

    @field_validator("model")
    @classmethod
    def _names_a_provider(cls, model: str) -> str:
        if model and not re.fullmatch(r"(anthropic|openai):\S+", model):
            raise ValueError("a model is a provider and a name, anthropic:<name> or openai:<name>")
        return model

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, base_url: str) -> str:
        if base_url and not re.fullmatch(r"https?://\S+", base_url):
            raise ValueError("it is not an address like http://127.0.0.1:11434/v1")
        return base_url


class CommandPolicy(_Section):
    """How patches are judged by commands.

    `fail_at_base = "require"`: the cited command must fail on `head` without the patch (with a JUnit
    report: at least one test that did not pass must pass with it). `"note"` only writes it down, for
    runs whose work is not to repair something. `unavailable_s`: how long an entry waits for a server
    that is able to run commands before it is rejected. `inputs`: by a command's name, globs of the files
    that it depends on; a command without an entry depends on every file.
    """

    fail_at_base: Literal["require", "note"] = "require"
    unavailable_s: float = Field(default=600.0, ge=1, le=86_400)
    max_tries: int = Field(default=5, ge=1, le=50)
    inputs: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Limits(_Section):
    """The bounds of a run. Times in seconds, `gist_tokens` at four characters a token."""

    lease_s: float = Field(default=300.0, ge=0.05, le=86_400)
    lease_max_s: float = Field(default=14_400.0, ge=0.05, le=604_800)
    max_attempts: int = Field(default=3, ge=1, le=100)
    max_rejections: int = Field(default=20, ge=1, le=1000)
    max_losses: int = Field(default=5, ge=0, le=100)
    max_rounds: int = Field(default=8, ge=0, le=1000)
    max_tasks: int = Field(default=5000, ge=1, le=10_000_000)
    decide_grace_s: float = Field(default=5.0, ge=0, le=3600)
    author_first_s: float = Field(default=300.0, ge=0, le=3600)
    agent_live_s: float = Field(default=600.0, ge=0.05, le=86_400)
    gist_tokens: int = Field(default=120, ge=10, le=1000)


def _checks(*names: CheckName) -> KindPolicy:
    return KindPolicy(checks=names)


C = CheckName


class Policy(_Section):
    """Everything that decides what is admitted, and when a run must end."""

    preset: Literal["open", "standard", "strict"] = "standard"
    fact: KindPolicy = _checks(C.NOVEL, C.QUOTES)
    fail: KindPolicy = _checks(C.NOVEL, C.SCOPED, C.QUOTES)
    patch: KindPolicy = _checks(C.NOVEL, C.QUOTES, C.COMMAND)
    answer: KindPolicy = _checks(C.PARENTS, C.QUOTES, C.COMMAND)
    peers: PeersPolicy = PeersPolicy()
    judge: JudgePolicy = JudgePolicy()
    command: CommandPolicy = CommandPolicy()
    limits: Limits = Limits()
    protect: tuple[str, ...] = ()

    def of(self, kind: Kind) -> tuple[CheckName, ...]:
        """The checks for a kind, in the order in which they run."""
        section: KindPolicy = getattr(self, kind.value)
        return section.in_order()


PRESETS: dict[str, dict[str, Any]] = {
    "open": {kind: {"checks": ()} for kind in Kind},
    "standard": {},
    "strict": {
        "fact": {"checks": (C.NOVEL, C.CHECKABLE, C.QUOTES, C.COMMAND, C.PEERS)},
        "fail": {"checks": (C.NOVEL, C.SCOPED, C.CHECKABLE, C.QUOTES, C.COMMAND, C.PEERS)},
        "patch": {"checks": (C.NOVEL, C.QUOTES, C.COMMAND, C.PEERS)},
        "answer": {"checks": (C.PARENTS, C.QUOTES, C.COMMAND, C.PEERS)},
    },
}


def build(settings: dict[str, Any], origin: str = "the policy") -> Policy:
    """A policy from a preset's name and the settings that differ from it.

    Args:
        settings: The parsed TOML; `{"preset": "strict"}` alone is a whole policy.
        origin: What to call it in an error, e.g. the file's path.

    Raises:
        ConfigError: A name or a value that does not fit; says where, and what was probably meant.
    """
    preset = settings.get("preset", "standard")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(
            f"{origin}: preset: there is no preset {preset!r}.", f"Presets: {', '.join(PRESETS)}."
        )
    try:
        policy = Policy.model_validate({**PRESETS[preset], **settings, "preset": preset})
    except ValidationError as error:
        raise ConfigError(*_explain(error, origin)) from None
    for kind in Kind:
        if CheckName.JUDGE in policy.of(kind) and not policy.judge.model:
            raise ConfigError(
                f"{origin}: {kind}.checks: judge needs a model.",
                'Name it: [judge] model = "anthropic:<name>", or "openai:<name>" with base_url.',
            )
    return policy


@lru_cache(maxsize=256)
def parse(text: str) -> Policy:
    """The policy that a run was opened with, from the JSON that the run keeps."""
    return Policy.model_validate_json(text)


def dump(policy: Policy) -> str:
    """The JSON that a run keeps: everything, so that later defaults change no running run."""
    return policy.model_dump_json()


def _explain(error: ValidationError, origin: str) -> tuple[str, str]:
    """The first fault of a policy, as a place and a repair."""
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields_at(fault["loc"][:-1])
        return f"{origin}: {place}: there is no such setting.", _suggest(str(fault["loc"][-1]), known)
    if fault["type"] == "enum":
        return f"{origin}: {place}: there is no check {fault['input']!r}.", _suggest(
            str(fault["input"]), list(C)
        )
    return f"{origin}: {place}: {fault['msg']} (got {fault['input']!r}).", ""


def _fields_at(path: tuple[int | str, ...]) -> list[str]:
    """The settings that exist in a section."""
    model: type[BaseModel] = Policy
    for part in path:
        model = model.model_fields[str(part)].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def _suggest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    listing = f"There are: {', '.join(known)}."
    return f"Did you mean {close[0]!r}? {listing}" if close else listing
