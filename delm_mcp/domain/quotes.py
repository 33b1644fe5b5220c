"""Finding a quote in its source, as a W3C TextQuoteSelector would, and what its numbers bear out."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations, pairwise, permutations
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


# -- the numbers in a text ---------------------------------------------------------------------------

DIGITS_MAX = 20  # a longer run of digits is the name of something
_L = "A-Za-zªµº\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"  # letters of scripts that part words by spaces
_MONTHS = [
    *("jan(?:uary|uar|vier)?", "feb(?:ruary|ruar)?|février", "m[aä]r(?:ch|z|s)?", "a[pv]r(?:il)?", "ma[iy]"),
    *("ju(?:ne|ni|in|n)", "jui?l(?:y|i|let)?", "aug(?:ust)?|août", "sept?(?:ember|embre)?"),
    *("o[ck]t(?:ober|obre)?", "nov(?:ember|embre)?", "de[cz](?:ember)?|décembre"),
]
_MONTH = rf"(?:{'|'.join(_MONTHS)})(?![{_L}])\.?"
_TOKEN = re.compile(
    rf"""(?P<date>(?<!\d)(?:\d{{4}}([-/])\d\d?\2\d\d?|\d\d?\.\d\d?\.\d{{4}}|\d{{4}}年\d\d?月\d\d?日
        |\d\d?(?:\.|st|nd|rd|th|er)?[ ](?:of[ ])?{_MONTH}(?:,?[ ]\d{{4}}(?!\d))?
        |{_MONTH}[ ]\d\d?(?:st|nd|rd|th)?(?!\d)(?:,?[ ]\d{{4}}(?!\d))?)(?!\d))
    |(?P<time>(?<![\d:.])\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?![\d:])(?:[ ]?[ap]m)?)
    |(?P<name>(?<![\w.])(?:0x[0-9a-f]+|\d+(?!e\d{{1,3}}(?!\w)|[hm]\d)[a-z]+\d\w*(?:-\w+)*))
    |(?P<word>(?<![{_L}\d_])[{_L}_][{_L}\d_]*(?:[-/.][{_L}\d_]+)*)
    |(?P<number>\d+(?:[.,_'\u00a0]\d+)*(?:e[+-]?\d{{1,3}}(?!\w)|(?:\^|\*\*)\d\d?(?!\d))?)
    |(?P<kanji>[一二三四五六七八九十]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_GROUPED = re.compile(r"\d{1,3}(?:([,_'\u00a0 ])\d{3})(?:\1\d{3})*(?:\.\d+)?")
_GERMAN = re.compile(r"\d{1,3}(?:\.\d{3})*,\d+")
_UNIT = re.compile(
    rf"\)?[ \u00a0]?-?(%|‰|°[CF]|[€$£¥円秒]|分間?|時間|日間?|percentage points?|per ?cent|[{_L}Ω]+)"
    rf"([ ]?/[ ]?[{_L}]+)?"
)
_UNIT_BEFORE = re.compile(r"(EUR|USD|GBP|JPY|[€$£¥])\s?$|_([A-Za-z]+)[\"')\]]*\s?[=:]\s?$")
_LABELLED = re.compile(r"(?:\b(?:version|release)|[A-Z][\w.+#-]*)\s$")
_ENDINGS = frozenset("u l L ul f st nd rd th er".split())  # of a literal in C, and of ordinals
_HEDGES = {
    name: re.compile(rf"(?:{words})\s?(?:EUR |USD |[€$£])?$", re.IGNORECASE)
    for name, words in {
        "about": "about|around|approximately|roughly|circa|close to|nearly|almost|~|≈|etwa|rund|environ|約",
        "over": "over|above|more than|at least|über|mehr als|plus de",
        "under": "under|below|less than|at most|up to|unter|weniger als|moins de",
    }.items()
}
_ENGLISH = re.compile(r"\b(the|of|and|to|is|are|was|for|with|not|it)\b", re.IGNORECASE)
_STOP = frozenset(
    "of the a an its their all these those other more new times than and or in on at to per".split()
)
_LISTED = re.compile(r"\s?(?:,|and|or|to|-|\u2013|/|und|oder|bis|et|ou|à|and then|, and)\s?")

_CARDINALS = {
    word: value
    for language in (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty",
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn",
        "- - deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize",
    )
    for value, word in enumerate(language.split())
} | {
    word: 10 * value
    for language in (
        "- - twenty thirty forty fifty sixty seventy eighty ninety",
        "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
        "- - vingt trente quarante cinquante soixante",
    )
    for value, word in enumerate(language.split())
}
_SAID = {
    **_CARDINALS,
    **{
        word: n
        for n, word in enumerate("- first second third fourth fifth sixth seventh eighth ninth tenth".split())
    },
    **{"once": 1, "twice": 2, "both": 2, "double": 2, "dozen": 12, "beide": 2, "no": 0, "none": 0},
}
_SCALES = {
    word: Decimal(10) ** power
    for power, words in {
        3: "k thousand tausend tsd mille",
        6: "M million millions millionen mio",
        9: "bn billion billions milliarde milliarden mrd milliard milliards",
    }.items()
    for word in words.split()
}
_UNIT_WORDS = """
time 0.000001 us µs μs
time 0.001 ms millisecond milliseconds
time 1 s sec secs second seconds sekunde sekunden seconde secondes 秒
time 60 min mins minute minutes minuten 分 分間
time 3600 h hr hrs hour hours stunde stunden heure heures 時間
time 86400 d day days tag tage tagen jour jours 日 日間
time 604800 week weeks woche wochen semaine semaines
month 1 month months monat monate monaten mois
month 12 year years jahr jahre jahren années
percent 1 % percent prozent per\u00a0cent percent
permille 1 ‰
points 1 percentage\u00a0point percentage\u00a0points prozentpunkt prozentpunkte
celsius 1 °C
fahrenheit 1 °F
eur 1 € EUR euro euros
usd 1 $ USD dollar dollars
gbp 1 £ GBP
jpy 1 ¥ JPY 円 yen
times 1 x \u00d7 times fold mal fois
volume 1 litre litres liter liters
data 1 bit bits
data 8 B byte bytes
"""


Unit = tuple[str, tuple[Decimal, ...]]  # its dimension, and what one of it may be in the base unit


def _units() -> dict[str, Unit]:
    table: dict[str, Unit] = {}
    for row in _UNIT_WORDS.strip().splitlines():
        dimension, factor, *words = row.split(" ")
        table |= {word.replace("\u00a0", " "): (dimension, (Decimal(factor),)) for word in words}
    for symbol in "W V A Ah Wh Hz Ohm Ω g Pa bar m l".split():
        for prefix, power in {"": 0, "k": 3, "M": 6, "G": 9, "m": -3, "c": -2, "µ": -6, "n": -9}.items():
            dimension = {"Ω": "Ohm", "l": "volume"}.get(symbol, symbol)
            table[prefix + symbol] = (dimension, (Decimal(10) ** power,))
    del table["m"]  # metres or minutes
    for power, prefix in enumerate("kMGT", 1):
        both = (Decimal(8 * 1000**power), Decimal(8 * 1024**power))
        table |= {f"{prefix}B": ("data", both), f"{prefix.upper()}B": ("data", both)}
        table |= {f"{prefix.upper()}iB": ("data", both[1:]), f"{prefix}bit": ("data", (both[0] / 8,))}
    return table


_UNITS = _units()
NO_UNIT: Unit = ("", (Decimal(1),))


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text.

    Attributes:
        values: What it may mean; nothing for a version of three parts and more.
        unit: Its dimension; empty for none, or one that we do not know.
        factors: What one of the unit is in the dimension's base unit; `MB` has two.
        label: It numbers something, as in `Python 3.10`, which is not `3.1`.
        hedge: `about`, `over` or `under`, if the text says so.
        things: What it counts: the words that follow.
        weak: It bears out what nothing contradicts.
    """

    shown: str
    values: tuple[Decimal, ...]
    unit: str = ""
    factors: tuple[Decimal, ...] = (Decimal(1),)
    label: bool = False
    hedge: str = ""
    things: frozenset[str] = frozenset()
    in_words: bool = False
    weak: bool = False

    @property
    def digits(self) -> str:
        """As it stands, without grouping."""
        found = re.match(r"[\d.,_'\u00a0 ]*", self.shown)
        return re.sub(r"[,_'\u00a0 ]", "", found.group() if found else "")

    def base(self) -> Iterator[Decimal]:
        """What it may be in the base unit."""
        return (value * factor for value in self.values for factor in self.factors)

    def tells(self, value: Decimal, *, rounded: bool = False) -> bool:
        """Whether it says a value of its own unit: the value itself, or rounded as far as the text shows.

        Args:
            rounded: A whole number may be a rounded one even if the text does not say so.
        """
        if value in self.values:
            return True
        whole, point, fraction = self.digits.partition(".")
        zeros = len(whole) - len(whole.rstrip("0")) if self.hedge else 0
        step = Decimal(1).scaleb(-len(fraction) if point else zeros)
        if self.hedge in ("over", "under"):
            sign = 1 if self.hedge == "over" else -1
            return any(0 <= sign * (value - mine) < step for mine in self.values)
        if not (point or rounded or self.hedge):
            return False
        return any(abs(value - mine) <= step / 2 for mine in self.values)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date (year, month, day; the year 0 where it is not said) or a time of day (hour, minute, second)."""

    shown: str
    kind: str
    parts: tuple[int, ...]

    def fits(self, quoted: "Moment") -> bool:
        """Whether a quoted one says this."""
        if self.kind == "time":
            return quoted.parts[: len(self.parts)] == self.parts
        years = {self.parts[0], quoted.parts[0]} - {0}
        return self.parts[1:] == quoted.parts[1:] and len(years) < 2


@dataclass(slots=True)
class Numbers:
    """What is counted in one text; `wholes` are durations of several parts, such as `3 h 12 min`, as one."""

    numbers: list[Number] = field(default_factory=list)
    wholes: list[Number] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def read(text: str, *, claims: bool = False) -> Numbers:
    """The numbers in a text.

    Args:
        claims: What the text asserts, each once; otherwise everything that it could be taken to say.
    """
    text, found, spans = _plain(text), Numbers(), []
    for match in _TOKEN.finditer(text):
        kind, shown = str(match.lastgroup), match.group()
        if kind in ("date", "time"):
            found.moments.append(moment := _moment(shown, kind))
            if not claims:
                alone = moment.parts if kind == "time" else moment.parts[:1]
                found.numbers += [Number(str(part), (Decimal(part),)) for part in alone]
        elif kind == "number":
            numbers, end = _number(text, match, claims=claims)
            found.numbers += numbers
            spans += [(match.start(), end, len(found.numbers) - 1)] if len(numbers) == 1 else []
        elif kind == "kanji":
            found.numbers += [] if claims else [Number(shown, (Decimal(_kanji(shown)),))]
        else:
            _word(found, shown, text[match.end() : match.end() + 60], claims=claims)
    if not claims:  # `184 300` may also be two numbers
        for match in re.finditer(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)", text):
            found.numbers += _number(text, match, claims=True)[0]
    _share_units(found, text, spans)
    return found


def _plain(text: str) -> str:
    """Digits of every script as ASCII ones, and the marks of numbers as they are usually written."""
    if text.isascii():
        return text
    signs = {
        "\u2212": "-",
        "\uff05": "%",
        "\uff0e": ".",
        "\uff0c": ",",
        "\uff1a": ":",
        "\u2009": "\u00a0",
        "\u202f": "\u00a0",
        "\u2019": "'",
    }
    return "".join(
        signs.get(char) or (str(unicodedata.decimal(char)) if char.isdecimal() else char) for char in text
    )


def _moment(shown: str, kind: str) -> Moment:
    parts = [int(part) for part in re.findall(r"\d+", shown)]
    if kind == "time":
        noon = 12 if shown.lower().endswith("pm") and parts[0] < 12 else 0
        return Moment(shown, kind, (parts[0] + noon, *parts[1:3]))
    named = re.search(rf"[{_L}]{{3,}}", shown)
    if named and not named.group().startswith("of"):
        month = next(n for n, pattern in enumerate(_MONTHS, 1) if re.fullmatch(pattern, named.group(), re.I))
        return Moment(shown, kind, (parts[1] if len(parts) > 1 else 0, month, parts[0]))
    year, month, day = parts if parts[0] > 31 else reversed(parts)
    return Moment(shown, kind, (year, month, day))


def _number(text: str, match: re.Match[str], *, claims: bool) -> tuple[list[Number], int]:
    """The number or numbers that a run of digits and marks stands for, and where its unit ends."""
    before, behind = text[max(0, match.start() - 24) : match.start()], text[match.end() : match.end() + 80]
    scales, skipped = _scale(behind)
    (unit, factors), length = _unit(before, behind[skipped:])
    glued = re.match(rf"[{_L}]+", behind)
    if glued and not (unit or skipped or glued.group() in _ENDINGS):
        return [], match.end()  # `3D`, `4xx`: the name of something
    hedge = next((name for name, words in _HEDGES.items() if words.search(before)), "")
    label = not unit and bool(_LABELLED.search(before))
    length += skipped
    factors = tuple(factor * scale for factor in factors for scale in scales)
    numbers = [
        Number(shown + behind[:length], values, unit, factors, label, hedge, _things(behind[length:]))
        for shown, values in _values(match.group(), text, claims=claims)
    ]
    return numbers, match.end() + length


def _scale(behind: str) -> tuple[tuple[Decimal, ...], int]:
    """What a number may be multiplied by, and how far behind it that reaches: `1.2 million`, `12 k`."""
    word = re.match(rf"\s?([{_L}]+)", behind)
    if not word or word[1] not in _SCALES:
        return (Decimal(1),), 0
    guess = (Decimal(1),) if len(word[1]) == 1 else ()
    return (*guess, _SCALES[word[1]]), word.end()


def _unit(before: str, behind: str) -> tuple[Unit, int]:
    """The unit of a number, and how far behind it it reaches: `12 ms`, `EUR 12`, `timeout_ms = 12`."""
    if part := re.match(r"[hm](?=\d)", behind):  # 36m59s
        return _UNITS["h" if part.group() == "h" else "min"], 1
    found = _UNIT.match(behind)
    known = found and (_UNITS.get(found[1]) or _UNITS.get(found[1].lower()))
    if found and known:
        per = re.sub(r"\s", "", found[2] or "")
        return (known[0] + per, known[1]), found.end()
    named = _UNIT_BEFORE.search(before)
    return _UNITS.get(named[1] or named[2].lower() if named else "", NO_UNIT), 0


def _values(shown: str, text: str, *, claims: bool) -> list[tuple[str, tuple[Decimal, ...]]]:
    """What a run of digits and marks may mean, as one number or as a list of them."""
    if len(shown) > DIGITS_MAX and "," not in shown:
        return []
    plain = re.sub(r"[,_'\u00a0 ]", "", shown)
    parts = (
        [] if claims else [part for piece in shown.split(",") for part in _values(piece, text, claims=True)]
    )
    if base := re.fullmatch(r"(\d+)(?:\^|\*\*)(\d+)", shown):
        return [(shown, (Decimal(int(base[1]) ** int(base[2])),))]
    if _GROUPED.fullmatch(shown):
        return [(shown, (Decimal(plain),)), *(parts if "," in shown else [])]
    if _GERMAN.fullmatch(shown):
        whole, _, fraction = shown.partition(",")
        return [(shown, (Decimal(f"{whole.replace('.', '')}.{fraction}"),)), *parts]
    if "," in shown:
        return [part for piece in shown.split(",") for part in _values(piece, text, claims=claims)]
    thousands = re.fullmatch(r"\d{1,3}(\.\d{3})+", shown) and _is_foreign(text)
    larger = (Decimal(shown.replace(".", "")),) if thousands else ()
    return [(shown, (*((Decimal(plain),) if plain.count(".") < 2 else ()), *larger))]


def _is_foreign(text: str) -> bool:
    """Whether a dot may group digits: there are words, and none of them is English."""
    return len(re.findall(rf"[{_L}]{{2,}}", text)) > 2 and not _ENGLISH.search(text)


def _things(behind: str) -> frozenset[str]:
    """What a number counts: the first two words of weight behind it, without the ending of a plural."""
    words = re.findall(rf"[{_L}]+", re.split(r"[.;:!?()|\n]", behind, maxsplit=1)[0].lower())
    heavy = [word.rstrip("s") for word in words[:6] if word not in _STOP and word not in _CARDINALS]
    return frozenset(heavy[:2])


def _word(found: Numbers, shown: str, behind: str, *, claims: bool) -> None:
    """A word: the name of something if it has digits, else perhaps a number."""
    lowered = shown.lower()
    if version := re.fullmatch(r"v(\d[\d.]*)", lowered):
        values = (Decimal(version[1]),) if version[1].count(".") < 2 else ()
        found.numbers.append(Number(version[1], values, label=True))
    elif re.search(r"\d", shown):
        found.names.add(lowered)
        if not claims:
            digits = re.findall(r"\d+(?:\.\d+)*", shown)
            found.numbers += [
                Number(part, (Decimal(part),) if part.count(".") < 2 else ()) for part in digits
            ]
    else:
        tens, _, ones = lowered.partition("-")
        known = _CARDINALS if claims else _SAID
        compound = known.get(tens, 0) + known[ones] if tens in known and ones in known else None
        value = known.get(lowered, compound)
        if value is not None and (value > 1 or not claims):
            many = re.match(r"[ -](hundred|thousand|million)\b", behind, re.IGNORECASE)
            times = {"hundred": 100, "thousand": 1000, "million": 10**6}[many[1].lower()] if many else 1
            things = _things(behind[many.end() :] if many else behind)
            found.numbers.append(Number(shown, (Decimal(value * times),), things=things, in_words=True))


def _kanji(shown: str) -> int:
    """A number below a hundred."""
    value = {char: n for n, char in enumerate("一二三四五六七八九", 1)}
    tens, ten, ones = shown.partition("十")
    return value.get(tens[-1:], 1 if ten else 0) * (10 if ten else 1) + (value.get(ones[:1], 0) if ten else 0)


def _share_units(found: Numbers, text: str, spans: list[tuple[int, int, int]]) -> None:
    """Give `5` in `5 to 10 ms` its unit, and make one duration of `3 h 12 min`."""
    for (_, end, first), (start, _, second) in reversed(list(pairwise(spans))):
        one, other = found.numbers[first], found.numbers[second]
        if not one.unit and _LISTED.fullmatch(text[end:start]):
            found.numbers[first] = replace(one, unit=other.unit, factors=other.factors)
    for (_, end, first), (start, _, second) in pairwise(spans):
        one, other = found.numbers[first], found.numbers[second]
        if (
            one.unit == other.unit == "time"
            and one.factors > other.factors
            and not text[end:start].strip(" and,")
        ):
            whole = next(one.base()) + next(other.base())
            found.wholes.append(Number(text[start:end], (whole,), "time"))


# -- what the quotes' numbers bear out ---------------------------------------------------------------

UNBORNE_MAX = 5  # numbers that are named before the search ends
OPERANDS_MAX = 8  # with more of them, some would come to anything
OPERANDS_QUOTED_MAX = 3  # the same for numbers that only the quotes tell


def unborne(
    gist: str, quoted: Sequence[str], names: Sequence[str] = (), lines: Iterable[int] = ()
) -> list[str]:
    """Numbers of a gist that its quotes do not bear out, as they stand in it; at most `UNBORNE_MAX`.

    A number is borne out by the same value in a quote, however it is written (`1,204`, `50_000`,
    `twenty-four`, a date in another form), if the unit is the same, one that it converts to, or not said
    on one side; by a quoted number that it rounds; and by arithmetic on the gist's other numbers (`from
    210 ms to 164 ms, by 46 ms`), or on the quoted ones of its unit. Numbers in words, and those in a name
    (`p99`, `mon-04`), must only not be contradicted by another one of the same thing.

    Args:
        quoted: The texts of the quotes.
        names: Of their sources; what a source is called may be said.
        lines: At which the quotes stand; a gist may tell them.
    """
    claim, facts = read(gist, claims=True), _Facts([read(text) for text in (*quoted, *names)])
    facts.add(*map(Decimal, lines))
    if len(quoted) > 1:  # whoever lists things may count them
        facts.add(Decimal(len(quoted)), weak=True)
    bad = [moment.shown for moment in claim.moments if not facts.bear_moment(moment)]
    bad += [name for name in sorted(claim.names) if facts.tell_other_name(name)]
    borne = [number for number in (*claim.numbers, *claim.wholes) if facts.bear(number)]
    for number in claim.numbers:
        if len(bad) >= UNBORNE_MAX:
            break
        if number in borne or (number.in_words and not facts.tell_other(number)):
            continue
        if not (_follows(number, [one for one in borne if not one.in_words]) or facts.lead_to(number)):
            bad.append(number.shown)
    return bad[:UNBORNE_MAX]


class _Facts:
    """What all quotes together say."""

    def __init__(self, texts: Sequence[Numbers]) -> None:
        self.numbers = list(dict.fromkeys(n for text in texts for n in (*text.numbers, *text.wholes)))
        self.moments = [moment for text in texts for moment in text.moments]
        self.names = {name for text in texts for name in text.names}

    def add(self, *values: Decimal, weak: bool = False) -> None:
        self.numbers += [Number(str(value), (value,), weak=weak) for value in values]

    def bear(self, claim: Number) -> bool:
        """Whether a quoted number says this one."""
        bearing = [fact for fact in self.numbers if _bears(fact, claim)]
        return any(not fact.weak for fact in bearing) or (bool(bearing) and not self.tell_other(claim))

    def tell_other(self, claim: Number) -> bool:
        """Whether the quotes have a number of the same thing."""
        return any(claim.things & fact.things for fact in self.numbers)

    def lead_to(self, claim: Number) -> bool:
        """Whether a number with a unit follows from the quoted ones of that unit, where these are few."""
        like = [fact for fact in self.numbers if fact.unit == claim.unit]
        return bool(claim.unit) and len(like) <= OPERANDS_QUOTED_MAX and _follows(claim, like)

    def bear_moment(self, claim: Moment) -> bool:
        """Whether the quotes have this date or time, or, where they have none at all, its parts."""
        others = [moment for moment in self.moments if moment.kind == claim.kind]
        if others:
            return any(claim.fits(other) for other in others)
        return all(self.bear(Number(str(part), (Decimal(part),))) for part in claim.parts if part)

    def tell_other_name(self, name: str) -> bool:
        """Whether the quotes have a name that differs from this one only in its number."""
        stem = _stem(name)
        if not stem or any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", other) for other in self.names):
            return False
        return any(_stem(other) == stem for other in self.names)


def _stem(name: str) -> str:
    """A name before its number; nothing for one that is a number itself, such as a commit's."""
    if re.fullmatch(r"(?=.*\d)[0-9a-f]{6,}", name):
        return ""
    return re.split(r"\d", name, maxsplit=1)[0]


def _bears(fact: Number, claim: Number) -> bool:
    if not (fact.values and claim.values):  # a version of three parts and more
        return f"{fact.digits}.".startswith(f"{claim.digits}.") and not claim.unit
    if claim.label and "." in claim.digits and "." in fact.digits:
        return f"{fact.digits}.".startswith(f"{claim.digits}.")
    if fact.unit == claim.unit:
        return any(claim.tells(value / factor) for value in fact.base() for factor in claim.factors)
    if fact.unit and claim.unit:
        return False
    ratio = {claim.unit: Decimal(100), fact.unit: Decimal("0.01")}.get("percent")
    scaled = [value * ratio for value in fact.values] if ratio else []
    return any(claim.tells(value) for value in (*fact.values, *scaled))


def _follows(claim: Number, known: Sequence[Number]) -> bool:
    """Whether a number is the sum, difference, product or ratio of others that the gist tells."""
    tiny = not claim.unit and "." not in claim.digits and claim.values < (Decimal(10),)
    if tiny or len(known) > OPERANDS_MAX or not claim.values:
        return False
    rounded = [result / factor for result in _ratios(claim, known) for factor in claim.factors]
    whole = [result / factor for result in _sums(claim, known) for factor in claim.factors]
    return any(claim.tells(value, rounded=True) for value in rounded) or any(map(claim.tells, whole))


def _sums(claim: Number, known: Sequence[Number]) -> Iterator[Decimal]:
    like = [next(number.base()) for number in known if number.unit == claim.unit and number.values]
    bare = [number.values[0] for number in known if not number.unit and number.values]
    for one, other in combinations(like, 2):
        yield one + other
        yield abs(one - other)
    for first, last in combinations(range(len(like) + 1), 2):
        if last - first > 2:
            yield sum(like[first:last], Decimal(0))
    yield from (one * other for one in like for other in bare if one is not other)


def _ratios(claim: Number, known: Sequence[Number]) -> Iterator[Decimal]:
    for one, other in permutations([number for number in known if number.values], 2):
        a, b = next(one.base()), next(other.base())
        if not b:
            continue
        if claim.unit == "percent" and one.unit == other.unit:
            yield from (100 * a / b, 100 * abs(a - b) / b)
        shares = one.unit == claim.unit and not other.unit and ("." in claim.digits or claim.hedge)
        if shares or (claim.unit == "times" and one.unit == other.unit):
            yield a / b
