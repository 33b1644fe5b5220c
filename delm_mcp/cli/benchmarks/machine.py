"""What the figures were measured on."""

import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from delm_mcp import __version__
from delm_mcp.cli.benchmarks.timing import percentile
from delm_mcp.store.connection import connect
from delm_mcp.store.files import mounted

FSYNCS_MAX = 300


def facts(folder: Path) -> dict[str, Any]:
    """The machine and the versions, for whoever quotes the figures."""
    database = connect(Path(":memory:"))
    sqlite_version = str(database.execute("SELECT sqlite_version()").fetchone()[0])
    database.close()
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "cores": os.cpu_count(),
        "load_1min": round(psutil.getloadavg()[0], 1),
        "system": platform.platform(terse=True),
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "sqlite": sqlite_version,
        "mcp": version("mcp"),
        "uvicorn": version("uvicorn"),
        "delm_mcp": __version__,
    }


def _file_system(folder: Path) -> str:
    around = {str(folder.resolve()), *map(str, folder.resolve().parents)}
    kinds = {mount.mountpoint: mount.fstype for mount in mounted() if mount.mountpoint in around}
    return kinds[max(kinds, key=len)] if kinds else "unknown"


def fsync_cost(folder: Path, limit_s: float) -> dict[str, Any]:
    """What making 4 KiB durable costs on this disk: written over, as a write-ahead log does that has
    reached its size, and appended, as it does before."""
    found: dict[str, Any] = {}
    path = folder / "fsync.probe"
    for name, grown in (("overwrite", FSYNCS_MAX), ("append", 0)):
        path.write_bytes(bytes(4096 * grown))
        times = _fsyncs(path, limit_s / 2)
        found[f"fsync_{name}_p50_ms"] = round(percentile(times, 50) * 1e3, 3)
        found[f"fsync_{name}_p99_ms"] = round(percentile(times, 99) * 1e3, 3)
    path.unlink()
    return found


def _fsyncs(path: Path, limit_s: float) -> list[float]:
    block = os.urandom(4096)
    times: list[float] = []
    with path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())
        began = time.perf_counter()
        while len(times) < FSYNCS_MAX and time.perf_counter() - began < limit_s:
            start = time.perf_counter()
            file.write(block)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return times
