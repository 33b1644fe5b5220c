"""Calls of real agents: what each took and cost. Read from CSV, with what had to be imputed told."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from math import isfinite
from pathlib import Path

from delm_client.simulate.errors import SimulationError

COLUMNS = ("instance", "call", "prompt", "completion", "cached", "created")
NUMBERS = "call, prompt, completion, cached and created must be numbers."
SHORTEST_S = 0.01  # of a call: two within one tick of the clock took some time, too
SAMPLE = Path(__file__).parent / "sample_calls.csv"


@dataclass(frozen=True, slots=True)
class Call:
    """One model call and the tools that it led to: seconds until the next call began, and tokens.

    `prompt` includes the `cached` ones.
    """

    seconds: float
    prompt: int
    completion: int
    cached: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The calls of each instance, in order, and how they were come by."""

    name: str
    sha256: str  # of its text
    synthetic: bool
    instances: tuple[tuple[Call, ...], ...]
    imputed: int  # last calls of instances: what follows them is not in the trace
    capped: int  # pauses longer than `max_gap_s`, replaced by the instance's median

    @property
    def calls(self) -> int:
        """How many calls there are."""
        return sum(map(len, self.instances))

    @property
    def median_call_s(self) -> float:
        """The seconds of a middling call: what one turn of any agent takes, unless it is told otherwise."""
        return statistics.median(call.seconds for calls in self.instances for call in calls)

    @property
    def mean_instance_s(self) -> float:
        """The seconds of an instance, on average."""
        return sum(call.seconds for calls in self.instances for call in calls) / len(self.instances)


@dataclass(frozen=True, slots=True)
class _Row:
    call: int
    prompt: int
    completion: int
    cached: int
    created: float


def load(path: Path | None, max_gap_s: float = 600.0) -> Trace:
    """The trace in a CSV file with the columns in `COLUMNS`; None: our synthetic sample.

    `created` is when a call began, in seconds (in the real trace, the time between two calls goes with the
    completion tokens of the earlier one, r = 0.65, not with those of the later one, r = 0.03). So a call's
    seconds, with its tools, are the difference to the next one's. For an instance's last call they are
    imputed: a straight line over completion tokens, fitted to all others. Differences over `max_gap_s` (an
    agent that was put to sleep) become the instance's median. Raises SimulationError for what is no trace.
    """
    try:
        text = (path or SAMPLE).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SimulationError(f"{path} cannot be read: {why}. Name a CSV file of calls.") from None
    rows = _rows(text, str(path or SAMPLE.name))
    instances, capped = _instances(str(path or SAMPLE.name), rows, max_gap_s)
    name, digest = path.name if path else "bundled sample", sha256(text.encode()).hexdigest()
    return Trace(name, digest, path is None, instances, len(instances), capped)


def _rows(text: str, name: str) -> dict[str, list[_Row]]:
    if not text.strip():
        raise SimulationError(f"{name} is empty: it needs a header ({','.join(COLUMNS)}) and a line a call.")
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        found = ", ".join(map(str, reader.fieldnames or ())) or "none"
        raise SimulationError(f"{name} lacks the columns {', '.join(missing)}; it has: {found}.")
    rows: dict[str, list[_Row]] = {}
    for line in reader:
        where = f"{name}, line {reader.line_num}"
        rows.setdefault(line["instance"] or "", []).append(_row(line, where))
    if not rows:
        raise SimulationError(f"{name} has a header and no calls.")
    for calls in rows.values():
        calls.sort(key=lambda row: row.call)
    return rows


def _row(line: dict[str, str], where: str) -> _Row:
    try:
        call, prompt, completion, cached = (int(line[name]) for name in COLUMNS[1:5])
        row = _Row(call, prompt, completion, cached, float(line["created"]))
    except (TypeError, ValueError):
        raise SimulationError(f"{where}: {NUMBERS}") from None
    if not isfinite(row.created):
        raise SimulationError(f"{where}: {NUMBERS}")
    if min(row.prompt, row.completion, row.cached) < 0 or row.cached > row.prompt:
        raise SimulationError(f"{where}: tokens cannot be negative, and cached ones are part of the prompt.")
    return row


def _instances(
    name: str, rows: dict[str, list[_Row]], max_gap_s: float
) -> tuple[tuple[tuple[Call, ...], ...], int]:
    """Each instance's calls, and how many pauses were replaced."""
    seen: list[tuple[int, float]] = []
    for instance, calls in rows.items():
        for row, later in pairwise(calls):
            if later.created < row.created:
                raise SimulationError(
                    f"{name}, {instance}, call {later.call}: it was created before the last."
                )
            if later.created - row.created <= max_gap_s:
                seen.append((row.completion, later.created - row.created))
    if not any(gap_s for _, gap_s in seen):
        raise SimulationError(
            f"{name}: no instance has two calls at different times, so what calls take is unknown "
            f"(pauses over {max_gap_s:g} s do not count)."
        )
    slope, base = _fit(seen)
    capped = 0
    instances = []
    for calls in rows.values():
        gaps = [later.created - row.created for row, later in pairwise(calls)]
        kept = [gap_s for gap_s in gaps if gap_s <= max_gap_s] or [base]
        capped += sum(gap_s > max_gap_s for gap_s in gaps)
        gaps = [gap_s if gap_s <= max_gap_s else statistics.median(kept) for gap_s in gaps]
        gaps.append(min(base + slope * calls[-1].completion, max_gap_s))
        instances.append(
            tuple(
                Call(max(gap_s, SHORTEST_S), row.prompt, row.completion, row.cached)
                for row, gap_s in zip(calls, gaps, strict=True)
            )
        )
    return tuple(instances), capped


def _fit(seen: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds a completion token, and seconds of a call without any; never negative."""
    completions = [completion for completion, _ in seen]
    gaps = [gap_s for _, gap_s in seen]
    if len(set(completions)) > 1:
        slope, base = statistics.linear_regression(completions, gaps)
        if slope >= 0 and base >= 0:
            return slope, base
    return 0.0, statistics.median(gaps)
