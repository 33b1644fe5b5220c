"""Folders of benchmark runs that the tests of reports make by hand."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from delm_client.bench.folder import Folder
from delm_client.bench.limits import Spending

START = 1_800_000_000.0


def config(items: Iterable[str], **changed: Any) -> dict[str, Any]:
    """A configuration, as a run keeps it."""
    caps = {"cost_usd": None, "tokens": None, "calls": None, "seconds": None}
    plan = {"topology": "independent", "agents": 2, "policy": "none", "habits": {}, "at_once": 1}
    return {
        "benchmark": "longbench",
        "items": list(items),
        "plan": {**plan, "item_caps": caps, "run_caps": caps},
        "model": {"name": "openai:any"},
        "seeds": {"items": 0},
        "command": "delm-run bench longbench --topology independent",
        "date": "2026-11-28T21:00:00+00:00",
        "versions": {"delm-mcp": "0"},
        **changed,
    }


def call(begin_s: float, end_s: float, step: str = "read", **changed: Any) -> dict[str, Any]:
    """A line of a trajectory, for a call from one second after the start to another."""
    return {
        "at": datetime.fromtimestamp(START + end_s, UTC).isoformat(timespec="milliseconds"),
        "step": step,
        "model": "any-1",
        "finish": "stop",
        "instructions": "",
        "prompt": "Read this.",
        "reply": "Done.",
        "input_tokens": 100,
        "cached_tokens": 50,
        "output_tokens": 10,
        "cost_usd": None,
        "cost_uncached_usd": None,
        "latency_s": end_s - begin_s,
        "measured": True,
        **changed,
    }


def keep(folder: Folder, item: str, lines: Mapping[str, Iterable[dict[str, Any]]]) -> int:
    """Keep an attempt's calls by agent, and give its number."""
    attempt = folder.attempt(item)
    for agent, calls in lines.items():
        for line in calls:
            attempt.keep(agent, {"agent": agent, **line})
    return attempt.number


def result(item: str, attempt: int, **changed: Any) -> dict[str, Any]:
    """A finished item's row."""
    return {
        "id": item,
        "state": "done",
        "right": True,
        "letter": "A",
        "wanted": "A",
        "reply": "The correct answer is (A)",
        "ended": "answered",
        "agents": [],
        "sub_domain": "Legal",
        "length": "short",
        "difficulty": "easy",
        "attempt": attempt,
        "seconds": 5.0,
        "spent": Spending().as_json(),
        "served_by": ["any-1"],
        "board": {},
        **changed,
    }


def figures(folder: Path, name: str = "report") -> dict[str, Any]:
    """What a report's JSON says."""
    return dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
