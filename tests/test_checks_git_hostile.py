"""What an agent can write into a repository never makes git run a program or write outside a checkout."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from delm_mcp.checks import gitcheckout
from delm_mcp.checks.gitrunner import GitFailed
from delm_mcp.errors import InvalidInput
from tests.checks_scene import Scene

pytestmark = pytest.mark.anyio


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "project")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


def poison(scene: Scene, trap: Path) -> None:
    """Set every trap that repository configuration and hooks offer; each would leave a mark in `trap`."""
    trap.mkdir()

    def springs(name: str) -> str:
        return f"sh -c 'touch {trap}/{name}; cat'"

    for name in (
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "pre-commit",
        "commit-msg",
        "post-merge",
        "post-rewrite",
    ):
        hook = scene.path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {trap}/hook-{name}\n")
        hook.chmod(0o755)
    settings = {
        "filter.evil.smudge": springs("smudge"),
        "filter.evil.clean": springs("clean"),
        "filter.evil.process": springs("process"),
        "filter.evil.required": "true",
        "merge.evil.driver": springs("merge"),
        "diff.evil.command": springs("diff"),
        "diff.evil.textconv": springs("textconv"),
        "core.fsmonitor": springs("fsmonitor"),
        "core.sshCommand": springs("ssh"),
        "core.gitProxy": springs("proxy"),
        "core.pager": springs("pager"),
        "core.editor": springs("editor"),
        "gpg.program": springs("gpg"),
        "commit.gpgSign": "true",
        "credential.helper": springs("credential"),
        "alias.rev-parse": f"!touch {trap}/alias",
        "remote.origin.url": f"ext::touch {trap}/ext",
        "remote.origin.promisor": "true",
        "remote.origin.partialclonefilter": "blob:none",
        "protocol.ext.allow": "always",
        "extensions.partialClone": "origin",
        "core.repositoryformatversion": "1",
    }
    for key, value in settings.items():
        scene.git("config", key, value)


async def test_no_filter_hook_driver_or_helper_of_the_repository_runs(
    scene: Scene, into: Path, tmp_path: Path
) -> None:
    base = scene.commit({".gitattributes": "* filter=evil diff=evil merge=evil\n", "a": "1\n", "b": "1\n"})
    mine = scene.commit({"a": "2\n"})
    scene.branch(base)
    theirs = scene.commit({"b": "2\n"})
    trap = tmp_path / "trap"
    poison(scene, trap)
    repo = await scene.repo()

    merged = await repo.merge(await repo.resolve("main"), await repo.resolve(theirs[:12]))
    assert merged.tree is not None
    restored = await repo.restore(merged.tree, scene.tree(base), ["a"])
    made = await repo.commit_tree(restored.tree, [mine, theirs], "merged", when_s=0)
    assert await repo.set_ref("refs/delm/R1/head", made, "")
    await repo.checkout(merged.tree, into)
    await repo.changed_paths(mine, theirs)
    shown = await repo.difference(scene.tree(base), merged.tree)
    assert (await repo.apply(scene.tree(mine), shown.text)).tree == merged.tree
    missing = "0123456789012345678901234567890123456789"
    assert not await repo.object_exists(missing)

    assert (into / "a").read_text() == "2\n"
    assert (into / "b").read_text() == "2\n"
    assert sorted(os.listdir(trap)) == []


async def test_the_traps_of_this_test_do_spring_for_an_ordinary_git(scene: Scene, tmp_path: Path) -> None:
    commit = scene.commit({".gitattributes": "* filter=evil\n", "a": "1\n"})
    trap = tmp_path / "trap"
    poison(scene, trap)
    for key in ("filter.evil.process", "core.fsmonitor"):
        scene.git("config", "--unset", key)
    (scene.path / "a").unlink()

    scene.git("update-ref", "refs/heads/x", commit)
    scene.git("checkout", "--force", "--quiet", commit)

    assert {"hook-reference-transaction", "hook-post-checkout", "smudge"} <= set(os.listdir(trap))


async def test_what_others_leave_in_our_own_git_folder_is_not_honoured(
    scene: Scene, into: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    commit = scene.commit({"a": "1\n", ".gitattributes": "* filter=evil\n"})
    repo = await scene.repo()
    await repo.checkout(commit, into)
    own = scene.path / ".delm" / "git"
    (own / "config").write_text(f'[filter "evil"]\n\tsmudge = touch {trap}/smudge\n')
    (own / "info").mkdir()
    (own / "info" / "attributes").write_text("* filter=evil\n")
    (own / "commondir").write_text(str(scene.path / ".git"))
    (own / "hooks").symlink_to(scene.path / ".git" / "hooks")
    (own / "HEAD").unlink()
    (own / "HEAD").symlink_to("/etc/passwd")
    again = tmp_path / "again"
    again.mkdir()

    await repo.checkout(commit, again)

    assert (again / "a").read_text() == "1\n"
    assert os.listdir(trap) == []
    assert sorted(os.listdir(own)) == ["HEAD", "config", "refs"]
    assert (scene.path / ".delm" / ".gitignore").read_text() == "*\n"
    assert "delm" not in scene.git("status", "--porcelain")


async def test_a_replaced_commit_or_a_graft_is_seen_as_it_really_is(scene: Scene, into: Path) -> None:
    real = scene.commit({"a": "real"})
    fake = scene.commit({"a": "fake"})
    scene.git("replace", real, fake)
    (scene.path / ".git" / "info").mkdir(exist_ok=True)
    (scene.path / ".git" / "info" / "grafts").write_text(f"{fake}\n")
    repo = await scene.repo()

    await repo.checkout(real, into)

    assert (into / "a").read_text() == "real"
    assert await repo.read_file("a", real) == b"real"
    assert await repo.is_ancestor(real, fake)


async def test_a_checkout_has_the_files_and_nothing_else(scene: Scene, into: Path) -> None:
    commit = scene.commit({"a": "1", "dir/run.sh": "#!/bin/sh\n"})
    (scene.path / "dir" / "run.sh").chmod(0o755)
    commit = scene.commit({"ü/x": "2"})
    (scene.path / "untracked").write_text("x")

    made = await (await scene.repo()).checkout(commit, into)

    assert sorted(os.listdir(into)) == ["a", "dir", "ü"]
    assert (into / "dir" / "run.sh").stat().st_mode & stat.S_IXUSR
    assert (made.submodules, made.neutralised) == ((), ())


async def test_links_that_lead_out_of_the_checkout_become_plain_files(
    scene: Scene, into: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    links = {
        "absolute": "/etc/passwd",
        "upward": "../outside",
        "deep/upward": "../../outside/x",
        "inside": "file",
        "deep/inside": "../file",
        "dangling": "nowhere",
        "loop": "loop",
        "a/b/root": "../..",
        # Through `root`, this is the checkout's parent, although its text stays inside.
        "a/b/sneaky": "root/../outside",
    }
    for name, target in links.items():
        (scene.path / name).parent.mkdir(parents=True, exist_ok=True)
        (scene.path / name).symlink_to(target)
    commit = scene.commit({"file": "1"})

    made = await (await scene.repo()).checkout(commit, into)

    outside = {"absolute", "upward", "deep/upward", "a/b/sneaky"}
    assert set(made.neutralised) == outside
    for name, target in links.items():
        if name in outside:
            assert (into / name).read_text() == target
            assert not (into / name).is_symlink()
        else:
            assert os.readlink(into / name) == target


async def test_submodules_are_left_out_and_said(scene: Scene, into: Path) -> None:
    commit = scene.commit({"a": "1"})
    scene.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/lib")
    scene.git("commit", "--quiet", "-m", "a submodule")

    made = await (await scene.repo()).checkout(scene.git("rev-parse", "HEAD"), into)

    assert made.submodules == ("vendor/lib",)
    assert os.listdir(into / "vendor" / "lib") == []


@pytest.mark.parametrize("name", [".git", ".GIT", ".."])
async def test_a_tree_that_would_write_into_a_git_folder_or_upward_is_refused(
    scene: Scene, into: Path, name: str
) -> None:
    blob = scene.git("hash-object", "-w", "--stdin", stdin=b"[core]")
    inner = raw_tree(scene, [("100644", "config", blob)])
    outer = raw_tree(scene, [("40000", name, inner)])

    with pytest.raises((InvalidInput, GitFailed)):
        await (await scene.repo()).checkout(outer, into)

    assert sorted(os.listdir(into.parent)) == ["checkout", "project"]
    assert os.listdir(into) == []


async def test_a_link_and_a_folder_of_one_name_cannot_write_through_the_link(
    scene: Scene, into: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = scene.git("hash-object", "-w", "--stdin", stdin=str(outside).encode())
    blob = scene.git("hash-object", "-w", "--stdin", stdin=b"written")
    inner = raw_tree(scene, [("100644", "file", blob)])
    outer = raw_tree(scene, [("120000", "link", target), ("40000", "link", inner)])

    with suppress(InvalidInput, GitFailed):
        await (await scene.repo()).checkout(outer, into)

    assert os.listdir(outside) == []


async def test_a_tree_that_unfolds_to_too_many_files_is_refused_before_anything_is_written(
    scene: Scene, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitcheckout, "TREE_ENTRIES_MAX", 1000)
    tree = raw_tree(scene, [("100644", "f", scene.git("hash-object", "-w", "--stdin", stdin=b""))])
    for _ in range(4):
        tree = raw_tree(scene, [("40000", f"d{number}", tree) for number in range(10)])

    with pytest.raises(InvalidInput, match="more than 1000 files"):
        await (await scene.repo()).checkout(tree, into)

    assert os.listdir(into) == []


async def test_a_tree_of_endless_depth_is_stopped_by_the_bound_on_gits_output(
    scene: Scene, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitcheckout, "_LISTING_BYTES_MAX", 1_000_000)
    tree = raw_tree(scene, [("100644", "f", scene.git("hash-object", "-w", "--stdin", stdin=b""))])
    for _ in range(12):
        tree = raw_tree(scene, [("40000", f"d{number}", tree) for number in range(10)])

    with anyio.fail_after(60), pytest.raises(InvalidInput, match="files"):
        await (await scene.repo()).checkout(tree, into)


def raw_tree(scene: Scene, entries: list[tuple[str, str, str]]) -> str:
    """A tree object with names that git's own commands would refuse to add."""
    data = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries)
    return scene.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=data)
