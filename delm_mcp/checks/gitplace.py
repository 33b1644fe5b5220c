"""Find the repository around a folder, and its main worktree."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from delm_mcp.checks.gitrunner import clean_env, find_git
from delm_mcp.checks.processes import Finished, run_program
from delm_mcp.errors import CheckUnavailable

_QUESTIONS = (
    "--path-format=absolute",
    "--absolute-git-dir",
    "--git-common-dir",
    "--is-inside-work-tree",
    "--show-object-format",
)


@dataclass(frozen=True)
class Place:
    """Where a repository keeps what.

    `main` is the main worktree; for the worktrees of a bare repository, which has none, it is the
    bare repository's own folder. `git_dir` belongs to the worktree that the search started in, so
    that `HEAD` means that worktree's.
    """

    main: Path
    git_dir: Path
    common_dir: Path
    object_format: str


async def place_of(start: Path) -> Place | None:
    """The repository around `start`, or None outside of any.

    Raises:
        CheckUnavailable: git is missing although there is a `.git`, `start` is in a bare repository
            or inside `.git`, or git refuses the repository (its owner, its format).
    """
    if shutil.which("git") is None and not _looks_like_repository(start):
        return None
    done = await _rev_parse(start, *_QUESTIONS)
    if done.exit_code:
        said = done.stderr.decode("utf-8", "replace").strip()
        if "not a git repository" in said and "(or any" in said:
            return None
        raise CheckUnavailable(f"git cannot use the repository at {start}: {said[-500:]}")
    git_dir, common_dir, inside, object_format = _lines(done)
    if inside != "true":
        raise CheckUnavailable(
            f"{start} is inside a bare repository or a .git folder, where there are no files to work on.",
            "Start in a worktree of it, for example after `git worktree add ../work`.",
        )
    main = await _main_worktree(start, Path(git_dir), Path(common_dir))
    return Place(main, Path(git_dir), Path(common_dir), object_format)


async def _main_worktree(start: Path, git_dir: Path, common_dir: Path) -> Path:
    if git_dir == common_dir:
        return Path(_lines(await _rev_parse(start, "--show-toplevel"))[0])
    if common_dir.name == ".git":
        return common_dir.parent
    bare = await _rev_parse(common_dir, "--is-bare-repository", git_dir=common_dir)
    if _lines(bare)[:1] == ["true"]:
        return common_dir
    configured = await _git(common_dir, "config", "--get", "core.worktree", git_dir=common_dir)
    if lines := _lines(configured):
        return (common_dir / lines[0]).resolve()
    raise CheckUnavailable(
        f"The main worktree of {start} cannot be found: its git folder {common_dir} does not name it.",
        "Start in the main worktree, or set core.worktree in that folder's configuration.",
    )


async def _rev_parse(cwd: Path, *args: str, git_dir: Path | None = None) -> Finished:
    return await _git(cwd, "rev-parse", *args, git_dir=git_dir)


async def _git(cwd: Path, *args: str, git_dir: Path | None = None) -> Finished:
    """Ask git about a repository; unlike everywhere else with the user's own configuration.

    `safe.directory` counts only there, and neither rev-parse nor config starts a program.
    """
    program = find_git()
    env = clean_env(program)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"):
        del env[name]
    env["HOME"] = str(Path.home())
    if git_dir is not None:
        env["GIT_DIR"] = str(git_dir)
    return await run_program([program, *args], cwd=cwd, env=env, timeout_s=30)


def _lines(done: Finished) -> list[str]:
    return done.stdout.decode("utf-8", "surrogateescape").splitlines()


def _looks_like_repository(start: Path) -> bool:
    return any((folder / ".git").exists() for folder in (start, *start.absolute().parents))
