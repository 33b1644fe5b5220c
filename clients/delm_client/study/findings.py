"""What the figures show, in sentences: who is faster than whom, what sharing saves, and where it does not
pay.
"""

from collections.abc import Callable, Iterator, Sequence

from delm_client.simulate.findings import Figures, against, percent
from delm_client.simulate.intervals import Estimate
from delm_client.simulate.sweep import Cell
from delm_client.study.recording import Program
from delm_client.study.sweep import IMAGINED, Study

BY_AGENTS = "the number of agents"


def findings(study: Study, cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Sentences for each part."""
    return {part: list(speak(study, Figures(cells, part))) for part, speak in SPEAKERS.items()}


def plausible(programs: Sequence[Program]) -> dict[str, int]:
    """What the recording says of repairs, without any replay.

    Returns:
        `programs`, `repairable` (some edit passes the tests that the search sees), `graded` (of those, with
        held-out tests), `right_first` (the first such edit in the solver's order passes those, too),
        `right_some` (some edit does), `edits` and `passing` (edits that pass).
    """
    counts = dict.fromkeys(
        ("programs", "repairable", "graded", "right_first", "right_some", "edits", "passing"), 0
    )
    for program in programs:
        trials = [trial for space in program.spaces for trial in space.trials]
        passing = [trial for trial in trials if trial.passes]
        graded = [trial for trial in passing if trial.right is not None]
        counts["programs"] += 1
        counts["repairable"] += bool(passing)
        counts["graded"] += bool(graded)
        counts["right_first"] += bool(graded and graded[0].right)
        counts["right_some"] += any(trial.right for trial in graded)
        counts["edits"] += len(trials)
        counts["passing"] += len(passing)
    return counts


def _pair(figure: Estimate | None, factor: float = 1.0, digits: int = 1) -> str:
    if figure is None:
        return "-"
    low, high = factor * figure.low, factor * figure.high
    return f"{factor * figure.mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def _programs(study: Study, figures: Figures) -> Iterator[str]:
    counts = plausible(study.programs)
    said = (
        f"Of {counts['programs']} programs, {counts['repairable']} have an edit that passes the tests that "
        "the search sees; every topology finds one for each of them."
    )
    if counts["graded"]:
        only = counts["graded"] - counts["right_first"]
        said += (
            f" In the solver's order, the first of them fails held-out tests for {only} of "
            f"{counts['graded']}: only plausible. For {counts['right_some']} some edit passes them, too."
        )
    yield said
    for rival in ("independent", "central", "central-async", "delm-silent", "delm-open"):
        yield against(figures, rival, BY_AGENTS)
    most = figures.xs[-1]
    yield (
        f"With {most:g} agents, delm's wait {_pair(figures.of('delm', most, 'waiting'), 100, 0)} % of "
        f"their time, most of it for the gate: {len(study.programs)} programs, and a gate of "
        f"{study.costs.gate_s:.1f} s that takes one patch after another."
    )
    yield ("Part of what delm-open gains is that nobody runs the suite; the one agent of the speed-ups does.")
    yield (
        f"Independent agents execute {_pair(figures.of('independent', most, 'tests'), 1, 0)} tests with "
        f"{most:g} agents, a queue {_pair(figures.of('delm', most, 'tests'), 1, 0)}."
    )
    saved = ", ".join(f"{_pair(figures.of('delm', x, 'saved'), 100)} at {x:g}" for x in figures.xs)
    yield (
        f"`fail` entries save delm this much of its tests, in %: {saved}. The board lets a program that was "
        "given up be tried once more, and that is what the second attempt would take. Peers never search the "
        "same program, so there is nothing else to save."
    )


def _curve(study: Study, figures: Figures) -> Iterator[str]:
    half = figures.xs[len(figures.xs) // 2]
    said = ", ".join(
        f"{name} {_pair(figures.of(name, half, 'repaired'))}" for name in ("independent", "central", "delm")
    )
    yield f"After {half:,.0f} tests, {study.plan.team} agents have repaired: {said}."


def _swarm(study: Study, figures: Figures) -> Iterator[str]:
    for x in figures.xs[1:]:
        yield (
            f"{x:g} agents without a queue: `fail` entries save "
            f"{_pair(figures.of('context', x, 'saved'), 100)} % of the tests that they would have executed. "
            "With a queue they save nothing beyond the claims: those keep agents apart already."
        )
    for rival in ("independent", "context", "central", "central-async", "delm-open", "delm-strict"):
        yield against(figures, rival, BY_AGENTS)


def _search(study: Study, figures: Figures) -> Iterator[str]:
    said = ", ".join(f"{_pair(figures.of('delm', x, 'faster'), 1, 2)} at {x:g}" for x in figures.xs[1:])
    yield f"The search alone, from a queue, is faster than independent agents in random orders: {said}."
    some = ", ".join(
        f"{_pair(figures.of('delm', x, 'faster_repairable'), 1, 2)} at {x:g}" for x in figures.xs[1:]
    )
    yield f"On the programs alone that some edit repairs: {some}. Where none does, agents alone gain nothing."
    most = figures.xs[-1]
    fixed, own, shared = (
        figures.mean("delm", most, f"tests_{order}") for order in ("fixed", "own", "shared")
    )
    yield (
        f"Most deadly test first, with {most:g} agents: learning from one's own kills saves "
        f"{100 * (1 - own / fixed):.1f} % of the tests that edits take, from everybody's "
        f"{100 * (1 - shared / fixed):.1f} %. The solver runs failing tests first, and those kill most "
        "edits at once."
    )


def _weight(study: Study, figures: Figures) -> Iterator[str]:
    for rival in ("independent", "central", "central-async", "delm-open"):
        yield against(figures, rival, "the times that tests take as long")


def _losses(study: Study, figures: Figures) -> Iterator[str]:
    for x in figures.xs:
        saved = figures.of("delm", x, "saved_more")
        yield (
            f"One of {x:g} agents dies: its `fail` entries save whoever takes over {_pair(saved, 100, 2)} "
            f"% of the tests; the run takes {_pair(figures.of('delm', x, 'longer'), 1, 2)} times as long "
            f"as without, without `fail` entries {_pair(figures.of('delm-silent', x, 'longer'), 1, 2)}."
        )


def _mistakes(study: Study, figures: Figures) -> Iterator[str]:
    yield (
        "Assumed, not found: an agent takes an edit that repairs for one that does not with this "
        f"probability, and one that does not for one that does {IMAGINED} times more rarely. A check or a "
        "peer looks anew."
    )
    most = figures.xs[-1]
    for name in ("independent", "delm", "delm-open", "delm-strict"):
        yield (
            f"{name} at {most:g}: {_pair(figures.of(name, most, 'repaired'))} programs truly repaired, "
            f"{_pair(figures.of(name, most, 'false'))} falsely, "
            f"{_pair(figures.of(name, most, 'tests'), 1, 0)} tests."
        )
    ratio = figures.of("delm-strict", 0, "slower")
    if ratio is not None:
        yield f"With nothing to catch, verifying `fail` entries makes a run {percent(ratio)}."


SPEAKERS: dict[str, Callable[[Study, Figures], Iterator[str]]] = {
    "programs": _programs,
    "curve": _curve,
    "swarm": _swarm,
    "search": _search,
    "weight": _weight,
    "losses": _losses,
    "mistakes": _mistakes,
}
