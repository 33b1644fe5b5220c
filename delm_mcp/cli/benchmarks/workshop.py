"""A git repository with a few commits, and what runs commands on their trees."""

from dataclasses import dataclass
from pathlib import Path

import anyio

from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.gitrunner import clean_env, find_git
from delm_mcp.checks.processes import run_program
from delm_mcp.checks.runner import Runner, make_runner
from delm_mcp.domain.model import Command
from delm_mcp.errors import CheckUnavailable

CHECK = Command("check", ("true",), 60.0)
"""A command that takes no time, so that what is measured is what a check costs beside its command."""


@dataclass(frozen=True)
class Workshop:
    """A repository of one file that is different in each commit."""

    repo: GitRepo
    runner: Runner
    commits: tuple[str, ...]


async def furnished(place: Path, commits: int, hidden: tuple[Path, ...]) -> Workshop:
    """Make a repository at `place`.

    Args:
        hidden: Folders that commands must not see.

    Raises:
        CheckUnavailable: There is no git here, or none that is new enough.
    """
    await anyio.Path(place).mkdir()
    await _git(place, "init", "--quiet")
    made = await _git(place, "fast-import", "--quiet", stdin="".join(map(_commit, range(1, commits + 1))))
    repo, runner = await GitRepo.find(place), await make_runner("auto", hidden=hidden)
    if repo is None or runner is None:
        raise CheckUnavailable(f"git made a repository at {place} that it does not find.")
    return Workshop(repo, runner, tuple(made.split()))


def _commit(number: int) -> str:
    """A commit in the language of `git fast-import`, which then prints its name."""
    text = f"Component {number}\n"
    return (
        f"commit refs/heads/main\nmark :{number}\ncommitter bench <bench@localhost> {number} +0000\n"
        f"data 0\nM 100644 inline settings.txt\ndata {len(text)}\n{text}\nget-mark :{number}\n"
    )


async def _git(place: Path, *words: str, stdin: str = "") -> str:
    git = find_git()
    done = await run_program([git, *words], cwd=place, env=clean_env(git), timeout_s=60, stdin=stdin.encode())
    if done.exit_code:
        raise CheckUnavailable(f"git {words[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode("ascii")
