"""What agents do to their worktrees, and launchers that are killed: no work is lost and nothing is left."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import psutil
import pytest

from delm_client.git import GitError
from delm_client.team import worktrees
from delm_client.team.folder import Folder, choose, teams
from delm_client.team.hosting import hosting
from delm_client.team.prepare import clear_unopened, located, open_team
from delm_client.team.processes import MARK, end, end_leftovers
from delm_client.team.record import TeamFacts
from delm_client.team.supervise import Ending
from delm_client.team.wish import Member, TeamError, Wish
from delm_client.team.work import work
from delm_client.team.worktrees import Repository, branch_of, find_repository
from tests.outside import environment, git
from tests.team_scene import PATIENCE_S, Scene, scene_in

BRANCH = branch_of("mend", "a-1")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path, ("one",)) as made:
        yield made


@pytest.fixture
def found(small: Scene) -> Repository:
    return find_repository(small.repo)


@pytest.fixture
def tree(small: Scene, found: Repository) -> Path:
    path = small.team_folder / "a-1"
    worktrees.make_worktree(found, path, BRANCH, found.head)
    return path


def registered(repo: Path) -> int:
    return git(repo, "worktree", "list", "--porcelain").count("worktree ")


def test_a_branch_of_the_users_that_an_agent_checked_out_stays_where_it_is(
    small: Scene, found: Repository, tree: Path
) -> None:
    git(small.repo, "checkout", "-q", "--detach")
    git(tree, "checkout", "-q", "main")
    (tree / "notes.txt").write_text("half\n")

    saved = worktrees.save_work(tree, "a-1", BRANCH)
    branches = worktrees.put_away(found, tree, BRANCH, remove=True)

    assert saved
    assert branches == [BRANCH]
    assert git(small.repo, "rev-parse", "main") == found.head
    assert git(small.repo, "show", f"{BRANCH}:notes.txt") == "half"


def test_what_an_agent_is_at_apart_from_its_branch_gets_one_of_its_own(
    small: Scene, found: Repository, tree: Path
) -> None:
    git(tree, "commit", "-q", "--allow-empty", "-m", "on its branch")
    for number in (2, 3):
        git(tree, "checkout", "-q", "--detach", found.head)
        (tree / "apart.txt").write_text(f"{number}\n")
        assert worktrees.save_work(tree, "a-1", BRANCH)
        branches = worktrees.put_away(found, tree, BRANCH, remove=False)
        assert branches == [BRANCH, f"{BRANCH}-{number}"]
        assert git(small.repo, "show", f"{BRANCH}-{number}:apart.txt") == str(number)
    assert git(small.repo, "log", "-1", "--format=%s", BRANCH) == "on its branch"


@pytest.mark.parametrize("deleted", [".git", "."])
def test_a_worktree_that_its_agent_deleted_is_saved_as_far_as_it_is_there(
    small: Scene, found: Repository, tree: Path, deleted: str
) -> None:
    (tree / "notes.txt").write_text("half\n")
    if deleted == ".git":
        (tree / ".git").unlink()
    else:
        shutil.rmtree(tree)

    worktrees.reattach(found, tree)
    saved = worktrees.save_work(tree, "a-1", BRANCH)
    worktrees.put_away(found, tree, BRANCH, remove=True)

    assert registered(small.repo) == 1
    assert not tree.exists()
    if deleted == ".git":
        assert git(small.repo, "show", f"{saved}:notes.txt") == "half"
    else:
        worktrees.delete_branch(found, BRANCH)
        assert git(small.repo, "branch", "--list", "delm-work/*") == ""


def test_a_worktree_with_work_that_git_cannot_commit_stays(
    small: Scene, found: Repository, tree: Path
) -> None:
    git(tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(small.repo), "part")
    git(tree, "commit", "-q", "-m", "A part")
    (tree / "part" / "one.py").write_text("work in a submodule\n")

    assert worktrees.save_work(tree, "a-1", BRANCH) == ""
    with pytest.raises(GitError, match="part cannot be committed"):
        worktrees.put_away(found, tree, BRANCH, remove=True)

    assert (tree / "part" / "one.py").read_text() == "work in a submodule\n"


def test_a_result_branch_that_somebody_moved_gets_the_result_and_loses_nothing(
    small: Scene, found: Repository, tree: Path
) -> None:
    git(tree, "commit", "-q", "--allow-empty", "-m", "not admitted")
    git(tree, "branch", "delm/mend")

    aside = worktrees.set_aside(found, "delm/mend", found.head, "delm-work/mend/before")
    assert worktrees.point(found, "delm/mend", found.head)

    assert aside == "delm-work/mend/before"
    assert git(small.repo, "log", "-1", "--format=%s", aside) == "not admitted"
    assert git(small.repo, "rev-parse", "delm/mend") == found.head
    assert worktrees.set_aside(found, "delm/mend", found.head, "delm-work/mend/before") == ""


def test_a_linked_worktree_of_which_git_knows_no_main_one_is_refused_in_words(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--separate-git-dir", str(tmp_path / "data"), str(tmp_path / "main"))
    git(tmp_path / "main", "commit", "-q", "--allow-empty", "-m", "start")
    git(tmp_path / "main", "worktree", "add", "-q", str(tmp_path / "linked"))
    assert find_repository(tmp_path / "main").main == tmp_path / "main"
    with pytest.raises(TeamError, match=r"core\.worktree"):
        find_repository(tmp_path / "linked")


def test_a_program_that_is_named_by_a_path_is_found_from_a_worktree(small: Scene) -> None:
    members = tuple(Member(f"a-{n}", "cmd", words) for n, words in enumerate(["./a 'b c'", "a", "/a"]))
    wish, _ = located(Wish("goal", members), small.repo)
    assert [one.command for one in wish.members] == [f"{small.repo}/a 'b c'", "a", "/a"]


# -- launchers -------------------------------------------------------------------------------------


def test_what_a_launcher_left_that_was_killed_before_its_team_began_is_cleared(
    small: Scene, found: Repository, tree: Path
) -> None:
    (small.team_folder / "lock").touch()
    opened = Folder(small.repo / ".delm" / "teams" / "other")
    assert opened.make()
    assert not opened.make()
    with opened.locked():
        clear_unopened(found)
        assert opened.root.exists()

    assert not small.team_folder.exists()
    assert registered(small.repo) == 1
    assert git(small.repo, "branch", "--list", "delm*") == ""


def test_a_team_whose_facts_are_damaged_keeps_no_other_from_its_work(small: Scene) -> None:
    for run, started_at in (("a", 1.0), ("b", 2.0), ("bad", 3.0)):
        folder = Folder(small.repo / ".delm" / "teams" / run)
        folder.make()
        folder.write_facts(TeamFacts(run, "goal", "", "", "", {}, {}, "", {}, started_at))
    (folder.root / "team.json").write_text("{")

    assert [one.run for one in teams(small.repo)] == ["bad", "a", "b"]
    assert choose(small.repo, "", prefer=lambda one: one.facts().started_at > 1.5).run == "b"
    with pytest.raises(TeamError, match="Say which team is meant: a, b"):
        choose(small.repo, "")
    with pytest.raises(TeamError, match="No team is one for this now"):
        choose(small.repo, "", prefer=lambda one: one.launcher() is not None)
    with pytest.raises(TeamError, match=r"team\.json cannot be read"):
        choose(small.repo, "bad").facts()


@pytest.mark.anyio
async def test_a_team_that_ends_by_an_error_knows_what_the_board_has(small: Scene, found: Repository) -> None:
    folder = Folder(small.team_folder)
    folder.make()
    wish = Wish("goal", (Member("a-1", "cmd", "true"),), transport="stdio")
    with anyio.fail_after(PATIENCE_S):
        team = await open_team(wish, found, "mend")
        team.record.open()
        team.harnesses.clear()
        with pytest.raises(ExceptionGroup):
            await work(team, Ending())
        team.record.close()
    assert team.last["run"] == "mend"
    assert team.last["tasks"] == {"ready": 1}


@pytest.mark.long
@pytest.mark.anyio
async def test_who_is_started_while_the_server_is_down_waits_until_it_answers(
    small: Scene, found: Repository
) -> None:
    folder = Folder(small.team_folder)
    folder.make()
    wish = Wish("goal", (Member("a-1", "cmd", "true"),))
    with anyio.fail_after(PATIENCE_S):
        team = await open_team(wish, found, "mend")
        team.record.open()
        async with hosting("http", team.owner, "mend", team.labels, team.record, team.pids) as host:
            await host.ready()
            gone = anyio.Event()
            team.record.listeners.append(lambda _: gone.set())
            os.kill(team.pids.by_name["server"], signal.SIGKILL)
            await gone.wait()  # it is told that the server ended
            with anyio.move_on_after(0.1) as at_once:
                await host.ready()
            assert at_once.cancelled_caught
            await host.ready()
            async with httpx2.AsyncClient() as http:
                answer = await http.get(host.server("a-1").url.replace("/mcp", "/healthz"))
            assert answer.status_code == 200
        team.record.close()


# -- what agents start -----------------------------------------------------------------------------

DAEMON = """
import os, time
if os.fork():
    time.sleep(1000)
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(1000)
"""


async def daemon_of(process: anyio.abc.Process) -> psutil.Process:
    assert process.stdout is not None
    return psutil.Process(int(await process.stdout.receive()))


@pytest.mark.anyio
@pytest.mark.parametrize("launcher_killed", [False, True])
async def test_a_daemon_ends_with_its_agent(tmp_path: Path, launcher_killed: bool) -> None:
    folder = Folder(tmp_path)
    env = environment(**{MARK: str(folder.worktree("a-1"))})
    with anyio.fail_after(PATIENCE_S):
        process = await anyio.open_process(
            [sys.executable, "-S", "-c", DAEMON], env=env, stdin=subprocess.DEVNULL, start_new_session=True
        )
        daemon = await daemon_of(process)
        if launcher_killed:
            assert end_leftovers(folder)
        await end(process, worktree=folder.worktree("a-1"))
        await process.aclose()
    assert not psutil.wait_procs([daemon], timeout=PATIENCE_S)[1]
