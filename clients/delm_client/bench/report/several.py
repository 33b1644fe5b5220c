"""Figures of several runs side by side."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from delm_client.bench.compare import compare
from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Folder
from delm_client.bench.report.figures import Run, read
from delm_client.bench.report.sources import SCRIPTED_MARK, Source, label_of
from delm_client.bench.runner import DONE
from delm_client.bench.statistics import bootstrap, holm, tally

Item = Mapping[str, Any]
MEASURES = ("cost_usd", "cost_uncached_usd", "tokens", "calls", "seconds")
SINGLE = "single"


def several(folders: Sequence[Folder]) -> tuple[list[Source], dict[str, Any]]:
    """Compare runs: each with the first, item by item, and all of them on the items that all have run.

    Returns:
        The runs' sources, and: `runs`: each with its rate (95 %: Wilson's interval, which is some even where
        all or none are right) and its means an item (95 %: bootstrapped over items); `common_items`: how many
        stand behind those (0: there is none, so each run's own do); `cost`: which of the means all runs know;
        `pairs`: as `compare` gives them, with Holm's p; `speed_up`.

    Raises:
        BenchError: Fewer than two, or one has no item in common with the first.
    """
    if len(folders) < 2:
        raise BenchError("A comparison needs two folders at least; one alone: delm-run report FOLDER.")
    runs = [read(folder) for folder in folders]
    done = [_done(folder) for folder in folders]
    pairs = [compare(folders[0], other) for other in folders[1:]]
    common = [key for key in done[0] if all(key in others for others in done)]
    rows = [_run(index, run, own, common) for index, (run, own) in enumerate(zip(runs, done, strict=True))]
    sources = [run.source for run in runs]
    scripted = any(source.scripted for source in sources)
    known = all(row["an_item"]["cost_usd"] is not None for row in rows)
    adjusted = holm([pair["mcnemar_p"] for pair in pairs])
    return sources, {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "scripted_model": scripted,
        "note": SCRIPTED_MARK if scripted else "",
        "common_items": len(common),
        "cost": "cost_usd" if known else "tokens",
        "runs": rows,
        "pairs": [
            {"labels": ["A", label_of(index)], **pair, "holm_p": p}
            for index, (pair, p) in enumerate(zip(pairs, adjusted, strict=True), 1)
        ],
        "speed_up": _speed_up(sources, done, [_calling_s(run) for run in runs]),
    }


def _done(folder: Folder) -> dict[str, Item]:
    return {
        key: item
        for key, item in folder.items().items()
        if item["state"] == DONE and item["right"] is not None
    }


def _run(index: int, run: Run, done: Mapping[str, Item], common: Sequence[str]) -> dict[str, Any]:
    items = [done[key] for key in common] or list(done.values())
    found = run.json
    return {
        "label": label_of(index),
        "team": run.source.team,
        "source": run.source.as_json(),
        "items": len(items),
        "right": tally(item["right"] for item in items),
        "an_item": {name: _mean(items, name) for name in MEASURES},
        "bubbles": found["bubbles"]["all"],
        "prompt_tokens_by_fifth": found["context"]["prompt_tokens_by_fifth"],
        "each_agent": found["results"].get("each_agent") or {},
        "gate": _gate(found["gate"]),
    }


def _mean(items: Sequence[Item], name: str) -> dict[str, Any] | None:
    """The mean an item and its interval; None where it is unknown of one."""
    values = [_value(item, name) for item in items]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return {"mean": sum(known) / len(known), "interval": bootstrap(known)}


def _value(item: Item, name: str) -> float | None:
    if name == "seconds":
        return float(item["seconds"])
    spent = item["spent"]
    value = spent["input_tokens"] + spent["output_tokens"] if name == "tokens" else spent[name]
    return None if value is None else float(value)


def _gate(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The little of it that can be set side by side."""
    if found is None or found["told"] is None or not found["told"]["stats"]:
        return None
    proposals = found["told"]["stats"]["proposals"]
    return {
        **{name: proposals[name] for name in ("total", "admitted", "rejected")},
        "admission": found["told"]["admission"].get("all"),
        "share_of_tokens": found["share_of_tokens"],
    }


def _calling_s(run: Run) -> dict[str, float]:
    return {item["id"]: item["calling_s"] for item in run.json["items"] if item["calling_s"]}


def _speed_up(
    sources: Sequence[Source], done: Sequence[Mapping[str, Item]], calling: Sequence[Mapping[str, float]]
) -> dict[str, Any] | None:
    """How many times faster than `single` the others of its benchmark and model are, on shared items.

    `times`: The geometric mean over items of time alone / time of the team, with its 95 % bootstrap interval;
    `calling`: the same from an item's first call to the end of its last, so without the start of boards.
    """
    alone = next((index for index, source in enumerate(sources) if source.topology == SINGLE), None)
    if alone is None:
        return None
    base, theirs = sources[alone], done[alone]
    rows = []
    for index, (source, own) in enumerate(zip(sources, done, strict=True)):
        shared = [key for key in own if key in theirs and own[key]["seconds"] > 0 < theirs[key]["seconds"]]
        same = (source.benchmark, source.model) == (base.benchmark, base.model)
        if index == alone or not same or not shared:
            continue
        rows.append(
            {
                "label": label_of(index),
                "team": source.kind,
                "agents": source.agents,
                "items": len(shared),
                "times": _ratio([theirs[key]["seconds"] / own[key]["seconds"] for key in shared]),
                "calling": _ratio(
                    [
                        calling[alone][key] / calling[index][key]
                        for key in shared
                        if key in calling[alone] and key in calling[index]
                    ]
                ),
                "same_load": source.at_once == base.at_once,
            }
        )
    return {"against": label_of(alone), "runs": rows}


def _ratio(values: Sequence[float]) -> dict[str, Any] | None:
    """The geometric mean and its interval; None of nothing."""
    if not values:
        return None
    logs = [math.log(value) for value in values]
    low, high = bootstrap(logs)
    return {"mean": math.exp(sum(logs) / len(logs)), "interval": (math.exp(low), math.exp(high))}
