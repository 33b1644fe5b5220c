"""The owner's side of a board: `delm-mcp` on its command line, as the launcher calls it."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from delm_client.git import ELSEWHERE
from delm_client.session import server_command
from delm_client.team.wish import TeamError

TIMEOUT_S = 120.0
WITHIN = {"CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT"}
"""What an agent sets for what it starts: with it, another of its kind refuses to start."""
_FRAME = re.compile("[─│╭╮╰╯]")


def clean_environment() -> dict[str, str]:
    """This process's environment without what leads to another board or repository, or to another agent."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DELM_") and name not in ELSEWHERE | WITHIN
    }


@dataclass(frozen=True, slots=True)
class Owner:
    """Calls `delm-mcp` for a board, each time as a process of its own."""

    board: Path
    folder: Path

    def argv(self, *words: str, operands: Sequence[str] = ()) -> list[str]:
        """The command line of such a call; operands may look like options."""
        return [
            *server_command(),
            *words,
            "--board",
            str(self.board),
            *(("--", *operands) if operands else ()),
        ]

    async def tell(self, *words: str, operands: Sequence[str] = (), folder: Path | None = None) -> str:
        """Call it and return what it printed.

        Args:
            operands: Words of a user's, which may look like options and are none.
            folder: Where it runs; `init` takes the run's base from there.

        Raises:
            TeamError: It refused; with its own words.
        """
        try:
            with anyio.fail_after(TIMEOUT_S):
                done = await anyio.run_process(
                    self.argv(*words, operands=operands),
                    cwd=folder or self.folder,
                    env=clean_environment() | {"NO_COLOR": "1", "COLUMNS": "1000"},
                    stdin=subprocess.DEVNULL,
                    check=False,
                    start_new_session=True,  # a Ctrl-C is ours to pass on
                )
        except TimeoutError as error:
            raise TeamError(f"`delm-mcp {words[0]}` did not end within {TIMEOUT_S:.0f} s.") from error
        if done.returncode:
            said = " ".join(_FRAME.sub(" ", done.stderr.decode("utf-8", "replace")).split())
            raise TeamError(f"`delm-mcp {words[0]}`: {said.removeprefix('error ')}")
        return done.stdout.decode("utf-8", "replace")

    async def ask(self, *words: str) -> dict[str, Any]:
        """Call it and read the JSON that it printed. Raises: TeamError: It refused."""
        return dict(json.loads(await self.tell(*words)))

    async def status(self, run: str) -> dict[str, Any]:
        """The run as `status --json` gives it, or nothing where there is no such run."""
        if not self.board.exists():
            return {}
        seen = await self.ask("status", "--json")
        return next((row for row in seen["runs"] if row["run"] == run), {})

    async def runs(self) -> list[str]:
        """The names of all runs on the board."""
        if not self.board.exists():
            return []
        return [str(row["run"]) for row in (await self.ask("status", "--json"))["runs"]]

    async def entries_by_commit(self, run: str) -> dict[str, str]:
        """The label of each entry by its commit, as proposed and as admitted."""
        found = {}
        for line in (await self.tell("export", "--run", run)).splitlines():
            row = json.loads(line)
            if row["type"] == "entry":
                for name in ("commit", "admitted_as"):
                    if row.get(name):
                        found[str(row[name])] = f"E{row['id']}"
        return found

    async def keep(self, run: str, agents: Iterable[str]) -> None:
        """Renew the leases of agents that are alive."""
        await self.tell("agent", "keep", *agents, "--run", run)

    async def release(self, run: str, agents: Iterable[str]) -> None:
        """Hand on the leases of agents that are gone."""
        await self.tell("agent", "release", *agents, "--run", run)
