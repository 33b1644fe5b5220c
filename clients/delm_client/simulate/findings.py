"""What the figures show, in sentences: crossovers with their intervals, and where DeLM loses."""

from collections.abc import Callable, Iterator, Sequence

from delm_client.simulate.accounts import READINGS
from delm_client.simulate.intervals import Estimate
from delm_client.simulate.parts import RIVALS
from delm_client.simulate.sweep import Cell, Study

LEAST = 0.001  # what is told as a difference: the whole interval is this far from 1
Place = tuple[float | str, Estimate]


class Figures:
    """The cells of one part."""

    def __init__(self, cells: Sequence[Cell], part: str) -> None:
        self._cells = {(cell.key[1], cell.key[3]): cell for cell in cells if cell.key[0] == part}
        self.xs = list(dict.fromkeys(x for _, x in self._cells))

    def of(self, topology: str, x: float | str, measure: str) -> Estimate | None:
        """One figure, where there is one."""
        cell = self._cells.get((topology, x))
        return cell.figure(measure) if cell else None

    def mean(self, topology: str, x: float | str, measure: str) -> float:
        """One figure that must be there."""
        found = self.of(topology, x, measure)
        if found is None:
            raise KeyError((topology, x, measure))
        return found.mean


def findings(study: Study, cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Sentences for each part that was run."""
    return {part: list(SPEAKERS[part](study, Figures(cells, part))) for part in study.parts}


def percent(ratio: Estimate) -> str:
    """How much longer or shorter, with its interval."""
    change = [100 * (value - 1) for value in (ratio.mean, ratio.low, ratio.high)]
    if change[0] > 100:
        return f"{ratio.mean:.1f} times as long [{ratio.low:.1f}, {ratio.high:.1f}]"
    word = "longer" if change[0] > 0 else "shorter"
    low, high = sorted(abs(value) for value in change[1:])
    return f"{abs(change[0]):.1f} % {word} [{low:.1f}, {high:.1f}]"


def against(figures: Figures, topology: str, x_name: str) -> str:
    """Where a topology is faster than DeLM, slower, or not to be told apart."""
    faster: list[Place] = []
    slower: list[Place] = []
    even: list[Place] = []
    for x in figures.xs:
        ratio = figures.of(topology, x, "slower")
        if ratio is None:
            continue
        (faster if ratio.below(1 - LEAST) else slower if ratio.above(1 + LEAST) else even).append((x, ratio))
    said = []
    for places, best, verb in ((faster, min, "faster"), (slower, max, "slower")):
        if places:
            x, ratio = best(places, key=lambda place: place[1].mean)
            said.append(f"{verb} at {_list(places)} (most at {_number(x)}: {percent(ratio)})")
    if even:
        said.append(f"not to be told apart at {_list(even)}")
    return f"{topology} against delm, over {x_name}: {'; '.join(said) or 'nothing to compare'}."


def _list(places: Sequence[Place]) -> str:
    return ", ".join(_number(x) for x, _ in places)


def _number(x: float | str) -> str:
    return x if isinstance(x, str) else f"{x:,.3g}" if x < 1000 else f"{x:,.0f}"


def _scale(study: Study, figures: Figures) -> Iterator[str]:
    given, mean_s, most = study.given, study.task_s, figures.xs[-1]
    serial_s = given.orchestrator_calls * given.turn_s
    if serial_s:
        best = max(figures.mean("central", x, "speed_up") for x in figures.xs)
        yield (
            f"By arithmetic, an orchestrator with {given.orchestrator_calls:g} calls of "
            f"{given.turn_s:g} s for a task of {mean_s:.0f} s keeps {mean_s / serial_s:.0f} agents busy "
            f"at most; simulated, central reaches a speed-up of {best:.1f}. "
            "This is no discovery: it follows from the assumption."
        )
    for topology in ("split", *RIVALS, "delm-open"):
        yield against(figures, topology, "the number of agents")
    delm, split, alike = (
        100 * figures.mean(topology, most, measure)
        for topology, measure in (("delm", "waiting"), ("split", "waiting"), ("independent", "redone"))
    )
    yield (
        f"With {_number(most)} agents on {study.plan.tasks:,} tasks, delm's agents wait "
        f"{delm:.0f} % of their time, those of a split made once {split:.0f} %: "
        "most of that is the end, when no task is left."
    )
    yield f"Agents that know nothing of each other spend {alike:.0f} % of it on what a peer does too."


def _reading(study: Study, figures: Figures) -> Iterator[str]:
    few, many = figures.xs[-2:] if len(figures.xs) > 1 else figures.xs * 2
    for reading in READINGS:
        first, last = (figures.mean("delm", tasks, f"read_{reading}") for tasks in (few, many))
        grown = f", {last / first:,.1f} times those at {_number(few)}" if first else ""
        yield f"{reading}: {last / 1e6:,.2f} M tokens delivered at {_number(many)} tasks{grown}."
    carried, orchestrator = (
        figures.mean(topology, many, measure) / 1e6
        for topology, measure in (("delm", "carried_full"), ("central", "orchestrator_tokens"))
    )
    yield (
        f"At {_number(many)} tasks, agents that read the whole board send {carried:,.1f} M tokens of it "
        f"along in their calls; the calls of the one orchestrator together have {orchestrator:,.1f} M."
    )
    for caching in ("cached", "uncached"):
        costs = {
            topology: figures.mean(topology, many, f"usd_full_{caching}")
            for topology in ("single", "central")
        } | {
            f"delm {reading}": figures.mean("delm", many, f"usd_{reading}_{caching}") for reading in READINGS
        }
        said = ", ".join(f"{name} {usd:.3f}" for name, usd in costs.items())
        yield f"A task at {_number(many)} tasks, {caching}, in USD: {said}."
    cheap, dear = (figures.mean("single", many, f"usd_full_{name}") for name in ("cached", "uncached"))
    if cheap:
        yield (
            f"Caching alone changes the cost of the same calls {dear / cheap:.1f} times: compare nothing "
            "across that line. Delta reads save deliveries; what was read still goes along in every call."
        )


def _sweeping(name: str, *topologies: str) -> Callable[[Study, Figures], Iterator[str]]:
    def speak(study: Study, figures: Figures) -> Iterator[str]:
        for topology in topologies:
            yield against(figures, topology, name)

    return speak


def _dead_ends(study: Study, figures: Figures) -> Iterator[str]:
    yield (
        f"Assumed, not found: {study.given.families} families of dead ends, each costing "
        f"{100 * study.given.dead_share:.0f} % of a task's time to whoever runs into it untold."
    )
    none, most = figures.xs[0], figures.xs[-1]
    said = []
    for topology in ("delm-open", "central-batched", "split"):
        before, after = (figures.mean(topology, x, "makespan_s") for x in (none, most))
        said.append(f"{topology} {100 * (1 - after / before):.0f} % less")
    yield (
        f"At {_number(most)}, knowing saves time beside {_number(none)}: {', '.join(said)} (agents of a "
        "split learn by themselves). Whoever shares gains alike, an orchestrator too."
    )
    for topology in ("split", "central-batched"):
        yield against(figures, topology, "the probability of a dead end")


def _gate(study: Study, figures: Figures) -> Iterator[str]:
    most = figures.xs[-1]
    yield (
        f"Assumed, not found: the gate catches {100 * study.given.caught:.0f} % of the false results, and "
        f"{100 * study.given.rests:.0f} % of the tasks rest on one earlier entry."
    )
    yield against(figures, "delm-open", "the share of false results")
    gated, open_ = (100 * figures.mean(name, most, "false_standing") for name in ("delm", "delm-open"))
    yield (
        f"At {_number(most)}, {gated:.1f} % of the results stand false at the end with the gate, "
        f"{open_:.1f} % without."
    )
    pays = [
        x
        for x in figures.xs
        if (cost := figures.of("delm-open", x, "slower_repaired")) and cost.above(1 + LEAST)
    ]
    told = f"at {', '.join(map(_number, pays))}" if pays else "at none of these shares"
    yield (
        "If somebody found every false result at the end and all were done again, spread over all agents, "
        f"the gate would save time {told}. (Finding them is not paid for here.)"
    )


def _verifying(study: Study, figures: Figures) -> Iterator[str]:
    for x in figures.xs:
        ratio = figures.of("delm-open", x, "slower")
        if ratio is not None:
            yield f"Turns of a verdict: {_number(x)}. Without the gate the run is {percent(ratio)}."


def _merge_queue(study: Study, figures: Figures) -> Iterator[str]:
    mean_s = study.task_s
    yield (
        f"By arithmetic, {study.plan.team} agents on tasks of {mean_s:.0f} s bring a result every "
        f"{mean_s / study.plan.team:.1f} s: a check that takes longer, one after another, limits DeLM as an "
        "orchestrator limits its workers. The rivals here check nothing."
    )
    for topology in ("split", "central-batched"):
        yield against(figures, topology, "the seconds of the check")


def _failures(study: Study, figures: Figures) -> Iterator[str]:
    for name in figures.xs[1:]:
        said = []
        for topology in ("split", "central", "central-batched", "central-hierarchical", "delm"):
            took, usual = (
                figures.of(topology, name, "makespan_s"),
                figures.mean(topology, "nothing", "makespan_s"),
            )
            finished = figures.mean(topology, name, "finished")
            if took is None or finished < 1:
                said.append(f"{topology} ends with {100 * finished:.0f} % of the tasks done")
            elif took.mean / usual > 1.001:
                said.append(f"{topology} {100 * (took.mean / usual - 1):.1f} % longer")
        yield f"{name}: {'; '.join(said) or 'nobody notices'}."


SPEAKERS: dict[str, Callable[[Study, Figures], Iterator[str]]] = {
    "scale": _scale,
    "reading": _reading,
    "orchestrator": _sweeping("the orchestrator's share in %", *RIVALS),
    "dead-ends": _dead_ends,
    "gate": _gate,
    "verifying": _verifying,
    "merge-queue": _merge_queue,
    "failures": _failures,
}
