"""What a run is asked to do: from the command line for a new one, from its folder for one to go on with."""

import hashlib
import json
import platform
import random
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from delm_client.bench import registry
from delm_client.bench.errors import BenchError, DataError
from delm_client.bench.folder import Folder
from delm_client.bench.items import Item
from delm_client.bench.limits import Caps
from delm_client.bench.models import SCRIPTED, Price, Wanted
from delm_client.bench.policies import Chosen, chosen
from delm_client.bench.runner import DONE, Plan
from delm_client.bench.subjects import Subject, Team, Topology, subject_of

PACKAGES = ("delm-mcp", "mcp", "pydantic-ai-slim", "genai-prices", "openai", "anthropic", "google-genai")
NO_BOARD = "none"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which items: of a benchmark's data file (None: the hub), and how many of them (0: all)."""

    name: str
    data: Path | None
    domain: str
    limit: int
    seed: int


@dataclass(frozen=True, slots=True)
class Job:
    """A run that can be started.

    Attributes:
        folder: None for a new run, until it is opened.
        path: Where that folder will be.
        choice: None for a run that goes on.
        policy: None where there is no board, and for a run that goes on.
    """

    subject: Subject
    plan: Plan
    wanted: Wanted
    items: Sequence[Item]
    folder: Folder | None
    path: Path
    choice: Choice | None = None
    policy: Chosen | None = None

    def within(self, item_caps: Caps, run_caps: Caps, at_once: int) -> "Job":
        """The same within caps. Raises BenchError for a cap that could not be watched."""
        blind = any(caps.cost_usd is not None for caps in (item_caps, run_caps))
        if blind and not self.wanted.priced():
            raise BenchError(
                f"No price of {self.wanted.name} is known, so its cost cannot be capped. "
                "Name one with --price INPUT/CACHED/OUTPUT, or cap tokens or calls."
            )
        plan = replace(self.plan, item_caps=item_caps, run_caps=run_caps, at_once=at_once)
        return replace(self, plan=plan)

    def left(self) -> list[Item]:
        """What is still to be run."""
        ready = self.folder.items() if self.folder else {}
        return [each for each in self.items if ready.get(each.id, {}).get("state") != DONE]

    def opened(self) -> Folder:
        """The folder; made for a new run. Raises BenchError where something is already."""
        if self.folder is not None:
            return self.folder
        folder = Folder.create(self.path, _config(self))
        if self.policy is not None:
            self.policy.keep(folder.path)
        return folder


def begun(choice: Choice, team: Team, wishes: Mapping[str, Any], wanted: Wanted, into: Path | None) -> Job:
    """A new run. Raises BenchError for what is missing or wrong.

    Args:
        wishes: Habits of the agents; each benchmark takes those that it knows.
        team: With the policy as the user names it: a preset or a file.
        wanted: With `max_tokens` 0 for the benchmark's own.
    """
    wanted.known()
    named = chosen(team.policy)
    subject = subject_of(choice.name, wishes)
    if team.topology not in subject.topologies:
        raise BenchError(
            f"{choice.name} cannot be run with --topology {team.topology}; "
            f"there are: {', '.join(subject.topologies)}."
        )
    if wanted.provider == SCRIPTED and wanted.model != subject.scripted:
        raise BenchError(
            f"--model {wanted.name!r} knows nothing of {choice.name}: "
            f"there, {SCRIPTED}:{subject.scripted} stands in for a model."
        )
    alone = team.topology in (Topology.SINGLE, Topology.DIRECT)
    policy = named if team.topology is Topology.DELM else None
    plan = Plan(
        team.topology,
        1 if alone else team.agents,
        policy.name if policy else NO_BOARD,
        asdict(subject.habits),
        Caps(),
        Caps(),
        1,
        preset=policy.preset if policy and policy.file else "",
    )
    items = items_of(choice)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = (into or Path(f"{choice.name}-{team.topology}-{stamp}")).resolve()
    if not wanted.max_tokens:
        wanted = replace(wanted, max_tokens=subject.max_tokens)
    return Job(subject, plan, wanted, items, None, path, choice, policy)


def items_of(choice: Choice) -> Sequence[Item]:
    """The chosen items, in the order of the data. Raises BenchError for what is missing or wrong."""
    items = registry.load(choice.name, choice.data, domain=choice.domain)
    if not choice.limit or choice.limit >= len(items):
        return items
    chance = random.Random(choice.seed)  # noqa: S311  # not a secret
    return [items[index] for index in sorted(chance.sample(range(len(items)), choice.limit))]


def resumed(path: Path, base_url: str, key_env: str) -> Job:
    """A run to go on with, as its folder says; the address and the key may be others now.

    Raises:
        BenchError: It is no folder of a run, or its data are not there any more.
    """
    folder = Folder.open(path.resolve())
    plan, model = dict(folder.config["plan"]), dict(folder.config["model"])
    plan["topology"] = Topology(plan["topology"])
    subject = subject_of(folder.config["benchmark"], plan["habits"])
    plan["item_caps"], plan["run_caps"] = Caps(**plan["item_caps"]), Caps(**plan["run_caps"])
    model["price"] = Price(**model["price"]) if model["price"] else None
    model["base_url"], model["key_env"] = base_url or model["base_url"], key_env or model["key_env"]
    return Job(subject, Plan(**plan), Wanted(**model), _the_same(folder.config), folder, folder.path)


def _the_same(config: Mapping[str, Any]) -> list[Item]:
    """The items that the run began with. Raises DataError where the data are others now."""
    data = Path(config["data"]) if config["data"] else None
    if data is not None and data.is_file() and _digest(data) != config["data_sha256"]:
        raise DataError(f"{data} is not the file any more that this run began with: its content changed.")
    by_id = {each.id: each for each in registry.load(config["benchmark"], data, domain=config["domain"])}
    missing = [key for key in config["items"] if key not in by_id]
    if missing:
        raise DataError(f"The data no longer have the item {missing[0]} that this run began with.")
    items = [by_id[key] for key in config["items"]]
    if config.get("items_sha256", "") not in ("", _digest_of(items)):
        raise DataError("The data are not those any more that this run began with: an item changed.")
    return items


def _config(job: Job) -> dict[str, Any]:
    """All that is needed to go on, and to know later what was run."""
    assert job.choice is not None  # noqa: S101  # only new runs have no folder yet
    data = job.choice.data
    return {
        "benchmark": job.choice.name,
        "data": str(data.resolve()) if data else "",
        "data_sha256": _digest(data) if data and data.is_file() else "",
        "items_sha256": "" if data and data.is_file() else _digest_of(job.items),
        "domain": job.choice.domain,
        "items": [item.id for item in job.items],
        "plan": asdict(job.plan),
        "model": asdict(job.wanted),
        "seeds": {"items": job.choice.seed, "bootstrap": 0, "sampling": None},
        "command": shlex.join(["delm-run", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **dict(_versions())},
        "machine": platform.platform(),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(items: Sequence[Item]) -> str:
    """Of all that the items hold: for data that are a folder, or come from the hub or a package."""
    found = hashlib.sha256()
    for item in items:
        found.update(json.dumps(asdict(cast(Any, item)), sort_keys=True, default=str).encode())
    return found.hexdigest()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
