import pytest

from programs.moving_average import moving_average


def test_a_window_of_one_changes_nothing():
    assert moving_average([3, 1, 4], 1) == [3, 1, 4]


def test_a_series_shorter_than_the_window_has_no_averages():
    assert moving_average([3, 1], 3) == []


def test_a_window_needs_a_value():
    with pytest.raises(ValueError, match="at least one"):
        moving_average([1, 2], 0)


def test_a_window_moves_along():
    assert moving_average([1, 3, 5, 7, 13], 2) == [2, 4, 6, 10]


def test_averages_have_fractions():
    assert moving_average([1, 2, 4, 3], 2) == [1.5, 3.0, 3.5]


def test_three_at_a_time():
    assert moving_average([1, 1, 2, 0, 0], 3) == pytest.approx([4 / 3, 1, 2 / 3])


def test_negative_values_and_fractions():
    assert moving_average([-1, 0, 0.5, -2], 2) == [-0.5, 0.25, -0.75]
