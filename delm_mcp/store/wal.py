"""Checkpoints: moving the write-ahead log's pages into the database file, safely on every SQLite.

SQLite 3.7.0 to 3.51.2 can lose a commit that restarts the log while a second checkpoint runs
(https://sqlite.org/wal.html#walresetbug). So automatic checkpoints are off on every connection, and
the only one there is runs while a connection of the same process holds the write lock: then nobody
commits and nobody else checkpoints.
"""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from delm_mcp.store.connection import SqlConnection, roll_back

# SQLite's own default. Moving 1,000 pages holds writers up for some 4 ms.
CHECKPOINT_FRAMES = 1000

_HEADER_BYTES, _FRAME_HEADER_BYTES, _PAGE_BYTES_MIN = 32, 24, 512


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint found and did, in frames of one page.

    `moved` is less than `frames` while a reader still needs the older pages.
    """

    frames: int
    moved: int


def checkpoint(connection: SqlConnection, open_other: Callable[[], sqlite3.Connection]) -> Checkpoint:
    """Move what no reader needs any more; the caller holds the board's lock file.

    Args:
        connection: The writer, outside a transaction.
        open_other: Opens one more, configured connection for the checkpoint itself.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        other = open_other()
        try:
            _, frames, moved = other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            other.close()
    finally:
        roll_back(connection)
    return Checkpoint(frames, moved)


class WalGauge:
    """Tells when the log has grown enough for a checkpoint, whoever wrote to it.

    The file's size does not tell, because a restarted log overwrites itself from the front and stays
    as long as it ever was. But a restart changes the salt in the log's header, and each frame repeats
    the salt that it was written under: so the log has n frames if its frame n has the header's salt.
    (https://sqlite.org/fileformat2.html#walformat. Reading the -wal file is harmless: SQLite's locks
    are on the database and -shm files, which nobody but SQLite may open.)
    """

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-wal"
        self._file = -1
        self._salt = b""
        self._limit_frames = CHECKPOINT_FRAMES

    def due(self) -> bool:
        """Whether a checkpoint is worth its cost now. Called by whoever holds the lock file."""
        if not self._open():
            return False
        header = os.pread(self._file, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES:
            return False
        if header[16:24] != self._salt:
            self._salt, self._limit_frames = header[16:24], CHECKPOINT_FRAMES
        page_bytes = int.from_bytes(header[8:12], "big")
        offset = _HEADER_BYTES + (self._limit_frames - 1) * (_FRAME_HEADER_BYTES + page_bytes)
        return os.pread(self._file, 8, offset + 8) == self._salt

    def postpone(self) -> None:
        """Note an attempt, so that a checkpoint that keeps failing is not tried after every batch."""
        self._limit_frames += CHECKPOINT_FRAMES

    def checked(self, result: Checkpoint) -> None:
        """Note a checkpoint: where a reader held it back, the next is due when there is more to move."""
        self._limit_frames = result.frames + CHECKPOINT_FRAMES

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> bool:
        """Open the log once it is big enough to matter. While we are connected nobody replaces it."""
        if self._file < 0:
            try:
                if os.stat(self._path).st_size < CHECKPOINT_FRAMES * _PAGE_BYTES_MIN:
                    return False
                self._file = os.open(self._path, os.O_RDONLY)
            except OSError:
                return False
        return True
