"""Numbers with their units, in digits or in words."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import zip_longest

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: value for value, word in enumerate(_SMALL)}
_WORDS |= {word: 10 * place for place, word in enumerate(_TENS, 2)}
_UNITS = {
    "us": "microsecond µs microsecond microseconds",
    "ms": "ms millisecond milliseconds",
    "s": "s second seconds",
    "min": "min minute minutes",
    "h": "h hour hours",
    "d": "d day days",
    "KiB": "kib",
    "MB": "mb",
    "GB": "gb",
    "GiB": "gib",
    "TB": "tb",
    "TiB": "tib",
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[A-Za-zµ]+(?:-[A-Za-z]+)*")


@dataclass(frozen=True)
class Quantity:
    """A number; `unit` is empty where no unit that we know follows it."""

    value: Decimal
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.value} {self.unit}".strip()


def quantities(text: str) -> list[Quantity]:
    """The quantities of a text, in order."""
    found = []
    tokens = _TOKEN.findall(text)
    for token, after in zip_longest(tokens, tokens[1:], fillvalue=""):
        value = _value(token)
        if value is not None:
            found.append(Quantity(value, _UNIT_OF.get(after.lower(), "")))
    return found


def is_number(word: str) -> bool:
    """Whether a word is a number in words or digits, or a unit."""
    return _value(word) is not None or word.lower() in _UNIT_OF


def _value(token: str) -> Decimal | None:
    if token[0].isdigit():
        plain = token.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", token) else token
        try:
            return Decimal(plain)
        except InvalidOperation:  # a date, a version
            return None
    parts = token.lower().split("-")
    if not all(part in _WORDS for part in parts):
        return None
    return Decimal(sum(_WORDS[part] for part in parts))
