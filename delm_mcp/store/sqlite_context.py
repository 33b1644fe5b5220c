"""The SQLite engine's queries of the context: entries, their lineage, verdicts, checks."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from math import inf
from typing import Any

from delm_mcp.domain.model import (
    Check,
    CheckId,
    ContextChange,
    Entry,
    EntryId,
    EntryState,
    RunId,
    TaskId,
    Vote,
)
from delm_mcp.store.rows import CHANGE, CHECKS, ENTRY, HEADLINE, VOTE, Table
from delm_mcp.store.sqlite_queue import Queries

IDS_A_QUERY = 500
_TEXTS = {"summary", "raw", "evidence"}
_OUTLINE = Table("entry", Entry, only=tuple(f.name for f in fields(Entry) if f.name not in _TEXTS))

_LINEAGE = """
WITH RECURSIVE reached (id) AS (
    SELECT {to} FROM lineage WHERE {start} = ?
    UNION
    SELECT lineage.{to} FROM lineage JOIN reached ON lineage.{start} = reached.id
)
"""


class ContextQueries(Queries):
    """The entries of a run, and what was said of them; see `base.Tx`."""

    def entry(self, entry: EntryId) -> Entry | None:
        return self._one(ENTRY, "WHERE id = ?", entry)

    def entries(
        self, run: RunId, states: Sequence[EntryState] = (), limit: int = -1, *, newest: bool = False
    ) -> list[Entry]:
        only = f"AND state IN ({_marks(states)})" if states else ""
        order = "DESC" if newest else ""
        found = self._all(ENTRY, f"WHERE run = ? {only} ORDER BY id {order} LIMIT ?", run, *states, limit)
        return found[::-1] if newest else found

    def headlines(self, entries: Collection[EntryId]) -> dict[EntryId, Entry]:
        found: dict[EntryId, Entry] = {}
        wanted = list(entries)
        for start in range(0, len(wanted), IDS_A_QUERY):
            some = wanted[start : start + IDS_A_QUERY]
            where = f"WHERE id IN ({_marks(some)})"
            found |= {entry.id: entry for entry in self._all(HEADLINE, where, *some)}
        return found

    def outlines(self, run: RunId, states: Sequence[EntryState] = ()) -> list[Entry]:
        only = f"AND state IN ({_marks(states)})" if states else ""
        return self._all(_OUTLINE, f"WHERE run = ? {only} ORDER BY id", run, *states)

    def entry_counts(self, run: RunId) -> dict[tuple[str, EntryState], int]:
        counted = "SELECT agent, state, count(*) FROM entry WHERE run = ? GROUP BY agent, state"
        rows = self._db.execute(counted, (run,)).fetchall()
        return {(agent, EntryState(state)): count for agent, state, count in rows}

    def entries_of(self, task: TaskId) -> list[Entry]:
        return self._all(ENTRY, "WHERE task = ? ORDER BY id", task)

    def live_with_key(self, run: RunId, key: str) -> Entry | None:
        where = "WHERE run = ? AND key = ? AND key <> '' AND state IN ('admitted', 'suspect')"
        return self._one(ENTRY, where, run, key)

    def live_with_gist(self, run: RunId, gist_key: str) -> Entry | None:
        where = "WHERE run = ? AND gist_key = ? AND state IN ('admitted', 'suspect') ORDER BY id LIMIT 1"
        return self._one(ENTRY, where, run, gist_key)

    def derived_from(self, entry: EntryId) -> list[Entry]:
        where = "JOIN lineage ON lineage.child = entry.id WHERE lineage.parent = ? ORDER BY entry.id"
        return self._all(ENTRY, where, entry)

    def descendants(self, entry: EntryId) -> list[Entry]:
        return self._related(_LINEAGE.format(start="parent", to="child"), entry)

    def ancestors(self, entry: EntryId) -> list[Entry]:
        return self._related(_LINEAGE.format(start="child", to="parent"), entry)

    def suspect_ancestors(self, entry: EntryId) -> int:
        reached = _LINEAGE.format(start="child", to="parent")
        row = self._db.execute(
            f"{reached} SELECT count(*) FROM reached JOIN entry ON entry.id = reached.id "
            "WHERE entry.state = 'suspect'",
            (entry,),
        ).fetchone()
        return int(row[0])

    def _related(self, reached: str, entry: EntryId) -> list[Entry]:
        # A parent exists before its child, so the order of ids is the order of derivation.
        rows = self._db.execute(
            f"{reached} {ENTRY.select} JOIN reached ON reached.id = entry.id ORDER BY entry.id", (entry,)
        )
        return ENTRY.decode_all(rows.fetchall())

    def executed(self, run: RunId) -> list[Entry]:
        where = (
            "INDEXED BY entry_executed WHERE run = ? AND strength = 'executed' AND state = 'admitted' "
            "AND kind IN ('fact', 'fail') ORDER BY id"
        )
        return self._all(ENTRY, where, run)

    def votes(self, entry: EntryId) -> list[Vote]:
        return self._all(VOTE, "WHERE entry = ? ORDER BY id", entry)

    def votes_in(self, run: RunId) -> list[Vote]:
        return self._all(VOTE, "WHERE run = ? ORDER BY id", run)

    def matching(self, run: RunId, words: Sequence[str], limit: int) -> list[EntryId]:
        terms = " ".join('"' + word.replace('"', '""') + '"' for word in words)
        rows = self._db.execute(
            "SELECT entry_words.rowid FROM entry_words JOIN entry ON entry.id = entry_words.rowid "
            "WHERE entry_words MATCH ? AND entry.run = ? ORDER BY entry_words.rowid DESC LIMIT ?",
            (terms, run, limit),
        )
        return [EntryId(row[0]) for row in rows.fetchall()]

    def changes(
        self, run: RunId, after: int, upto: int, limit: int = -1, reader: str = ""
    ) -> list[ContextChange]:
        where = (
            "WHERE run = ? AND version > ? AND version <= ? AND audience IN ('', ?) "
            "ORDER BY version, id LIMIT ?"
        )
        return self._all(CHANGE, where, run, after, upto, reader, limit)

    def changes_of(self, entry: EntryId) -> list[ContextChange]:
        return self._all(CHANGE, "WHERE entry = ? ORDER BY id", entry)

    def check(self, check: CheckId) -> Check | None:
        return self._one(CHECKS, "WHERE id = ?", check)

    def checks_of(self, entry: EntryId) -> list[Check]:
        return self._all(CHECKS, "WHERE entry = ? ORDER BY id", entry)

    def next_check(self, names: Sequence[str], repo: str, now: float, latest: float) -> Check | None:
        busy = self._db.execute(
            "SELECT run FROM checks INDEXED BY checks_running "
            "WHERE name = 'command' AND state = 'running' AND lease_until BETWEEN ? AND ?",
            (now, latest),
        ).fetchall()
        runs = [run for (run,) in busy]
        free = "state <> 'done' AND (lease_until < ? OR lease_until > ?)"
        here = "('*' = ? OR (SELECT repo FROM run WHERE run.id = checks.run) = ?)"
        mine = f"run NOT IN ({_marks(runs)}) AND {here}"
        found: list[Check | None] = []
        for name in names:
            # Patience with peers may be longer than any lease, so there no pause is too long to be true.
            until = inf if name == "peers" else latest
            where, bound = f"INDEXED BY checks_open WHERE name = ? AND {free}", [name, now, until]
            if name == "command":
                where, bound = f"{where} AND {mine}", [*bound, *runs, repo, repo]
            found.append(self._one(CHECKS, f"{where} ORDER BY id LIMIT 1", *bound))
        return min((check for check in found if check), key=lambda check: check.id, default=None)

    def checks_moved_at(self, run: RunId, name: str) -> float:
        row = self._db.execute(
            "SELECT max(ended_at) FROM checks WHERE run = ? AND name = ?", (run, name)
        ).fetchone()
        return float(row[0] or 0.0)

    def open_checks(self, run: RunId) -> int:
        row = self._db.execute(
            "SELECT count(*) FROM checks WHERE run = ? AND state <> 'done'", (run,)
        ).fetchone()
        return int(row[0])

    def checks_open(self, run: RunId, name: str) -> list[Check]:
        where = "INDEXED BY checks_run WHERE run = ? AND state <> 'done' AND name = ? ORDER BY id"
        return self._all(CHECKS, where, run, name)

    def next_look(self, name: str) -> float:
        found = self._db.execute(
            "SELECT min(lease_until) FROM checks INDEXED BY checks_open "
            "WHERE name = ? AND state <> 'done' AND state = 'waiting'",
            (name,),
        ).fetchone()[0]
        return inf if found is None else float(found)

    def checks_in(self, run: RunId, name: str) -> list[Check]:
        return self._all(CHECKS, "WHERE run = ? AND name = ? ORDER BY id", run, name)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
