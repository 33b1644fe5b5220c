"""The economics of the gate, as `delm-mcp stats --json` gives them, in rows for a report."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from delm_client.team.tally import duration, usd


class Row(NamedTuple):
    """A figure, and what it could be misread without."""

    name: str
    number: str
    remark: str = ""


def of_run(found: Mapping[str, Any], run: str) -> Mapping[str, Any]:
    """A run's part of what `delm-mcp stats` or `status` gives; all of it where it is one run's already."""
    runs = found.get("runs")
    if not isinstance(runs, list):
        return found
    return next((row for row in runs if isinstance(row, Mapping) and row.get("run") == run), {})


def rows(stats: Mapping[str, Any]) -> list[Row]:
    """The figures in their order; none where nothing is known, or in a form of another version."""
    try:
        return [*_gate(stats), *_saved(stats), *_verifying(stats["verifying"]), *_missed(stats)]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def admission(stats: Mapping[str, Any]) -> list[tuple[str, int, str, str, str]]:
    """Time from proposal to admission by what was waited for: name, count, p50, p99 and longest."""
    try:
        return [
            (
                "the board alone" if path == "board" else str(path),
                int(times["count"]),
                duration(times["p50_s"]),
                duration(times["p99_s"]),
                duration(times["max_s"]),
            )
            for path, times in stats["admission"].items()
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _gate(stats: Mapping[str, Any]) -> list[Row]:
    proposals = stats["proposals"]
    refused = _listed(proposals["refused"])
    if proposals["could_not_check"]:
        refused += f"; {proposals['could_not_check']} because a check could not run or tell"
    return [
        Row("Proposals", str(proposals["total"])),
        Row("Admitted", str(proposals["admitted"]), _listed(proposals["by_strength"])),
        Row("Refused", str(proposals["rejected"]), refused),
        Row("Attested only", str(proposals["attested_only"]), "nothing but their author's word behind them"),
    ]


def _saved(stats: Mapping[str, Any]) -> list[Row]:
    saved = stats["saved"]
    return [
        Row("Duplicates refused", str(saved["duplicates"]), "work that peers did not have to read twice"),
        Row(
            "Tasks skipped", str(saved["skipped"]), "somebody else's dead end stands behind it; a lower bound"
        ),
    ]


def _verifying(verifying: Mapping[str, Any]) -> list[Row]:
    judge = verifying["judge"]
    server = _listed({name: duration(value) for name, value in verifying["server_s"].items()})
    if verifying["untimed"]:
        server += f"; {verifying['untimed']} more took an unknown time"
    told = (
        f"{verifying['done']} with a verdict ({verifying['abstained']} abstained), {verifying['lost']} lost"
    )
    server_s = duration(sum(verifying["server_s"].values()))
    return [
        Row("Verify tasks", str(verifying["asked"]), told),
        Row("Agents' time on them", duration(verifying["agents_s"]), "from claim to verdict"),
        Row("Servers' time", f"at least {server_s}" if verifying["untimed"] else server_s, server),
        Row(
            "Judge", _cost(judge), f"{judge['requests']} requests" if judge["bills"] else "no model was asked"
        ),
    ]


def _missed(stats: Mapping[str, Any]) -> list[Row]:
    disputes, retractions = stats["disputes"], stats["retractions"]
    outcomes = {name: disputes[name] for name in ("upheld", "dismissed", "open", "moot")}
    caught = _listed({f"by {name}": count for name, count in retractions.items()})
    return [
        Row("Disputes", str(disputes["total"]), _listed(outcomes)),
        Row("Retractions", str(sum(retractions.values())), caught or "of what was admitted"),
    ]


def _cost(judge: Mapping[str, Any]) -> str:
    if not judge["bills"]:
        return "-"
    if judge["usd"] is None:
        return "?"
    return f"at least {usd(judge['usd'])}" if judge["unknown_costs"] else usd(judge["usd"])


def _listed(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
