"""Finding a quote in its source, as a W3C TextQuoteSelector would."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

CONTEXT = 32  # characters of prefix and suffix that are kept with a quote
MIN_QUOTE = 8  # characters; anything shorter stands in almost every text
PLACES_MAX = 1000  # a quote that stands more often than this begins and ends inside words everywhere

_WORD = re.compile(r"\S+")
# Characters of scripts that are written without spaces, and spaces beside them.
UNSPACED = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_LOOSE_SPACE = re.compile(f"(?<={UNSPACED.pattern}) | (?={UNSPACED.pattern})")


def locate(source: str, exact: str) -> dict[str, Any] | None:
    """Where a quote stands in its source.

    White space is folded, because quotes are wrapped differently from their sources; beside the letters
    of Chinese and Japanese it is dropped, because there a line breaks anywhere. Everything else must be
    the same character for character, and the quote must not begin or end inside a word or a number:
    `available` is no quote of `unavailable`, nor `2 ms` of `12 ms`, nor what follows upon a `not` of the
    whole. Linear in the source.

    Returns:
        `{"offset", "length", "line", "line_end", "prefix", "suffix", "count"}` of the first place, in
        characters of the source, lines counted from 1; or None when it is not there.
    """
    folded = _Folded(source)
    wanted = _Folded(exact).text
    place = next((place for place in folded.places(wanted) if folded.is_whole(place, wanted)), -1)
    if place < 0:
        return None
    start, end = folded.original(place), folded.original(place + len(wanted) - 1) + 1
    line = source.count("\n", 0, start) + 1
    return {
        "offset": start,
        "length": end - start,
        "line": line,
        "line_end": line + source.count("\n", start, end),
        "prefix": source[max(0, start - CONTEXT) : start],
        "suffix": source[end : end + CONTEXT],
        "count": folded.text.count(wanted),
    }


def nearest(source: str, exact: str) -> str:
    """What to quote instead of a quote that is not there: its whole words, or the likeliest line."""
    folded, cut = _Folded(source), _Folded(exact).text
    for place in folded.places(cut):
        return folded.whole_words(place, cut)
    wanted = set(exact.casefold().split())
    best, score = "", 0
    for line in source.splitlines():
        shared = len(wanted & set(line.casefold().split()))
        if shared > score:
            best, score = line.strip(), shared
    return best


class _Folded:
    """A text with its white space folded, and the way back to where each character stood."""

    def __init__(self, text: str) -> None:
        self._source = text
        folded = " ".join(text.split())
        self.text = folded if text.isascii() else _LOOSE_SPACE.sub("", folded)

    def original(self, place: int) -> int:
        """Where a character of the folded text stood: it is the same one but for the white space."""
        left = place - self.text.count(" ", 0, place)
        for word in _WORD.finditer(self._source):
            length = word.end() - word.start()
            if left < length:
                return word.start() + left
            left -= length
        raise AssertionError(f"there are not {place} characters")

    def places(self, wanted: str) -> Iterator[int]:
        """Where a folded text stands in this one, the first `PLACES_MAX` times."""
        place = self.text.find(wanted) if wanted else -1
        for _ in range(PLACES_MAX):
            if place < 0:
                return
            yield place
            place = self.text.find(wanted, place + 1)

    def is_whole(self, place: int, wanted: str) -> bool:
        """Whether no word or number is cut at either end."""
        return not (self._cuts(place, begins=True) or self._cuts(place + len(wanted), begins=False))

    def whole_words(self, place: int, wanted: str) -> str:
        """The quote, extended to the words that it cuts."""
        start, end = place, place + len(wanted)
        if negation := _NEGATION.search(self.text[max(0, start - CONTEXT) : start]):
            start -= len(negation.group())
        while self._cuts(start, begins=True) and place - start < CONTEXT:
            start -= 1
        while self._cuts(end, begins=False) and end - place - len(wanted) < CONTEXT:
            end += 1
        return self.text[start:end]

    def _cuts(self, at: int, *, begins: bool) -> bool:
        """Whether a boundary here parts what belongs together.

        Args:
            begins: The quote begins here, rather than ending.
        """
        if not 0 < at < len(self.text):
            return False
        before, after = self.text[at - 1], self.text[at]
        if begins and not after.isspace() and _NEGATION.search(self.text[max(0, at - CONTEXT) : at]):
            return True
        if (_in_word(before) and _in_word(after)) or (
            before in _BEFORE and after.isdigit() if begins else before.isdigit() and after in _BEHIND
        ):
            return True
        joint = at if _in_word(before) else at - 1
        return 0 < joint < len(self.text) - 1 and self._joins(joint, begins=begins)

    def _joins(self, at: int, *, begins: bool) -> bool:
        """Whether the character here makes one word or number of those on its sides."""
        left, sign, right = self.text[at - 1], self.text[at], self.text[at + 1]
        if sign in "-\u2010\u2011":
            return left.isalnum() and right.isalnum()
        if sign in "'\u2019":  # `can` is no quote of `can't`
            return not begins and left.isalpha() and right == "t"
        digits = left.isdigit() and right.isdigit()
        return digits and (sign in ".:\u2013" or (sign == "," and self._is_one_number(at)))

    def _is_one_number(self, at: int) -> bool:
        """Whether the commas around this boundary group digits, rather than part a list such as a CSV row."""
        before = re.search(r"[\w.,]*$", self.text[max(0, at - CONTEXT) : at])
        behind = re.match(r"[\w.,]*", self.text[at : at + CONTEXT])
        whole = "".join(part.group() for part in (before, behind) if part)
        return bool(_ONE_NUMBER.fullmatch(whole.strip(".,")))


_BEFORE = "-\u2212$€£¥"
_BEHIND = "%‰°\uff05"
_ONE_NUMBER = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})*,\d+")


# What a quote must not begin behind: it would say the opposite.
_NEGATION = re.compile(
    r"\b(not|never|cannot|\w+n['\u2019]t|without|nicht|keine?[mnrs]?|ohne|ne|pas|jamais|sans)[ *_`\"'(]+$",
    re.IGNORECASE,
)


def _in_word(char: str) -> bool:
    if char.isdecimal():
        return True
    is_part = char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M"
    return is_part and not UNSPACED.fullmatch(char)
