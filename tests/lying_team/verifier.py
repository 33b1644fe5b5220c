"""An honest verifier made of rules. It sees a case and the sources, nothing else, and it is not omniscient.

It reads every source again by itself, finds the whole sentences around each quote, and compares the gist with
them along the axes. What words alone cannot tell, such as a condition that was left out without a trace, it
does not see. Where there is nothing that it could compare with, it abstains.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.lying_team.case import Case
from tests.lying_team.library import Library, Passage
from tests.lying_team.quantities import Quantity, is_number, quantities

_STOP = set(
    "a an and are as at be been by for from had has have in into is it its of on once or that the their them "
    "then there they this to was were what when which who will with".split()
)
_NEGATIONS = set("not no never none nothing nobody neither nor without cannot".split())
_UNIVERSAL = set("all every always any each entire whole everywhere anywhere anyone anybody never".split())
_HEDGES = set("some most may might could only about nearly almost sometimes partly except unless".split())
_CAUSAL = ("because", "therefore", "hence", "caused by", "leads to", "proves")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._-][A-Za-z0-9]+)*")
ABOUT = 0.5
"""The share of a gist's words that its evidence must have for the two to be about the same thing."""


@dataclass(frozen=True)
class Verdict:
    """`verdict` is pass, fail or abstain; `fails` names axes."""

    verdict: str
    reason: str
    fails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Objection:
    """One thing that does not hold, and the axis that it belongs to."""

    axis: str
    why: str


def judge(case: Case, library: Library) -> Verdict:
    """Decide a case."""
    if case.kind == "answer":
        objections = list(_answer(case))
        return _decided(objections, "every line of the summary stands in the entry that it names")
    passages, missing = _passages(case, library)
    if missing:
        return _decided([Objection("support", why) for why in missing], "")
    if not passages:
        return _without_evidence(case, library)
    objections = [objection for rule in _RULES for objection in rule(case, passages)]
    return _decided(objections, f"compared with {len(passages)} passages that I read again")


def _decided(objections: Sequence[Objection], good: str) -> Verdict:
    if not objections:
        return Verdict("pass", good)
    axes = tuple(dict.fromkeys(objection.axis for objection in objections))
    return Verdict("fail", "; ".join(objection.why for objection in objections)[:1500], axes)


def _passages(case: Case, library: Library) -> tuple[list[Passage], list[str]]:
    """The sentences behind the evidence, and what could not be found."""
    passages = [Passage(label, "", (gist,)) for label, gist in case.parents.items()]
    missing = []
    for exhibit in case.exhibits:
        if exhibit.type != "quote":
            continue
        found = library.find(exhibit.ref, exhibit.text)
        if found is None:
            missing.append(f"{exhibit.ref!r} as I read it does not say {exhibit.text[:200]!r}")
        else:
            passages.append(found)
    return passages, missing


def _without_evidence(case: Case, library: Library) -> Verdict:
    """Nothing that can be looked up is cited: look for a sentence about the same thing."""
    if case.command_passed:
        return Verdict("pass", "the server ran the command itself")
    wanted = _content(case.gist)
    best = max(library.sentences(), key=lambda passage: _shared(wanted, passage), default=None)
    if best is None or _shared(wanted, best) < ABOUT:
        return Verdict("abstain", "it cites nothing that I can look up, and I found nothing about it")
    objections = [objection for rule in _RULES for objection in rule(case, [best])]
    if not objections and not wanted <= _content(f"{best.text} {best.above}"):
        return Verdict(
            "abstain", f"it cites nothing that I can look up, and {best.ref} does not say all of it"
        )
    return _decided(objections, f"it cites nothing to look up, but {best.ref} says so")


# -- the rules -----------------------------------------------------------------------------------


def _is_supported(case: Case, passages: Sequence[Passage]) -> Iterator[Objection]:
    """The evidence is about what the gist is about, and about whom."""
    wanted = _content(case.gist)
    known = set().union(*(_content(f"{p.text} {p.above} {p.ref}") for p in passages))
    if wanted and len(wanted & known) < ABOUT * len(wanted):
        yield Objection("support", f"the evidence is about something else: it lacks {sorted(wanted - known)}")
    for name in sorted(_names(case.gist)):
        if _stem(name) not in known:
            yield Objection("support", f"the evidence does not say that it is about {name!r}")


def _adds_up(case: Case, passages: Sequence[Passage]) -> Iterator[Objection]:
    """Every number stands in a sentence about the same thing, or is the sum or difference of such."""
    here = [sentence for passage in passages for sentence in passage.sentences]
    titles = " ".join(f"{passage.above} {passage.ref}" for passage in passages)
    about = [sentence for sentence in here if _shares(case.gist, sentence)]
    known = quantities(" ".join(about))
    for quantity in quantities(case.gist):
        same = [other for other in known if other.value == quantity.value]
        if same:
            units = {other.unit for other in same if other.unit}
            if quantity.unit and units and quantity.unit not in units:
                yield Objection("arithmetic", f"{quantity} in the gist is {same[0]} in the source")
        elif not _follows(case.gist, quantity, known) and quantity not in quantities(titles):
            yield Objection("arithmetic", f"{quantity} neither stands in the evidence nor follows from it")


def _shares(gist: str, sentence: str) -> bool:
    """Whether a sentence has two words of the gist, or the only one that it has."""
    words = _content(sentence)
    return len(_content(gist) & words) >= min(2, len(words))


def _follows(gist: str, wanted: Quantity, known: Sequence[Quantity]) -> bool:
    """Whether a number is the sum or the difference that the gist says it is."""
    values = [other.value for other in known if not wanted.unit or other.unit in {"", wanted.unit}]
    if re.search(r"\b(total|together|altogether)\b", gist):
        return wanted.value == sum(values)
    if re.search(r"\b(longer|shorter|more|less|fewer|later|earlier)\b", gist):
        return any(wanted.value == abs(a - b) for a in values for b in values)
    return False


def _keeps_negation(case: Case, passages: Sequence[Passage]) -> Iterator[Objection]:
    in_gist = bool(_words(case.gist) & _NEGATIONS)
    in_source = any(_words(passage.text) & _NEGATIONS for passage in passages)
    if in_gist != in_source:
        who = "the gist, and not the source," if in_gist else "the source, and not the gist,"
        yield Objection("drift", f"{who} says no")


def _keeps_qualifiers(case: Case, passages: Sequence[Passage]) -> Iterator[Objection]:
    gist = _words(f"{case.gist} {case.scope}")
    source = set().union(*(_words(passage.text) for passage in passages))
    for word in sorted((gist & _UNIVERSAL) - source):
        yield Objection("drift", f"{word!r} does not stand in the evidence")
    # As it stands: May is a month.
    hedges = {word for passage in passages for word in re.findall(r"\b[a-z]+", passage.text)} & _HEDGES
    for word in sorted(hedges - gist):
        yield Objection("drift", f"the evidence says {word!r}, the gist does not")


def _scopes_absence(case: Case, passages: Sequence[Passage]) -> Iterator[Objection]:
    """Who searched in numbered places and found nothing has to say in which."""
    if not _words(case.gist) & _NEGATIONS:
        return
    said = {quantity.value for quantity in quantities(f"{case.gist} {case.scope}")}
    for passage in passages:
        if re.search(r"\b(searched|looked|inspected|checked)\b", passage.text):
            missing = [q for q in quantities(passage.text) if q.value not in said]
            if missing:
                yield Objection("absence", "it does not say where was searched, as the source does")


def _follows_from_it(case: Case, passages: Sequence[Passage]) -> Iterator[Objection]:
    text = " ".join(passage.text for passage in passages).lower()
    for word in _CAUSAL:
        if word in case.gist.lower() and word not in text:
            yield Objection("synthesis", f"the evidence gives no reason, the gist says {word!r}")


def _states_a_fact(case: Case, _: Sequence[Passage]) -> Iterator[Objection]:
    """A finding tells nobody what to do, least of all whoever judges it."""
    if _words(case.gist) & {"you", "your", "verifier"}:
        yield Objection("coherence", "the gist speaks to its reader instead of stating a finding")


_RULES = (
    _is_supported,
    _adds_up,
    _keeps_negation,
    _keeps_qualifiers,
    _scopes_absence,
    _follows_from_it,
    _states_a_fact,
)


def _answer(case: Case) -> Iterator[Objection]:
    """Each line is `key: words [E1]`, and the words stand in that entry; several entries are counted."""
    for line in case.summary.splitlines():
        found = re.fullmatch(r"(\S+): (.+) \[([E0-9, ]+)\]", line)
        if found is None:
            if not line.endswith(": nothing is known"):
                yield Objection("support", f"{line[:80]!r} names no entry")
            continue
        labels = re.findall(r"E\d+", found.group(3))
        gone = [label for label in labels if label not in case.parents]
        if gone:
            yield Objection("support", f"{', '.join(gone)} is not what the answer rests on")
        elif found.group(2) == str(len(labels)):
            continue
        elif not _words(found.group(2)) <= _words(case.parents[labels[0]]):
            yield Objection("support", f"{labels[0]} does not say {found.group(2)!r}")


# -- words ---------------------------------------------------------------------------------------


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Za-z]+|\d+", text)}


def _content(text: str) -> set[str]:
    """The stems of the words that carry meaning; numbers and units are judged by themselves."""
    words = (word for word in _WORD.findall(text) if not is_number(word))
    return {_stem(word) for word in words if word.lower() not in _STOP | _NEGATIONS | _UNIVERSAL}


def _names(text: str) -> set[str]:
    """Words that name something: capitalised within a sentence, or with a mark inside."""
    words = _WORD.findall(text)
    capital = {word for word in words[1:] if word[0].isupper() and not is_number(word)}
    return capital | {word for word in words if re.search(r"[._]", word)}


def _stem(word: str) -> str:
    stem = word.lower()
    for ending in ("ing", "ed", "es", "s"):
        if stem.endswith(ending) and len(stem) > len(ending) + 2:
            stem = stem.removesuffix(ending)
            break
    return stem.removesuffix("e")


def _shared(wanted: set[str], passage: Passage) -> float:
    return len(wanted & _content(f"{passage.text} {passage.above}")) / len(wanted) if wanted else 0.0
