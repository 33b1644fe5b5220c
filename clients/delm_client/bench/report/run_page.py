"""One run as a page."""

from collections.abc import Iterator, Mapping
from typing import Any

from delm_client.bench.report import plots
from delm_client.bench.report.bubbles import PLANNER
from delm_client.bench.report.figures import Run
from delm_client.bench.report.page import (
    SPENDING_HEAD,
    Grid,
    Origin,
    Page,
    Picture,
    Section,
    Strips,
    fine,
    lines,
    listed,
    money,
    rate,
    share,
    spending,
    times,
)
from delm_client.bench.report.sources import setting
from delm_client.pictures import HOW
from delm_client.team import chart, economics
from delm_client.team.tally import percent, shortly
from delm_client.words import plural, shortened

STRIP_CELLS = 60
LEGEND = (
    ("working", "a call of the model under way"),
    ("verifying", "a call that judges a peer's work"),
    ("waiting", "no call under way: waiting, or at the board or its tools"),
)
GONE = (("gone", "has made the first tasks"),)
DECIDED = (("admitted", "its entry was admitted"), ("refused", "refused"))
TROUBLES = (
    ("cut_off", "cut off", "the reply reached --max-tokens"),
    ("silent", "empty reply", ""),
    ("asked_again", "asked again", "the reply before was not in the form that was asked for"),
    ("mended", "mended", "the board had refused what was there before"),
    ("not_counted", "not counted", "the server gave no tokens, so they are missing in every sum"),
    ("without_price", "without a price", "so the cost is unknown"),
    ("slow", "slow", "more than ten times the median; retries after 429, 5xx and timeouts are in it"),
    ("lost", "lost", "of attempts that gave no result; what they cost is in every sum"),
)


def page(run: Run) -> Page:
    """The report of a run."""
    found, source = run.json, run.source
    return Page(
        name="report",
        title=f"{source.benchmark}: {source.team}, {source.model}",
        subtitle=_subtitle(found),
        scripted=source.scripted,
        tiles=_tiles(found),
        sections=tuple(_sections(run)),
        provenance=(
            ("Command", source.command),
            ("Folder", source.folder),
            ("Benchmark", source.benchmark),
            ("Model", source.model),
            ("Answered by", ", ".join(found["results"]["served_by"]) or "nobody"),
            ("Team", f"{source.topology}, {plural(source.agents, 'agent')}"),
            ("Policy", source.policy),
            ("Settings", setting(source)),
            ("Started", source.date),
            ("Versions", listed(source.versions)),
            ("Report made", found["made"]),
        ),
    )


def _subtitle(found: Mapping[str, Any]) -> str:
    state = found["state"]
    parts = [f"{state['done']} of {plural(state['asked'], 'item')} done"]
    if state["could_not_be_run"]:
        parts.append(f"{state['could_not_be_run']} could not be run")
    if state["not_run"]:
        parts.append(f"{state['not_run']} not run yet")
    if state["begun"]:
        parts.append(f"{state['begun']} of them begun, under way or cut off")
    return ", ".join(parts)


def _tiles(found: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    overall, spent = found["results"]["overall"], found["results"]["spent"]
    right, total, share_right, interval = rate(overall)
    tokens = spent["input_tokens"] + spent["output_tokens"]
    return (
        ("Right", share_right, f"{right} of {total}, 95 %: {interval}"),
        ("Cost", money(spent["cost_usd"]), f"{money(spent['cost_uncached_usd'])} without caches"),
        ("Tokens", shortly(tokens), f"{shortly(spent['cached_tokens'])} read from caches"),
        ("An item", fine(found["latency"]["items_s"]["p50"]), "p50 of the time it took"),
        ("No call under way", percent(found["bubbles"]["all"]["waiting_share"]), "of the agents' time"),
    )


def _sections(run: Run) -> Iterator[Section]:
    found, where = run.json, Origin(run.source.short, (run.source.line,))
    yield Section("Results", where, tuple(_missing(found)), grids=(_results(found["results"]),))
    yield Section("Spending", where, tuple(_each_cost(found["results"])), grids=tuple(_spending(found)))
    yield Section("Time", where, grids=(_latency(found["latency"]),))
    yield _bubbles(run, where)
    yield _context(run, where)
    if found["gate"] is not None:
        yield _gate(run, found["gate"], where)
    yield Section("Calls in trouble", where, _broken(found["trouble"]), grids=(_trouble(found["trouble"]),))
    yield Section("Items", where, grids=(_items(found),))


def _missing(found: Mapping[str, Any]) -> Iterator[str]:
    state = found["state"]
    if not state["done"]:
        yield "No item is done yet, so there are no results: `delm-run bench --resume` goes on."
    elif state["not_run"] or state["could_not_be_run"]:
        yield "Rates are of what is done; what could not be run is neither right nor wrong."
    for why, count in state["ended_early"].items():
        yield f"{plural(count, 'item')} ended early: {why}."
    if found["results"].get("outcomes"):
        yield f"Submissions of the team: {listed(found['results']['outcomes'])}."
    if found["results"].get("not_judged"):
        yield f"{plural(found['results']['not_judged'], 'item')} not judged yet, and in no rate."


def _results(found: Mapping[str, Any]) -> Grid:
    rows = [("all", *rate(found["overall"]))]
    for group, members in found["by"].items():
        rows += [(f"{group.replace('_', '-')}: {name}", *rate(each)) for name, each in members.items()]
    each_agent = found.get("each_agent") or {}
    rows += [(name.replace("_", " "), *rate(each)) for name, each in each_agent.items()]
    if found.get("sub_domain_mean") is not None:
        rows.append(("mean of the sub-domains", "", "", f"{found['sub_domain_mean']:.1%}", ""))
    if floors := found.get("floors"):
        rows.append((f"floor: always {floors['majority_letter'] or '-'}", *rate(floors["majority"])))
        rows.append(("floor: chance", "", "", f"{floors['chance']:.1%}", ""))
    return Grid("Right, by group", ("", "right", "of", "rate", "95 %"), rows)


def _each_cost(found: Mapping[str, Any]) -> Iterator[str]:
    if "cost_usd_a_submission" in found:
        item, submission = money(found["cost_usd_an_item"]), money(found["cost_usd_a_submission"])
        yield f"An item cost {item}, each of the {plural(found['submissions'], 'submission')} {submission}."


def _spending(found: Mapping[str, Any]) -> Iterator[Grid]:
    given = found["spending"]
    for name, what in (("by_step", "step"), ("by_agent", "agent")):
        rows = [(key, *spending(each)) for key, each in given[name].items()]
        rows.append(("all", *spending(given["all"])))
        if given["lost"]["calls"]:
            rows.append(("of it in lost attempts", *spending(given["lost"])))
        yield Grid(f"By {what}", (what, *SPENDING_HEAD), rows)


def _latency(found: Mapping[str, Any]) -> Grid:
    rows = [("calls of the model", *times(found["calls_s"])), ("items", *times(found["items_s"]))]
    return Grid("Latency", ("", "count", "p50", "p95", "longest"), rows)


# -- time and context ----------------------------------------------------------------------------


def _bubbles(run: Run, where: Origin) -> Section:
    found, line = run.json["bubbles"], run.timeline
    rows = [(name, *share(each)) for name, each in found["agents"].items()]
    items = plural(found["items"], "item")
    grids = (
        Grid(f"Agents of {run.shown}", _SHARE_HEAD, rows),
        Grid("All items", _SHARE_HEAD, [(f"all agents of {items}", *share(found["all"]))]),
    )
    heading = "When agents worked and when they waited"
    drawn = chart.chart(line) if line else None
    if line is None or drawn is None:
        return Section(heading, where, ("There is no call yet.",))
    whole_s = next(item["seconds"] for item in run.json["items"] if item["id"] == run.shown)
    told = (
        f"Item {shortened(run.shown, 60)}, {fine(line.length_s)} from its first call to the end of its last, "
        f"of {fine(whole_s)} that it took in all. "
        "Between calls an agent waits for peers or for work, or is at the board or its tools: "
        "trajectories do not tell these apart.",
    )
    legend = LEGEND + (GONE if PLANNER in line.agents else ()) + (DECIDED if line.verdicts else ())
    caption = "Time since the item's first call. At the right: the part without a call under way."
    rows_ = tuple(
        (name, chart.strip(line.spans(name), line.started_at, line.ended_at, STRIP_CELLS))
        for name in line.agents
    )
    strips = Strips(heading, drawn, legend, caption, rows_)
    return Section(heading, where, told, strips, grids=grids)


_SHARE_HEAD = ("", "call under way", "of it judging", "no call", "share without")


def _context(run: Run, where: Origin) -> Section:
    found = run.json["context"]
    sizes = [f"{size:,.0f}" if size is not None else "-" for size in found["prompt_tokens_by_fifth"]]
    head = ("", *(f"{name} fifth" for name in ("first", "second", "third", "fourth", "last")))
    told = ["How much agents are given to read grows with what is known: by their own notes, or by peers'."]
    if found["admitted"]:
        told.append(
            f"The board of {shortened(run.shown, 60)} held "
            f"{plural(found['admitted'][-1]['entries'], 'entry')} at its end."
        )
    pictures = _pictures(run, told)
    return Section(
        "How the context grew",
        where,
        tuple(told),
        pictures=pictures,
        grids=(Grid("Mean tokens of a prompt, by fifths of an item's calls", head, [("all items", *sizes)]),),
    )


def _pictures(run: Run, told: list[str]) -> tuple[Picture, ...]:
    if not run.calls:
        return ()
    if not plots.available():
        told.append(f"Plots are left out: they need matplotlib, which `{HOW}` brings.")
        return ()
    return plots.context(run)


# -- the gate ------------------------------------------------------------------------------------


def _gate(run: Run, found: Mapping[str, Any], where: Origin) -> Section:
    told: list[str] = []
    grids: list[Grid] = []
    pictures: tuple[Picture, ...] = ()
    if found["answers_to_notes"]:
        told.append(f"What agents were answered when they proposed: {listed(found['answers_to_notes'])}.")
    said = found["told"]
    if said is None:
        told.append("The boards are not in the folder any more, so more is not known.")
    else:
        for key, why in said["unreadable"].items():
            told.append(f"The board of {shortened(key, 60)} could not be read: {shortened(why, 200)}")
        rows = lines(economics.rows(said["stats"]))
        grids.append(Grid(f"On {plural(said['boards'], 'board')}", ("", "", ""), rows, words_last=True))
        if plots.available():
            pictures = plots.gate(run.source, said["stats"])
        if said["admission"]:
            grids.append(_admission(said["admission"]))
    taken = [
        ("judging peers' work", *spending(found["verifying"])),
        ("mending what was refused", *spending(found["mending"])),
    ]
    grids.append(Grid("What verifying took of the model", ("", *SPENDING_HEAD), taken))
    if found["share_of_tokens"] is not None:
        told.append(f"Judging and mending took {found['share_of_tokens']:.1%} of all tokens.")
    return Section("What the gate did and cost", where, tuple(told), pictures=pictures, grids=tuple(grids))


def _admission(found: Mapping[str, Any]) -> Grid:
    rows = [
        (
            "the board alone" if name == "board" else name,
            str(each["count"]),
            fine(each["p50_s"]),
            fine(each["max_s"]),
        )
        for name, each in found.items()
    ]
    head = ("waiting for", "admitted", "median of the items' p50", "longest")
    return Grid("From proposal to admission", head, rows)


# -- trouble and items ---------------------------------------------------------------------------


def _broken(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{shortened(key, 60)} {shortened(why, 300)}" for key, why in found["could_not_be_run"].items()
    )


def _trouble(found: Mapping[str, Any]) -> Grid:
    rows = [(words, str(found[name]), why) for name, words, why in TROUBLES]
    return Grid("Calls", ("", "calls", ""), rows, words_last=True)


def _items(found: Mapping[str, Any]) -> Grid:
    groups = list(found["results"]["by"])
    rows = [
        (
            item["id"],
            *(str(item["groups"][name]) for name in groups),
            _outcome(item),
            str(item["attempt"]),
            *spending(item["spent"]),
            fine(item["seconds"]),
            percent(item["waiting_share"]),
        )
        for item in found["items"]
    ]
    named = [name.replace("_", "-") for name in groups]
    head = ("item", *named, "result", "attempt", *SPENDING_HEAD, "time", "without a call")
    brief = (0, len(groups) + 1, len(head) - 8, len(head) - 4, len(head) - 2, len(head) - 1)
    words = len(groups) + 2
    return Grid("Each item, with what its counting attempt took", head, rows, words, long=True, brief=brief)


def _outcome(item: Mapping[str, Any]) -> str:
    if item["state"] != "done":
        return "could not be run"
    if item["right"] is None:
        return "not judged"
    said = "right" if item["right"] else f"wrong ({item['outcome']})" if item["outcome"] else "wrong"
    return said if item["ended"] == "answered" else f"{said}: {shortened(item['ended'], 80)}"
