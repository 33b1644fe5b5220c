"""A board file that somebody changed behind our back is found out, whatever was changed."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from delm_mcp.domain.model import LogRow
from delm_mcp.store import journal
from delm_mcp.store.base import Tx
from delm_mcp.store.sqlite import open_sqlite
from tests.boards import ADA, Desk, answer, desk_in, fact, result

pytestmark = pytest.mark.anyio

TRIGGERS = ("log_no_update", "log_no_delete", "change_no_update", "change_no_delete", "entry_immutable")


async def story(folder: Path) -> Desk:
    """A finished run with all that a log can hold."""
    async with desk_in(folder) as desk:
        await desk.open("one", "two", sources=(("notes", "The lexer counts a tab as eight columns."),))
        held = await desk.hold()
        await desk.propose(held, fact("It should work now"))
        await desk.admit(held, fact(key="commas"))
        await desk.admit(held, result("The lexer counts a tab as eight columns", supersedes=(2,)))
        second = await desk.hold(agent=held.agent)
        await desk.board.update_task(ADA, lease=second.lease, action="release", note="tired")
        second = await desk.hold(agent=held.agent)
        decide = await desk.work_off(second, "The printer writes a comma")
        await desk.admit(decide, answer(3, 4))
        await desk.audit()
        return desk


async def faults(path: Path, head: str = "") -> list[str]:
    """What an audit finds: in the chain, against the tables, and against a head that was written down."""
    async with open_sqlite(path, create=False) as store:
        found: list[str] = []

        def look(tx: Tx) -> None:
            for run in tx.runs():
                rows = tx.log(run.id)
                fault = journal.walk(rows)
                if fault is not None:
                    found.append(f"row {fault.seq}: {fault.problem}")
                found.extend(journal.differences(journal.replay(rows), tx.dump(run.id)))
                if head and (not rows or rows[-1].hash != head):
                    found.append("the log does not end where it was said to")

        await store.read(look)
        return found


def tampered(original: Path, change: Callable[[sqlite3.Connection], object]) -> Path:
    """A copy of a board with something changed by plain SQL."""
    copy = original.parent / "copy" / "board.db"
    copy.parent.mkdir()
    shutil.copy(original, copy)
    db = sqlite3.connect(copy)
    for trigger in TRIGGERS:
        db.execute(f"DROP TRIGGER {trigger}")
    change(db)
    db.commit()
    db.close()
    return copy


def log_rows(db: sqlite3.Connection) -> list[LogRow]:
    return [LogRow(*row) for row in db.execute("SELECT * FROM log ORDER BY seq")]


def forge_without_chain(db: sqlite3.Connection) -> None:
    row = log_rows(db)[4]
    db.execute("UPDATE log SET changes = ? WHERE seq = ?", (row.changes.replace("fact", "fail"), row.seq))
    assert "fact" in row.changes


def forge_with_its_own_hash(db: sqlite3.Connection) -> None:
    row = log_rows(db)[3]
    db.execute("UPDATE log SET actor = 'mallory' WHERE seq = ?", (row.seq,))
    changed = log_rows(db)[3]
    db.execute("UPDATE log SET hash = ? WHERE seq = ?", (journal.digest(changed), row.seq))


def swap_two(db: sqlite3.Connection) -> None:
    db.execute("UPDATE log SET seq = 1000 WHERE seq = 4")
    db.execute("UPDATE log SET seq = 4 WHERE seq = 5")
    db.execute("UPDATE log SET seq = 5 WHERE seq = 1000")


def renumbered_after_removal(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM log WHERE seq = 4")
    for seq in range(5, 99):
        db.execute("UPDATE log SET seq = ? WHERE seq = ?", (seq - 1, seq))


CHAIN: list[Callable[[sqlite3.Connection], object]] = [
    forge_without_chain,
    forge_with_its_own_hash,
    swap_two,
    renumbered_after_removal,
    lambda db: db.execute("DELETE FROM log WHERE seq = 1"),
    lambda db: db.execute("DELETE FROM log WHERE seq = 5"),
    lambda db: db.execute("UPDATE log SET at = at + 1 WHERE seq = 2"),
    lambda db: db.execute("UPDATE log SET op = 'settle' WHERE seq = 2"),
    lambda db: db.execute("UPDATE log SET version = version + 1 WHERE seq = (SELECT max(seq) FROM log)"),
    lambda db: db.execute("UPDATE log SET prev = hash WHERE seq = 3"),
    lambda db: db.execute(
        "INSERT INTO log SELECT run, seq + 1, version, at, op, actor, changes, prev, hash FROM log "
        "ORDER BY seq DESC LIMIT 1"
    ),
]

TABLES = [
    "UPDATE run SET goal = 'Something else'",
    "UPDATE run SET state = 'open'",
    "UPDATE run SET version = version + 1",
    "UPDATE task SET state = 'ready' WHERE id = 1",
    "UPDATE task SET attempts = 3 WHERE id = 2",
    "UPDATE task SET reason = 'because' WHERE id = 1",
    "DELETE FROM task WHERE id = 3",
    "UPDATE entry SET gist = 'The parser is fine' WHERE id = 2",
    "UPDATE entry SET state = 'admitted' WHERE id = 1",
    "UPDATE entry SET strength = 'executed' WHERE id = 3",
    "UPDATE entry SET receipts = '[]' WHERE id = 3",
    "UPDATE entry SET principal = 'mallory' WHERE id = 3",
    "DELETE FROM entry WHERE id = 1",
    "UPDATE change SET what = 'retracted' WHERE id = 1",
    "DELETE FROM change WHERE id = 1",
    "UPDATE source SET text = text || ' Forged.'",
    "UPDATE source SET sha256 = 'x'",
    "UPDATE agent SET principal = 'mallory'",
    "CREATE TEMP TABLE copy AS SELECT * FROM task WHERE id = 1; UPDATE copy SET id = 99; "
    "INSERT INTO task SELECT * FROM copy",
    "INSERT INTO dep (needs, task) VALUES (1, 2)",
]


async def test_an_untouched_board_has_no_faults(tmp_path: Path) -> None:
    desk = await story(tmp_path)
    copy = tampered(desk.path, lambda db: None)
    assert await faults(copy) == []


@pytest.mark.parametrize("change", CHAIN, ids=range(len(CHAIN)))
async def test_a_changed_removed_or_moved_row_of_the_log_breaks_the_chain(
    tmp_path: Path, change: Callable[[sqlite3.Connection], object]
) -> None:
    desk = await story(tmp_path)
    found = await faults(tampered(desk.path, change))
    assert any(fault.startswith("row ") for fault in found), found


@pytest.mark.parametrize("statement", TABLES, ids=lambda text: text[:40])
async def test_a_changed_table_differs_from_the_log(tmp_path: Path, statement: str) -> None:
    desk = await story(tmp_path)
    found = await faults(tampered(desk.path, lambda db: db.executescript(statement)))
    assert found
    assert not any(fault.startswith("row ") for fault in found)


async def test_a_log_whose_end_is_missing_no_longer_leads_to_its_head(tmp_path: Path) -> None:
    desk = await story(tmp_path)
    head = (await heads(desk.path))[-1]

    def truncate(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM log WHERE seq > (SELECT max(seq) - 2 FROM log)")

    copy = tampered(desk.path, truncate)
    assert "the log does not end where it was said to" in await faults(copy, head)
    assert any("differ from the log" in fault for fault in await faults(copy))


async def test_a_log_and_tables_cut_back_together_are_caught_by_the_head_alone(tmp_path: Path) -> None:
    desk = await story(tmp_path)
    early = tmp_path / "early"
    early.mkdir()
    async with desk_in(early) as other:
        await other.open("one")
        await other.hold()
    head = (await heads(desk.path))[-1]
    assert await faults(early / "board.db") == []
    assert await faults(early / "board.db", head) == ["the log does not end where it was said to"]


async def test_a_rewritten_log_with_good_hashes_contradicts_the_head(tmp_path: Path) -> None:
    desk = await story(tmp_path)
    head = (await heads(desk.path))[-1]

    def rewrite(db: sqlite3.Connection) -> None:
        previous: LogRow | None = None
        for row in log_rows(db):
            actor = "mallory" if row.seq == 3 else row.actor
            forged = journal.chained(
                previous, LogRow(row.run, 0, row.version, row.at, row.op, actor, row.changes, "", "")
            )
            db.execute(
                "UPDATE log SET actor = ?, prev = ?, hash = ? WHERE seq = ?",
                (forged.actor, forged.prev, forged.hash, row.seq),
            )
            previous = forged

    copy = tampered(desk.path, rewrite)
    assert await faults(copy) == []
    assert await faults(copy, head) == ["the log does not end where it was said to"]


async def heads(path: Path) -> list[str]:
    async with open_sqlite(path, create=False) as store:
        return await store.read(lambda tx: [row.hash for row in tx.log(tx.runs()[0].id)])


async def test_the_triggers_refuse_what_an_audit_would_find(tmp_path: Path) -> None:
    desk = await story(tmp_path)
    db = sqlite3.connect(desk.path)
    for statement in (
        "UPDATE log SET actor = 'x'",
        "DELETE FROM log",
        "UPDATE change SET note = 'x'",
        "DELETE FROM change",
        "UPDATE entry SET gist = 'x'",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(statement)
    db.close()


async def test_the_log_says_who_did_what_and_when_without_long_texts_or_secrets(tmp_path: Path) -> None:
    desk = await story(tmp_path)
    async with open_sqlite(desk.path, create=False) as store:
        rows = await store.read(lambda tx: tx.log(tx.runs()[0].id))
        tokens = await store.read(lambda tx: [t.token for t in tx.tasks(tx.runs()[0].id) if t.token])
    assert [row.op for row in rows][:3] == ["open_run", "claim_task", "propose_update"]
    assert {row.actor for row in rows} == {"owner", "ada"}
    assert all(row.at == desk.clock() for row in rows)
    assert tokens
    assert not any(token in row.changes for token in tokens for row in rows)
    assert all(isinstance(json.loads(row.changes), list) for row in rows)
