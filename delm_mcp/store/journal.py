"""The log: how an operation is written down, chained, and replayed.

Each operation that changes a run adds one row: what it was, who did it, and the fields that it
changed, as `[table, id, {field: value}]`. A row's hash covers its own content and the hash of the
row before it, so a row that is changed, removed or moved breaks the chain, and a chain whose end is
missing no longer leads to a head that somebody wrote down. Replaying the rows gives the tables.

Presence (who was seen when, lease times, lease secrets) changes with every call and proves nothing
later, so it is not logged. Long texts are logged by their digest.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any

from delm_mcp.domain.model import Agent, Check, ContextChange, Entry, LogRow, Run, Source, Task, Vote

GENESIS = "0" * 64
DIGEST_OVER = 200  # characters; a longer text is logged by its sha256

LOGGED: dict[str, type] = {
    "run": Run,
    "agent": Agent,
    "task": Task,
    "entry": Entry,
    "checks": Check,
    "source": Source,
    "change": ContextChange,
    "vote": Vote,
}
UNLOGGED: dict[str, frozenset[str]] = {
    "agent": frozenset({"seen_at", "acked", "told"}),
    "task": frozenset({"token", "lease_until"}),
    "checks": frozenset({"worker", "lease_until"}),
}

Delta = tuple[str, str, dict[str, Any]]
"""`(table, id, the fields that were set)`."""


def plain(value: Any) -> Any:
    """A field's value as it stands in the log."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, str) and len(value) > DIGEST_OVER:
        return {"sha256": hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()}
    return value


def logged_fields(table: str, row: Any, defaults: bool = True) -> dict[str, Any]:
    """The fields of a row that the log describes; without those at their default, if so wished."""
    hidden = UNLOGGED.get(table, frozenset())
    values = {item.name: getattr(row, item.name) for item in fields(row) if item.name not in hidden}
    if not defaults:
        usual = _defaults(table)
        values = {name: value for name, value in values.items() if usual.get(name, MISSING) != plain(value)}
    return {name: plain(value) for name, value in values.items()}


@cache
def _defaults(table: str) -> dict[str, Any]:
    """The values that an inserted row has where its log row says nothing."""
    if table not in LOGGED:
        return {}
    hidden = UNLOGGED.get(table, frozenset())
    known: dict[str, Any] = {}
    for item in fields(LOGGED[table]):
        if item.name in hidden:
            continue
        if item.default is not MISSING:
            known[item.name] = plain(item.default)
        elif item.default_factory is not MISSING:
            known[item.name] = plain(item.default_factory())
    return known


def digest(row: LogRow) -> str:
    """The hash that a row must carry."""
    content = [row.run, row.seq, row.version, row.at, row.op, row.actor, row.changes, row.prev]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def chained(previous: LogRow | None, row: LogRow) -> LogRow:
    """The row, numbered and chained after the one before it."""
    prev = previous.hash if previous else GENESIS
    numbered = replace(row, seq=(previous.seq if previous else 0) + 1, prev=prev)
    return replace(numbered, hash=digest(numbered))


def encode(deltas: Iterable[Delta]) -> str:
    """The deltas of one operation as canonical JSON."""
    return json.dumps(list(deltas), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a log stops being believable, and why."""

    seq: int
    problem: str


def walk(rows: Iterable[LogRow]) -> Fault | None:
    """The first row that does not continue the chain, or None."""
    prev, seq, version = GENESIS, 0, 0
    for row in rows:
        if row.seq != seq + 1:
            return Fault(row.seq, f"row {seq + 1} is missing or out of order (found {row.seq})")
        if row.prev != prev:
            return Fault(row.seq, "it does not continue the row before it")
        if row.hash != digest(row):
            return Fault(row.seq, "its content was changed after it was written")
        if row.version < version or row.version > version + 1:
            return Fault(row.seq, f"the context version goes from {version} to {row.version}")
        prev, seq, version = row.hash, row.seq, row.version
    return None


Tables = dict[str, dict[str, dict[str, Any]]]


def replay(rows: Iterable[LogRow]) -> Tables:
    """The state that the log describes: table -> id -> fields."""
    tables: Tables = {}
    for row in rows:
        for table, key, values in json.loads(row.changes):
            known = tables.setdefault(table, {})
            known.setdefault(key, dict(_defaults(table))).update(values)
    return tables


def differences(logged: Tables, stored: Tables, limit: int = 10) -> list[str]:
    """Where the tables differ from what the log describes, in words, at most `limit` of them."""
    found: list[str] = []
    for table in sorted(set(logged) | set(stored)):
        ours, theirs = logged.get(table, {}), stored.get(table, {})
        for key in sorted(set(ours) | set(theirs)):
            if key not in theirs:
                found.append(f"{table} {key}: in the log, but gone from the table")
            elif key not in ours:
                found.append(f"{table} {key}: in the table, but not in the log")
            elif ours[key] != theirs[key]:
                names = sorted(set(ours[key]) | set(theirs[key]))
                changed = [name for name in names if ours[key].get(name) != theirs[key].get(name)]
                found.append(f"{table} {key}: {', '.join(changed)} differ from the log")
            if len(found) >= limit:
                return found
    return found
