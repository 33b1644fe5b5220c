"""What the benchmarks raise.

BenchError
├── DataError      a data set is missing, empty, or not what it should be; names the file and the line
├── ExtraMissing   an optional library is not installed; names the command that installs it
└── PlugError      an environment for SWE-bench cannot be used here: no docker, no clone
"""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of all; its text says what is wrong and what would work."""


class DataError(BenchError):
    """The data are not there, or are not what this benchmark reads."""


class ExtraMissing(BenchError):
    """Something optional is needed for this and is not installed."""


class PlugError(BenchError):
    """The environment that was asked for is not there; says nothing about any patch."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, or nothing where nothing is near; case, spaces and underscores do not count."""
    plain = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(word), list(plain), n=1, cutoff=0.6)
    return f" Did you mean `{plain[near[0]]}`?" if near else ""


def _plain(word: str) -> str:
    return "".join(char for char in word.casefold() if char.isalnum())
