"""LongBench-v2: what is loaded, shown and scored."""

import gzip
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from delm_client.bench import registry
from delm_client.bench.__main__ import main
from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.items import Question
from delm_client.bench.longbench import data
from delm_client.bench.longbench.prompts import (
    Prompt,
    fill,
    retrieved,
    template,
    truncate_characters,
    truncate_middle,
)
from delm_client.bench.longbench.scoring import extract_answer, score
from delm_client.bench.reading import Row
from tests.bench_data import json_lines, question_row


def question(**changed: Any) -> Question:
    return data.parse([Row("here", question_row(**changed))])[0]


# --- loading


@pytest.mark.parametrize("form", ["list", "lines", "gz", "bom"])
def test_every_form_of_the_schema_is_read(tmp_path: Path, form: str) -> None:
    rows = [question_row(), question_row(_id="q2", context="line\u2028separator")]
    path = tmp_path / "data.json"
    if form == "lines":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8-sig" if form == "bom" else "utf-8")
    if form == "gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    loaded = data.load(path)
    assert [item.id for item in loaded] == ["q1", "q2"]
    assert loaded[0].choices["D"] == "Discovery"
    assert loaded[1].context == "line\u2028separator"


def test_only_the_wanted_domain_is_loaded(tmp_path: Path) -> None:
    path = json_lines(
        tmp_path / "d.jsonl", [question_row(), question_row(_id="q2", domain="Single-Document QA")]
    )
    assert [item.id for item in data.load(path)] == ["q1"]
    assert [item.id for item in data.load(path, "Single-Document QA")] == ["q2"]
    assert len(data.load(path, "all")) == 2
    with pytest.raises(DataError, match=r"Did you mean `Multi-Document QA`\?.*Single-Document QA \(1\)"):
        data.load(path, "multi document qa")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("[]", "is empty"),
        ("{}", "is empty"),
        ("hello", "not JSON: it begins with 'hello'"),
        ('[{"a": 1},\n {"b": ]', "line 2, column 8: not valid JSON"),
        ('{"a": 1}\n{"b": }', "line 2, column 7: not valid JSON"),
        ('{"a": 1}\n\n[1]', "line 3: an object was expected"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\xff\xfe\x00", "neither UTF-8 text nor Parquet"),
        (b"\x1f\x8b\x08", "not a sound .gz"),
        (b"PAR1 and no more", "not a sound Parquet file"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"data\.json") as caught:
        data.load(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"choice_C": None}, "line 2: `choice_C` must be text"),
        ({"answer": "E"}, "line 2: `answer` must be one of A, B, C, D, and is 'E'"),
        ({"context": " "}, "line 2: `context` is empty"),
        ({"_id": "q1"}, "line 2: the id q1 was already at d.jsonl, line 1"),
    ],
)
def test_a_wrong_item_is_named_with_its_line(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = json_lines(tmp_path / "d.jsonl", [question_row(), question_row(**{"_id": "q2", **changed})])
    with pytest.raises(DataError, match=r"d\.jsonl") as caught:
        data.load(path)
    assert said in str(caught.value)


def test_a_misspelt_field_is_recognised(tmp_path: Path) -> None:
    row = question_row()
    row["sub-domain"] = row.pop("sub_domain")
    with pytest.raises(
        DataError, match=r"line 1: the field `sub_domain` is missing\. Did you mean `sub-domain`\?"
    ):
        data.load(json_lines(tmp_path / "d.jsonl", [row]))


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    json_lines(tmp_path / "data.json", [question_row()])
    with pytest.raises(DataError, match=r"does not exist\. Did you mean `data\.json`\?"):
        data.load(tmp_path / "dta.json")
    with pytest.raises(DataError, match=r"is a folder.*It holds data\.json"):
        data.load(tmp_path)


def test_without_the_hub_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'datasets.*download data\.json"):
        registry.load("longbench")
    offline = types.ModuleType("datasets")

    def load_dataset(name: str, split: str) -> None:
        raise ConnectionError(f"no route to {name}, {split}")

    monkeypatch.setattr(offline, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", offline)
    with pytest.raises(DataError, match=r"cannot be had from the hub: no route.*download data\.json"):
        registry.load("longbench")


def test_an_unknown_benchmark_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no benchmark `long-bench`\. Did you mean `longbench`\?.*quixbugs"):
        registry.load("long-bench")
    with pytest.raises(DataError, match=r"mbpp has to be downloaded first: name sanitized-mbpp\.json"):
        registry.load("mbpp")


# --- prompts


def test_the_prompts_are_the_official_ones() -> None:
    # Characters of the files upstream; and one of them, so that a change of words shows.
    assert {prompt: len(template(prompt)) for prompt in Prompt} == {
        Prompt.PLAIN: 262,
        Prompt.COT: 210,
        Prompt.COT_ANSWER: 381,
        Prompt.NO_CONTEXT: 224,
        Prompt.RETRIEVED: 279,
    }
    assert fill(Prompt.NO_CONTEXT, question()) == (
        "What is the correct answer to this question: Which ship sailed first?\nChoices:\n"
        "(A) Argo\n(B) Beagle\n(C) Calypso\n(D) Discovery\n\n"
        "What is the single, most likely answer choice? "
        'Format your response as follows: "The correct answer is (insert answer here)".'
    )


def test_a_placeholder_inside_a_text_is_left_alone() -> None:
    filled = fill(Prompt.PLAIN, question(context="costs $Q$ and \\1", question="what of $C_A$?"))
    assert "<text>\ncosts $Q$ and \\1\n</text>" in filled
    assert "question: what of $C_A$?\n" in filled
    assert fill(Prompt.COT_ANSWER, question(), thought=" so $DOC$ ").count("step by step: so $DOC$\n") == 1


def test_nothing_that_is_shown_gives_the_answer_away() -> None:
    item = question(answer="D", context="SECRET")
    assert "SECRET" not in item.shown()
    assert item.shown() == question(answer="A", context="SECRET").shown()


def test_an_over_long_input_loses_its_middle() -> None:
    def codes(text: str) -> list[int]:
        return [ord(char) for char in text]

    assert truncate_middle("abcdefghij", 5, codes, lambda ids: "".join(map(chr, ids))) == "abhij"
    assert truncate_middle("abc", 3, codes, lambda ids: "never called") == "abc"
    assert truncate_characters("abcdefghij", 4) == "abij"
    assert truncate_characters("abc", 0) == ""
    assert retrieved(["x", "y"]) == "Retrieved chunk 1: x\n\nRetrieved chunk 2: y"


# --- answers and scores


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The correct answer is (C)", "C"),
        ("**The correct answer is (C).**", "C"),
        ("The correct answer is *(B)* because", "B"),
        ("The correct answer is D", "D"),
        ("The correct answer is A ... no: The correct answer is (B)", "B"),
        ("The correct answer is (E)", None),
        ("the correct answer is (A)", None),
        ("(A)", None),
        ("", None),
    ],
)
def test_the_answer_is_taken_by_the_official_rule(reply: str, letter: str | None) -> None:
    assert extract_answer(reply) == letter


def test_an_empty_reply_is_wrong_and_not_left_out() -> None:
    asked = [
        question(_id="1", answer="A", sub_domain="Legal"),
        question(_id="2", answer="A", sub_domain="Legal"),
        question(_id="3", answer="B", sub_domain="Academic", difficulty="hard"),
        question(_id="4", answer="C", sub_domain="Academic", length="long"),
    ]
    scores = score(asked, {"1": "The correct answer is (A)", "2": "", "3": "The correct answer is (C)"})
    assert (scores.overall.right, scores.overall.answered, scores.overall.total) == (1, 2, 4)
    assert scores.overall.accuracy == 0.25
    assert scores.by["sub_domain"]["Legal"].accuracy == 0.5
    assert scores.by["difficulty"]["hard"].total == scores.by["length"]["long"].total == 1
    assert scores.sub_domain_mean == 0.25
    assert (scores.majority_letter, scores.majority.accuracy) == ("A", 0.5)
    with pytest.raises(ValueError, match="unknown questions"):
        score(asked, {"5": "The correct answer is (A)"})
    with pytest.raises(ValueError, match="No questions"):
        score([], {})


def test_the_command_line_checks_a_file_and_shows_an_item(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = json_lines(tmp_path / "d.jsonl", [question_row(), question_row(_id="q2", answer="B")])
    assert main(["longbench", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "always answering B is right in 2 of 2: 100.0%" in shown
    assert "2 items, all sound" in shown
    assert main(["longbench", str(path), "--show", "q2"]) == 0
    assert "(A) Argo\n" in capsys.readouterr().out
    for words, said in (
        (["longbench", str(path), "--show", "q-1"], "Did you mean `q1`"),
        (["longbench", str(path), "--show", "q2", "--make", str(tmp_path / "f")], "no exercise"),
        (["longbench", str(path), "--domain", "Legal"], "No question is of the domain"),
        (["swebench", str(path)], "d.jsonl, line 1: the field `instance_id` is missing"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
