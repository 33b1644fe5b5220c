"""Protect globs: which files they match, and how a tree gets them back."""

from pathlib import Path

import pytest

from delm_mcp.checks.gitprotect import pathspecs
from delm_mcp.errors import ConfigError
from tests.checks_scene import Scene

pytestmark = pytest.mark.anyio


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "project")


async def test_protected_files_go_back_to_what_they_are_at_base(scene: Scene) -> None:
    base = scene.commit(
        {"tests/test_a.py": "a", "tests/test_b.py": "b", "src/app.py": "1", "conftest.py": "c"}
    )
    patch = scene.commit(
        {
            "tests/test_a.py": "cheat",
            "tests/test_b.py": None,
            "tests/deep/conftest.py": "cheat",
            "conftest.py": "cheat",
            "src/app.py": "2",
            "src/conftest.py": "cheat",
        }
    )
    repo = await scene.repo()

    restored = await repo.restore(scene.tree(patch), scene.tree(base), ["tests/**", "conftest.py"])

    assert scene.files(restored.tree) == ["conftest.py", "src/app.py", "tests/test_a.py", "tests/test_b.py"]
    assert scene.show(restored.tree, "tests/test_a.py") == "a"
    assert scene.show(restored.tree, "conftest.py") == "c"
    assert scene.show(restored.tree, "src/app.py") == "2"
    assert set(restored.paths) == {
        "conftest.py",
        "src/conftest.py",
        "tests/deep/conftest.py",
        "tests/test_a.py",
        "tests/test_b.py",
    }


async def test_a_file_or_a_link_in_place_of_a_protected_folder_goes_away(scene: Scene) -> None:
    base = scene.commit({"tests/test_a.py": "a", "other/test_a.py": "assert True"})
    (scene.path / "tests" / "test_a.py").unlink()
    (scene.path / "tests").rmdir()
    (scene.path / "tests").symlink_to("other")
    patch = scene.commit({})
    repo = await scene.repo()

    restored = await repo.restore(scene.tree(patch), scene.tree(base), ["tests/**"])

    assert restored.tree == scene.tree(base)


async def test_a_folder_in_place_of_a_protected_file_goes_away(scene: Scene) -> None:
    base = scene.commit({"pyproject.toml": "[tool]"})
    (scene.path / "pyproject.toml").unlink()
    patch = scene.commit({"pyproject.toml/x": "1"})
    repo = await scene.repo()

    restored = await repo.restore(scene.tree(patch), scene.tree(base), ["/pyproject.toml"])

    assert restored.tree == scene.tree(base)


async def test_a_mode_change_of_a_protected_file_is_undone(scene: Scene) -> None:
    base = scene.commit({"run.sh": "#!/bin/sh\n"})
    (scene.path / "run.sh").chmod(0o755)
    patch = scene.commit({})
    restored = await (await scene.repo()).restore(scene.tree(patch), scene.tree(base), ["*.sh"])
    assert (restored.tree, restored.paths) == (scene.tree(base), ("run.sh",))


async def test_nothing_to_restore_leaves_the_tree_alone(scene: Scene) -> None:
    base = scene.commit({"tests/a": "1", "b": "1"})
    patch = scene.commit({"b": "2"})
    restored = await (await scene.repo()).restore(scene.tree(patch), scene.tree(base), ["tests/**"])
    assert (restored.tree, restored.paths) == (scene.tree(patch), ())


@pytest.mark.parametrize(
    ("glob", "matched"),
    [
        ("conftest.py", {"conftest.py", "tests/conftest.py", "tests/unit/conftest.py"}),
        ("/conftest.py", {"conftest.py"}),
        ("tests/conftest.py", {"tests/conftest.py"}),
        ("tests/**", {"tests/conftest.py", "tests/unit/conftest.py", "tests/unit/test_a.py"}),
        ("unit/", {"tests/unit/conftest.py", "tests/unit/test_a.py"}),
        ("unit", {"tests/unit/conftest.py", "tests/unit/test_a.py"}),
        ("/unit/", set()),
        ("test_*.py", {"tests/unit/test_a.py"}),
        ("tests/*.py", {"tests/conftest.py"}),
        ("**/unit/*", {"tests/unit/conftest.py", "tests/unit/test_a.py"}),
        (
            "**",
            {
                "conftest.py",
                "setup.cfg",
                "tests/conftest.py",
                "tests/unit/conftest.py",
                "tests/unit/test_a.py",
            },
        ),
    ],
)
async def test_globs_match_like_gitignore(scene: Scene, glob: str, matched: set[str]) -> None:
    names = (
        "conftest.py",
        "setup.cfg",
        "tests/conftest.py",
        "tests/unit/conftest.py",
        "tests/unit/test_a.py",
    )
    base = scene.commit(dict.fromkeys(names, "1"))
    patch = scene.commit(dict.fromkeys(names, "2"))
    restored = await (await scene.repo()).restore(scene.tree(patch), scene.tree(base), [glob])
    assert set(restored.paths) == matched


@pytest.mark.parametrize("glob", ["", " ", "/", "!tests/**", "../x", "a/../b", "a\0"])
def test_a_glob_that_cannot_be_used_is_named(glob: str) -> None:
    with pytest.raises(ConfigError, match="protect glob"):
        pathspecs([glob])
