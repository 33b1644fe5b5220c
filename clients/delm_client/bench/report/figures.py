"""All figures of one run: what `report.json` holds, and what every other output is made from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from delm_client.bench.errors import BenchError, did_you_mean
from delm_client.bench.folder import Folder, safe
from delm_client.bench.report import gate
from delm_client.bench.report.bubbles import Share, Timeline, share_of, timeline, whole_share
from delm_client.bench.report.calls import Asked, calls_of, spent
from delm_client.bench.report.sources import SCRIPTED_MARK, Source, source_of
from delm_client.bench.results import results
from delm_client.bench.runner import BROKEN, DONE
from delm_client.bench.statistics import percentile

Item = Mapping[str, Any]
FIFTHS = 5
ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was read.

    Attributes:
        json: The figures.
        timeline: Of the item that is shown; None where it has no calls.
        shown: That item's id; empty where there is none.
        calls: That item's.
    """

    source: Source
    json: dict[str, Any]
    timeline: Timeline | None
    shown: str
    calls: Sequence[Asked]


def read(folder: Folder, shown: str = "") -> Run:
    """Read a run's folder, whatever state it is in.

    Args:
        shown: The item whose timeline is drawn; default: the one that took longest.

    Raises:
        BenchError: No such item, or a file in it is not what this version writes.
    """
    try:
        items = folder.items()
        calls = calls_of(folder, items)
        source = source_of(folder, _served(items.values(), calls))
        return _read(folder, source, items, calls, shown)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BenchError(
            f"{folder.path} holds what this version of delm-run cannot read, or was changed: {error!r}."
        ) from error


def _served(items: Iterable[Item], calls: Iterable[Asked]) -> set[str]:
    return {name for item in items for name in item["served_by"]} | {call.model for call in calls}


def _read(
    folder: Folder, source: Source, items: Mapping[str, Item], calls: Sequence[Asked], wanted: str
) -> Run:
    counting: dict[str, list[Asked]] = {key: [] for key in items}
    lost: dict[str, list[Asked]] = {key: [] for key in items}
    for call in calls:
        (counting if call.counts else lost).setdefault(call.item, []).append(call)
    lanes = {key: timeline(own, source.agents) for key, own in counting.items()}
    times = {key: each for key, each in lanes.items() if each is not None}
    shown = _shown(folder, items, times, wanted)
    line = times.get(shown)
    if line is not None and (board := gate.board_of(folder, items[shown])) is not None:
        line = _with_board(line, gate.decisions(board))
    own = counting.get(shown, [])
    found = results(folder)
    figures = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "scripted_model": source.scripted,
        "note": SCRIPTED_MARK if source.scripted else "",
        "source": source.as_json(),
        "results": found | {"scripted_model": source.scripted},
        "state": _state(folder, items, calls),
        "spending": _spending(calls, found["spent"]),
        "latency": {"calls_s": _spread([call.call.latency_s for call in calls]), "items_s": _items_s(items)},
        "bubbles": _bubbles(times, line, shown),
        "context": _context(calls, own, line),
        "gate": _gate(folder, items, calls),
        "trouble": _trouble(calls, items),
        "items": [_row(item, list(found["by"]), lost[key], times.get(key)) for key, item in items.items()],
    }
    return Run(source, figures, line, shown, own)


def _shown(folder: Folder, items: Mapping[str, Item], times: Mapping[str, Timeline], wanted: str) -> str:
    if not wanted:
        return max(times, key=lambda key: times[key].length_s, default="")
    if wanted in items:
        return wanted
    known = items or dict.fromkeys(folder.config["items"])
    why = "was not run yet" if wanted in folder.config["items"] else "is not an item of this run"
    raise BenchError(f"--item {wanted} {why}.{did_you_mean(wanted, known)}")


def _with_board(line: Timeline, entries: Sequence[gate.Entry]) -> Timeline:
    admitted = [entry for entry in entries if entry.state == "admitted"]
    growth = [(entry.at, count) for count, entry in enumerate(admitted, 1)]
    return replace(line, verdicts=tuple(entries), growth=tuple(growth))


# -- the parts -----------------------------------------------------------------------------------


def _state(folder: Folder, items: Mapping[str, Item], calls: Sequence[Asked]) -> dict[str, Any]:
    """How far it is; `begun`: items with calls and no result: under way, or cut off."""
    counts = Counter(item["state"] for item in items.values())
    asked = len(folder.config["items"])
    ended = Counter(item["ended"] for item in items.values() if item["state"] == DONE)
    return {
        "asked": asked,
        "done": counts[DONE],
        "could_not_be_run": counts[BROKEN],
        "begun": len({call.item for call in calls} - set(items)),
        "not_run": asked - len(items),
        "ended_early": {why: count for why, count in ended.most_common() if why != ANSWERED},
    }


def _spending(calls: Sequence[Asked], whole: Mapping[str, Any]) -> dict[str, Any]:
    """In all, by step and by agent; `lost`: in attempts that gave no result."""
    steps = dict.fromkeys(call.step for call in calls)
    agents = sorted({call.agent for call in calls})
    return {
        "all": dict(whole),
        "by_step": {name: spent(c for c in calls if c.step == name).as_json() for name in steps},
        "by_agent": {name: spent(c for c in calls if c.agent == name).as_json() for name in agents},
        "lost": spent(call for call in calls if not call.counts).as_json(),
    }


def _spread(values: Sequence[float]) -> dict[str, float | int]:
    return {
        "count": len(values),
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "max": max(values, default=0.0),
    }


def _items_s(items: Mapping[str, Item]) -> dict[str, float | int]:
    return _spread([item["seconds"] for item in items.values() if item["state"] == DONE])


def _bubbles(times: Mapping[str, Timeline], shown: Timeline | None, item: str) -> dict[str, Any]:
    """Agent-seconds over all items that have a result, and by agent of the one that is shown."""
    total = Share()
    for found in times.values():
        total = total.plus(whole_share(found))
    own = {name: share_of(shown.lanes[name]).as_json() for name in shown.agents} if shown else {}
    return {"items": len(times), "all": total.as_json(), "shown": item, "agents": own}


def _context(calls: Sequence[Asked], own: Sequence[Asked], line: Timeline | None) -> dict[str, Any]:
    """Tokens of prompts, which grow with what agents know; and the board's entries, of the item shown."""
    begin = line.started_at if line else 0.0
    return {
        "agents": line.agents if line else [],
        "prompt_tokens_by_fifth": _fifths(calls),
        "calls": [
            {
                "at_s": call.end - begin,
                "agent": call.agent,
                "step": call.step,
                "input_tokens": call.call.input_tokens if call.call.measured else None,
                "cached_tokens": call.call.cached_tokens if call.call.measured else None,
            }
            for call in own
        ],
        "admitted": [{"at_s": at - begin, "entries": size} for at, size in (line.growth if line else ())],
    }


def _fifths(calls: Sequence[Asked]) -> list[float | None]:
    """Mean tokens of a prompt in each fifth of an item's calls; None where none were counted."""
    by_item: dict[str, list[int]] = {}
    for call in calls:
        if call.counts and call.call.measured:
            by_item.setdefault(call.item, []).append(call.call.input_tokens)
    fifths: list[list[int]] = [[] for _ in range(FIFTHS)]
    for sizes in by_item.values():
        for index, size in enumerate(sizes):
            fifths[index * FIFTHS // len(sizes)].append(size)
    return [sum(each) / len(each) if each else None for each in fifths]


def _gate(folder: Folder, items: Mapping[str, Item], calls: Sequence[Asked]) -> dict[str, Any] | None:
    """What the board decided, and what that took; None without a board."""
    told = gate.economics(folder, items.values())
    notes: Counter[str] = Counter()
    for item in items.values():
        notes.update(dict(item.get("board") or {}).get("notes") or {})
    if told is None and not notes:
        return None
    verifying = spent(call for call in calls if call.verifying)
    mending = spent(call for call in calls if call.mended)
    tokens = spent(calls).tokens
    share = (verifying.tokens + mending.tokens) / tokens if tokens else None
    return {
        "answers_to_notes": dict(notes),
        "told": told,
        "verifying": verifying.as_json(),
        "mending": mending.as_json(),
        "share_of_tokens": share,
    }


def _trouble(calls: Sequence[Asked], items: Mapping[str, Item]) -> dict[str, Any]:
    """Calls that went wrong or stand out, by what is the matter with them."""
    latencies = [call.call.latency_s for call in calls]
    slow = 10 * percentile(latencies, 0.5)
    return {
        "cut_off": sum(call.finish == "length" for call in calls),
        "silent": sum(call.silent for call in calls),
        "asked_again": sum(call.again for call in calls),
        "mended": sum(call.mended for call in calls),
        "not_counted": sum(not call.call.measured for call in calls),
        "without_price": sum(call.call.cost_usd is None for call in calls),
        "slow": sum(latency > slow for latency in latencies) if slow else 0,
        "lost": sum(not call.counts for call in calls),
        "could_not_be_run": {key: item["ended"] for key, item in items.items() if item["state"] == BROKEN},
    }


def _row(item: Item, groups: Sequence[str], lost: Sequence[Asked], line: Timeline | None) -> dict[str, Any]:
    """An item and its counting attempt; `calling_s`: from its first call to the end of its last one."""
    return {
        "id": item["id"],
        "state": item["state"],
        "right": item["right"] if item["state"] == DONE else None,
        "ended": item["ended"],
        "outcome": item.get("outcome", ""),
        "submissions": [
            {name: each[name] for name in ("agent", "right", "outcome")}
            for each in item.get("submissions", ())
        ],
        "groups": {name: item.get(name, "") for name in groups},
        "attempt": item["attempt"],
        "seconds": item["seconds"],
        "spent": item["spent"],
        "lost_calls": len(lost),
        "calling_s": line.length_s if line else None,
        "waiting_share": whole_share(line).waiting if line else None,
        "trajectories": f"trajectories/{safe(item['id'])}/{item['attempt']}",
    }
