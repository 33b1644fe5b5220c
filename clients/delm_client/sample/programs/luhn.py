"""The check digit of card numbers (ISO/IEC 7812)."""


def checksum(number):
    """The Luhn sum of the digits of `number`, from the right, every second one doubled."""
    total = 0
    for place, char in enumerate(reversed(number)):
        digit = int(char)
        if place % 2 == 1:
            digit *= 2
            if digit > 9:
                digit -= 10
        total += digit
    return total


def is_valid(number):
    """Whether a card number, blanks allowed, ends in the right check digit."""
    digits = number.replace(" ", "")
    if not digits.isdigit():
        return False
    return checksum(digits) % 10 == 0
