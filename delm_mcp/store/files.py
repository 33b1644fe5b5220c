"""Whether a path can hold a board: its folder, its kind, and the file system that it is on."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from delm_mcp.errors import StoreCorrupt, StoreUnavailable

APPLICATION_ID = 0x44654C4D
"""In the header of every board file: "DeLM"."""

# Write-ahead logging shares memory between its processes and trusts the file system's locks; neither
# holds between machines.
_NETWORK = frozenset(
    "9p acfs afpfs afs beegfs ceph cifs coda davfs davfs2 gfs2 glusterfs gpfs lustre ncpfs nfs nfs3 nfs4 "
    "ocfs2 orangefs panfs pvfs2 smb2 smb3 smbfs sshfs webdav".split()
)
_NETWORK_FUSE = (
    *_NETWORK,
    *"blobfuse blobfuse2 cephfs curlftpfs gcsfuse goofys jfs juicefs mount.nfs rclone s3fs seaweedfs".split(),
)
_MAGIC = b"SQLite format 3\0"


class Mount(NamedTuple):
    mountpoint: str
    fstype: str


def mounted() -> list[Mount]:
    """Every file system of this machine, in the order of mounting."""
    return [Mount(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]


def check_place(path: Path, *, create: bool, mounts: Callable[[], Sequence[Mount]] = mounted) -> None:
    """Refuse a path that cannot hold a board.

    Args:
        path: The database file, resolved.
        create: Whether it may be missing.
        mounts: Lists the machine's file systems.

    Raises:
        StoreUnavailable: No such folder, a folder itself, a missing file, a network file system.
        StoreCorrupt: A file that is not a board.
    """
    if not path.parent.is_dir():
        raise StoreUnavailable(f"There is no folder {path.parent}.", "Make it first, or give another path.")
    if path.is_dir():
        raise StoreUnavailable(f"{path} is a folder.", f"Give a file, such as {path / 'board.db'}.")
    if not create and not path.exists():
        raise StoreUnavailable(f"There is no board at {path}.", "Open one with `delm-mcp init`.")
    fstype = network_filesystem(path, mounts())
    if fstype:
        raise StoreUnavailable(
            f"{path} is on a network file system ({fstype}), where SQLite's locks do not hold.",
            "Put the board on a local disk; where several machines share it, use `delm-mcp serve`.",
        )
    _check_header(path)


def network_filesystem(path: Path, mounts: Sequence[Mount]) -> str:
    """Return the type of the network file system that holds `path`, or "" when it is a local one."""
    covering = [mount for mount in mounts if path.is_relative_to(mount.mountpoint)]
    if not covering:
        return ""
    # The deepest one counts, and of two on one folder the later hides the earlier.
    depth = max(len(Path(mount.mountpoint).parts) for mount in covering)
    fstype = [mount.fstype for mount in covering if len(Path(mount.mountpoint).parts) == depth][-1]
    family, _, driver = fstype.lower().partition(".")
    remote = driver in _NETWORK_FUSE if family == "fuse" else family in _NETWORK
    return fstype if remote else ""


def _check_header(path: Path) -> None:
    """Refuse a foreign file before anything is made beside it.

    Only where there is no lock file yet: closing a file drops this process's POSIX locks on it, so a
    database that may be open here must not be read except through SQLite, which checks it again. And
    not where a power loss left a journal: what stands in the file then is half of a change.
    """
    if not path.exists() or any(os.path.exists(f"{path}{suffix}") for suffix in (".lock", "-journal")):
        return
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be read: {error.strerror}.", "Check who owns it, or give another path."
        ) from error
    if header and not header.startswith(_MAGIC):
        raise StoreCorrupt(f"{path} is not a SQLite database.", "Give another path, or move that file away.")
    if header and int.from_bytes(header[68:72], "big") not in (APPLICATION_ID, 0):
        raise foreign(path)


def foreign(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path} is a SQLite database of another program.", "Give another path; it has been left as it was."
    )
