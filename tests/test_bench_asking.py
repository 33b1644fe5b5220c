"""How benchmark runs ask a model: what is kept in its cache, LongBench's chain of thought, and floors
without a model."""

import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from math import log
from pathlib import Path
from typing import Any

import pytest

from delm_client.bench.longbench.data import load
from delm_client.bench.longbench.floors import bm25, by_bm25
from delm_client.bench.models import Model, Wanted
from delm_client.bench.policies import Chosen, written
from delm_client.bench.prefixes import LEAST, Prefixes
from delm_client.bench.scripted import Scripted, scripted
from tests.bench_model import calls, command, questions, ran


def test_prompts_are_cut_where_they_began_to_differ_and_stay_cut_there() -> None:
    prefixes, known = Prefixes(), "k" * LEAST
    assert prefixes.blocks("read", f"{known}, part 1") == [f"{known}, part 1"]
    assert prefixes.blocks("judge", "x" * LEAST + "!") == ["x" * LEAST + "!"], "each step has its own"
    assert prefixes.blocks("read", f"{known}1 / part 2") == [known, "1 / part 2"]
    assert prefixes.blocks("read", f"{known}12 / part 3") == [known, "1", "2 / part 3"]
    assert prefixes.blocks("read", f"{known}other") == [known, "other"]
    assert prefixes.blocks("read", "short") == ["short"]
    assert prefixes.blocks("read", "short too") == ["short too"]


@pytest.mark.long
@pytest.mark.anyio
async def test_anthropic_is_told_to_keep_what_comes_again_and_others_get_one_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Mapping[str, Any]] = []
    answer = Scripted.answer

    def seen(model: Scripted, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        sent.append(body)
        return answer(model, path, body)

    monkeypatch.setattr(Scripted, "answer", seen)
    with scripted(lambda _: "Yes.") as model:
        for provider, url in (("anthropic", model.url), ("openai", model.openai_url)):
            async with Model(Wanted(f"{provider}:any", url)) as asked:
                await asked.ask("Be short.", ["known, ", "and new"], 77)
    kept = {"type": "ephemeral", "ttl": "5m"}
    assert sent[0]["system"] == [{"type": "text", "text": "Be short.", "cache_control": kept}]
    (message,) = sent[0]["messages"]
    assert message["content"] == [
        {"type": "text", "text": "known, ", "cache_control": kept},
        {"type": "text", "text": "and new"},
    ]
    assert sent[1]["messages"][-1] == {"role": "user", "content": "known, and new"}
    assert "cache_control" not in json.dumps(sent[1])
    assert [body.get("max_tokens") or body["max_completion_tokens"] for body in sent] == [77, 77]


def test_a_chain_of_thought_takes_the_two_official_calls(tmp_path: Path) -> None:
    results = ran(questions(tmp_path), tmp_path / "run", None, "--topology", "direct", "--cot")
    assert (results["overall"]["right"], results["overall"]["total"]) == (2, 2)
    think, answer = calls(tmp_path / "run", "q1")
    assert (think["step"], answer["step"]) == ("think", "answer")
    assert think["prompt"].endswith("Let’s think step by step:")  # noqa: RUF001 - upstream's
    assert f"step by step: {think['reply']}\n\nBased on the above" in answer["prompt"]
    assert "Paragraph 3" not in answer["prompt"], "the text is not sent twice"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"]["max_tokens"], config["plan"]["habits"]["answer_tokens"]) == (1024, 128)
    refused = command("bench", "--cot", "--model", "scripted:reader", "--topology", "single")
    assert refused.exit_code == 2
    assert "--topology direct" in refused.output


def test_a_policy_of_the_users_keeps_what_it_says_and_its_judges_instructions(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "mine" / "judge.md").write_text("Be strict.", encoding="utf-8")
    file = tmp_path / "mine" / "own.toml"
    file.write_text(
        'preset = "open"\n[limits]\nmax_rounds = 9\n[judge]\nmodel = "openai:x"\nprompt = "judge.md"\n',
        encoding="utf-8",
    )
    Chosen("open", file).keep(tmp_path / "run")
    file.unlink()
    text = written(tmp_path / "run", "open", "own.toml", {"limits": {"max_rounds": 3, "max_attempts": 1}})
    facts = tomllib.loads(text)
    assert facts["limits"] == {"max_rounds": 9, "max_attempts": 1}
    assert Path(facts["judge"]["prompt"]).read_text(encoding="utf-8") == "Be strict."
    assert Path(facts["judge"]["prompt"]).is_absolute()
    assert tomllib.loads(written(tmp_path, "strict", "", {"limits": {"max_rounds": 3}})) == {
        "preset": "strict",
        "limits": {"max_rounds": 3},
    }


def test_bm25_is_the_formula_of_the_textbooks() -> None:
    passages = [Counter("aab"), Counter("c")]
    # One of two passages has `a` and `b` each: ln(1 + 1.5 / 1.5) = ln 2. Sizes 3 and 1, usually 2.
    weight = 1.2 * (0.25 + 0.75 * 3 / 2)
    first = log(2) * 2 * 2.2 / (2 + weight) + log(2) * 1 * 2.2 / (1 + weight)
    assert bm25({"a", "b", "z"}, passages) == pytest.approx([first, 0.0])
    assert bm25({"a"}, []) == []


def test_floors_need_no_model_and_say_of_how_many_items_they_are(tmp_path: Path) -> None:
    data = questions(tmp_path, "ABCC")
    assert [by_bm25(question) for question in load(data)] == ["A", "B", "C", "C"]
    said = command("bench", "longbench", "--data", data, "--floors", "--json")
    found = json.loads(said.stdout)
    assert (found["items"], found["majority_letter"], found["majority"]["right"]) == (4, "C", 2)
    assert (found["bm25"]["right"], found["bm25"]["total"]) == (4, 4)
    shown = command("bench", "longbench", "--data", data, "--floors", "--limit", "3")
    assert "floors of 3 items, no model" in shown.output
