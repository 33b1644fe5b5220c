"""Where figures come from: what stands beside each table and each picture."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Folder
from delm_client.bench.models import SCRIPTED
from delm_client.words import shortened

SCRIPTED_MARK = "scripted model; says nothing about models"
COMMAND_CHARS = 300


@dataclass(frozen=True, slots=True)
class Source:
    """A run: which command made it, with which model, when, under which policy of the board, and where it is.

    Attributes:
        scripted: Whether a scripted model answered, wholly or in part.
    """

    folder: str
    command: str
    benchmark: str
    topology: str
    agents: int
    policy: str
    model: str
    date: str
    scripted: bool
    at_once: int
    habits: Mapping[str, Any]
    versions: Mapping[str, str]
    seeds: Mapping[str, Any]

    @property
    def tests(self) -> str:
        """`tests shown`, or hidden, where the benchmark knows that; else nothing."""
        return f"tests {self.habits['tests']}" if "tests" in self.habits else ""

    @property
    def kind(self) -> str:
        """The topology with what else tells runs apart: `delm, open`, `single, tests shown`."""
        gate = "" if self.policy in ("none", "standard") else self.policy
        return ", ".join(filter(None, (self.topology, gate, self.tests)))

    @property
    def team(self) -> str:
        """`delm x4`, or `delm x4, open`."""
        return self.kind.replace(self.topology, f"{self.topology} x{self.agents}", 1)

    @property
    def short(self) -> str:
        """What fits beside a plot."""
        team = f"{self.topology} x{self.agents}, policy {self.policy}"
        team += f", {self.tests}" if self.tests else ""
        return f"{self.model}, {team}, {self.date[:16]}, {self.folder}"

    @property
    def line(self) -> str:
        """All of it in one line."""
        mark = f"{SCRIPTED_MARK.capitalize()}. " if self.scripted else ""
        return f"{mark}{self.short}, made by: {shortened(self.command, COMMAND_CHARS)}"

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def source_of(folder: Folder, served: Iterable[str]) -> Source:
    """The source that a folder is.

    Args:
        served: The models that answered, as servers name them.

    Raises:
        BenchError: Its configuration lacks what every run has.
    """
    config = folder.config
    try:
        plan, model = config["plan"], config["model"]["name"]
        return Source(
            folder=str(folder.path),
            command=config["command"],
            benchmark=config["benchmark"],
            topology=plan["topology"],
            agents=int(plan["agents"]),
            policy=plan["policy"],
            model=model,
            date=config["date"],
            scripted=any(name.startswith(SCRIPTED) for name in (model, *served)),
            at_once=int(plan["at_once"]),
            habits=plan["habits"],
            versions=config["versions"],
            seeds=config["seeds"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{folder.path}/config.json is not that of a benchmark run: no {error}.") from error


def setting(source: Source) -> str:
    """What else decides the figures, in one line."""
    return json.dumps({**source.habits, "at_once": source.at_once, "seeds": dict(source.seeds)})


def labelled(sources: Sequence[Source]) -> list[tuple[str, Source]]:
    """A for the first run, B for the second."""
    return [(label_of(index), source) for index, source in enumerate(sources)]


def label_of(index: int) -> str:
    """A to Z, and then by number."""
    return chr(ord("A") + index) if index < 26 else f"R{index + 1}"
