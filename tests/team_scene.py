"""Teams in tests: a small repository, agents that know its repairs, and `delm-run` as a process."""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import psutil

from tests.outside import environment, git

BIN = Path(sys.executable).parent
AGENT = Path(__file__).with_name("team_agent.py")
PATIENCE_S = 60.0
MODULES = ("one", "two")
CHECK = f"{sys.executable} -m pytest -q -p no:cacheprovider"
QUICK_CHECK = f"{sys.executable} -S test_one.py"
POLICY = """\
preset = "standard"
[limits]
lease_s = 60
max_losses = 50
decide_grace_s = 0.2
author_first_s = 0.5
"""


@dataclass
class Scene:
    """A repository with broken modules, and what agents need to know."""

    folder: Path
    modules: Sequence[str] = MODULES
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    def agents(self, *words: str, count: int = 1) -> str:
        """An `--agents` value."""
        state, fixes = str(self.folder / "state"), str(self.folder / "fixes")
        words = (sys.executable, str(AGENT), "--state", state, "--fixes", fixes, *words)
        return (
            f"cmd:{count}:{shlex.join(words)} --config {{config}} --worktree {{worktree}} --label {{label}}"
        )

    def team(self, *words: str) -> list[str]:
        """The words of a usual `delm-run team`."""
        tasks = [word for name in self.modules for word in ("--task", f"Mend {name}.py")]
        policy = str(self.folder / "policy.toml")
        check = CHECK if len(self.modules) > 1 else QUICK_CHECK
        return ["team", "Mend all", "--run", "mend", *tasks, "--check", check, "--policy", policy, *words]

    def start(self, *words: str) -> "Launched":
        """Start `delm-run` in the repository."""
        process = subprocess.Popen(
            [str(BIN / "delm-run"), *words],
            cwd=self.repo,
            env=environment(PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return Launched(process)

    def run(self, *words: str, code: int = 0) -> str:
        """Run `delm-run` to its end, and insist on its exit code; returns what it printed."""
        launched = self.start(*words)
        said = launched.ended()
        assert launched.process.returncode == code, said
        return said

    @property
    def team_folder(self) -> Path:
        return self.repo / ".delm" / "teams" / "mend"

    def facts(self) -> dict[str, Any]:
        return dict(json.loads((self.team_folder / "team.json").read_text()))

    def pids(self) -> dict[str, int]:
        rows = json.loads((self.team_folder / "processes.json").read_text())
        return {name: row["pid"] for name, row in rows.items()}

    def kill(self, name: str) -> None:
        """kill -9 one of the team's processes, as it is now."""
        os.kill(self.pids()[name], signal.SIGKILL)

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [str(BIN / "delm-mcp"), "status", "--json", "--run", "mend"],
            cwd=self.repo,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return dict(json.loads(done.stdout)["runs"][0])

    def print_of_users(self) -> dict[str, str]:
        """Digests of everything that is the user's: files, index, HEAD, branches other than ours."""
        found = {}
        for path in sorted(self.repo.rglob("*")):
            name = str(path.relative_to(self.repo))
            if path.is_file() and not name.startswith((".git/", ".delm/")):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("index", "HEAD", "config"):
            found[f".git/{name}"] = hashlib.sha256((self.repo / ".git" / name).read_bytes()).hexdigest()
        found["branches"] = git(self.repo, "for-each-ref", "refs/heads/main")
        found["staged"] = git(self.repo, "diff", "--cached")
        return found


@dataclass
class Launched:
    """A `delm-run` under way, whose lines are read as they come."""

    process: subprocess.Popen[str]
    patience_s: float = PATIENCE_S
    """How long it may be silent."""
    said: list[str] = field(default_factory=list)
    _lines: "SimpleQueue[str | None]" = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, *words: str) -> str:
        """The next line with all these words."""
        while (line := self._next()) is not None:
            if all(word in line for word in words):
                return line
        raise AssertionError(f"{words} was never said:\n{''.join(self.said)}")

    def _next(self) -> str | None:
        try:
            line = self._lines.get(timeout=self.patience_s)
        except Empty:
            raise AssertionError(f"nothing more was said:\n{''.join(self.said)}") from None
        if line is not None:
            self.said.append(line)
        return line

    def ended(self) -> str:
        """Everything it said, once it has ended."""
        while self._next() is not None:
            pass
        self.process.wait(PATIENCE_S)
        return "".join(self.said)

    def family(self) -> list[psutil.Process]:
        """All processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def scene_in(folder: Path, modules: Sequence[str] = MODULES) -> Iterator[Scene]:
    """A scene; whatever is still running at its end is ended."""
    scene = Scene(folder, modules)
    for name in ("repo", "fixes", "state"):
        (folder / name).mkdir()
    (folder / "policy.toml").write_text(POLICY)
    git(scene.repo, "init", "-q", "-b", "main")
    git(scene.repo, "config", "user.name", "user")
    git(scene.repo, "config", "user.email", "user@localhost")
    for name in modules:
        (scene.repo / f"{name}.py").write_text(f"def {name}(x):\n    return x - 1\n")
        (folder / "fixes" / f"{name}.py").write_text(f"def {name}(x):\n    return x + 1\n")
        test = f"from {name} import {name}\n\n\ndef test_{name}():\n    assert {name}(1) == 2\n\n\n"
        test += f"if __name__ == '__main__':\n    test_{name}()\n"
        (scene.repo / f"test_{name}.py").write_text(test)
    git(scene.repo, "add", "--all")
    git(scene.repo, "commit", "-q", "-m", "start")
    try:
        yield scene
    finally:
        for process in scene.running:
            if process.poll() is None:
                with suppress(psutil.Error):
                    below = psutil.Process(process.pid).children(recursive=True)
                    process.kill()
                    for child in below:
                        with suppress(psutil.Error):
                            child.kill()
            process.wait(PATIENCE_S)
            if process.stdout is not None:
                process.stdout.close()
