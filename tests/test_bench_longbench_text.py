"""LongBench-v2: documents, chunks and anchors, on made up and on real contexts."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from delm_client.bench.longbench import data
from delm_client.bench.longbench.anchors import CONTEXT, alike, anchor, resolve
from delm_client.bench.longbench.split import chunks, documents, tokens
from tests.bench_data import real

# Everything, lone surrogates among it, and often the signs that the splitter looks for.
LAYOUT = st.sampled_from(
    ["\n", "\n\n", "\n\n\n", "\n\n\n\n", "\f", "\r\n", " ", "1/2", "2/2", "News II", "Abstract",
     "-\n", "é", "\u0301", "=" * 12, "word ", "Legal case analysis\n", "\u200b", "\u00ad", "ﬁ", "漢字", "“",
     "\U0001f600"]
)  # fmt: skip
TEXTS = st.lists(LAYOUT | st.text(max_size=12), max_size=60).map("".join)


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
@settings(max_examples=150, deadline=None)
def test_other_spaces_and_unicode_forms_do_not_hide_a_quote(
    raw: str, picked: st.DataObject, form: Literal["NFC", "NFD"], space: str
) -> None:
    words = raw.split()
    assume(words)
    first = picked.draw(st.integers(0, len(words) - 1))
    words = words[first : picked.draw(st.integers(first + 1, len(words)))]
    quote = space.join(unicodedata.normalize(form, word) for word in words)
    assume(alike(quote).strip())
    found = anchor(raw, quote)
    assert found is not None
    assert raw[found.start : found.end] == found.exact
    assert alike(found.exact) == alike(quote)


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
