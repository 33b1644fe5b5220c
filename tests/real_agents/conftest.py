"""A place for each test, where agents have no special rights, and the mark that all these tests bear."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_agents.scene import CLIENTS, missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real_agents)


@pytest.fixture
def ground() -> Iterator[Path]:
    """An empty folder outside of the temporary directory: there one client lets its agent write anywhere,
    and does not start its sandbox for a HOME in it."""
    parent = CLIENTS.parents[1] / "scenes"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def installed(request: pytest.FixtureRequest) -> None:
    """The agents that a test needs: its parameter `name`, or all. In CI a missing one fails."""
    params = getattr(request.node, "callspec", None)
    name = params.params.get("name") if params is not None else None
    gone = missing([name] if name else ["claude", "codex", "gemini", "opencode"])
    if gone and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(gone)}; run .ci/agents")
    if gone:
        pytest.skip(f"not installed: {', '.join(gone)}; run .ci/agents")
