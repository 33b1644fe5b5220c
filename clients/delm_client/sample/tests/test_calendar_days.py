import pytest

from programs.calendar_days import day_of_year, days_in_month, is_leap


@pytest.mark.parametrize("year", [1900, 1999, 2023, 2100, 2026])
def test_common_years(year):
    assert not is_leap(year)


@pytest.mark.parametrize("year", [1996, 2000, 2024, 2400])
def test_leap_years(year):
    assert is_leap(year)


def test_the_lengths_of_months():
    assert [days_in_month(2023, month) for month in (1, 2, 4, 7, 8, 12)] == [31, 28, 30, 31, 31, 31]


def test_february_in_a_leap_year():
    assert days_in_month(2024, 2) == 29


@pytest.mark.parametrize("month", [0, 13])
def test_there_are_twelve_months(month):
    with pytest.raises(ValueError, match="no month"):
        days_in_month(2023, month)


@pytest.mark.parametrize(("date", "number"), [((2023, 1, 1), 1), ((2023, 3, 1), 60), ((2023, 12, 31), 365)])
def test_days_of_a_common_year(date, number):
    assert day_of_year(*date) == number


@pytest.mark.parametrize(("date", "number"), [((2024, 3, 1), 61), ((2000, 12, 31), 366)])
def test_days_of_a_leap_year(date, number):
    assert day_of_year(*date) == number
