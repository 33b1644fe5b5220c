"""What the gate of the boards in a run's folder did: as `delm-mcp` tells it, summed over items."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delm_client.bench.folder import Folder, safe
from delm_client.bench.server import told
from delm_client.pages import put
from delm_client.session import BoardError

AT_ONCE = 4
KEPT = "stats.json"
PLACES = ("board.db", "*/board.db", ".delm/board.db", "*/.delm/board.db")
_TOLD = (OSError, BoardError, ValueError, KeyError, IndexError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that a board decided on: `at` in seconds since 1970, `agent` as trajectories name it."""

    entry: str
    agent: str
    state: str
    at: float
    reason: str
    gist: str


def board_of(folder: Folder, item: Mapping[str, Any]) -> Path | None:
    """The board on which an item's result was made; None where there is none."""
    place = folder.path / "boards" / safe(item["id"]) / str(item["attempt"])
    return next((path for pattern in PLACES for path in sorted(place.glob(pattern))), None)


def unasked(folder: Folder) -> int:
    """How many boards have not been asked yet for their figures."""
    boards = {board.parent for pattern in PLACES for board in folder.path.glob(f"boards/*/*/{pattern}")}
    return sum(not (place / KEPT).exists() for place in boards)


def economics(folder: Folder, items: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The sums over the boards of these items; None where no item had a board.

    Returns:
        `boards`: how many were read; `unreadable`: why others were not, by item; `stats`: the sum in the form
        of `delm-mcp stats`, without its times; `admission`: seconds from proposal to admission by what was
        waited for: `count`, the median of the items' medians `p50_s`, and `max_s`.
    """
    boards = {item["id"]: board for item in items if (board := board_of(folder, item)) is not None}
    if not boards:
        return None
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(boards, pool.map(_stats, boards.values()), strict=True))
    read = [found for found in answers.values() if isinstance(found, dict)]
    total: Any = {}
    for found in read:
        total = _added(total, {name: value for name, value in found.items() if name in COUNTED})
    return {
        "boards": len(read),
        "unreadable": {key: found for key, found in answers.items() if isinstance(found, str)},
        "stats": total,
        "admission": _admission([found["admission"] for found in read]),
    }


COUNTED = ("proposals", "saved", "verifying", "disputes", "retractions")


def _stats(board: Path) -> dict[str, Any] | str:
    """One board's figures, or why there are none. Kept beside it: asking takes half a second a board."""
    kept = board.with_name(KEPT)
    with suppress(*_TOLD):
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["of"] == _state(board):
            return _figures(known["total"])
    try:
        found = _figures(json.loads(told(board.parent, "stats", "--json", board=board.resolve()))["total"])
    except _TOLD as error:
        return _why(error)
    with suppress(OSError):
        put(kept, json.dumps({"of": _state(board), "total": found}) + "\n")
    return found


def _state(board: Path) -> list[int]:
    """What changes with the board's content."""
    status = board.stat()
    return [status.st_size, status.st_mtime_ns]


def _figures(total: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(total[name]) for name in (*COUNTED, "admission")}


def decisions(board: Path) -> list[Entry]:
    """The entries that a board decided on, in that order; none where it cannot be read."""
    try:
        lines = [json.loads(line) for line in _exported(board) if line.strip()]
        entries = [line for line in lines if line.get("type") == "entry" and line["decided_at"]]
        return [_entry(line) for line in sorted(entries, key=lambda line: float(line["decided_at"]))]
    except _TOLD:
        return []


def _exported(board: Path) -> list[str]:
    return told(board.parent, "export", board=board.resolve()).split("\n")


def _entry(line: Mapping[str, Any]) -> Entry:
    principal = str(line["principal"]).rpartition(":")[2]
    state = "rejected" if line["state"] == "rejected" else "admitted"
    label, reason = f"E{line['id']}", str(line["reason"])
    return Entry(label, principal, state, float(line["decided_at"]), reason, str(line["gist"]))


def _why(error: Exception) -> str:
    return (
        " ".join(str(error).split())
        if isinstance(error, OSError | BoardError)
        else f"its figures make no sense ({error!r})"
    )


def _added(total: Any, more: Any) -> Any:
    """Numbers are added, name by name; what nobody knows (None) adds nothing."""
    if isinstance(more, dict):
        known = total if isinstance(total, dict) else {}
        return known | {name: _added(known.get(name), value) for name, value in more.items()}
    return total if more is None else more if total is None else total + more


def _admission(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for times in found for name in times)
    by_name = {name: [times[name] for times in found if name in times] for name in names}
    return {
        name: {
            "count": sum(each["count"] for each in times),
            "p50_s": statistics.median(each["p50_s"] for each in times),
            "max_s": max(each["max_s"] for each in times),
        }
        for name, times in by_name.items()
    }
