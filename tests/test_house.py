"""The house rules: formatting, lint, types, import contracts, and a README that tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from delm_mcp.domain.tasks import mermaid
from delm_mcp.surfaces import schemas
from delm_mcp.surfaces.mcp import make_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        pytest.param(("mypy",), marks=pytest.mark.long),  # half a minute without a cache
        ("lint-imports",),
    ],
    ids=["ruff", "format", "mypy", "imports"],
)
def test_the_house_rules_hold(argv: tuple[str, ...]) -> None:
    beside = Path(sys.executable).with_name(argv[0])
    _run(str(beside) if beside.exists() else argv[0], *argv[1:])


def test_the_readme_draws_the_task_states_as_they_are() -> None:
    assert mermaid() in README


def test_the_readme_gives_the_size_of_the_tool_list_as_it_is() -> None:
    async def listed() -> int:
        server = make_server(None, lambda: None)  # type: ignore[arg-type, return-value]
        return sum(map(schemas.tokens, await server.list_tools()))

    assert f"{anyio.run(listed):,} tokens" in README


def test_no_file_names_a_package_registry() -> None:
    registry = re.compile(
        "|".join(["pypi" + r"\.org", "npmjs" + r"\.org", "pythonhosted" + r"\.org", "debian" + r"\.org"])
    )
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    named = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and registry.search(path.read_text(encoding="utf-8", errors="replace")):
            named.append(name)
    assert not named
