"""The packages in `clients/` as their clients' own validators and installers see them.

No model takes part: what is asked is whether a package is whole, and whether its client lists the server.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.outside import COMMAND, environment

pytestmark = pytest.mark.real_agents
ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "clients"
PROGRAMS = Path(os.environ.get("DELM_AGENT_CLIENTS") or ROOT / ".agents") / "node_modules" / ".bin"
QUIET = {
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}


def told(home: Path, program: str, *words: str | Path, said: str = "") -> str:
    """What a client's program prints, after insisting that it succeeds; in an empty HOME."""
    if not (PROGRAMS / program).exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed; run .ci/agents")
        pytest.skip(f"{program} is not installed; run .ci/agents")
    home.mkdir(exist_ok=True)
    node = Path(shutil.which("node") or "/usr/bin/node").parent
    done = subprocess.run(
        [PROGRAMS / program, *words],
        cwd=home,
        env={"HOME": str(home), "PATH": f"{node}:/usr/bin:/bin", "LANG": "C.UTF-8", "NO_COLOR": "1", **QUIET},
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_claude_code_finds_the_plugin_and_its_marketplace_faultless_and_installs_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    told(home, "claude", "plugin", "validate", "--strict", ROOT)
    report = told(home, "claude", "plugin", "validate", "--strict", PACKAGES / "claude-code")
    for part in ("Stop command", "SessionEnd command", "delm stdio", "delm:delm-worker", "delm:run"):
        assert part in report
    told(home, "claude", "plugin", "marketplace", "add", ROOT)
    told(home, "claude", "plugin", "install", "delm@delm-mcp")
    assert "delm@delm-mcp" in told(home, "claude", "plugin", "list")


def test_codex_installs_the_plugin_and_lists_its_server(tmp_path: Path) -> None:
    home = tmp_path / "home"
    told(home, "codex", "plugin", "marketplace", "add", PACKAGES / "codex")
    told(home, "codex", "plugin", "add", "delm@delm-mcp")
    assert "enabled" in told(home, "codex", "plugin", "list")
    assert "delm-mcp" in told(home, "codex", "mcp", "list")


def test_gemini_cli_finds_the_extension_valid_and_installs_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    told(home, "gemini", "extensions", "validate", PACKAGES / "gemini-cli")
    told(home, "gemini", "extensions", "install", PACKAGES / "gemini-cli", "--consent", said="y\n")
    assert "delm" in told(home, "gemini", "extensions", "list")


def test_the_bundle_is_valid_and_can_be_packed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    told(home, "mcpb", "validate", PACKAGES / "mcpb")
    bundle = tmp_path / "delm.mcpb"
    told(home, "mcpb", "pack", PACKAGES / "mcpb", bundle)
    assert bundle.stat().st_size > 0


@pytest.mark.parametrize("program", ["claude", "codex", "gemini", "opencode"])
def test_what_install_writes_is_what_the_client_reads(program: str, tmp_path: Path) -> None:
    """In the user's scope, which needs no trust in a folder."""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [*COMMAND, "install", program, "--scope", "user", "--yes"],
        cwd=home,
        env=environment(HOME=str(home)),
        capture_output=True,
        timeout=60,
        check=True,
    )
    listed = told(home, program, "mcp", "list")
    assert "delm" in listed
    assert "stdio" in listed
    if program in {"claude", "opencode"}:  # the others list without connecting
        assert "connected" in listed.lower()
