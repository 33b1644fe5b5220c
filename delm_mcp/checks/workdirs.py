"""Temporary folders for checks: made, locked while in use, and removed whatever was done to them."""

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

_PREFIX = "delm-check-"
_LOCK = "lock"
# A folder this young may not have its lock yet.
_YOUNG_S = 60.0


@asynccontextmanager
async def work_dir(root: Path | None = None) -> AsyncIterator[Path]:
    """A private folder (mode 0700) under `root` or the system's temporary folder.

    It is gone afterwards, also when the code that ran in it has removed permissions. Should this
    process be killed first, `remove_abandoned` finds the folder later.
    """
    path, lock = _make(root)
    try:
        yield path
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(remove_tree, path)
        os.close(lock)


def _make(root: Path | None) -> tuple[Path, int]:
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root)).resolve()
    lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path, lock


def remove_abandoned(root: Path | None = None) -> int:
    """Remove the folders of processes that were killed during a check; returns how many."""
    removed = 0
    for path in Path(root or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            if time.time() - status.st_ctime > _YOUNG_S and _is_abandoned(path):
                remove_tree(path)
                removed += 1
    return removed


def _is_abandoned(path: Path) -> bool:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def remove_tree(path: Path) -> None:
    """Remove a folder that hostile code has written in; links are not followed."""
    # RecursionError: folders nested deeper than Python's stack, which costs the code one line.
    with suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        for program in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run([*program, "--", path], capture_output=True, timeout=120, check=False)
