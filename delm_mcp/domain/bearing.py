"""What the numbers of quotes bear out: the same value however written, rounded, converted, or worked out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import combinations, permutations

from delm_mcp.domain.numbers import Moment, Number, Numbers, read

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
    if (fact.unit, fact.factors) == (claim.unit, claim.factors):
        return any(map(claim.tells, fact.values))
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
