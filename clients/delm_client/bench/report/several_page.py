"""Several runs as a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from delm_client.bench.report import plots
from delm_client.bench.report.page import (
    UNKNOWN,
    Grid,
    Origin,
    Page,
    Picture,
    Section,
    fine,
    money,
    rate,
    share,
)
from delm_client.bench.report.sources import Source, labelled
from delm_client.pictures import HOW
from delm_client.team.tally import percent
from delm_client.words import plural

MEANS = {
    "cost_usd": "cost, USD",
    "cost_uncached_usd": "cost without caches, USD",
    "calls": "calls",
    "input_tokens": "tokens in",
    "cached_tokens": "of it cached",
    "output_tokens": "tokens out",
    "seconds": "seconds",
}
FIFTHS = ("first fifth", "second", "third", "fourth", "last")


def page(sources: Sequence[Source], found: Mapping[str, Any]) -> Page:
    """The comparison of runs."""
    benchmarks = ", ".join(dict.fromkeys(source.benchmark for source in sources))
    common = found["common_items"]
    shared = f"on the {plural(common, 'item')} that all have run" if common else "each on its own items"
    return Page(
        name="compare",
        title=f"{benchmarks}: {plural(len(sources), 'run')} compared",
        subtitle=f"{', '.join(f'{label} {source.team}' for label, source in labelled(sources))}; {shared}",
        scripted=found["scripted_model"],
        tiles=(),
        sections=tuple(_sections(sources, found)),
        provenance=(
            *((f"Run {label}", source.line) for label, source in labelled(sources)),
            ("Comparison made", found["made"]),
        ),
    )


def _sections(sources: Sequence[Source], found: Mapping[str, Any]) -> Iterator[Section]:
    listed = tuple(f"{label}: {source.line}" for label, source in labelled(sources))
    where = Origin(f"runs A to {listed[-1].partition(':')[0]}, which are listed at the end", listed)
    drawn = plots.available()
    words = () if drawn else (f"Plots are left out: they need matplotlib, which `{HOW}` brings.",)
    yield Section(
        "Runs",
        where,
        words,
        pictures=plots.scatter(found, sources) if drawn else (),
        grids=tuple(_runs(found)),
    )
    yield Section("Each against the first", where, _told(found), grids=tuple(_pairs(found)))
    yield _speed_up(sources, found, where, drawn=drawn)
    yield Section(
        "When agents worked and when they waited",
        where,
        ("Agent-seconds over all items of each run, from an item's first call to the end of its last one.",),
        pictures=plots.bubbles(found, sources) if drawn else (),
        grids=(_bubbles(found),),
    )
    yield Section(
        "How the context grew",
        where,
        pictures=plots.growth(found, sources) if drawn else (),
        grids=(_growth(found),),
    )
    if any(run["gate"] for run in found["runs"]):
        yield Section("What the gate did and cost", where, grids=(_gate(found),))


def _named(run: Mapping[str, Any]) -> str:
    return f"{run['label']} {run['team']}"


def _runs(found: Mapping[str, Any]) -> Iterator[Grid]:
    rows = [
        (
            _named(run),
            run["source"]["model"],
            run["source"]["date"][:16],
            *rate(run["right"]),
            run["source"]["folder"],
        )
        for run in found["runs"]
    ]
    head = ("run", "model", "date", "right", "of", "rate", "95 %", "folder")
    yield Grid(
        "Right, with Wilson's intervals",
        head,
        rows,
        3,
        words_last=True,
        brief=(0, 1, 3, 4, 5, 6),
    )
    singles = [
        (_named(run), name.replace("_", " "), *rate(each))
        for run in found["runs"]
        for name, each in run["each_agent"].items()
    ]
    if singles:
        words = "Each agent's own submission, of all that the run has done"
        yield Grid(words, ("run", "", "right", "of", "rate", "95 %"), singles, 2)
    means = [(_named(run), *(_mean(name, run["an_item"][name]) for name in _COSTS)) for run in found["runs"]]
    yield Grid(
        "Means an item, with intervals bootstrapped over items",
        ("run", *_COSTS.values()),
        means,
        brief=(0, 1, 3, 4),
    )


_COSTS = {
    "cost_usd": "cost",
    "cost_uncached_usd": "without caches",
    "tokens": "tokens",
    "seconds": "time",
}


def _mean(name: str, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return UNKNOWN
    words = fine if name == "seconds" else _count if name == "tokens" else money
    low, high = found["interval"]
    return f"{words(found['mean'])} ({words(low)} to {words(high)})"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _told(found: Mapping[str, Any]) -> tuple[str, ...]:
    words = [
        "The p of McNemar's exact test, on the items that only one of two got right; differences are the "
        "later run's less the first one's, with 95 % bootstrap intervals over the items that both have run."
    ]
    if len(found["pairs"]) > 1:
        words.append(f"Holm's p allows for {len(found['pairs'])} tests.")
    if any(pair["not_shared"] for pair in found["pairs"]):
        words.append("Items that only one of two has run are left out of their pair.")
    return tuple(words)


def _pairs(found: Mapping[str, Any]) -> Iterator[Grid]:
    teams = {run["label"]: _named(run) for run in found["runs"]}
    several = len(found["pairs"]) > 1
    rows = []
    for pair in found["pairs"]:
        low, high = pair["difference"]["interval"]
        other = pair["labels"][1]
        rows.append(
            (
                teams[other],
                str(pair["items"]),
                f"{100 * pair['difference']['mean']:+.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                f"{pair['only_a']} / {pair['only_b']}",
                f"{pair['mcnemar_p']:.3g}",
                *([f"{pair['holm_p']:.3g}"] if several else []),
            )
        )
    head = ("", "items", "points", "95 %", "only A / it right", "McNemar")
    yield Grid("Right, less A's", (*head, *(["Holm"] if several else [])), rows)
    for pair in found["pairs"]:
        yield _differences(pair, teams[pair["labels"][1]])


def _differences(pair: Mapping[str, Any], name: str) -> Grid:
    rows = []
    for key, words in MEANS.items():
        each = pair["means"][key]
        if each is None:
            rows.append((words, UNKNOWN, UNKNOWN, "", ""))
            continue
        low, high = each["interval"]
        shown = (figure(each["a"]), figure(each["b"]), figure(each["mean"], "+"))
        rows.append((words, *shown, f"{figure(low, '+')} to {figure(high, '+')}"))
    return Grid(f"{name} against A, means an item", ("", "A", pair["labels"][1], "difference", "95 %"), rows)


def figure(value: float, sign: str = "") -> str:
    """Four digits that say something."""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.4g}"


def _speed_up(sources: Sequence[Source], found: Mapping[str, Any], where: Origin, *, drawn: bool) -> Section:
    given = found["speed_up"]
    if not given or not given["runs"]:
        why = (
            "It is measured against a run of `single` with the same items and model; there is none here."
            if not given
            else "No other run has the benchmark, the model and an item of the run of `single`."
        )
        return Section("Speed-up", where, (why,))
    rows = [
        (
            f"{row['label']} {row['team']} x{row['agents']}",
            str(row["items"]),
            *_times(row["times"]),
            *_times(row["calling"]),
        )
        for row in given["runs"]
    ]
    told = [
        f"Time of {given['against']} (single) over the team's, item by item: the geometric mean, with its "
        "95 % bootstrap interval over items. At the right the same from an item's first call to the end of "
        "its last one, so without what boards take to start."
    ]
    if not all(row["same_load"] for row in given["runs"]):
        told.append("Not all ran as many items at once, so loads differ and times with them.")
    pictures: tuple[Picture, ...] = plots.speed_up(found, sources) if drawn else ()
    head = ("run", "items", "times", "95 %", "from first call", "95 %")
    grid = Grid("Times faster than a single agent", head, rows)
    return Section("Speed-up", where, tuple(told), pictures=pictures, grids=(grid,))


def _times(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    low, high = found["interval"]
    return f"{found['mean']:.2f}", f"{low:.2f} to {high:.2f}"


def _bubbles(found: Mapping[str, Any]) -> Grid:
    rows = [(_named(run), *share(run["bubbles"])) for run in found["runs"]]
    return Grid("Agents' time", ("run", "call under way", "of it judging", "no call", "share without"), rows)


def _growth(found: Mapping[str, Any]) -> Grid:
    rows = [
        (
            _named(run),
            *(f"{size:,.0f}" if size is not None else "-" for size in run["prompt_tokens_by_fifth"]),
        )
        for run in found["runs"]
    ]
    return Grid("Mean tokens of a prompt, by fifths of an item's calls", ("run", *FIFTHS), rows)


def _gate(found: Mapping[str, Any]) -> Grid:
    rows = []
    for run in found["runs"]:
        if not run["gate"]:
            continue
        told, waited = run["gate"], run["gate"]["admission"]
        times = (fine(waited["p50_s"]), fine(waited["max_s"])) if waited else ("-", "-")
        counts = (str(told[name]) for name in ("total", "admitted", "rejected"))
        rows.append((_named(run), *counts, *times, percent(told["share_of_tokens"])))
    head = ("run", "proposed", "admitted", "refused", "admission, p50", "longest", "judging, mending")
    return Grid("The boards; judging and mending as a part of all tokens", head, rows)
