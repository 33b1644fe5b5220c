"""Patches as text: what applies makes the tree that it says, and nothing else ever comes of it."""

import base64
import zlib
from pathlib import Path

import pytest

from delm_mcp.checks.gitpatch import DIFF_CHARS_MAX, Applied
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.errors import InvalidInput
from tests.checks_scene import Scene, git

pytestmark = pytest.mark.anyio

FILES: dict[str, str | bytes | None] = {
    "a.txt": "".join(f"line {number}\n" for number in range(1, 21)),
    "dos.txt": b"one\r\ntwo\r\nthree\r\n",
    "open.txt": "no line end here",
    "pixel.bin": bytes(range(256)),
    "naïve name.txt": "grün\n",
}
NEW = "diff --git a/{0} b/{0}\nnew file mode {1}\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+{2}\n"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "server")
    scene.commit(FILES)
    return scene


@pytest.fixture
def clone(scene: Scene, tmp_path: Path) -> Scene:
    """A clone with objects of its own, as on another machine."""
    git(tmp_path, "clone", "--quiet", "--no-local", str(scene.path), "clone")
    return Scene(tmp_path / "clone")


async def repo_of(scene: Scene) -> GitRepo:
    repo = await GitRepo.find(scene.path)
    assert repo is not None
    return repo


def raw_diff(clone: Scene, *words: str) -> str:
    return git(clone.path, "diff", *words) + "\n"


async def applied(scene: Scene, text: str) -> Applied:
    repo = await repo_of(scene)
    return await repo.apply(await repo.tree_of(scene.git("rev-parse", "HEAD")), text)


async def test_a_diff_of_any_files_makes_the_tree_that_it_was_made_from(scene: Scene, clone: Scene) -> None:
    before = clone.git("rev-parse", "HEAD")
    clone.git("mv", "a.txt", "moved.txt")
    after = clone.commit(
        {
            "dos.txt": b"one\r\nzwei\r\nthree\r\nfour\r\n",
            "open.txt": "still no line end",
            "pixel.bin": bytes(reversed(range(256))),
            "new/déjà vu.txt": "été\n\ttab\u2028 and \u202e override\n",
            "naïve name.txt": None,
        }
    )
    text = raw_diff(clone, "--binary", before, after)

    done = await applied(scene, text)
    whole = await applied(
        scene, git(clone.path, "format-patch", "--stdout", "--binary", f"{before}..{after}")
    )
    unended = await applied(scene, text.rstrip("\n"))
    cut = await applied(scene, text[:-40])

    tree = clone.git("rev-parse", f"{after}^{{tree}}")
    assert (done.tree, done.problem) == (tree, "")
    assert [whole.tree, unended.tree] == [tree, tree]
    assert (cut.tree, cut.problem) == ("", "parts of it cannot be read, as if they were cut short")
    assert scene.git("status", "--porcelain") == ""


async def test_an_older_diff_is_merged_where_it_can_be_and_names_the_files_where_not(
    scene: Scene, clone: Scene
) -> None:
    before = clone.git("rev-parse", "HEAD")
    first = str(FILES["a.txt"]).replace("line 2\n", "line two\n")
    text = raw_diff(clone, before, clone.commit({"a.txt": first}))
    scene.commit({"a.txt": "line 0\n" + str(FILES["a.txt"]).replace("line 19\n", "line nineteen\n")})

    merged = await applied(scene, text)

    assert scene.git("show", f"{merged.tree}:a.txt").splitlines()[:3] == ["line 0", "line 1", "line two"]
    assert "line nineteen" in scene.git("show", f"{merged.tree}:a.txt")

    scene.commit({"a.txt": str(FILES["a.txt"]).replace("line 2\n", "line II\n")})
    assert (await applied(scene, text)).conflicts == ("a.txt",)


HOSTILE = {
    "up": (NEW.format("../escaped", "100644", "x"), "invalid path"),
    "far_up": (NEW.format("sub/../../escaped", "100644", "x"), "invalid path"),
    "absolute": (NEW.replace("b/{0}", "b//{0}").format("escaped", "100644", "x"), "invalid path"),
    "hook": (NEW.format(".git/hooks/pre-commit", "100755", "touch escaped"), "invalid path"),
    "hook_of_a_mac": (NEW.format(".GIT/hooks/pre-commit", "100755", "x"), "invalid path"),
    "hook_unseen": (NEW.format(".g\u200cit/config", "100644", "x"), "invalid path"),
    "hook_of_windows": (NEW.format("git~1/config", "100644", "x"), "invalid path"),
    "link": (NEW.format("link", "120000", "..") + "\\ No newline at end of file\n", "symbolic link"),
    "link_and_through_it": (
        NEW.format("link", "120000", "..") + NEW.format("link/escaped", "100644", "x"),
        "link/escaped",
    ),
    "a_file_becomes_a_link": ("diff --git a/a.txt b/a.txt\nold mode 100644\nnew mode 120000\n", ""),
    "submodule": (
        "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..1234567\n--- /dev/null\n+++ b/sub\n"
        f"@@ -0,0 +1 @@\n+Subproject commit {'1234567890' * 4}\n",
        "",
    ),
    "rename_away": (
        "diff --git a/a.txt b/../x\nsimilarity index 100%\nrename from a.txt\nrename to ../x\n",
        "",
    ),
    "no_such_place": (
        "--- a/a.txt\n+++ b/a.txt\n@@ -40,3 +40,3 @@\n line 40\n-line 41\n+line x\n line 42\n",
        "patch failed: a.txt:40",
    ),
    "no_such_file": ("--- a/b.txt\n+++ b/b.txt\n@@ -1 +1 @@\n-x\n+y\n", "b.txt: does not exist in index"),
    "counts_are_wrong": (
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,9 +1,9 @@\n line 1\n-line 2\n+l\n",
        "corrupt patch",
    ),
    "binary_by_name": (
        "diff --git a/pixel.bin b/pixel.bin\nindex 1234567..7654321 100644\nBinary files a/pixel.bin and "
        "b/pixel.bin differ\n",
        "without full index line",
    ),
    "nothing": ("Please merge my work\n", "No valid patches"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_or_broken_text_is_a_problem_with_its_reason_and_touches_no_file(
    scene: Scene, tmp_path: Path, name: str
) -> None:
    text, words = HOSTILE[name]
    refs = scene.git("for-each-ref")

    done = await applied(scene, text)

    assert done.tree == ""
    assert words in done.problem
    assert done.problem
    assert not list(tmp_path.rglob("escaped"))  # noqa: ASYNC240
    assert scene.git("for-each-ref") == refs
    assert scene.git("status", "--porcelain") == ""
    assert not (scene.path / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.parametrize("path", ["n" * 256, "/".join(["a"] * 600)], ids=["name", "depth"])
async def test_a_path_that_cannot_be_written_is_refused_and_holds_up_nobody(scene: Scene, path: str) -> None:
    """Were it a check that could not run, the run's other patches would wait for it."""
    repo, head = await repo_of(scene), scene.git("rev-parse", "HEAD")

    text = await applied(scene, NEW.format(path, "100644", "x"))
    assert "too long" in text.problem

    row = f"100644 {scene.git('rev-parse', 'HEAD:a.txt')}\t{path}\n".encode()
    index = {"GIT_INDEX_FILE": str(scene.path / "index")}
    await repo.git.own("update-index", "--index-info", stdin=row, env=index)
    tree = (await repo.git.own("write-tree", env=index)).stdout.decode().strip()
    commit = await repo.commit_tree(tree, [head], "deep", when_s=1)
    with pytest.raises(InvalidInput, match="too long"):
        await repo.merge(head, commit)


async def test_a_delta_that_asks_for_a_terabyte_is_refused(scene: Scene) -> None:
    sha = scene.git("rev-parse", "HEAD:pixel.bin")
    size, encoded = 1 << 40, b""
    while size:
        encoded += bytes([(size & 0x7F) | (0x80 if size > 0x7F else 0)])
        size >>= 7
    delta = bytes([0x80, 0x02]) + encoded + bytes([0x90, 0xFF])
    packed = zlib.compress(delta)
    line = chr(ord("A") + len(packed) - 1) + base64.b85encode(packed, pad=True).decode()
    text = (
        f"diff --git a/pixel.bin b/pixel.bin\nindex {sha}..{'12' * 20} 100644\nGIT binary patch\n"
        f"delta {len(delta)}\n{line}\n\n"
    )

    done = await applied(scene, text)

    assert done.tree == ""
    assert "over limit" in done.problem


async def test_what_lies_between_two_trees_is_shown_in_whole_files_that_apply_again(
    scene: Scene, clone: Scene
) -> None:
    repo = await repo_of(scene)
    base = scene.git("rev-parse", "HEAD")
    after = scene.commit(
        {
            "a.txt": "short\n",
            "pixel.bin": bytes(8),
            "latin.txt": b"gr\xfcn\n",
            "huge.txt": "ha\n" * (DIFF_CHARS_MAX // 4),
            "dos.txt": b"one\r\ntwo\r\n",
        }
    )

    shown = await repo.difference(await repo.tree_of(base), await repo.tree_of(after))

    assert "latin.txt (not UTF-8)" in " ".join(shown.left_out).replace("b/", "")
    assert [title.split()[0] for title in shown.left_out] == ["a/huge.txt", "a/latin.txt"]
    assert len(shown.text) <= DIFF_CHARS_MAX
    clone.git("apply", "--index", "-", stdin=shown.text.encode())
    for name in ("a.txt", "pixel.bin", "dos.txt"):
        assert clone.git("rev-parse", f":{name}") == scene.git("rev-parse", f"{after}:{name}")
