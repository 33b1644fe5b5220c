"""What the figures show, in sentences: crossovers with their intervals, and where DeLM loses."""

from collections.abc import Callable, Iterator, Sequence

from delm_client.simulate.intervals import Estimate
from delm_client.simulate.parts import RIVALS
from delm_client.simulate.sweep import Cell, Study


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
    faster, slower, even = [], [], []
    for x in figures.xs:
        ratio = figures.of(topology, x, "slower")
        if ratio is None:
            continue
        (faster if ratio.below(1) else slower if ratio.above(1) else even).append((x, ratio))
    said = []
    for places, best, verb in ((faster, min, "faster"), (slower, max, "slower")):
        if places:
            x, ratio = best(places, key=lambda place: place[1].mean)
            said.append(f"{verb} at {_list(places)} (most at {_number(x)}: {percent(ratio)})")
    if even:
        said.append(f"not to be told apart at {_list(even)}")
    return f"{topology} against delm, over {x_name}: {'; '.join(said) or 'nothing to compare'}."


def _list(places: Sequence[tuple[float | str, Estimate]]) -> str:
    return ", ".join(_number(x) for x, _ in places)


def _number(x: float | str) -> str:
    return x if isinstance(x, str) else f"{x:,.3g}" if x < 1000 else f"{x:,.0f}"


def _scale(study: Study, figures: Figures) -> Iterator[str]:
    given, mean_s = study.given, study.trace.mean_instance_s / study.plan.subtasks
    serial_s = given.orchestrator_calls * given.turn_s
    most = figures.xs[-1]
    if serial_s:
        best = max(figures.mean("central", x, "speed_up") for x in figures.xs)
        yield (
            f"By arithmetic, an orchestrator with {given.orchestrator_calls:g} calls of {given.turn_s:g} s a task "
            f"of {mean_s:.0f} s cannot keep more than {mean_s / serial_s:.0f} agents busy; simulated, central "
            f"reaches a speed-up of {best:.1f}. This is no discovery: it follows from the assumption."
        )
    for topology in ("split", *RIVALS, "delm-open"):
        yield against(figures, topology, "the number of agents")
    yield (
        f"With {_number(most)} agents on {study.plan.tasks:,} tasks, delm's agents wait "
        f"{100 * figures.mean('delm', most, 'waiting'):.0f} % of their time (split: "
        f"{100 * figures.mean('split', most, 'waiting'):.0f} %): the longest task decides, no coordination does."
    )
    yield (
        f"Agents that know nothing of each other spend {100 * figures.mean('independent', most, 'redone'):.0f} % "
        f"of their time on what a peer does too."
    )


def _reading(study: Study, figures: Figures) -> Iterator[str]:
    few, many = figures.xs[0], figures.xs[-1]
    assert isinstance(few, float | int)
    assert isinstance(many, float | int)
    for reading in ("full", "windowed", "delta"):
        grown = figures.mean("delm", many, f"read_{reading}") / figures.mean("delm", few, f"read_{reading}")
        yield (
            f"{reading}: {figures.mean('delm', many, f'read_{reading}') / 1e6:,.2f} M tokens delivered at "
            f"{_number(many)} tasks, {grown:,.1f} times those at {_number(few)} (tasks grew {many / few:,.1f} times)."
        )
    carried = figures.mean("delm", many, "carried_full") / figures.mean(
        "central", many, "orchestrator_tokens"
    )
    yield (
        f"At {_number(many)} tasks, everybody reading the whole board sends {carried:,.1f} times the context "
        f"tokens that the one orchestrator sends in all its calls."
    )
    for caching in ("cached", "uncached"):
        costs = [
            figures.mean("delm", many, f"usd_{reading}_{caching}")
            for reading in ("full", "windowed", "delta")
        ]
        yield (
            f"A task at {_number(many)} tasks, {caching}: single {figures.mean('single', many, f'usd_full_{caching}'):.3f}, "
            f"central {figures.mean('central', many, f'usd_full_{caching}'):.3f}, delm full {costs[0]:.3f}, "
            f"windowed {costs[1]:.3f}, delta {costs[2]:.3f} USD."
        )
    swing = figures.mean("single", many, "usd_full_uncached") / figures.mean(
        "single", many, "usd_full_cached"
    )
    yield (
        f"Caching alone changes the cost of the same calls {swing:.1f} times: compare nothing across that line. "
        "Delta reads save deliveries; what was read is still sent along in every call, so they save little money."
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
    most = figures.xs[-1]
    split, open_ = (figures.mean(name, most, "makespan_s") for name in ("split", "delm-open"))
    base = (
        figures.mean("split", figures.xs[0], "makespan_s"),
        figures.mean("delm-open", figures.xs[0], "makespan_s"),
    )
    yield (
        f"At {_number(most)}, tasks shrink by being told: delm-open takes {100 * (1 - open_ / base[1]):.0f} % less than "
        f"at 0, split {100 * (1 - split / base[0]):.0f} % less (each of its agents still learns by itself). "
        "Every topology that shares gains alike, orchestrators too."
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
    yield (
        f"At {_number(most)}, {100 * figures.mean('delm', most, 'false_standing'):.1f} % of the results stand false "
        f"at the end with the gate, {100 * figures.mean('delm-open', most, 'false_standing'):.1f} % without."
    )
    pays = [
        x
        for x in figures.xs
        if figures.mean("delm", x, "repaired_s") < figures.mean("delm-open", x, "repaired_s")
    ]
    told = f"from {_number(pays[0])} on" if pays else "at none of these shares"
    yield (
        "In time alone the gate never pays here: it sends authors back to work. If somebody found every false result "
        f"at the end and all were done again, the gate would pay {told}."
    )


def _verifying(study: Study, figures: Figures) -> Iterator[str]:
    for x in figures.xs:
        ratio = figures.of("delm-open", x, "slower")
        if ratio is not None:
            yield f"A verdict of {_number(x)} turns: without the gate the run is {percent(ratio)}."


def _merge_queue(study: Study, figures: Figures) -> Iterator[str]:
    mean_s = study.trace.mean_instance_s / study.plan.subtasks
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
