"""The test server: what runs in it, what a runaway mutant cannot do, and what is left behind (nothing)."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from delm_client.repair.check import Check, resolve
from delm_client.repair.errors import HarnessError
from delm_client.repair.harness import End, Harness, Limits

CHECK = f"{sys.executable} -m pytest -q"
CALC = """\
def total(values):
    result = 0
    for value in values:
        result += value
    return result


def mean(values):
    return total(values) / len(values)
"""
TESTS = """\
from calc import mean, total

def test_nothing():
    assert total([]) == 0

def test_sum():
    assert total([1, 2]) == 3

def test_mean():
    assert mean([1, 2]) == 1.5
"""
NOTHING, SUM, MEAN = ALL = tuple(
    f"tests/test_calc.py::{name}" for name in ("test_nothing", "test_sum", "test_mean")
)
QUICK = Limits(cpu_s=0.3, wall_s=60.0)


def make_project(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"pytest.ini": "[pytest]\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def fingerprint(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        digest.update(f"{path} {status.st_mtime_ns} {status.st_mode}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def hostile(body: str) -> bytes:
    """The module with a `total` that does something terrible before it answers."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return (
        f"def total(values):\n{lines}    return sum(values)\n\ndef mean(values):\n    return 1.5\n".encode()
    )


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; empty again when everything was cleared away."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    return resolve(CHECK, make_project(tmp_path_factory.mktemp("resolved"), {}))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project", {"calc.py": CALC, "tests/test_calc.py": TESTS})


@pytest.fixture
def harness(check: Check, project: Path, scratch: Path) -> Iterator[Harness]:
    before = fingerprint(project)
    with Harness(check, root=project) as started:
        yield started
    assert fingerprint(project) == before
    assert list(scratch.iterdir()) == []


def test_tests_run_in_the_order_that_was_asked_for(harness: Harness) -> None:
    run = harness.run([MEAN, NOTHING])
    assert run.passed([MEAN, NOTHING])
    assert list(run.tests) == [MEAN, NOTHING]


def test_a_mutant_is_seen_and_gone_afterwards(harness: Harness) -> None:
    minus = CALC.replace("+=", "-=").encode()  # as long as the original, and as old within a second
    assert not harness.run(ALL, file="calc.py", source=minus).passed(ALL)
    assert harness.run(ALL).passed(ALL)
    assert harness.run(ALL, file="calc.py", source=minus).tests == {
        NOTHING: "passed",
        SUM: "failed",
        MEAN: "failed",
    }
    assert harness.run(ALL, file="calc.py", source=CALC.encode()).passed(ALL)


def test_the_first_failure_ends_a_run_where_that_is_enough(harness: Harness) -> None:
    minus = CALC.replace("+=", "-=").encode()
    run = harness.run([SUM, MEAN, NOTHING], file="calc.py", source=minus, stop_first=True)
    assert run.tests == {SUM: "failed"}


def test_a_trace_tells_the_lines_of_each_test(harness: Harness) -> None:
    lines = harness.run(ALL, trace=True).lines
    assert lines[NOTHING] == {"calc.py": frozenset({1, 2, 3, 5})}
    assert lines[SUM] == {"calc.py": frozenset({1, 2, 3, 4, 5})}
    assert lines[MEAN] == {"calc.py": frozenset({1, 2, 3, 4, 5, 8, 9})}
    assert lines[""] == {"calc.py": frozenset({0, 1, 8})} or lines[""] == {"calc.py": frozenset({1, 8})}


def test_a_mutant_that_never_ends_is_stopped_by_processor_time(harness: Harness) -> None:
    run = harness.run(ALL, file="calc.py", source=hostile("while True: pass"), limits=QUICK)
    assert run.end is End.TIMEOUT
    assert 0.2 < run.cpu_s < 5
    assert harness.run(ALL).passed(ALL)


def test_a_mutant_that_only_waits_is_stopped_by_the_clock(harness: Harness) -> None:
    source = hostile("import time\ntime.sleep(600)")
    run = harness.run(ALL, file="calc.py", source=source, limits=Limits(cpu_s=60, wall_s=0.5))
    assert run.end is End.TIMEOUT
    assert run.cpu_s < 1


def test_a_mutant_cannot_take_all_memory(harness: Harness) -> None:
    limits = Limits(cpu_s=20, wall_s=60, memory_bytes=64 * 2**20)
    run = harness.run(ALL, file="calc.py", source=hostile("x = [0]\nwhile True: x += x"), limits=limits)
    assert run.end is End.COMPLETED
    assert run.tests[SUM] == "failed"


@pytest.mark.parametrize(
    "body",
    [
        "import os; os._exit(0)",
        "import os; os.abort()",
        "import os; os.closerange(3, 256); os._exit(0)",
        "import os; os.kill(os.getppid(), 9)",
    ],
)
def test_a_mutant_that_ends_its_process_has_not_passed(harness: Harness, body: str) -> None:
    run = harness.run(ALL, file="calc.py", source=hostile(body))
    assert run.end is End.CRASHED
    assert not run.passed(ALL)
    assert harness.run(ALL).passed(ALL)


def test_what_a_mutant_writes_goes_nowhere(harness: Harness) -> None:
    noise = (
        "import os, sys\n"
        "for fd in (0, 1, 2): os.write(fd, b'{}' * 9999 + bytes([10]))\n"
        "print('x' * 99999)\n"
        "sys.stderr.write('y')"
    )
    assert harness.run(ALL, file="calc.py", source=hostile(noise)).passed(ALL)
    assert harness.run(ALL).passed(ALL)


def test_files_that_a_mutant_leaves_are_cleared(harness: Harness, scratch: Path) -> None:
    leave = "import tempfile\ntempfile.mkdtemp()\nopen(tempfile.mkstemp()[1], 'w').write('x')"
    assert harness.run(ALL, file="calc.py", source=hostile(leave)).passed(ALL)
    assert [entry.name for entry in scratch.glob("*/tmp/*")] == []


def test_a_mutant_that_deletes_the_project_deletes_a_copy(harness: Harness) -> None:
    delete = "import os, shutil\nshutil.rmtree(os.getcwd())"
    harness.run(ALL, file="calc.py", source=hostile(delete))
    harness.start()
    assert harness.run(ALL, file="calc.py", source=CALC.encode()).passed(ALL)


def test_processes_that_a_mutant_starts_end_with_it(harness: Harness, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    daemon = (
        "import subprocess, sys\n"
        "for session in (False, True):\n"
        "    child = subprocess.Popen(['sleep', '300'], start_new_session=session)\n"
        f"    open({str(pids)!r}, 'a').write(f'{{child.pid}} ')"
    )
    run = harness.run([SUM], file="calc.py", source=hostile(daemon))
    assert run.passed([SUM])
    started = [int(word) for word in pids.read_text().split()]
    assert len(started) == 2
    assert not any(psutil.pid_exists(pid) for pid in started)


def test_a_server_that_was_killed_is_replaced(harness: Harness) -> None:
    assert harness.pid is not None
    os.kill(harness.pid, signal.SIGKILL)
    assert harness.run(ALL).passed(ALL)


CLIENT = """\
import sys
from pathlib import Path
from delm_client.repair.check import Check, resolve
from delm_client.repair.harness import Harness, Limits
harness = Harness(resolve(sys.argv[1], Path(sys.argv[2])))
harness.start()
print(harness.pid, flush=True)
looping = b"def total(values):\\n    while True: pass\\n\\nmean = total\\n"
harness.run(["tests/test_calc.py::test_sum"], file="calc.py", source=looping, limits=Limits(300, 300))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_nothing_survives_a_client_that_is_killed(project: Path, scratch: Path, sent: signal.Signals) -> None:
    before = fingerprint(project)
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, CHECK, str(project)],
        env=os.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with client:
        assert client.stdout is not None
        server = psutil.Process(int(client.stdout.readline()))
        family = [server, *_mutants_of(server)]
        client.send_signal(sent)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert list(scratch.iterdir()) == []
    assert fingerprint(project) == before


def _mutants_of(server: psutil.Process) -> list[psutil.Process]:
    """The zygote and the child that loops, once it is there."""
    while len(children := server.children(recursive=True)) < 2:
        assert server.is_running()
    return children


def test_a_conftest_that_imports_the_code_does_not_hide_mutants(
    check: Check, tmp_path: Path, scratch: Path
) -> None:
    files = {"calc.py": CALC, "tests/test_calc.py": TESTS, "conftest.py": "import calc\n"}
    project = make_project(tmp_path / "project", files)
    with Harness(check, root=project) as harness:
        assert harness.run(ALL).passed(ALL)
        minus = CALC.replace("+=", "-=").encode()
        assert harness.run(ALL, file="calc.py", source=minus).tests[SUM] == "failed"
        assert harness.run(ALL, trace=True).lines[SUM]["calc.py"] >= {2, 3, 4, 5}
    assert list(scratch.iterdir()) == []


def test_a_source_folder_and_settings_that_get_in_the_way(check: Check, tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "project",
        {
            "pytest.ini": (
                "[pytest]\npythonpath = src\naddopts = -n 2 --junitxml=report.xml --import-mode=importlib\n"
            ),
            "src/calc.py": CALC,
            "tests/test_calc.py": TESTS,
        },
    )
    before = fingerprint(project)
    with Harness(check, root=project) as harness:
        assert harness.run(ALL).passed(ALL)
        assert harness.run(ALL, file="src/calc.py", source=hostile("return 7")).tests[SUM] == "failed"
    assert fingerprint(project) == before


def test_a_linked_folder_is_never_written_to(check: Check, tmp_path: Path) -> None:
    outside = make_project(tmp_path / "outside", {"shared.py": "def one():\n    return 1\n"})
    project = make_project(
        tmp_path / "project",
        {"tests/test_calc.py": "from linked.shared import one\n\ndef test_one():\n    assert one() == 2\n"},
    )
    (project / "linked").symlink_to(outside)
    with Harness(check, root=project) as harness:
        run = harness.run(["tests/test_calc.py::test_one"], trace=True)
        assert run.lines == {"": {}, "tests/test_calc.py::test_one": {}}
    assert (outside / "shared.py").read_text() == "def one():\n    return 1\n"


def test_a_server_that_cannot_start_says_what_pytest_said(check: Check, project: Path, scratch: Path) -> None:
    (project / "conftest.py").write_text("raise RuntimeError('no database here')\n")
    with pytest.raises(HarnessError, match="no database here"):
        Harness(check, root=project).start()
    assert list(scratch.iterdir()) == []


def test_only_what_git_would_keep_is_copied(check: Check, project: Path, scratch: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q", str(project)], check=True, timeout=30)
    (project / ".gitignore").write_text("big/\n")
    make_project(project, {"big/data.bin": "x", "untracked.txt": "y"})
    with Harness(check, root=project) as harness:
        assert harness.run(ALL).passed(ALL)
        (copy,) = scratch.glob("*/project")
        assert (copy / "untracked.txt").exists()
        assert not (copy / "big").exists()
        assert not (copy / ".git").exists()
