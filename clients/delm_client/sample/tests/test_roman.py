import pytest

from programs.roman import to_roman


@pytest.mark.parametrize(
    ("number", "numeral"),
    [
        (1, "I"),
        (3, "III"),
        (4, "IV"),
        (9, "IX"),
        (14, "XIV"),
        (40, "XL"),
        (44, "XLIV"),
        (49, "XLIX"),
        (58, "LVIII"),
        (89, "LXXXIX"),
        (100, "C"),
        (400, "CD"),
        (944, "CMXLIV"),
        (2026, "MMXXVI"),
        (3888, "MMMDCCCLXXXVIII"),
    ],
)
def test_known_numerals(number, numeral):
    assert to_roman(number) == numeral


@pytest.mark.parametrize("number", [0, -1, 4000])
def test_other_numbers_have_no_numeral(number):
    with pytest.raises(ValueError, match="no Roman numeral"):
        to_roman(number)


@pytest.mark.parametrize(
    ("number", "numeral"), [(90, "XC"), (99, "XCIX"), (1994, "MCMXCIV"), (3999, "MMMCMXCIX")]
)
def test_numerals_around_ninety(number, numeral):
    assert to_roman(number) == numeral
