import pytest

from programs.binary_search import find

EVEN = [2, 4, 6, 8, 10, 12, 14, 16]


def test_nothing_is_in_an_empty_list():
    assert find([], 3) is None


@pytest.mark.parametrize("absent", [1, 5, 9, 17])
def test_what_is_not_in_the_list_is_not_found(absent):
    assert find(EVEN, absent) is None


def test_the_middle_is_found_at_once():
    assert find([1, 5, 9], 5) == 1


def test_the_only_item():
    assert find([7], 7) == 0


@pytest.mark.parametrize("index", range(len(EVEN)))
def test_every_item_is_found_where_it_stands(index):
    assert find(EVEN, EVEN[index]) == index


def test_words_are_found_like_numbers():
    assert find(["ant", "bee", "cow"], "cow") == 2
