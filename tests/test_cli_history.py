"""`status`, `context`, `export`, `audit`, `cancel`: what an owner sees, also of a file that was changed."""

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from delm_mcp.board.adding import NewTask
from delm_mcp.domain.proposal import MAX_RAW
from tests.outside import COMMAND, SEEN, delm_here, do, environment, finish, hall_in, hold

RAW = "x" * (MAX_RAW - 8) + " the end"
GISTS = [
    "The parser drops a trailing comma in lists",
    "A gist with [bold]markup[/], a :bug: and «guillemets»",
    "The parser keeps a comma in sets of 3",
]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a board on which somebody has worked."""
    folder = tmp_path_factory.mktemp("worked")

    async def main() -> None:
        async with hall_in(folder) as hall:
            await hall.open("a", "b", "c", NewTask("d", after=("#1",)), limits={"decide_grace_s": 0})
            async with Client(hall.server()) as client:
                for number, gist in enumerate(GISTS):
                    claim = await hold(client)
                    if number == 1:
                        await do(
                            client,
                            "propose_update",
                            lease=claim["lease"],
                            kind="fact",
                            gist=GISTS[0],
                            evidence=SEEN,
                        )
                        await do(
                            client,
                            "propose_update",
                            lease=claim["lease"],
                            kind="fail",
                            gist="Rewriting the tokenizer does not help",
                            scope="the tokenizer",
                            raw=RAW,
                            evidence=SEEN,
                        )
                    await finish(client, claim, gist)

    anyio.run(main)
    return folder


@pytest.fixture
def copied(worked: Path, tmp_path: Path) -> Path:
    """A copy of that board, to be changed."""
    board = tmp_path / "board.db"
    shutil.copy(worked / "board.db", board)
    return board


def shown(folder: Path, *words: str | Path) -> str:
    done = delm_here(*words, "--board", folder / "board.db", cwd=folder)
    assert done.code == 0, done.err
    return done.out


# -- looking -------------------------------------------------------------------------------------


def test_status_shows_store_run_agents_queue_and_verdicts(worked: Path) -> None:
    text = shown(worked, "status")
    for word in ("SQLite", "open", "Mend the parser", "drops", "[bold]", ":bug:", "3 done", "rejected"):
        assert word in text, word


def test_status_as_json_has_the_same_facts(worked: Path) -> None:
    facts = json.loads(shown(worked, "status", "--json"))
    (run,) = facts["runs"]
    assert facts["engine"].lower().startswith("sqlite 3.")
    assert facts["durability"]
    assert run["tasks"] == {"done": 3, "ready": 1}
    assert run["entries"] == {"admitted": 4, "rejected": 1}
    assert run["version"] == 4
    assert re.fullmatch(r"[0-9a-f]{64}", run["log"]["head"])
    assert GISTS[1] in {entry["gist"] for entry in run["latest"]}


def test_the_context_is_printed_to_the_letter(worked: Path) -> None:
    text = shown(worked, "context")
    for gist in (GISTS[0], "A gist with [bold]markup[/], a :bug: and", GISTS[2]):
        assert gist in text
    assert len(text.splitlines()) == 4


def test_the_context_at_a_version_is_a_beginning_of_the_newest(worked: Path) -> None:
    newest = shown(worked, "context")
    for version in range(1, 5):
        past = shown(worked, "context", "--at", str(version))
        assert newest.startswith(past)
        assert past + shown(worked, "context", "--since", str(version)) == newest


def test_the_context_can_be_filtered(worked: Path) -> None:
    assert "tokenizer" in shown(worked, "context", "--kind", "fail")
    assert GISTS[0] not in shown(worked, "context", "--kind", "fail")
    assert GISTS[2] in shown(worked, "context", "--query", "sets")
    assert GISTS[0] not in shown(worked, "context", "--query", "sets")


def test_why_says_what_stands_behind_an_entry(worked: Path) -> None:
    text = shown(worked, "context", "--why", "E1")
    assert GISTS[0] in text
    assert "check wellformed: pass" in text
    assert "already says exactly this" in shown(worked, "context", "--why", "E2")


def test_unfolding_shows_every_entry_in_full(worked: Path) -> None:
    text = shown(worked, "context", "--unfold", "E3", "--unfold", "E1")
    assert f"| {RAW}" in text
    assert GISTS[0] in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["context", "--at", "99"], "4"),
        (["context", "--since", "99"], "4"),
        (["context", "--kind", "guess"], "fact, fail, patch, answer"),
        (["context", "--why", "E99"], "no entry E99"),
        (["context", "--why", "T1"], "label like E12"),
        (["context", "--run", "r-none"], "no run"),
        (["status", "--run", "r-none"], "no run"),
        (["audit", "--run", "r-none"], "no run"),
        (["export", "--run", "r-none"], "no run"),
        (["cancel", "because", "--run", "r-none"], "no run"),
    ],
)
def test_what_is_not_there_is_said(worked: Path, words: list[str], said: str) -> None:
    done = delm_here(*words, "--board", worked / "board.db", cwd=worked)
    assert (done.code, done.out) == (1, "")
    assert said in done.err


def test_export_is_json_lines_and_complete(worked: Path) -> None:
    rows = [json.loads(line) for line in shown(worked, "export").splitlines()]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(row["type"], []).append(row)
    assert {kind: len(found) for kind, found in kinds.items()} == {
        "run": 1,
        "agent": len(kinds["agent"]),
        "task": 4,
        "entry": 5,
        "change": 4,
        "log": len(kinds["log"]),
        "head": 1,
    }
    assert {row["gist"] for row in kinds["entry"]} >= set(GISTS)
    assert any(row["raw"].endswith(" the end") for row in kinds["entry"])
    assert [row["seq"] for row in kinds["log"]] == list(range(1, len(kinds["log"]) + 1))
    assert kinds["head"][0]["hash"] == kinds["log"][-1]["hash"]
    assert kinds["run"][0]["policy"]
    assert {row["token"] for row in kinds["task"]} == {""}


@pytest.mark.parametrize("command", ["export", "context", "status"])
def test_a_reader_that_stops_early_is_no_error(worked: Path, command: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, command, "--board", str(worked / "board.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=worked,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=30)
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


# -- auditing ------------------------------------------------------------------------------------


def audit(board: Path, *words: str) -> tuple[int, str]:
    done = delm_here("audit", "--board", board, *words, cwd=board.parent)
    return done.code, done.out + done.err


def head_of(board: Path) -> str:
    facts = json.loads(shown(board.parent, "status", "--json"))
    head: str = facts["runs"][0]["log"]["head"]
    return head


def test_an_untouched_board_passes_its_audit(copied: Path) -> None:
    code, text = audit(copied)
    assert (code, "ok" in text, head_of(copied) in text) == (0, True, True)
    assert audit(copied, "--head", head_of(copied))[0] == 0


def forge(board: Path, *statements: str) -> None:
    """Change a file as somebody with a database shell would, past the triggers."""
    with sqlite3.connect(board) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


FORGERIES = {
    "a changed log row": ["UPDATE log SET actor = 'somebody' WHERE seq = 3"],
    "a changed time": ["UPDATE log SET at = at + 1 WHERE seq = 3"],
    "changed contents": ["UPDATE log SET changes = replace(changes, 'admitted', 'rejected')"],
    "a removed row": ["DELETE FROM log WHERE seq = 3"],
    "a removed row, closed up": [
        "DELETE FROM log WHERE seq = 3",
        "UPDATE log SET seq = seq - 1 WHERE seq > 3",
    ],
    "the first row gone": ["DELETE FROM log WHERE seq = 1"],
    "reordered rows": [
        "UPDATE log SET seq = -3 WHERE seq = 3",
        "UPDATE log SET seq = 3 WHERE seq = 4",
        "UPDATE log SET seq = 4 WHERE seq = -3",
    ],
    "a truncated log, tables as they were": ["DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)"],
    "a changed gist": ["UPDATE entry SET gist = 'Something else entirely' WHERE id = 1"],
    "a changed verdict": ["UPDATE entry SET state = 'admitted' WHERE state = 'rejected'"],
    "changed evidence": ["UPDATE entry SET evidence = '[]' WHERE id = 1"],
    "a changed raw text": ["UPDATE entry SET raw = 'y' WHERE id = 3"],
    "a removed change": ["DELETE FROM change WHERE id = 2"],
    "an added change": [
        "INSERT INTO change (run, version, entry, what, note, audience) "
        "SELECT run, version, entry, 'retracted', '', '' FROM change WHERE id = 1"
    ],
    "a task that was never done": ["UPDATE task SET state = 'done' WHERE state = 'ready'"],
    "another goal": ["UPDATE run SET goal = 'Sell it'"],
    "a weaker policy": ["UPDATE run SET policy = '{}'"],
    "another author": ["UPDATE agent SET principal = 'mallory'"],
}


@pytest.mark.parametrize("statements", FORGERIES.values(), ids=FORGERIES.keys())
def test_an_audit_finds_what_was_changed(copied: Path, statements: list[str]) -> None:
    forge(copied, *statements)
    code, text = audit(copied)
    assert code == 1
    assert "tampered or damaged" in text
    assert "Traceback" not in text


def test_a_log_and_tables_that_were_cut_together_are_caught_by_a_head_that_was_written_down(
    copied: Path,
) -> None:
    head = head_of(copied)
    before = copied.with_name("before.db")
    shutil.copy(copied, before)

    async def more() -> None:
        async with hall_in(copied.parent) as hall, Client(hall.server()) as client:
            claim = await hold(client)
            await finish(client, claim, "One more finding about the parser")

    anyio.run(more)
    later = head_of(copied)
    assert later != head
    assert audit(copied, "--head", head)[0] == 0  # the old head is still part of the log
    assert audit(copied, "--head", later)[0] == 0
    shutil.copy(before, copied)  # an older state of the whole file: sound in itself
    assert audit(copied)[0] == 0
    code, text = audit(copied, "--head", later)
    assert code == 1
    assert "no log here contains the head" in text


def rechained(board: Path) -> None:
    """Forge as somebody does who knows the hash: change a row and chain all of them anew."""
    with sqlite3.connect(board) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        rows = connection.execute(
            "SELECT run, seq, version, at, op, actor, changes FROM log ORDER BY seq"
        ).fetchall()
        previous = "0" * 64
        for run, seq, version, at, op, actor, changes in rows:
            who = "mallory" if seq == 2 else actor
            content = json.dumps([run, seq, version, at, op, who, changes, previous], ensure_ascii=True)
            fresh = hashlib.sha256(content.encode()).hexdigest()
            connection.execute(
                "UPDATE log SET actor = ?, prev = ?, hash = ? WHERE seq = ?", (who, previous, fresh, seq)
            )
            previous = fresh
    connection.close()


def test_a_log_that_was_chained_anew_is_caught_by_a_head_that_was_written_down(copied: Path) -> None:
    head = head_of(copied)
    rechained(copied)
    assert audit(copied)[0] == 0
    assert audit(copied, "--head", head)[0] == 1


def test_a_damaged_file_is_said_to_be_damaged(copied: Path) -> None:
    with sqlite3.connect(copied) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    content = bytearray(copied.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xa5" * 8192
    copied.write_bytes(content)
    code, text = audit(copied)
    assert code == 1
    assert "damaged" in text
    assert "Traceback" not in text


# -- ending --------------------------------------------------------------------------------------


def test_cancelling_ends_a_run_and_keeps_what_was_verified(copied: Path) -> None:
    done = delm_here("cancel", "out of [bold]money[/]", "--board", copied, cwd=copied.parent)
    assert done.code == 0
    facts = json.loads(shown(copied.parent, "status", "--json"))["runs"][0]
    assert (facts["state"], facts["reason"]) == ("cancelled", "«out of [bold]money[/]»")
    assert facts["tasks"] == {"done": 3, "cancelled": 1}
    assert GISTS[0] in shown(copied.parent, "context")
    assert "out of [bold]money[/]" in shown(copied.parent, "status")
    again = delm_here("cancel", "once more", "--board", copied, cwd=copied.parent)
    assert again.code == 1
    assert "open" in again.err
    assert audit(copied)[0] == 0
