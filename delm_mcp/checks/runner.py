"""How one process runs commands: in which sandbox, with which programs, and what they must not see."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from delm_mcp.checks.commands import CommandSpec, Outcome, observe
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.sandbox import SandboxKind, choose_sandbox
from delm_mcp.errors import ConfigError

Wish = Literal["auto", "bubblewrap", "process", "off"]


@dataclass(frozen=True)
class Runner:
    """Runs commands on clean checkouts.

    Args:
        sandbox: What they run in.
        env_path: The PATH that they get.
        hidden: Folders that they must not see, such as the board's.
        reason: Why it is not bubblewrap, if it is not.
    """

    sandbox: SandboxKind
    env_path: str
    hidden: tuple[Path, ...] = ()
    reason: str = ""

    async def observe(self, repo: GitRepo, spec: CommandSpec, tree: str) -> Outcome:
        """Run a command on a tree; see `commands.observe`."""
        return await observe(
            repo, spec, tree, sandbox=self.sandbox, env_path=self.env_path, hidden=self.hidden
        )


async def make_runner(wish: Wish, *, hidden: tuple[Path, ...] = ()) -> Runner | None:
    """The runner that the owner wished for; None for `off`.

    `auto` takes bubblewrap where it works and otherwise a plain process with an emptied environment,
    which an agent with the user's rights could have started as well.

    Raises:
        ConfigError: bubblewrap was asked for and does not work here.
    """
    if wish == "off":
        return None
    kind, reason = await choose_sandbox()
    if wish == "bubblewrap" and kind != "bubblewrap":
        raise ConfigError(f"bubblewrap does not work here: {reason}", "Install it, or choose --commands off.")
    chosen: SandboxKind = "process" if wish == "process" else kind
    # Behind the user's PATH stands our own folder: where nothing else has pytest, ours will do.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    return Runner(chosen, path, hidden, reason)
