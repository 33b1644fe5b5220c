"""What benchmark runs count: tokens, costs, intervals and paired tests, checked by hand."""

import json
from pathlib import Path

import pytest
from pydantic_ai.usage import RequestUsage

from delm_client.bench.limits import Call, Spending
from delm_client.bench.models import Model, Price, Wanted
from delm_client.bench.scripted import scripted
from delm_client.bench.statistics import bootstrap, mcnemar, wilson
from delm_client.scripted.conversation import Usage
from tests.bench_model import calls, command, item, questions, ran

PRICE = Price.parse("0.5/0.05/3")


@pytest.mark.anyio
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_cached_tokens_are_counted_and_priced_apart(provider: str) -> None:
    with scripted(lambda _: "Yes.") as model:
        model.usage = Usage(input_tokens=1000, cached_tokens=400, output_tokens=100)
        url = model.openai_url if provider == "openai" else model.url
        async with Model(Wanted(f"{provider}:any", url, price=PRICE)) as asked:
            said = await asked.ask("Be short.", ["Is it?"])
    assert (said.text, said.model) == ("Yes.", "scripted-reader")
    assert (said.call.input_tokens, said.call.cached_tokens, said.call.output_tokens) == (1000, 400, 100)
    # 600 x 0.5 + 400 x 0.05 + 100 x 3 = 620, and 1000 x 0.5 + 100 x 3 = 800, in USD for a million.
    assert said.call.cost_usd == pytest.approx(620e-6)
    assert said.call.cost_uncached_usd == pytest.approx(800e-6)


def test_a_run_costs_what_its_trajectory_says(tmp_path: Path) -> None:
    words = ("--topology", "single", "--price", "0.5/0.05/3")
    spent = ran(questions(tmp_path, "A"), tmp_path / "run", None, *words)["spent"]
    lines = calls(tmp_path / "run")
    fresh = sum(line["input_tokens"] - line["cached_tokens"] for line in lines)
    cached, taken = (sum(line[name] for line in lines) for name in ("cached_tokens", "output_tokens"))
    assert cached > 0
    assert spent["cost_usd"] == pytest.approx((fresh * 0.5 + cached * 0.05 + taken * 3) / 1e6)
    assert spent["cost_usd"] < spent["cost_uncached_usd"]
    assert item(tmp_path / "run", "q1")["spent"] == spent | {"latency_s": pytest.approx(spent["latency_s"])}


def test_a_price_that_nobody_knows_stays_unknown(tmp_path: Path) -> None:
    usage = RequestUsage(input_tokens=1000, cache_read_tokens=400, output_tokens=100)
    # The list says 0.15 / 0.075 / 0.60: 600 x 0.15 + 400 x 0.075 + 100 x 0.60 = 180.
    assert Wanted("openai:gpt-4o-mini").price_of(usage) == pytest.approx(180e-6)
    assert Wanted("openai:gpt-4o-mini", "http://127.0.0.1:9/v1").price_of(usage) is None
    assert Wanted("openai:nobody-knows").price_of(usage) is None
    spent = Spending()
    spent.add(Call(10, 0, 1, 0.5, 0.5))
    spent.add(Call(10, 0, 1))
    assert (spent.as_json()["cost_usd"], spent.as_json()["unpriced_calls"]) == (None, 1)
    assert (
        ran(questions(tmp_path), tmp_path / "run", None, "--topology", "direct")["spent"]["cost_usd"] is None
    )


def test_intervals_and_tests_are_those_of_the_textbooks() -> None:
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert all(wilson(0, total)[0] == 0.0 and wilson(total, total)[1] == 1.0 for total in range(1, 50))
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0
    low, high = bootstrap([1.0] * 8 + [0.0] * 8)
    assert 0.2 < low < 0.5 < high < 0.8
    assert bootstrap([0.25] * 5) == (0.25, 0.25)


def test_two_runs_are_compared_on_what_both_have_run(tmp_path: Path) -> None:
    data = questions(tmp_path, "ABCD")
    with scripted(lambda _: "The correct answer is (A)") as model:
        ran(data, tmp_path / "a", model, "--topology", "direct")
    ran(data, tmp_path / "b", None, "--topology", "direct", "--limit", "3", "--seed", "1")
    result = command("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (both,) = found["pairs"]
    had_a = (tmp_path / "b" / "items" / "q1.json").exists()
    assert (both["items"], both["not_shared"], both["only_a"]) == (3, 1, 0)
    assert both["only_b"] == (2 if had_a else 3)
    assert both["mcnemar_p"] == pytest.approx(2 / 2 ** both["only_b"])
    assert both["difference"]["mean"] == pytest.approx(both["only_b"] / 3)
    assert both["means"]["cost_usd"] is None
    assert both["scripted_model"]
    assert found["scripted_model"]
    shown = command("compare", tmp_path / "a", tmp_path / "b").output
    assert "SCRIPTED MODEL" in shown
    assert "McNemar's exact test" in " ".join(shown.split())
