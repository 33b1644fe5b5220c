"""LongBench-v2: what is loaded, shown, cut, anchored and scored."""

import gzip
import json
import sys
import types
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from delm_client.bench import registry
from delm_client.bench.__main__ import main
from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.items import Question
from delm_client.bench.longbench import data
from delm_client.bench.longbench.anchors import CONTEXT, alike, anchor, resolve
from delm_client.bench.longbench.prompts import (
    Prompt,
    fill,
    retrieved,
    template,
    truncate_characters,
    truncate_middle,
)
from delm_client.bench.longbench.scoring import extract_answer, score
from delm_client.bench.longbench.split import chunks, documents, tokens
from delm_client.bench.reading import Row
from tests.bench_data import json_lines, question_row, real

# Everything, lone surrogates among it, and often the signs that the splitter looks for.
LAYOUT = st.sampled_from(
    ["\n", "\n\n", "\n\n\n", "\n\n\n\n", "\f", "\r\n", " ", "1/2", "2/2", "News II", "Abstract",
     "-\n", "é", "\u0301", "=" * 12, "word ", "Legal case analysis\n", "\u200b", "\u00ad", "ﬁ", "漢字", "“",
     "\U0001f600"]
)  # fmt: skip
TEXTS = st.lists(LAYOUT | st.text(max_size=12), max_size=60).map("".join)


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


# --- documents and chunks


@given(TEXTS, st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_chunks_are_the_raw_text_and_never_too_large(raw: str, max_tokens: int) -> None:
    cut = chunks(raw, max_tokens)
    assert "".join(chunk.of(raw) for chunk in cut) == raw
    place = 0
    whole = documents(raw)
    for chunk in cut:
        assert chunk.start == place < chunk.end
        place = chunk.end
        assert tokens(chunk.of(raw)) <= max_tokens
        assert whole[chunk.document].start <= chunk.start
        assert chunk.end <= whole[chunk.document].end
    assert "".join(document.of(raw) for document in whole) == raw
    assert all(document.of(raw) for document in whole)


def test_chunks_end_where_paragraphs_end() -> None:
    raw = "\n\n".join(f"Paragraph {n}. " + "words and more " * 6 for n in range(20))
    cut = chunks(raw, 60)
    assert len(cut) > 5
    assert all(chunk.of(raw).startswith("Paragraph") for chunk in cut)
    with pytest.raises(ValueError, match="room for 1 token"):
        chunks(raw, 0)


BODY = "A line of a page that says something.\n" * 30


def paragraphs(head: str) -> str:
    return f"{head}\n\n" + "\n\n".join([BODY.replace("\n", " ").strip()] * 4)


@pytest.mark.parametrize(
    ("sign", "joint", "parts"),
    [
        ("pages", "\n\n\n", ["\n\n\n".join(f"{BODY}{n}/{m}" for n in range(1, m + 1)) for m in (2, 3, 3)]),
        ("pages", "\n\n\n", ["\n\n\n".join(f"{BODY}Journal {n + m}" for n in range(3)) for m in (11, 401)]),
        ("gap", "\n\n\n\n", [paragraphs(f"Title {n}") for n in range(3)]),
        ("gap", "\n\n", [f"{n} " + "one line " * 200 for n in range(4)]),
        ("heading", "\n\n", [paragraphs(f"News {n}") for n in ("I", "II", "III")]),
        ("rule", "\n\n", [paragraphs("=" * 20) for _ in range(3)]),
        ("opening", "\n\n", [paragraphs("Legal case analysis") for _ in range(2)]),
        ("opening", "\n\n\n", [f"Weekly bulletin\n{BODY}\n\n\n{BODY}\n\n\n{BODY}"] * 3),
    ],
)
def test_documents_begin_where_the_signs_are(sign: str, joint: str, parts: list[str]) -> None:
    raw = joint.join(parts)
    begins = [0]
    for part in parts[:-1]:
        begins.append(begins[-1] + len(part) + len(joint))
    assert [(document.start, document.sign) for document in documents(raw)] == [
        (begin, sign if begin else "start") for begin in begins
    ]


def test_a_text_without_signs_is_one_document() -> None:
    for raw in (BODY * 20, "\n\n".join([BODY] * 9), "\n\n\n".join([f"{BODY}{n}" for n in range(1, 9)])):
        assert [document.sign for document in documents(raw)] == ["start"]


# Where documents begin in the 24 shortest items, read by hand; character offsets.
BORDERS = {
    "66ec09ec821e116aacb19620": [20206],
    "66ec21e6821e116aacb1b2d2": [48290],
    "66ec356a821e116aacb1c22b": [21242],
    "66ee490e821e116aacb2149c": [49056],
    "66f10d67821e116aacb268d0": [20860, 45915],
    "66f120a9821e116aacb26d02": [],
    "66f14c70821e116aacb271ee": [43736],
    "66f245cc821e116aacb28698": [2371, 3362, 11213, 15658],
    "66f2e0bc821e116aacb2bf37": [26196],
    "66f37eb9821e116aacb2d295": [39583],
    "66f3abe6821e116aacb2e1d2": [
        9665, 13676, 23420, 27384, 29677, 34784, 38751, 40980, 44549, 47524, 50347,
    ],
    "66f41348821e116aacb30c89": [22379, 44567],
    "66f41e45821e116aacb30ec3": [4750, 18703, 27531, 40091],
    "66f6bcf3bb02136c067c2703": [8018, 25435],
    "66f78ecfbb02136c067c2f12": [6875, 19109, 25585, 37668, 49050, 57187],
    "66f8c6b4bb02136c067c4480": [16100, 27262, 41016],
    "66f95126bb02136c067c5070": [53055],
    "66f96115bb02136c067c541c": [32174],
    "66fa7f1dbb02136c067c6e6b": [22702, 37828, 53575],
    "66fab4bfbb02136c067c754c": [12413, 24751, 40331, 51210],
    "66fb5f73bb02136c067c7ae7": [8660, 15107, 42964],
    "66fbab85bb02136c067c81dc": [6549, 10659, 32704, 55086],
    "6701cda0bb02136c067cb6eb": [7737, 18257, 30836, 37793, 49725, 58238],
    "67062fbfbb02136c067cf66a": [22076],
}  # fmt: skip


def test_real_contexts_are_cut_at_their_documents() -> None:
    items = data.load(real("longbench_v2/multi_doc_24.jsonl"))
    right = cut = there = 0
    for item in items:
        raw = item.context
        assert "".join(chunk.of(raw) for chunk in chunks(raw)) == raw
        assert max(tokens(chunk.of(raw)) for chunk in chunks(raw)) <= 1000
        found = [document.start for document in documents(raw)][1:]
        wanted = BORDERS[item.id]
        right += sum(any(abs(start - border) < 100 for border in wanted) for start in found)
        cut += len(found)
        there += len(wanted)
    assert len(items) == 24
    # 58 of 59 and 58 of 64 when this was written.
    assert right / cut >= 0.95, f"{right} of {cut} cuts are right"
    assert right / there >= 0.9, f"{right} of {there} borders are found"


# --- anchors


@given(TEXTS, st.data())
@settings(max_examples=100, deadline=None)
def test_every_piece_of_a_text_is_anchored_verbatim(raw: str, picked: st.DataObject) -> None:
    start = picked.draw(st.integers(0, len(raw)))
    quote = raw[start : picked.draw(st.integers(start, len(raw)))]
    found = anchor(raw, quote, prefix=raw[max(0, start - CONTEXT) : start])
    if not quote.strip():
        assert found is None
        return
    assert found is not None
    assert raw[found.start : found.end] == found.exact == quote
    assert raw[: found.start].endswith(found.prefix)
    assert raw[found.end :].startswith(found.suffix)
    again = resolve(raw, found.selector)
    assert again is not None
    assert raw[again[0] : again[1]] == quote


@given(TEXTS, st.data(), st.sampled_from(["NFC", "NFD"]), st.sampled_from([" ", "\n", "  \t", "\u00a0"]))
@settings(max_examples=100, deadline=None)
def test_spaces_and_unicode_forms_do_not_hide_a_quote(
    raw: str, picked: st.DataObject, form: Any, space: str
) -> None:
    start = picked.draw(st.integers(0, len(raw)))
    words = raw[start : picked.draw(st.integers(start, len(raw)))].split()
    quote = space.join(unicodedata.normalize(form, word) for word in words)
    assume(alike(quote))
    found = anchor(raw, quote)
    if found is not None:
        assert raw[found.start : found.end] == found.exact
        assert found.exact == quote or alike(found.exact) == alike(quote) or "-" in raw or "\u00ad" in raw


@pytest.mark.parametrize(
    ("raw", "quote", "exact"),
    [
        (
            "It is “well\u2011known” \u2013\nhe said",
            '"well-known" - he said',
            "“well\u2011known” \u2013\nhe said",
        ),
        ("a ﬁnal eﬀort", "final effort", "ﬁnal eﬀort"),
        ("models that exhib-\n  ited it", "exhibited it", "exhib-\n  ited it"),
        ("exhib\u00ad\nited", "exhibited", "exhib\u00ad\nited"),
        ("text-\nbased search", "text-based search", "text-\nbased search"),
        ("caf\u0065\u0301 noir", "caf\u00e9 noir", "caf\u0065\u0301 noir"),
        ("한국어 말", unicodedata.normalize("NFD", "한국어  말"), "한국어 말"),
        ("zero\u200bwidth", "zerowidth", "zero\u200bwidth"),
        ("m² is \uff15", "m2 is 5", "m² is \uff15"),
        ("ﬁn", "in", None),  # would begin inside one character
        ("cafe\u0301!", "cafe!", None),
        ("Case counts", "case counts", None),
        ("nothing", "  \n", None),
    ],
)
def test_a_quote_is_found_as_the_raw_text_has_it(raw: str, quote: str, exact: str | None) -> None:
    found = anchor(raw, quote)
    assert (found.exact if found else None) == exact


def test_the_surroundings_choose_between_equal_places() -> None:
    raw = "In 2019 it rose by 4 %. In 2020 it rose by 4 %. In 2021 it rose by 4 %."
    found = anchor(raw, "it rose by 4 %", prefix="In  2020 ", suffix=". In 2021")
    assert found is not None
    assert (found.start, found.places) == (32, 3)
    assert found.selector["type"] == "TextQuoteSelector"
    assert resolve("Now: " + raw, found.selector) == (37, 51)
    assert resolve("gone", found.selector) is None


def test_rewrapped_quotes_of_real_contexts_are_anchored() -> None:
    for item in data.load(real("longbench_v2/multi_doc_24.jsonl")):
        raw = item.context
        for chunk in chunks(raw, 400)[5::40]:
            quote = " ".join(chunk.of(raw).split()[2:30]).replace("\u2019", "'").replace("“", '"')
            found = anchor(raw, quote)
            assert found is not None, (item.id, quote)
            assert alike(found.exact) == alike(quote)
            assert chunk.start <= found.start


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
