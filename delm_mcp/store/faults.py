"""SQLite's errors, translated once.

Whatever the surroundings cause becomes a `StoreError` that says what would work. Constraint
violations stay `sqlite3.IntegrityError`, because the row operations know what they mean, and plain
mistakes in SQL stay what they are, because they are bugs.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from delm_mcp.errors import StoreCorrupt, StoreError, StoreUnavailable

# https://sqlite.org/rescode.html; the low byte of an extended code is the primary one.
_PERM, _BUSY, _LOCKED, _READONLY, _INTERRUPT, _IOERR = 3, 5, 6, 8, 9, 10
_CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _CONSTRAINT, _NOTADB = 11, 13, 14, 15, 19, 26
_IOERR_SHMSIZE = _IOERR | 19 << 8


def result_code(error: Exception) -> int:
    """SQLite's extended result code behind an exception of any of its libraries; 0 when there is none."""
    code = getattr(error, "sqlite_errorcode", None) or getattr(error, "extendedresult", None)
    return code if isinstance(code, int) else 0


def _locked(path: Path) -> StoreError:
    return StoreUnavailable(
        f"{path} is locked by another program.",
        "Close what else has it open for writing (a database browser, the sqlite3 shell), then try again.",
    )


def _read_only(path: Path) -> StoreError:
    return StoreUnavailable(
        f"{path} cannot be written: the file, its folder or its file system is read-only for this user.",
        "Make the file and its folder writable, or put the board elsewhere.",
    )


def _full(path: Path) -> StoreError:
    return StoreUnavailable(
        f"The disk that holds {path} is full; nothing of this write was kept.",
        "Free some space, then send the same call again.",
    )


def _disk_failed(path: Path) -> StoreError:
    return StoreUnavailable(
        f"The disk that holds {path} refused to read or write; this write was not acknowledged.",
        "See the system's log for the device, then send the same call again: it is kept at most once.",
    )


def _corrupt(path: Path) -> StoreError:
    return StoreCorrupt(
        f"{path} is damaged.",
        "Stop every delm-mcp that uses it, copy it with its -wal file, then restore a backup or try "
        "`sqlite3 board.db .recover`.",
    )


def _not_a_database(path: Path) -> StoreError:
    return StoreCorrupt(f"{path} is not a SQLite database.", "Give another path, or move that file away.")


def _cannot_open(path: Path) -> StoreError:
    return StoreUnavailable(
        f"{path}, or a file beside it that SQLite needs, cannot be opened.",
        "Check that the folder is there and that this user may write in it.",
    )


def _interrupted(path: Path) -> StoreError:
    return StoreUnavailable(f"A query on {path} was stopped because the board is closing.")


_MEANING: dict[int, Callable[[Path], StoreError]] = {
    _PERM: _read_only,
    _BUSY: _locked,
    _LOCKED: _locked,
    _PROTOCOL: _locked,
    _READONLY: _read_only,
    _INTERRUPT: _interrupted,
    _IOERR: _disk_failed,
    _FULL: _full,
    _IOERR_SHMSIZE: _full,
    _CORRUPT: _corrupt,
    _NOTADB: _not_a_database,
    _CANTOPEN: _cannot_open,
}


def translated(error: Exception, path: Path, *, reading: bool = False) -> Exception:
    """Return what to raise in place of `error`; a new exception, or `error` itself.

    Each of several waiters gets an exception of its own, so that their tracebacks do not mix.

    Args:
        reading: On a connection that may only read, an attempt to write is a mistake of the caller
            and not a read-only file.
    """
    code = result_code(error)
    make = _MEANING.get(code) or _MEANING.get(code & 0xFF)
    if make is not None and not (reading and code == _READONLY):
        meant: Exception = make(path)
    elif code and not isinstance(error, sqlite3.Error):
        meant = _in_pythons_words(error, code)
    else:
        return error
    meant.__cause__ = error
    return meant


@contextmanager
def translating(path: Path, *, reading: bool = False) -> Iterator[None]:
    """Raise what `translated` makes of an exception from the block."""
    try:
        yield
    except Exception as error:
        meant = translated(error, path, reading=reading)
        if meant is error:
            raise
        raise meant from error


def _in_pythons_words(error: Exception, code: int) -> sqlite3.Error:
    """Another SQLite library's exception as the one of `sqlite3`, so that callers know only those."""
    name = "IntegrityError" if code & 0xFF == _CONSTRAINT else type(error).__name__
    kind = getattr(sqlite3, name, sqlite3.OperationalError)
    said: sqlite3.Error = kind(*error.args)
    said.sqlite_errorcode = code
    return said
