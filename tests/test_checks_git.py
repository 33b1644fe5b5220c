"""The repository of a run: finding it, reading it, merging, moving head."""

from pathlib import Path

import pytest

from delm_mcp.checks import gitrepo
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.errors import CheckUnavailable, InvalidInput, NotFound
from tests.checks_scene import Scene, git

pytestmark = pytest.mark.anyio

ABSENT = "0123456789012345678901234567890123456789"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "project")


# Finding


async def test_a_folder_outside_of_any_repository_has_none(tmp_path: Path) -> None:
    assert await GitRepo.find(tmp_path) is None


async def test_a_subfolder_and_a_linked_worktree_find_the_main_worktree(scene: Scene, tmp_path: Path) -> None:
    scene.commit({"a/b/c.txt": "x\n"})
    linked = tmp_path / "linked"
    scene.git("worktree", "add", "--quiet", str(linked))

    for start in (scene.path, scene.path / "a" / "b", linked, linked / "a"):
        assert (await scene.repo(start)).main == scene.path


async def test_head_is_that_of_the_worktree_in_which_the_search_started(scene: Scene, tmp_path: Path) -> None:
    first = scene.commit({"a": "1"})
    scene.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    second = scene.commit({"a": "2"})

    assert await (await scene.repo(tmp_path / "linked")).resolve("HEAD") == first
    assert await (await scene.repo()).resolve("HEAD") == second


async def test_a_bare_repository_is_refused_and_its_worktree_is_not(scene: Scene, tmp_path: Path) -> None:
    commit = scene.commit({"a": "1"})
    bare = tmp_path / "store.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(scene.path), str(bare))
    git(bare, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))

    with pytest.raises(CheckUnavailable, match="bare repository"):
        await GitRepo.find(bare)
    repo = await scene.repo(tmp_path / "linked")
    assert repo.main == bare
    assert await repo.resolve("HEAD") == commit


async def test_a_repository_with_its_git_folder_elsewhere_is_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "project", f"--separate-git-dir={tmp_path / 'elsewhere'}")
    scene.commit({"a": "1"})
    scene.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))

    assert (await scene.repo()).main == scene.path
    with pytest.raises(CheckUnavailable, match=r"core\.worktree"):
        await GitRepo.find(tmp_path / "linked")


async def test_a_submodule_is_a_repository_of_its_own(scene: Scene, tmp_path: Path) -> None:
    inner = Scene(tmp_path / "inner")
    inner.commit({"a": "1"})
    scene.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    scene.commit({})

    assert (await scene.repo(scene.path / "sub")).main == scene.path / "sub"


async def test_a_sha256_repository_works(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "project", "--object-format=sha256")
    base = scene.commit({"a": "1\n", "b": "1\n"})
    mine = scene.commit({"a": "2\n"})
    scene.branch(base)
    theirs = scene.commit({"b": "2\n"})
    repo = await scene.repo()

    merged = await repo.merge(await repo.resolve(mine[:20]), theirs)

    assert merged.outcome == "merged"
    assert merged.tree is not None
    assert len(merged.tree) == 64


async def test_the_objects_of_a_shallow_clone_can_be_used(scene: Scene, tmp_path: Path) -> None:
    scene.commit({"a": "1"})
    scene.commit({"a": "2"})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{scene.path}", "shallow")
    shallow = tmp_path / "shallow"
    base = git(shallow, "rev-parse", "HEAD")
    git(shallow, "commit", "--quiet", "--allow-empty", "-m", "more")
    repo = await scene.repo(shallow)

    assert (await repo.merge(base, await repo.resolve("HEAD"))).outcome == "fast_forward"


# Reading


async def test_names_tags_and_short_names_resolve_to_full_commits(scene: Scene) -> None:
    first = scene.commit({"a": "1"})
    second = scene.commit({"a": "2"})
    scene.git("tag", "--annotate", "-m", "a tag", "v1", first)
    repo = await scene.repo()

    assert await repo.resolve("main") == second
    assert await repo.resolve("main~1") == first
    assert await repo.resolve("v1") == first
    assert await repo.resolve(first[:10]) == first
    assert await repo.resolve(second) == second


@pytest.mark.parametrize("rev", ["", "-h", "--all", "a" * 300, "main\n", "\0"])
async def test_what_cannot_be_a_commit_is_refused(scene: Scene, rev: str) -> None:
    scene.commit({"a": "1"})
    with pytest.raises(InvalidInput, match="git rev-parse HEAD"):
        await (await scene.repo()).resolve(rev)


@pytest.mark.parametrize(
    "rev", ["nowhere", ABSENT, "main:a", "^main", "main..main", "HEAD^{tree}", "main --"]
)
async def test_an_unknown_commit_is_not_found(scene: Scene, rev: str) -> None:
    scene.commit({"a": "1"})
    with pytest.raises(NotFound, match="has no commit"):
        await (await scene.repo()).resolve(rev)


async def test_a_repository_without_commits_says_so(scene: Scene) -> None:
    with pytest.raises(NotFound, match="no commits yet"):
        await (await scene.repo()).resolve("HEAD")


async def test_methods_that_act_take_full_names_only(scene: Scene) -> None:
    scene.commit({"a": "1"})
    repo = await scene.repo()
    for call in (repo.tree_of("main"), repo.object_exists("HEAD"), repo.merge("main", "main")):
        with pytest.raises(InvalidInput, match="full object name"):
            await call
    with pytest.raises(NotFound):
        await repo.tree_of(ABSENT)


async def test_objects_exist_or_do_not(scene: Scene) -> None:
    commit = scene.commit({"a": "1"})
    repo = await scene.repo()
    assert await repo.object_exists(commit)
    assert await repo.object_exists(scene.tree(commit))
    assert not await repo.object_exists(ABSENT)


async def test_files_are_read_byte_for_byte(scene: Scene) -> None:
    data = b"a\r\nb\x00\xff\n"
    commit = scene.commit({"docs/a b.bin": data, ".gitattributes": "* text eol=lf\n", ":(glob)x": "odd"})
    repo = await scene.repo()
    scene.branch(commit)
    blob = scene.git("hash-object", "-w", "--stdin", stdin=data)
    scene.git("update-index", "--add", "--cacheinfo", f"100644,{blob},raw.bin")
    scene.git("commit", "--quiet", "-m", "raw")

    raw = await repo.resolve("HEAD")
    assert await repo.read_file("raw.bin", raw) == data
    assert await repo.read_file("./raw.bin", raw) == data
    assert await repo.read_file(":(glob)x", raw) == b"odd"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../secret", "a/../../secret", "a\0b", "dir/"])
async def test_a_path_that_leaves_the_repository_is_refused(scene: Scene, path: str) -> None:
    commit = scene.commit({"dir/a": "1"})
    with pytest.raises(InvalidInput, match="not a path inside"):
        await (await scene.repo()).read_file(path, commit)


async def test_folders_links_missing_and_large_files_cannot_be_read(scene: Scene) -> None:
    (scene.path / "link").symlink_to("/etc/passwd")
    commit = scene.commit({"dir/a": "12345"})
    repo = await scene.repo()

    with pytest.raises(InvalidInput, match="plain file"):
        await repo.read_file("dir", commit)
    with pytest.raises(InvalidInput, match="plain file"):
        await repo.read_file("link", commit)
    with pytest.raises(NotFound, match="no file"):
        await repo.read_file("dir/b", commit)
    with pytest.raises(InvalidInput, match="5 bytes"):
        await repo.read_file("dir/a", commit, bytes_max=4)


async def test_changed_paths_and_ancestry(scene: Scene) -> None:
    first = scene.commit({"a": "1", "b": "1", "c": "1"})
    second = scene.commit({"a": "2", "b": None, "d/ü": "new"})
    repo = await scene.repo()

    assert await repo.changed_paths(first, second) == ("a", "b", "d/ü")
    assert await repo.changed_paths(first, first) == ()
    assert await repo.is_ancestor(first, second)
    assert not await repo.is_ancestor(second, first)


# Merging


async def test_two_changes_that_do_not_touch_merge_without_a_worktree(scene: Scene) -> None:
    base = scene.commit({"a": "1\n", "b": "1\n"})
    mine = scene.commit({"a": "2\n"})
    scene.branch(base)
    theirs = scene.commit({"b": "2\n"})
    status = scene.git("status", "--porcelain")
    repo = await scene.repo()

    merged = await repo.merge(mine, theirs)

    assert merged.outcome == "merged"
    assert merged.tree is not None
    assert (scene.show(merged.tree, "a"), scene.show(merged.tree, "b")) == ("2", "2")
    assert scene.git("status", "--porcelain") == status
    assert scene.git("rev-parse", "HEAD") == theirs


async def test_a_conflict_names_its_paths(scene: Scene) -> None:
    base = scene.commit({"a": "1\n", "gone": "1\n"})
    mine = scene.commit({"a": "2\n", "gone": None})
    scene.branch(base)
    theirs = scene.commit({"a": "3\n", "gone": "2\n"})

    merged = await (await scene.repo()).merge(mine, theirs)

    assert (merged.outcome, merged.tree, sorted(merged.conflicts)) == ("conflict", None, ["a", "gone"])


async def test_fast_forwards_and_contained_commits_are_recognised(scene: Scene) -> None:
    first = scene.commit({"a": "1"})
    second = scene.commit({"a": "2"})
    repo = await scene.repo()

    forward, contained = await repo.merge(first, second), await repo.merge(second, first)

    assert (forward.outcome, forward.tree) == ("fast_forward", scene.tree(second))
    assert (contained.outcome, contained.tree) == ("contained", scene.tree(second))


async def test_unrelated_histories_do_not_merge(scene: Scene) -> None:
    mine = scene.commit({"a": "1"})
    scene.git("checkout", "--quiet", "--orphan", "other")
    theirs = scene.commit({"b": "1"})
    assert (await (await scene.repo()).merge(mine, theirs)).outcome == "unrelated"


async def test_an_old_git_is_named_instead_of_failing_oddly(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = scene.commit({"a": "1", "b": "1"})
    mine = scene.commit({"a": "2"})
    scene.branch(base)
    theirs = scene.commit({"b": "2"})
    monkeypatch.setattr(gitrepo, "_MERGE_TREE_SINCE", (99, 0))

    with pytest.raises(CheckUnavailable, match=r"git version 2.*git 2\.38"):
        await (await scene.repo()).merge(mine, theirs)


# Writing


async def test_a_commit_carries_tree_parents_author_and_time(scene: Scene) -> None:
    first = scene.commit({"a": "1"})
    second = scene.commit({"a": "2"})
    repo = await scene.repo()

    made = await repo.commit_tree(
        scene.tree(first),
        [second, first],
        "E7: a gist\n\nDetails ü.",
        author="age<n>t\n",
        when_s=1_700_000_000,
    )

    shown = scene.git("show", "--no-patch", "--format=%T|%P|%an|%cn|%at|%ct|%B", made)
    expected = f"{scene.tree(first)}|{second} {first}|agent|delm-mcp|1700000000|1700000000|E7: a gist"
    assert shown.startswith(expected)
    assert "Details ü." in shown


async def test_head_moves_by_compare_and_set(scene: Scene) -> None:
    first = scene.commit({"a": "1"})
    second = scene.commit({"a": "2"})
    repo = await scene.repo()
    name = "refs/delm/R1/head"

    assert await repo.read_ref(name) is None
    assert not await repo.set_ref(name, first, second)
    assert await repo.set_ref(name, first, "")
    assert not await repo.set_ref(name, second, "")
    assert not await repo.set_ref(name, second, second)
    assert await repo.read_ref(name) == first
    assert await repo.set_ref(name, second, first)
    assert scene.git("rev-parse", name) == second
    assert await repo.set_ref(name, first, None)
    assert scene.git("rev-parse", "refs/heads/main") == second


@pytest.mark.parametrize(
    "name", ["refs/heads/main", "HEAD", "refs/delm", "refs/delm/../heads/main", "refs/delm/a/b.lock", "-d"]
)
async def test_refs_that_are_not_ours_are_never_touched(scene: Scene, name: str) -> None:
    commit = scene.commit({"a": "1"})
    with pytest.raises(InvalidInput, match="not a ref of ours"):
        await (await scene.repo()).set_ref(name, commit, None)


async def test_a_ref_cannot_point_at_what_is_not_there(scene: Scene) -> None:
    scene.commit({"a": "1"})
    with pytest.raises(CheckUnavailable, match="update-ref"):
        await (await scene.repo()).set_ref("refs/delm/R1/head", ABSENT, None)
