"""The repository that a team works in: a worktree and a branch for each agent, and what becomes of them.

Nothing here touches the user's worktree, index or branch.
"""

import os
import shutil
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from delm_client.git import GitError, git
from delm_client.team.record import Commit
from delm_client.team.wish import TeamError

SHOWN = 8
# What test runs leave behind; where a repository does not ignore it, it is still nobody's work.
JUNK = tuple(f":(exclude,glob)**/{name}/**" for name in ("__pycache__", ".pytest_cache", "node_modules"))
_FIRST = 'git add -A && git commit -m "Start"'


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as it was found.

    Attributes:
        main: Its main worktree, which has the board.
        here: The worktree in which the launcher was started.
        git_dir: The common git directory.
        head: The commit that `here` is at.
    """

    main: Path
    here: Path
    git_dir: Path
    head: str

    @property
    def board(self) -> Path:
        """The board's file."""
        return self.main / ".delm" / "board.db"


def find_repository(start: Path) -> Repository:
    """The repository around a folder; a subfolder or a linked worktree will do.

    Raises:
        GitError: git is not installed.
        TeamError: There is no repository, no commit, no worktree, or no word of where the main one is.
    """
    try:
        asked = git(start, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    except GitError as error:
        if "not a git repository" not in str(error):
            raise
        raise TeamError(
            f"{start} is not in a git repository, and agents work in git worktrees. Make one of it: "
            f"git init && {_FIRST}"
        ) from error
    git_dir, common = (Path(line) for line in asked.splitlines())
    try:
        here = Path(git(start, "rev-parse", "--path-format=absolute", "--show-toplevel"))
    except GitError as error:
        raise TeamError(
            f"{start} is in a bare repository or a .git folder, where there are no files to work on. Start "
            "in a worktree of it, for example after `git worktree add ../work`."
        ) from error
    try:
        head = git(here, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitError as error:
        raise TeamError(f"The repository {here} has no commit yet. Make the first one: {_FIRST}") from error
    return Repository(_main(here, git_dir, common), here, common, head)


def _main(here: Path, git_dir: Path, common: Path) -> Path:
    """The main worktree, found as `delm-mcp` finds it."""
    if git_dir == common:
        return here
    if common.name == ".git":
        return common.parent
    if git(common, "rev-parse", "--is-bare-repository") == "true":
        return common
    try:
        return (common / git(common, "config", "--get", "core.worktree")).resolve()
    except GitError as error:
        raise TeamError(
            f"{here} is a linked worktree, and git does not say where the main one is, which has the board. "
            f"Start there, or say it once: git --git-dir={common} config core.worktree MAIN_WORKTREE"
        ) from error


def uncommitted(folder: Path) -> list[str]:
    """The files of a worktree that are not as committed, but for what git ignores."""
    said = git(
        folder, "--no-optional-locks", "status", "--porcelain=v2", "-z", "--no-renames", "--", ".", *JUNK
    )
    found = []
    for row in filter(None, said.split("\0")):
        kind, _, rest = row.partition(" ")
        fields = {"1": 7, "u": 9}.get(kind, 0)
        found.append(rest.split(" ", fields)[-1] if fields else rest)
    return found


def refuse_uncommitted(here: Path) -> None:
    """Raises: TeamError: There is work that agents would not see; names the files."""
    files = uncommitted(here)
    if files:
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        raise TeamError(
            f"{here} has uncommitted work, which agents would not see: {', '.join(files[:SHOWN])}{more}. "
            "Commit or stash it, or carry it along with --include-dirty (your files, index and branch stay "
            "as they are)."
        )


def snapshot(repository: Repository, message: str) -> str:
    """A commit of a worktree as it is, on top of its head; made beside the user's index.

    Returns:
        Its full name; the head's where nothing is uncommitted.
    """
    here = repository.here
    if not uncommitted(here):
        return repository.head
    index = Path(git(here, "rev-parse", "--path-format=absolute", "--git-path", "index"))
    with TemporaryDirectory(prefix="delm-index-") as folder:
        own = Path(folder) / "index"
        if index.exists():
            shutil.copy2(index, own)  # with what git knows of unchanged files, so that it reads no others
        git(here, "add", "--all", "--", ".", *JUNK, GIT_INDEX_FILE=str(own))
        tree = git(here, "write-tree", GIT_INDEX_FILE=str(own))
    return git(here, "commit-tree", tree, "-p", repository.head, "-m", message)


# -- worktrees of agents ---------------------------------------------------------------------------


def branch_of(run: str, label: str) -> str:
    """The branch on which an agent works; apart from `delm/<run>`, below which git allows no other."""
    return f"delm-work/{run}/{label}"


def result_branch(run: str) -> str:
    """The branch that holds what a team made."""
    return f"delm/{run}"


def exists(repository: Repository, branch: str) -> bool:
    """Whether there is a branch."""
    return bool(_resolved(repository, f"refs/heads/{branch}"))


def branches_below(repository: Repository, stem: str) -> list[str]:
    """The branches whose names begin with a path, such as `delm-work/<run>/`."""
    found = git(repository.git_dir, "for-each-ref", "--format=%(refname)", f"refs/heads/{stem}")
    return [name.removeprefix("refs/heads/") for name in found.splitlines()]


def _resolved(repository: Repository, rev: str) -> str:
    try:
        return git(repository.git_dir, "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}")
    except GitError:
        return ""


def make_worktree(repository: Repository, path: Path, branch: str, commit: str) -> None:
    """A worktree at an agent's branch, which begins at `commit` unless it is there already.

    Raises:
        GitError: git refuses, for example because a branch stands in the way of the name.
    """
    reattach(repository, path)
    if (path / ".git").exists():
        return
    if path.exists():
        shutil.rmtree(path)
    words = [str(path), branch] if exists(repository, branch) else ["-b", branch, str(path), commit]
    # Forced, because a worktree whose folder is gone may still be registered.
    git(repository.main, "worktree", "add", "--force", "--quiet", *words)


def reattach(repository: Repository, path: Path) -> None:
    """Give a worktree whose agent deleted its `.git` file that file back, and with it its work."""
    if not path.is_dir() or (path / ".git").exists():
        return
    for known in (repository.git_dir / "worktrees").glob("*/gitdir"):
        if known.read_text(encoding="utf-8", errors="replace").strip() == str(path / ".git"):
            (path / ".git").write_text(f"gitdir: {known.parent}\n", encoding="utf-8")


def take_up(repository: Repository, path: Path, branch: str) -> list[str]:
    """Put right what keeps git from working where an agent was; nobody else works there now.

    Returns:
        The files that it left uncommitted.

    Raises:
        GitError, OSError: git does not work there, for another reason.
    """
    make_worktree(repository, path, branch, repository.head)  # unless it is there
    _unlock(path, branch)
    return uncommitted(path)


def _unlock(path: Path, branch: str) -> None:
    """Remove the locks of a git that was killed in a worktree, where nobody else works."""
    asked = git(path, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    own, common = map(Path, asked.splitlines())
    for locked in (own / "index", own / "HEAD", common / "refs" / "heads" / branch):
        locked.with_name(f"{locked.name}.lock").unlink(missing_ok=True)


def save_work(path: Path, label: str, branch: str) -> str:
    """Commit what an agent left uncommitted; returns the commit, or empty where there was nothing.

    An agent may have checked out a branch that is not its own. That one stays where it is.
    """
    if not (path / ".git").exists() or not uncommitted(path):
        return ""
    _unlock(path, branch)
    git(path, "add", "--all", "--", ".", *JUNK)
    if not git(path, "diff", "--cached", "--name-only"):
        return ""
    if git(path, "rev-parse", "--symbolic-full-name", "HEAD") not in ("HEAD", f"refs/heads/{branch}"):
        git(path, "update-ref", "--no-deref", "HEAD", git(path, "rev-parse", "HEAD"))
    git(
        path, "commit", "--quiet", "--no-verify", "-m", f"Unfinished work of {label}",
        GIT_AUTHOR_NAME=label, GIT_AUTHOR_EMAIL=f"{label}@localhost",
    )  # fmt: skip
    return git(path, "rev-parse", "HEAD")


def put_away(repository: Repository, path: Path, branch: str, *, remove: bool) -> list[str]:
    """Make sure that branches have all commits of an agent, and remove its worktree if wished.

    Returns:
        The branches that have them: its own, and another one where what it was at is apart from that.

    Raises:
        GitError: There is something in it that cannot be committed, such as work in a submodule.
    """
    found = [branch]
    if (path / ".git").exists():
        tip = git(path, "rev-parse", "HEAD")
        if not _contains(repository, f"refs/heads/{branch}", tip):
            found = sorted({branch, keep_tip(repository, branch, tip)})
        if remove and (left := uncommitted(path)):
            raise GitError(f"{', '.join(left[:SHOWN])} cannot be committed from here")
    if remove:
        with suppress(GitError) if not path.exists() else nullcontext():  # then git may not know it either
            git(repository.main, "worktree", "remove", "--force", str(path))
    return found


def keep_tip(repository: Repository, stem: str, tip: str) -> str:
    """Let a branch have a commit, without loss of any other; returns which: `stem`, or `stem-2` and so on."""
    name, number = stem, 1
    while (there := _resolved(repository, f"refs/heads/{name}")) and not _contains(repository, tip, there):
        number += 1
        name = f"{stem}-{number}"
    git(repository.git_dir, "update-ref", f"refs/heads/{name}", tip)
    return name


def _contains(repository: Repository, rev: str, commit: str) -> bool:
    try:
        git(repository.git_dir, "merge-base", "--is-ancestor", commit, rev)
    except GitError:
        return False
    return True


def unmerged(repository: Repository, branch: str, head: str) -> int:
    """How many commits of a branch are not in the run's result."""
    if not exists(repository, branch):
        return 0
    return int(git(repository.git_dir, "rev-list", "--count", f"refs/heads/{branch}", f"^{head}"))


def delete_branch(repository: Repository, branch: str) -> None:
    """Delete a branch that nobody needs; one that is checked out somewhere stays."""
    with suppress(GitError):
        git(repository.git_dir, "branch", "--quiet", "-D", "--", branch)


# -- the result ------------------------------------------------------------------------------------


def point(repository: Repository, branch: str, commit: str) -> bool:
    """Let a branch point at a commit; False where it is checked out, and so not ours to move."""
    if f"branch refs/heads/{branch}\0" in git(
        repository.git_dir, "worktree", "list", "--porcelain", "-z"
    ) and commit != _resolved(repository, f"refs/heads/{branch}"):
        return False
    git(repository.git_dir, "update-ref", f"refs/heads/{branch}", commit)
    return True


def set_aside(repository: Repository, branch: str, commit: str, stem: str) -> str:
    """Keep what a branch has beyond a commit that it is to point at; returns the branch that has it now."""
    tip = _resolved(repository, f"refs/heads/{branch}")
    if not tip or _contains(repository, commit, tip):
        return ""
    return keep_tip(repository, stem, tip)


def commits(repository: Repository, base: str, head: str, entries: dict[str, str]) -> tuple[Commit, ...]:
    """The commits from base to head, oldest first.

    Args:
        entries: The entry by commit.
    """
    if not head or head == base:
        return ()
    said = git(repository.git_dir, "log", "--reverse", "--format=%H%x1f%an%x1f%s", f"{base}..{head}")
    rows = [line.split("\x1f", 2) for line in said.splitlines()]
    return tuple(Commit(sha, author, subject, entries.get(sha, "")) for sha, author, subject in rows)


def git_variables(label: str) -> dict[str, str]:
    """What git needs in an agent's environment: its name on commits, and nobody to ask for anything."""
    count = int(os.environ.get("GIT_CONFIG_COUNT", "0") or 0)
    return {
        "GIT_AUTHOR_NAME": label,
        "GIT_AUTHOR_EMAIL": f"{label}@localhost",
        "GIT_COMMITTER_NAME": label,
        "GIT_COMMITTER_EMAIL": f"{label}@localhost",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "commit.gpgsign",
        f"GIT_CONFIG_VALUE_{count}": "false",
    }
