import pytest

from programs.leave import leave_days


def test_no_periods_use_no_leave():
    assert leave_days([]) == 0


def test_a_single_day():
    assert leave_days([(40, 40)]) == 1


def test_single_days_add_up():
    assert leave_days([(3, 3), (9, 9), (200, 200)]) == 3


def test_a_single_closed_day_costs_nothing():
    assert leave_days([(40, 40)], closed=[40]) == 0


def test_a_period_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="ends before"):
        leave_days([(8, 5)])


def test_a_week_has_both_its_ends():
    assert leave_days([(10, 16)]) == 7


def test_two_days_in_a_row():
    assert leave_days([(364, 365)]) == 2


def test_closed_days_are_not_counted():
    assert leave_days([(10, 16)], closed=[9, 10, 13, 17]) == 5


def test_periods_and_single_days_add_up():
    assert leave_days([(1, 3), (50, 50), (100, 109)], closed=[2]) == 13
