"""Benchmarks by name: what `delm-run bench NAME` loads."""

from collections.abc import Sequence
from pathlib import Path

from delm_client.bench.errors import DataError, did_you_mean
from delm_client.bench.exercises.folders import EXERCISM, QUIXBUGS, load_exercism, load_quixbugs
from delm_client.bench.exercises.single import load_humaneval, load_mbpp
from delm_client.bench.items import Benchmark, Item
from delm_client.bench.longbench import data as longbench
from delm_client.bench.swebench import data as swebench

WANTED = {
    Benchmark.MBPP: "sanitized-mbpp.json of https://github.com/google-research/google-research (folder mbpp)",
    Benchmark.EXERCISM: f"a clone of {EXERCISM}",
    Benchmark.QUIXBUGS: f"a clone of {QUIXBUGS}",
}
"""What has to be named for the benchmarks that cannot be fetched by themselves."""


def named(name: str) -> Benchmark:
    """The benchmark of this name. Raises DataError with the names there are."""
    try:
        return Benchmark(name.strip().casefold())
    except ValueError:
        known = list(Benchmark)
        raise DataError(
            f"There is no benchmark `{name}`.{did_you_mean(name, known)} There are: {', '.join(known)}."
        ) from None


def load(name: str, source: Path | None = None, *, domain: str = longbench.MULTI_DOC) -> Sequence[Item]:
    """Load a benchmark's items.

    Args:
        source: The data file, or the clone; None: what is installed, or the hub.
        domain: Of LongBench-v2.

    Raises:
        DataError: No such benchmark, or something is wrong with its data.
        ExtraMissing: Something optional is needed and not installed.
    """
    benchmark = named(name)
    if source is None and benchmark in WANTED:
        raise DataError(f"{benchmark} has to be downloaded first: name {WANTED[benchmark]}.")
    match benchmark:
        case Benchmark.LONGBENCH:
            return longbench.load(source, domain)
        case Benchmark.SWEBENCH:
            return swebench.load(source)
        case Benchmark.HUMANEVAL:
            return load_humaneval(source)
    assert source is not None  # noqa: S101  # all that is left is in WANTED
    if benchmark is Benchmark.MBPP:
        return load_mbpp(source)
    return load_exercism(source) if benchmark is Benchmark.EXERCISM else load_quixbugs(source)
