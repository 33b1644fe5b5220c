"""The schema's history: numbered SQL files, each applied once, in order, in one transaction."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from delm_mcp.errors import StoreCorrupt, StoreFromTheFuture, StoreUnavailable
from delm_mcp.store.connection import SqlConnection, roll_back
from delm_mcp.store.files import APPLICATION_ID, foreign

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")

_TABLE = """
CREATE TABLE IF NOT EXISTS migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. `sql` may hold several statements, none of which ends a transaction."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(package: str) -> list[Migration]:
    """Read `0001_name.sql`, `0002_name.sql` ... from a package.

    Raises:
        ValueError: A file with another name, or a number that is missing or taken twice.
    """
    found = []
    for file in resources.files(package).iterdir():
        if file.name.endswith(".sql"):
            match = _FILE_NAME.fullmatch(file.name)
            if match is None:
                raise ValueError(f"{file.name} is not named like 0001_name.sql")
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {package} are not numbered 1, 2, 3 ... without a gap")
    return found


def migrate(connection: SqlConnection, path: Path, migrations: Sequence[Migration]) -> None:
    """Make the file at `path` a board with the newest schema; the caller holds the lock file.

    Raises:
        StoreFromTheFuture: A newer delm-mcp wrote it.
        StoreCorrupt: It belongs to another program, or to a delm-mcp that was changed by hand.
        StoreUnavailable: The file system cannot do write-ahead logging.
    """
    version = _version(connection, path)
    if version > len(migrations):
        raise StoreFromTheFuture(
            f"{path} has schema {version}, and this delm-mcp knows schemas up to {len(migrations)}.",
            "Upgrade delm-mcp (`pip install -U delm-mcp`), or give another path.",
        )
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(
            f"The file system of {path} cannot share memory between processes (journal mode {mode}).",
            "Put the board on a local disk.",
        )
    _check_history(connection, path, migrations[:version])
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(_TABLE)
        # Changes nothing, and fails where the file is read-only; BEGIN IMMEDIATE itself does not.
        connection.execute("DELETE FROM migration WHERE number < 0")
        for migration in migrations[version:]:
            _apply(connection, migration)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _version(connection: SqlConnection, path: Path) -> int:
    """The schema's number; 0 for an empty file."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (owner or tables):
        raise foreign(path)
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_history(connection: SqlConnection, path: Path, known: Sequence[Migration]) -> None:
    if not known:
        return
    applied = connection.execute("SELECT number, name, sha256 FROM migration ORDER BY number").fetchall()
    expected = [(migration.number, migration.name, migration.sha256) for migration in known]
    for was, now in zip(applied, expected, strict=False):
        if tuple(was) != now:
            raise StoreCorrupt(
                f"{path} was made with another text of migration {was[0]:04} ({was[1]}).",
                "Use the delm-mcp that made it, or start a new board.",
            )
    if len(applied) != len(expected):
        raise StoreCorrupt(
            f"{path} says it has schema {len(expected)}, but lists {len(applied)} migrations.",
            "Restore a backup.",
        )


def _apply(connection: SqlConnection, migration: Migration) -> None:
    for statement in _statements(migration.sql):
        connection.execute(statement)
        if not connection.in_transaction:
            raise ValueError(f"migration {migration.number:04} ends the transaction")
    row = f"{migration.number}, '{migration.name}', '{migration.sha256}'"
    connection.execute(f"INSERT INTO migration (number, name, sha256) VALUES ({row})")
    connection.execute(f"PRAGMA user_version = {migration.number}")


def _statements(script: str) -> Iterator[str]:
    """Split a script; `executescript` would commit the transaction first."""
    statement = ""
    for part in re.split(r"(?<=;)", script):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if re.sub(r"--.*", "", statement).strip():
        yield statement
