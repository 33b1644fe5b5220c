"""A disk that can lose power, as a SQLite VFS.

SQLite reads and writes real files through it, as it would through the operating system's cache.
Beside them a `Disk` remembers what was really asked to be durable: each file as of its last sync, and
every write since. When the power goes, each sector written since then is there, or not, or half
there; then the surviving image can be opened like any database.

A deleted file may come back unless its folder was synced. Simplified in the disk's favour: a file
that was made stays made.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

SECTOR_BYTES = 512


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """`(offset, data)` since the last sync, in order; no data means cut off at the offset."""

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def survivor(self, chance: random.Random) -> bytes:
        image = bytearray(self.durable)
        share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for offset, data in self.pending:
            if data is None:
                if chance.random() < share:
                    _apply(image, offset, None)
                continue
            for start in range(0, len(data), SECTOR_BYTES):
                sector = data[start : start + SECTOR_BYTES]
                if chance.random() < share:
                    _apply(image, offset + start, sector)
                elif chance.random() < 0.1:
                    _apply(image, offset + start, sector[: len(sector) // 2])
        return bytes(image)


def _apply(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
        return
    image.extend(bytes(max(0, offset + len(data) - len(image))))
    image[offset : offset + len(data)] = data


class Disk:
    """What would be left of each file. From the moment of the power loss nothing changes it any more.

    SQLite itself is not told: a machine without power hears of no error. Whoever uses the disk counts
    only what was acknowledged while it was not `dead`.

    Args:
        folder: Where the files are; those that are there already are durable.
        accesses: How many writes, cuts, syncs and deletions are served before the power goes. The
            last one is begun but not finished.
    """

    def __init__(self, folder: Path, accesses: int) -> None:
        self.left = accesses
        self.files = {str(path): _File(bytearray(path.read_bytes())) for path in folder.iterdir()}
        self.ghosts: dict[str, _File] = {}

    @property
    def dead(self) -> bool:
        return self.left <= 0

    def change(self, name: str, offset: int, data: bytes | None) -> None:
        """Note a write, or a cut at the offset when there is no data."""
        if not self.dead:
            self.files.setdefault(name, _File()).pending.append((offset, data))
            self.left -= 1

    def sync(self, name: str, *, folder: bool) -> None:
        self.left -= 1
        if not self.dead:
            self.files.setdefault(name, _File()).sync()
            if folder:
                self.ghosts.clear()

    def delete(self, name: str, *, durably: bool) -> None:
        self.left -= 1
        if not self.dead:
            gone = self.files.pop(name, None)
            if gone is not None and not durably:
                self.ghosts[name] = gone

    def write_image(self, chance: random.Random, folder: Path) -> None:
        """Write what the power loss left to `folder`."""
        back = {name: ghost for name, ghost in self.ghosts.items() if chance.random() < 0.5}
        for name, file in (self.files | back).items():
            (folder / Path(name).name).write_bytes(file.survivor(chance))


class _DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str, filename: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", filename, flags)
        self._disk = disk
        self._name = name
        # As SQLite's own VFS does: the first sync of a journal or a log syncs their folder, too.
        syncs_folder = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
        self._sync_folder = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & syncs_folder)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.change(self._name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.change(self._name, newsize, None)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self._name, folder=self._sync_folder)
        self._sync_folder = False
        # The real file needs no sync: nothing pulls the plug of this machine.


class _DiskVFS(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, "", exclude={"xCurrentTime", "xRandomness"})
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:
            return apsw.VFSFile("", name, flags)
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _DiskFile(self._disk, text, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.delete(filename, durably=syncdir)
        super().xDelete(filename, syncdir)


@contextmanager
def plugged_in(name: str, disk: Disk) -> Iterator[str]:
    """Register the disk as a VFS for the time of the block."""
    vfs = _DiskVFS(name, disk)
    try:
        yield name
    finally:
        vfs.unregister()
