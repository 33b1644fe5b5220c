"""A fair lock between the processes that share a board.

SQLite's own lock is polled, so a busy process starves the others: of 16 writers some never get in.
Writers therefore take turns on two files beside the database, and SQLite's lock stays what keeps the
data right. Nothing is ever written to these files, and deleting them costs only fairness.
"""

import fcntl
import os
import sys
import threading
from pathlib import Path
from types import TracebackType

import psutil

from delm_mcp.errors import StoreUnavailable


class FileLock:
    """First come, first served, and never waits for ever. Used by one thread at a time.

    `flock` queues its waiters, but whoever lets go and asks again at once overtakes them. So there
    are two: `turn` is held while waiting for `lock`, and who comes back has to queue for `turn`.
    Held through the file descriptor, so the kernel frees it when the process dies.

    Args:
        database: The locks are made beside it, as `<name>.lock` and `<name>.turn`.
        timeout_s: How long `acquire` waits unless told otherwise.

    Raises:
        OSError: The files cannot be made.
    """

    def __init__(self, database: Path, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._database = database
        # flock needs no right to write, so users of one group can share a board.
        flags = os.O_RDONLY | os.O_CREAT
        self._lock = os.open(f"{database}.lock", flags, 0o666)
        try:
            self._turn = os.open(f"{database}.turn", flags, 0o666)
        except OSError:
            os.close(self._lock)
            raise
        self._keeper: threading.Thread | None = None
        self._wanted = threading.Semaphore(0)
        self._granted = threading.Semaphore(0)
        # What follows is shared with the keeper.
        self._mutex = threading.Lock()
        self._queued = self._abandoned = self._closed = False

    def acquire(self, timeout_s: float | None = None) -> None:
        """Take the lock.

        Raises:
            StoreUnavailable: Somebody else held it all the time; says who.
        """
        if self._acquire_now():
            return
        self._ask_keeper()
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        if not self._granted.acquire(timeout=wait_s) and self._abandon():
            raise StoreUnavailable(
                f"{self._database} has been locked for {wait_s:g} s by {_holder(self._lock)}.",
                "If that process is stopped or stuck, resume or end it; otherwise try again.",
            )

    def release(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def close(self) -> None:
        """Let go of the files, at once or (where the keeper still queues) when it is woken."""
        with self._mutex:
            self._closed = True
            if self._queued:
                return
        if self._keeper is not None:
            self._wanted.release()
            self._keeper.join()
        self._close_files()

    def _acquire_now(self) -> bool:
        """Take it without waiting, unless somebody else holds it or is ahead of us."""
        if self._queued:
            return False
        nobody_waits = fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.flock(self._turn, nobody_waits)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._lock, nobody_waits)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        return True

    # A blocked flock cannot be interrupted. It is left to a daemon thread, so that its caller can
    # give up and a process can end while somebody else holds the lock.

    def _ask_keeper(self) -> None:
        with self._mutex:
            self._abandoned = False
            if self._queued:
                return  # still queueing for a caller that gave up; its place in the queue is ours now
            self._queued = True
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="delm-lock", daemon=True)
            self._keeper.start()
        self._wanted.release()

    def _abandon(self) -> bool:
        """Tell the keeper that nobody waits any more; False when it was granted in the meantime."""
        with self._mutex:
            if self._granted.acquire(blocking=False):
                return False
            self._abandoned = True
            return True

    def _keep(self) -> None:
        while True:
            self._wanted.acquire()
            if self._closed:
                return
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            fcntl.flock(self._turn, fcntl.LOCK_UN)
            with self._mutex:
                self._queued = False
                if not self._abandoned:
                    self._granted.release()
                    continue
                self.release()
                if self._closed:
                    self._close_files()
                    return

    def _close_files(self) -> None:
        os.close(self._lock)
        os.close(self._turn)


def _holder(descriptor: int) -> str:
    """Name the process that holds a flock on this file, where the system tells."""
    if not sys.platform.startswith("linux"):
        return "another process"
    inode = os.fstat(descriptor).st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") and int(fields[4]) > 0:
            return _process(int(fields[4]))
    return "another process"


def _process(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"process {pid} ({process.name()}, {process.status()})"
    except psutil.Error:
        return f"process {pid}"
