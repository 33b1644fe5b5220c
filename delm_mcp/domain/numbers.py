"""The numbers in a text: in digits or in words, with their units, dates, versions and names."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from itertools import pairwise

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
        return [(shown, power) for power in _power(base[1], base[2])]
    if _GROUPED.fullmatch(shown):
        return [(shown, (Decimal(plain),)), *(parts if "," in shown else [])]
    if _GERMAN.fullmatch(shown):
        whole, _, fraction = shown.partition(",")
        return [(shown, (Decimal(f"{whole.replace('.', '')}.{fraction}"),)), *parts]
    if "," in shown:
        return [part for piece in shown.split(",") for part in _values(piece, text, claims=claims)]
    thousands = re.fullmatch(r"\d{1,3}(\.\d{3})+", shown) and _is_foreign(text)
    larger = (Decimal(shown.replace(".", "")),) if thousands else ()
    values = (*_decimal(plain), *larger)
    return [(shown, values)] if values or plain.count(".") > 1 else []  # 1.2.3 is compared as it stands


def _decimal(text: str) -> tuple[Decimal, ...]:
    """The number that a text is, if it is one: `1.2.3` and `0^1_0` are none."""
    try:
        return (Decimal(text),)
    except InvalidOperation:
        return ()


def _power(base: str, exponent: str) -> list[tuple[Decimal, ...]]:
    """A power, rounded as all arithmetic on it is; none without a value (0^0) or out of all bounds."""
    try:
        return [(Decimal(base) ** int(exponent),)]
    except ArithmeticError:
        return []


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
