"""What was recorded of each program: every edit of the search, what its tests said, and for how long."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from delm_client.study.errors import StudyError

KILLS, PASSES, UNKNOWN = "k", "p", "?"


@dataclass(frozen=True, slots=True)
class Trial:
    """One edit. Seconds are processor time of its tests, so that a busy machine makes none slower."""

    edit: str
    tests: int
    """Tests executed until the first one failed."""
    seconds: float
    wall_s: float
    end: str
    passes: bool
    """Whether every test that the search sees passes."""
    right: bool | None
    """Whether the held-out tests pass, too; None where it does not pass, or there are none."""
    kills: str
    """For each test in the order of the search, whether it kills the edit; ? where that is not known."""


@dataclass(frozen=True, slots=True)
class Space:
    """One scope: a family of edits in one function. The unmutated tests run again at its end."""

    name: str
    trials: tuple[Trial, ...]
    control_tests: int
    control_s: float
    whole: bool
    """False where the recording's limit cut it off: it rules nothing out."""

    @property
    def tests(self) -> int:
        """Tests executed in all of it."""
        return sum(trial.tests for trial in self.trials) + self.control_tests

    @property
    def seconds(self) -> float:
        """Seconds of all of it."""
        return sum(trial.seconds for trial in self.trials) + self.control_s


@dataclass(frozen=True, slots=True)
class Program:
    """One target, all of whose scopes were tried, in the order of the search."""

    name: str
    fault: str
    family: str
    tests: int
    start_tests: int
    """Executed before the first edit: the tests as they are, and once more traced."""
    start_s: float
    """Seconds until the first edit, the test server's start included."""
    spaces: tuple[Space, ...]
    held_out: int
    ended: str

    @property
    def repairable(self) -> bool:
        """Whether some edit makes its tests pass."""
        return any(trial.passes for space in self.spaces for trial in space.trials)


@dataclass(frozen=True, slots=True)
class Suite:
    """What the gate runs: the whole suite."""

    tests: int
    seconds: float


def to_line(program: Program) -> str:
    """One line of the file."""
    return json.dumps(asdict(program), separators=(",", ":")) + "\n"


def from_row(row: dict[str, Any]) -> Program:
    """The inverse. Raises KeyError or TypeError for what is none."""
    spaces = tuple(
        Space(**{**space, "trials": tuple(Trial(**trial) for trial in space["trials"])})
        for space in row["spaces"]
    )
    return Program(**{**row, "spaces": spaces})


def kept(path: Path) -> list[Program]:
    """The programs that were recorded in full; a line that a killed recorder left half-written is cut off.

    Raises:
        StudyError: Some other line is no program.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        path.write_bytes(whole)
    found = []
    for number, line in enumerate(whole.decode("utf-8").split("\n")[:-1], 1):
        try:
            found.append(from_row(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"{path}, line {number} is no recorded program ({error}): delete the line, and it is "
                "recorded anew."
            ) from error
    return found


def stretched(program: Program, factor: float, start_factor: float = 1.0) -> Program:
    """The same program with tests that take so many times as long, and a start that does."""
    spaces = tuple(
        replace(
            space,
            trials=tuple(replace(trial, seconds=factor * trial.seconds) for trial in space.trials),
            control_s=factor * space.control_s,
        )
        for space in program.spaces
    )
    return replace(program, spaces=spaces, start_s=start_factor * program.start_s)


def trials(programs: Iterable[Program]) -> int:
    """How many edits were run."""
    return sum(len(space.trials) for program in programs for space in program.spaces)
