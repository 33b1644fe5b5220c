import pytest

from programs.luhn import checksum, is_valid


@pytest.mark.parametrize(("number", "total"), [("0", 0), ("7", 7), ("42", 10), ("1234", 14), ("40", 8), ("70707", 21)])
def test_small_digits_are_doubled(number, total):
    assert checksum(number) == total


@pytest.mark.parametrize(("number", "total"), [("59", 10), ("99", 18), ("5678", 20), ("80", 7)])
def test_a_double_of_two_digits_counts_as_their_sum(number, total):
    assert checksum(number) == total


@pytest.mark.parametrize("number", ["", "12a4", "4539-1488"])
def test_only_digits_and_blanks_are_numbers(number):
    assert not is_valid(number)


@pytest.mark.parametrize("number", ["4539 1488 0343 6467", "79927398713", "5500005555555559"])
def test_valid_numbers(number):
    assert is_valid(number)


@pytest.mark.parametrize("number", ["4539 1488 0343 6476", "79927398710"])
def test_numbers_with_a_wrong_check_digit(number):
    assert not is_valid(number)
