import pytest

from programs.run_length import decode, encode


def test_nothing_has_no_runs():
    assert encode("") == []


def test_one_character_is_one_run():
    assert encode("a") == [("a", 1)]


def test_runs_are_decoded():
    assert decode([("a", 3), ("b", 1), (" ", 2)]) == "aaab  "
    assert decode([]) == ""


def test_one_long_run():
    assert encode("zzzz") == [("z", 4)]


def test_characters_without_repetition():
    assert encode("abc") == [("a", 1), ("b", 1), ("c", 1)]


def test_runs_of_different_lengths():
    assert encode("aaabccd") == [("a", 3), ("b", 1), ("c", 2), ("d", 1)]


def test_a_character_may_come_back():
    assert encode("aabaa") == [("a", 2), ("b", 1), ("a", 2)]


@pytest.mark.parametrize("text", ["hello  world", "1122333", "abab", "xxxxxxxxxxy"])
def test_what_is_encoded_can_be_decoded(text):
    assert decode(encode(text)) == text
