"""Any text at all, through what fences, blocks and cuts it: nothing gets out, and every fence is closed."""

import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delm_mcp.domain.briefing import CASE_TOKENS, JUDGE_TOKENS, Case, brief
from delm_mcp.domain.model import (
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Principal,
    Receipt,
    RunId,
    Verdict,
    Vote,
    VoteId,
)
from delm_mcp.domain.text import (
    ESCAPES,
    block,
    clipped,
    fenced,
    gist_key,
    one_line,
    shortened,
    tokens,
    visible,
)
from tests.hostile import HOSTILE, LINES, ORDERS, alike, assert_visible, fences, voice

BITS = (
    *"«»\u2039\u203a\u226b\u300b|…\n\r\t \x00\x1b\x7f\x85\x9b\x0b\x0c\x1c\u2028\u2029\u202e\u200b\u200d",
    *"\u00a0\u3000\u00ad\ufeff\ufe0f\ufe0e\u034f\u3164\u0338\u0300\u20e3\u0903\ue000\ud800\udfff\U000e0041",
    *(
        "\r\n",
        "\n| ",
        "\n|",
        "| ",
        "»\n",
        "\n«",
        "\n\n\n\n",
        "1\ufe0f\u20e3",
        "e\u0301",
        "\U0001f680",
        ORDERS,
    ),
    *LINES.split("\n")[:6],
)
texts = st.lists(st.one_of(st.sampled_from(BITS), st.characters()), max_size=40).map("".join)


@given(texts)
def test_no_text_hides_or_reorders_anything(text: str) -> None:
    shown = visible(text)
    assert_visible(shown)
    assert visible(shown) == shown


@given(texts)
def test_no_text_leaves_its_fence(text: str) -> None:
    assert voice(f"gist: {fenced(text)} (by us)") in (["gist: «» (by us)"], ["gist: «…» (by us)"])
    assert voice(fenced(fenced(text))) in (["«»"], ["«…»"])
    assert one_line(one_line(text)) == one_line(text)


@given(texts)
def test_no_text_leaves_its_block(text: str) -> None:
    assert voice(f"raw:\n{block(text)}\nnext: ours") == ["raw:", "|", "next: ours"]


@given(texts)
def test_a_client_that_normalises_text_breaks_no_fence_and_no_block(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        line = unicodedata.normalize(form, f"gist: {fenced(text)} ours")
        assert (line[:7], line[-6:]) == ("gist: «", "» ours")
        assert (line.count("«"), line.count("»"), len(line.splitlines())) == (1, 1, 1)
        lines = unicodedata.normalize(form, block(text)).splitlines()
        assert all(line.startswith("| ") for line in lines)


@given(texts, texts, st.integers(0, 200))
def test_no_cut_leaves_a_fence_open(one: str, two: str, limit: int) -> None:
    line = f"check peers: fail: x says {fenced(one)}; y says {fenced(two)}, and that is all"
    cut = shortened(line, limit)
    assert len(voice(cut)) == 1
    assert alike(voice(cut)[0], voice(line)[0])
    assert len(cut) <= max(limit, 1) + 1
    assert len(voice(f"({shortened(cut, limit)})")) == 1
    assert voice(fenced(shortened(one, limit))) in (["«»"], ["«…»"])


@pytest.mark.parametrize("stray", ["a » b ", "a » b » c ", "»"])
def test_a_stray_guillemet_does_not_keep_a_cut_fence_open(stray: str) -> None:
    cut = shortened(f"{stray}says {fenced('a long note ' * 20)}", 40)
    assert cut.endswith("…»")
    assert clipped(f"first\n{stray}says {fenced('a long note ' * 20)}\n| x", 40).endswith("…»")


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.integers(0, 400))
def test_an_answer_that_is_cut_says_nothing_new(parts: list[tuple[str, str]], limit: int) -> None:
    answer = "\n".join(f"evidence {n}: {fenced(a)}, ours\n{block(b)}" for n, (a, b) in enumerate(parts))
    cut = clipped(answer, limit)
    assert len(cut) <= limit + 1
    lines = voice(cut) if cut else []
    assert all(alike(one, other) for one, other in zip(lines, voice(answer), strict=False)), lines
    assert len(lines) <= 2 * len(parts)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_hides_is_shown_and_what_does_not_is_left_alone(name: str) -> None:
    text = HOSTILE[name]
    assert_visible(visible(text))
    assert len(fences(fenced(text))) == 1
    assert voice(block(text)) == ["|"]
    plain = "".join(char for char in text if char.isascii() and char.isprintable())
    assert sum(char in plain for char in visible(text)) >= len(plain)


@pytest.mark.parametrize(
    "text",
    [
        "naïve café cafe\u0301 Đắk Lắk Ångström ﬁ ½ ² ™",
        "日本語の文章、「引用」と『括弧』。한국어 中文《红楼梦》",
        "हिन्दी বাংলা தமிழ் ไทยที่ ខ្មែរ བོད་ཡིག བསྒྲུབས ရန်ကုန်",
        "العربيّة مُحَمَّد עִבְרִית שָׁלוֹם",
        "\u26a0\ufe0f 1\ufe0f\u20e3 \u2764\ufe0f 👩🏽 🇩🇪 \u2713 → ∑ ≠ ≥ £ € ° «»",
    ],
)
def test_living_scripts_and_signs_stay_as_they_are(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200bb", "a\\u200bb"),
        ("\U000e0041", "\\U000e0041"),
        ("\u26a0\ufe0f\ufe0f", "\u26a0\ufe0f\\ufe0f"),
        ("a\ufe0f", "a\\ufe0f"),
        ("\u0301a", "\\u0301a"),
        ("a \u0301", "a \\u0301"),
        ("a" + "\u0301" * 8, "a" + "\u0301" * 6 + "\\u0301" * 2),
        ("\u200b\u0301", "\\u200b\\u0301"),
        ("a\r\nb\rc", "a\nb\\u000dc"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_hides_is_shown_as_its_number(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_text_of_nothing_visible_costs_its_readers_little() -> None:
    text = "\U000e0041" * 20_000
    assert len(visible(text)) <= len(text) + 10 * ESCAPES
    assert len(block("\n" * 20_000)) < 20
    assert len(block("a\n" * 20_000)) <= 2 * 40_000 + 2


@pytest.mark.parametrize(
    "other", ["\u226b", "\u27eb", "\u300b", "\u2aa2", "\u22d9", "\u2af8", "\ufe3e", "\u2a20"]
)
def test_signs_that_look_like_our_guillemets_are_replaced_in_a_fence(other: str) -> None:
    assert other not in fenced(f"x{other} {ORDERS}")


@pytest.mark.parametrize("hidden", ["\u200b", "\u00ad", "\u2060", "\ufe0f", "\u3164", "\U000e0041"])
def test_what_is_shown_as_nothing_makes_no_other_finding(hidden: str) -> None:
    assert gist_key(f"the par{hidden}ser drops it{hidden}") == gist_key("The parser drops it.")


# -- cases -----------------------------------------------------------------------------------------


def case_of(words: list[str], times: int = 1) -> Case:
    """A case with a text in every field that an agent fills, each no longer than the field may be."""
    left = cycle(words)

    def of(limit: int) -> str:
        return (f"x{next(left)}" * times)[:limit]

    entry = Entry(
        EntryId(5),
        RunId("r-1"),
        Kind.FAIL,
        of(2000),
        summary=of(10_000),
        raw=of(10_000),
        scope=of(500),
        agent="ada-x",
        evidence=(
            Evidence("quote", of(500), of(10_000), {"offset": 3, "prefix": of(32), "suffix": of(32)}),
            Evidence("artifact", of(500), of(10_000)),
        ),
        derived_from=(1, 2),
        flags=("instruction-like text",),
        receipts=(Receipt("peers", Verdict.PASS, f"x says pass: {fenced(shortened(of(2000), 500))}"),),
    )
    parents = [
        Entry(EntryId(number), RunId("r-1"), Kind.FACT, of(2000), state=state, reason=reason)
        for number, state, reason in (
            (1, EntryState.ADMITTED, ""),
            (2, EntryState.RETRACTED, f"peers: x says fail: {fenced(shortened(of(2000), 500))}"),
        )
    ]
    dispute = Vote(
        VoteId(1),
        RunId("r-1"),
        EntryId(5),
        1,
        Principal("bob"),
        "bob-x",
        Verdict.FAIL,
        of(2000),
        against=(1,),
    )
    return Case(entry, parents, parents[1:], [dispute], parents[:1])


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=6), st.sampled_from([1, 1, 1, 3, 40]))
def test_a_case_says_the_same_whatever_agents_wrote(words: list[str], times: int) -> None:
    expected = voice(brief(case_of(["plain words"]), JUDGE_TOKENS))
    seen = voice(brief(case_of(words, times)))
    left = [line for line in seen if not line.startswith(("(cut here)", "(cut: "))]
    assert len(left) == len(expected)
    assert all(alike(one, other) for one, other in zip(left, expected, strict=True))


@settings(deadline=None, max_examples=30)
@given(st.lists(texts, min_size=1, max_size=4), st.integers(0, 400))
def test_a_case_keeps_its_budget(words: list[str], times: int) -> None:
    assert tokens(brief(case_of(words, times))) <= CASE_TOKENS


# -- time ------------------------------------------------------------------------------------------

LONG = {
    "plain": "plain words. ",
    "hidden": "a\u200b",
    "marks": "a\u0301\u0301",
    "blank lines": "\n \t",
    "spaces": " " * 50 + "x",
    "guillemets": "«»",
    "lines": "| x\n",
}


def case_text(text: str) -> str:
    """A case of texts longer than any that is kept."""
    case = case_of(["x"])
    return brief(replace(case, entry=replace(case.entry, summary=text, raw=text)))


ACTS = [visible, one_line, fenced, block, gist_key, case_text]


@pytest.mark.parametrize("act", ACTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", LONG)
def test_four_times_the_text_takes_about_four_times_as_long(name: str, act: Callable[[str], str]) -> None:
    def took_s(size: int) -> float:
        text = LONG[name] * (size // len(LONG[name]))
        started = time.process_time()
        act(text)
        return time.process_time() - started

    one, four = (min(took_s(size) for _ in range(2)) for size in (10_000, 40_000))
    assert four < 10 * one + 0.01, (one, four)


@pytest.mark.long
@pytest.mark.parametrize("act", ACTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_takes_no_longer_than_its_parts(name: str, act: Callable[[str], str]) -> None:
    text = LONG[name] * (1_000_000 // len(LONG[name]))
    started = time.process_time()
    act(text[:500_000])
    middle = time.process_time()
    act(text)
    assert time.process_time() - middle < 3 * (middle - started) + 0.05
