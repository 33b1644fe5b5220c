"""The folder of a run, which is all of its state:

    config.json                       what was asked for, with versions and the command; written once
    <policy>.toml                     the board's policy, where it was given as a file
    items/<id>.json                   one result an item, whole or not at all
    trajectories/<id>/<attempt>/<agent>.jsonl   one line a call of the model, as it was answered
    boards/<id>/<attempt>/            with delm: the board, its documents and its policy
    patches/<id>/<attempt>/<agent>.patch   of items that are solved by changing files: what was submitted
    results.json                      the sums; made anew from the rest at any time

An item is finished when its file is there and says `done`. What was under way when a run was killed has no
file, and what could not be run says `broken`: both are run again on resume, as a new attempt. The spending
of a run is what all trajectories hold, those of lost attempts too.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from delm_client.bench.errors import BenchError
from delm_client.bench.limits import Call, Spending

FORMAT = 1
ATTEMPTS = ("trajectories", "boards", "patches")
_PLAIN = re.compile(r"[^A-Za-z0-9._-]")


class Folder:
    """One run's folder."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> Self:
        """Make a new one. Raises BenchError where something is already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BenchError(f"{path} is there already. Name a new folder, or go on with --resume {path}.")
        path.mkdir(parents=True, exist_ok=True)
        _write(path / "config.json", {"format": FORMAT, **config})
        return cls(path, {"format": FORMAT, **config})

    @classmethod
    def open(cls, path: Path) -> Self:
        """One that is there. Raises BenchError where it is none."""
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise BenchError(
                f"{path} is not the folder of a benchmark run: no readable config.json ({why})."
            ) from error
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise BenchError(f"{path}/config.json is not of this version of delm-run (format {FORMAT}).")
        return cls(path, config)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only process that runs items. Raises BenchError where another one does already."""
        with (self.path / "config.json").open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BenchError(
                    f"Another process is running {self.path}. Wait for it, or stop it and go on then; "
                    f"to look at what it has so far: delm-run report {self.path}."
                ) from None
            except OSError:
                pass  # a file system without locks: two at once would only waste calls
            yield

    # -- items -----------------------------------------------------------------------------------

    def items(self) -> dict[str, dict[str, Any]]:
        """All results there are, by item id."""
        found = [_kept(path) for path in sorted(self.path.glob("items/*.json"))]
        return {item["id"]: item for item in found}

    def finish(self, item: Mapping[str, Any]) -> None:
        """Keep a result; it is there as a whole or not at all."""
        _write(self.path / "items" / f"{safe(item['id'])}.json", item)

    def save(self, name: str, value: Mapping[str, Any]) -> None:
        """Write another file, such as `results.json`."""
        _write(self.path / name, value)

    # -- attempts --------------------------------------------------------------------------------

    def attempt(self, item_id: str) -> "Attempt":
        """Begin a new attempt at an item."""
        place = self.path / "trajectories" / safe(item_id)
        number = 1 + sum(1 for _ in place.glob("*")) if place.is_dir() else 1
        (place / str(number)).mkdir(parents=True)
        return Attempt(number, *(self.path / kind / safe(item_id) / str(number) for kind in ATTEMPTS))

    def spending(self) -> Spending:
        """What all attempts have cost so far."""
        total = Spending()
        for line in self.calls():
            total.add(Call(**{name: line[name] for name in Call.__slots__}))
        return total

    def calls(self) -> Iterator[dict[str, Any]]:
        """Every call of the model; a line that a killed run left half-written is none."""
        for _, _, line in self.trajectories():
            yield line

    def trajectories(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The same with where each call stands: the folder of its item, and of its attempt."""
        for path in sorted(self.path.glob("trajectories/*/*/*.jsonl")):
            for line in lines_of(path):
                try:
                    yield path.parts[-3], path.parts[-2], json.loads(line)
                except ValueError:
                    continue


def is_run(path: Path) -> bool:
    """Whether a folder is that of a benchmark run, be it one that cannot be read."""
    if (path / "trajectories").is_dir() or (path / "items").is_dir():
        return (path / "config.json").exists()
    try:
        Folder.open(path)
    except BenchError:
        return False
    return True


class Attempt:
    """One try at an item: where its calls are kept, its board, and its patches."""

    def __init__(self, number: int, path: Path, boards: Path, patches: Path) -> None:
        self.number = number
        self._path = path
        self.boards = boards
        self.patches = patches

    def keep(self, agent: str, line: Mapping[str, Any]) -> None:
        """Append one call to the agent's trajectory."""
        with (self._path / f"{safe(agent)}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def lines_of(path: Path) -> list[str]:
    """Lines of a JSON Lines file that only grows; a kill may have cut the last one inside a character.

    Not `splitlines`: U+2028 and its kin stand unescaped inside JSON strings.
    """
    return path.read_text(encoding="utf-8", errors="replace").split("\n")


def safe(name: str) -> str:
    """A file name for an id: itself where it is plain, else with a hash, so that no two ids share one."""
    plain = _PLAIN.sub("_", name)[:80]
    if plain == name and not name.startswith("."):
        return name
    return f"{plain.lstrip('.')}-{sha256(name.encode()).hexdigest()[:8]}"


def _kept(path: Path) -> dict[str, Any]:
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchError(
            f"{path} is no result ({error}). Delete it, and --resume {path.parents[1]} runs that item again."
        ) from error
    if isinstance(item, dict) and item.keys() >= {"id", "state"}:
        return item
    raise BenchError(
        f"{path} is no result: it has no id and state. Delete it, and "
        f"--resume {path.parents[1]} runs that item again."
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
