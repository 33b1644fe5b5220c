"""Policies: presets, settings that differ, and what a typo is told."""

from typing import Any

import pytest

from delm_mcp.domain.model import Kind
from delm_mcp.domain.policy import CheckName, Limits, Policy, build, dump, parse
from delm_mcp.errors import ConfigError

C = CheckName


def test_the_open_preset_asks_for_form_and_freshness_only() -> None:
    policy = build({"preset": "open"})
    assert {policy.of(kind) for kind in Kind} == {(C.WELLFORMED, C.FRESH)}


def test_the_standard_preset_is_the_default() -> None:
    assert build({}) == build({"preset": "standard"}) == Policy()
    assert build({}).of(Kind.FACT) == (C.WELLFORMED, C.FRESH, C.NOVEL, C.QUOTES)
    assert build({}).of(Kind.FAIL) == (C.WELLFORMED, C.FRESH, C.NOVEL, C.SCOPED, C.QUOTES)
    assert build({}).of(Kind.PATCH) == (C.WELLFORMED, C.FRESH, C.NOVEL, C.QUOTES, C.COMMAND)
    assert build({}).of(Kind.ANSWER) == (C.WELLFORMED, C.FRESH, C.PARENTS, C.QUOTES, C.COMMAND)


def test_the_strict_preset_wants_what_the_server_can_check_and_a_peer() -> None:
    policy = build({"preset": "strict"})
    assert all(C.PEERS in policy.of(kind) for kind in Kind)
    assert C.CHECKABLE in policy.of(Kind.FACT)
    assert C.CHECKABLE in policy.of(Kind.FAIL)


def test_checks_run_cheapest_first_and_each_once_however_they_are_listed() -> None:
    policy = build({"fact": {"checks": ["command", "novel", "novel", "wellformed"]}})
    assert policy.of(Kind.FACT) == (C.WELLFORMED, C.FRESH, C.NOVEL, C.COMMAND)


def test_a_preset_with_changes_keeps_the_rest_of_the_preset() -> None:
    policy = build({"preset": "strict", "fact": {"checks": ["novel"]}, "limits": {"lease_s": 7}})
    assert policy.of(Kind.FACT) == (C.WELLFORMED, C.FRESH, C.NOVEL)
    assert C.PEERS in policy.of(Kind.PATCH)
    assert policy.limits.lease_s == 7
    assert policy.limits.max_rounds == Limits().max_rounds


@pytest.mark.parametrize(
    ("settings", "place", "meant"),
    [
        ({"preset": "strickt"}, "preset: there is no preset 'strickt'", "open, standard, strict"),
        ({"protekt": []}, "protekt: there is no such setting", "Did you mean 'protect'?"),
        ({"limits": {"leases": 3}}, "limits.leases: there is no such setting", "Did you mean 'lease_s'?"),
        ({"patch": {"cheks": []}}, "patch.cheks: there is no such setting", "Did you mean 'checks'?"),
        ({"patch": {"checks": ["comand"]}}, "patch.checks.0: there is no check 'comand'", "'command'"),
        ({"limits": {"lease_s": -1}}, "limits.lease_s", "greater than or equal"),
        ({"limits": {"max_rounds": "many"}}, "limits.max_rounds", "'many'"),
        ({"command": {"fail_at_base": "maybe"}}, "command.fail_at_base", "'require' or 'note'"),
        ({"command": {"max_tries": 0}}, "command.max_tries", "greater than or equal to 1"),
        ({"limits": 3}, "limits", "3"),
        ({"fact": {"checks": ["judge"]}}, "fact.checks", "judge] model ="),
        ({"judge": {"model": "gpt-4o"}}, "judge.model", "a provider and a name"),
        ({"judge": {"model": "openai:"}}, "judge.model", "anthropic:<name>"),
        ({"judge": {"model": "vllm:qwen"}}, "judge.model", "openai:<name>"),
        ({"judge": {"base_url": "127.0.0.1:11434/v1"}}, "judge.base_url", "http://"),
        ({"judge": {"base_url": "ftp://127.0.0.1/v1"}}, "judge.base_url", "http://"),
        ({"peers": {"approvals": 3, "of": 2}}, "peers", "of=2 verdicts cannot give 3 approvals"),
    ],
)
def test_a_typo_is_told_where_it_is_and_what_was_meant(
    settings: dict[str, Any], place: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(settings, "policy.toml")
    said = str(caught.value)
    assert said.startswith("policy.toml: ")
    assert place in said
    assert meant in said


@pytest.mark.parametrize("preset", ["nope", 3, ["open"], {"a": 1}, None])
def test_a_preset_of_any_type_is_a_clear_error(preset: object) -> None:
    with pytest.raises(ConfigError, match="preset"):
        build({"preset": preset})


def test_a_policy_survives_being_kept() -> None:
    policy = build({"preset": "strict", "protect": ["tests/**"], "limits": {"lease_s": 0.5}})
    assert parse(dump(policy)) == policy
