"""The board's policy in benchmark runs: a preset, or a TOML file as `delm-mcp init --policy` takes it.

A file is looked at by `delm-mcp` before the run begins, and copied into the run's folder, so that nothing
that happens to it later changes a run that goes on. What the harness has to set for an item (such as how long
a gist may be) is set where the file says nothing about it.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomlkit

from delm_client.bench.errors import BenchError
from delm_client.bench.server import told
from delm_client.session import BoardError

PRESETS = ("open", "standard", "strict")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy as the user names it; `file` is None for a preset."""

    preset: str
    file: Path | None = None

    @property
    def name(self) -> str:
        """What results call it."""
        return self.file.name if self.file else self.preset

    def keep(self, folder: Path) -> None:
        """Copy a file into a run's folder, with the instructions for a judge that it names."""
        if self.file is None:
            return
        facts = tomlkit.parse(self.file.read_text(encoding="utf-8"))
        if prompt := _prompt_of(facts):
            source = self.file.parent / Path(prompt).expanduser()
            (folder / source.name).write_bytes(source.read_bytes())
            facts["judge"]["prompt"] = source.name
        (folder / self.file.name).write_text(tomlkit.dumps(facts), encoding="utf-8")


def chosen(wish: str) -> Chosen:
    """The policy that `--policy` names.

    Raises:
        BenchError: There is no such preset or file, or something is wrong with it; says what.
    """
    if wish in PRESETS:
        return Chosen(wish)
    if not wish.endswith(".toml") and os.sep not in wish:
        raise BenchError(f"--policy {wish!r} is none; there are: {', '.join(PRESETS)}, or a TOML file.")
    file = Path(wish).expanduser().resolve()
    with TemporaryDirectory(prefix="delm-policy-") as folder:
        words = ("init", "Only to look at a policy", "--task", "none", "--policy", str(file), "--json")
        try:
            told(Path(folder), *words, board=Path(folder) / "board.db")
        except BoardError as error:
            said = " ".join(str(error).removeprefix("`delm-mcp init` failed: error ").split())
            raise BenchError(f"--policy: {said.replace(' hint ', ' ')}") from None
    facts = tomllib.loads(file.read_text(encoding="utf-8"))
    return Chosen(str(facts.get("preset", "standard")), file)


def written(folder: Path, preset: str, file: str, settings: Mapping[str, Any]) -> str:
    """The TOML for one item's board.

    Args:
        folder: The run's, which has the file.
        file: Its name; empty for a preset.
        settings: What the harness sets where the file does not, such as `{"limits": {"max_rounds": 3}}`.
    """
    if not file:
        return tomlkit.dumps({"preset": preset, **settings})
    facts = tomlkit.parse((folder / file).read_text(encoding="utf-8"))
    if prompt := _prompt_of(facts):
        facts["judge"]["prompt"] = str((folder / prompt).resolve())
    _fill(facts, settings)
    return tomlkit.dumps(facts)


def _fill(facts: Any, settings: Mapping[str, Any]) -> None:
    """Add what is not there; tables are filled, and anything else that is there stays as it is."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and isinstance(facts.get(name, {}), Mapping):
            if name not in facts:
                facts[name] = tomlkit.table()
            _fill(facts[name], value)
        elif name not in facts:
            facts[name] = value


def _prompt_of(facts: Mapping[str, Any]) -> str:
    judge = facts.get("judge", {})
    return str(judge.get("prompt", "")) if isinstance(judge, Mapping) else ""
