import pytest

from programs.merge_sorted import merge


def test_nothing_and_nothing():
    assert merge([], []) == []


def test_one_list_is_empty():
    assert merge([1, 2], []) == [1, 2]
    assert merge([], [1, 2]) == [1, 2]


def test_lists_that_take_turns():
    assert merge([2, 4], [1, 3]) == [1, 2, 3, 4]


def test_equal_items_are_all_kept():
    assert merge([1, 1, 2], [1, 2, 2]) == [1, 1, 1, 2, 2, 2]


def test_the_left_list_is_used_up_first():
    assert merge([1, 2, 9], [3, 4, 10, 11]) == [1, 2, 3, 4, 9, 10, 11]


def test_one_list_after_the_other():
    assert merge([1, 2, 3], [4, 5]) == [1, 2, 3, 4, 5]
    assert merge([4, 5, 6, 7], [1, 2]) == [1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("cut", range(0, 12))
def test_any_two_halves(cut):
    items = [(number * 7) % 12 for number in range(12)]
    assert merge(sorted(items[:cut]), sorted(items[cut:])) == sorted(items)


def test_the_left_list_comes_first_among_equals():
    merged = merge([1.0, 2.0], [1, 3])
    assert [type(item) for item in merged] == [float, int, float, int]
