import pytest

from programs.shorten import column, shorten


def test_a_short_text_stays():
    assert shorten("a short text", 20) == "a short text"


def test_a_text_that_just_fits_stays():
    assert shorten("exactly 10", 10) == "exactly 10"


def test_white_space_becomes_single_blanks():
    assert shorten("  two\n words\t here ", 20) == "two words here"


def test_a_column_needs_room():
    with pytest.raises(ValueError, match="at least one"):
        shorten("text", 0)


def test_short_texts_fill_a_column():
    assert column(["one", "two"], 5) == ["one  ", "two  "]


def test_a_long_text_is_cut():
    assert shorten("exactly 11!", 10) == "exactly 1…"


def test_the_ellipsis_counts():
    assert shorten("abcdef", 1) == "…"
    assert shorten("abcdef", 5) == "abcd…"


def test_there_is_no_blank_before_the_ellipsis():
    assert shorten("the quick brown fox", 11) == "the quick…"
    assert shorten("the quick brown fox", 10) == "the quick…"


def test_every_line_of_a_column_is_as_wide():
    assert column(["one", "nineteen", "a b c d e"], 6) == ["one   ", "ninet…", "a b c…"]
