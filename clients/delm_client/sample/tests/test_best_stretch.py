import pytest

from programs.best_stretch import best_stretch, profit


def test_all_gains_belong_to_it():
    assert best_stretch([1, 2, 3]) == 6


def test_losses_are_bridged_where_it_pays():
    assert best_stretch([4, -1, 5, -9, 3]) == 8
    assert best_stretch([-2, 1, -3, 4, -1, 2, 1, -5, 4]) == 6


def test_one_value():
    assert best_stretch([5]) == 5


def test_a_series_needs_a_value():
    with pytest.raises(ValueError, match="without values"):
        best_stretch([])


def test_the_smallest_of_many_losses():
    assert best_stretch([-4, -2, -7]) == -2


def test_one_loss():
    assert best_stretch([-3]) == -3


def test_zero_is_better_than_a_loss():
    assert best_stretch([-3, 0, -1]) == 0


def test_rising_prices():
    assert profit([7, 1, 5, 3, 6, 4]) == 5


def test_falling_prices():
    assert profit([9, 7, 4, 3]) == -1
