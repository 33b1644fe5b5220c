"""Configuration files of others: read as they are, replaced whole, and put back byte for byte.

What a file was before the first install is kept in the user's state folder, never beside the file, which
may be in a repository.
"""

import base64
import errno
import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from delm_mcp.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Record:
    """What an install did to a file.

    Attributes:
        path: The file.
        before: Its bytes in base64; None when the install made it.
        after: The digest of what the install wrote.
        folders: The folders that the install made, outermost first.
    """

    path: str
    before: str | None
    after: str
    folders: tuple[str, ...] = ()


def load(file: Path) -> bytes | None:
    """The bytes of a file; None when it is not there.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Check its permissions.") from error


def decode(content: bytes | None, file: Path) -> str:
    """A file's text, with its byte order mark and line ends.

    Raises:
        ConfigError: It is not UTF-8.
    """
    try:
        return (content or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        line = (content or b"").count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file} is not UTF-8 in line {line}.", "Save it as UTF-8 first; nothing was changed."
        ) from None


def missing_folders(file: Path) -> tuple[str, ...]:
    """The folders that have to be made before a file can be written, outermost first."""
    missing: list[str] = []
    folder = Path(os.path.realpath(file)).parent
    while not folder.exists():
        missing.insert(0, str(folder))
        folder = folder.parent
    return tuple(missing)


def replace(file: Path, content: bytes, *, expected: bytes | None) -> None:
    """Write a file whole or not at all, through links, with the mode that it had; makes its folders.

    Args:
        expected: What it held when the change was made up.

    Raises:
        ConfigError: It was changed meanwhile, or cannot be written.
    """
    target = Path(os.path.realpath(file))
    missing = missing_folders(file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if load(target) != expected:
            raise ConfigError(f"{file} was changed meanwhile.", "Run the command again.")
        if expected is not None and not target.stat().st_mode & 0o222:
            raise PermissionError(errno.EACCES, "it is read-only")
        descriptor, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(partial).chmod(_mode_of(target))
            os.replace(partial, target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        _remove_folders(missing)
        raise ConfigError(
            f"{file} cannot be written: {error.strerror}.", "Nothing was changed. Check its permissions."
        ) from error


def _mode_of(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o7777
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def remove(file: Path, folders: tuple[str, ...]) -> None:
    """Remove a file that an install made, through links, and the folders that it made if they are empty."""
    try:
        Path(os.path.realpath(file)).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be removed: {error.strerror}.", "Check its folder's permissions."
        ) from error
    _remove_folders(folders)


def _remove_folders(folders: tuple[str, ...]) -> None:
    with suppress(OSError):
        for folder in reversed(folders):
            Path(folder).rmdir()


# -- what an install did -------------------------------------------------------------------------


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Records:
    """What installs did, one small file for each configuration file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "installs"

    def of(self, file: Path) -> Record | None:
        """What an install did to a file, or None."""
        try:
            facts = json.loads(self._place(file).read_text(encoding="utf-8"))
            return Record(facts["path"], facts["before"], facts["after"], tuple(facts["folders"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def keep(self, file: Path, before: bytes | None, after: bytes) -> None:
        """Remember what a file is before an install, unless that is itself the work of one.

        Raises:
            ConfigError: The state folder cannot be written.
        """
        earlier = self.of(file)
        if earlier is not None and before is not None and digest(before) == earlier.after:
            record = Record(earlier.path, earlier.before, digest(after), earlier.folders)
        else:
            kept = None if before is None else base64.b64encode(before).decode("ascii")
            record = Record(str(file), kept, digest(after), missing_folders(file))
        self.put(file, record)

    def put(self, file: Path, record: Record | None) -> None:
        """Replace what is remembered of a file; None forgets it."""
        place = self._place(file)
        try:
            if record is None:
                place.unlink(missing_ok=True)
                return
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.touch(mode=0o600)  # it may hold what the file held, such as tokens
            place.write_text(json.dumps(asdict(record)), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{place} cannot be written: {error.strerror}.",
                "It keeps what --undo needs. Set XDG_STATE_HOME to a folder that can be written.",
            ) from error

    def _place(self, file: Path) -> Path:
        return self._folder / f"{digest(os.fsencode(os.path.realpath(file)))[:24]}.json"
