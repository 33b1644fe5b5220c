"""Running commands that agents' code takes part in: what they get, what they cannot do, what is left."""

import os
import signal
import sys
from pathlib import Path

import anyio
import anyio.abc
import psutil
import pytest

from delm_mcp.checks.bubblewrap import bubblewrap_problem
from delm_mcp.checks.output import Tail, plain_text
from delm_mcp.checks.processes import TooMuchOutput, run_program
from delm_mcp.checks.sandbox import Limits, SandboxKind
from delm_mcp.checks.workdirs import remove_abandoned, work_dir
from delm_mcp.errors import CheckUnavailable
from tests.checks_scene import ENV_PATH, python, run

pytestmark = pytest.mark.anyio

# A second fork in a session of its own: what a daemon does to get away.
DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", sys.argv[1]])
    os._exit(0)
os.wait()
print("daemon started", flush=True)
"""


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


@pytest.fixture(params=["bubblewrap", "process"])
async def kind(request: pytest.FixtureRequest) -> SandboxKind:
    chosen: SandboxKind = request.param
    if chosen == "bubblewrap" and (problem := await bubblewrap_problem()):
        pytest.skip(f"bubblewrap does not work here: {problem}")
    return chosen


def unique_sleep(tmp_path: Path) -> str:
    """A last argument by which processes can be found among all others; also a long time to sleep."""
    return f"{30_000 + os.getpid()}.{abs(hash(tmp_path)) % 10**8}"


def processes_of(argument: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[-1] == argument:
            found.append(process)
    return found


# What a command gets


async def test_exit_code_and_both_outputs_in_order(cwd: Path, kind: SandboxKind) -> None:
    ran = await run(["sh", "-c", "echo one; echo two >&2; echo three; exit 3"], cwd, kind)

    assert (ran.exit_code, ran.output_tail, ran.killed_reason) == (3, "one\ntwo\nthree\n", "")
    assert (ran.sandbox, ran.output_bytes, ran.timed_out) == (kind, 14, False)
    assert 0 < ran.duration_s < 30


async def test_a_command_that_dies_of_a_signal_exits_as_in_a_shell(cwd: Path, kind: SandboxKind) -> None:
    ran = await run(["sh", "-c", "kill -SEGV $$"], cwd, kind)
    assert (ran.exit_code, ran.killed_reason) == (128 + signal.SIGSEGV, "")


async def test_the_servers_environment_is_not_visible(
    cwd: Path, kind: SandboxKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do-not-tell")
    code = """
import os
for pid in ["self", str(os.getppid())]:
    try:
        print(open(f"/proc/{pid}/environ").read())
    except OSError:
        pass
print(sorted(os.environ), os.environ["HOME"], os.listdir(os.environ["HOME"]))
"""
    ran = await python(code, cwd, kind)

    assert ran.exit_code == 0
    assert "do-not-tell" not in ran.output_tail
    names = {"DELM_CHECK", "HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "TMPDIR"}
    assert str(sorted(names)) in ran.output_tail.replace("'PWD', ", "").replace("'LC_CTYPE', ", "")
    assert str(Path.home()) != ran.output_tail.split()[-2]
    assert ran.output_tail.rstrip().endswith("[]")


async def test_more_variables_can_be_given(cwd: Path, kind: SandboxKind) -> None:
    ran = await run(["sh", "-c", "echo $COLOUR"], cwd, kind, env={"COLOUR": "blue"})
    assert ran.output_tail == "blue\n"


async def test_the_checkout_and_the_given_folders_are_writable_and_input_is_empty(
    cwd: Path, kind: SandboxKind, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ran = await run(["sh", "-c", f"cat; echo a > here; echo b > {out}/there"], cwd, kind, writable=[out])
    assert (ran.exit_code, ran.output_tail) == (0, "")
    assert (cwd / "here").read_text() == "a\n"
    assert (out / "there").read_text() == "b\n"


async def test_no_temporary_folder_is_left(
    cwd: Path, kind: SandboxKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(root))
    locked = 'd=$(mktemp -d) && mkdir -p "$d/in/side" && touch "$d/in/side/x" && chmod 0 "$d/in/side" "$d/in"'

    assert (await run(["sh", "-c", locked], cwd, kind)).exit_code == 0
    assert list(root.iterdir()) == []


async def test_a_program_that_is_not_there_makes_the_check_unavailable(cwd: Path, kind: SandboxKind) -> None:
    for program in ("no-such-program", "/no/such/program"):
        with pytest.raises(CheckUnavailable, match=program):
            await run([program], cwd, kind)
    with pytest.raises(CheckUnavailable, match="empty"):
        await run([], cwd, kind)


async def test_a_script_of_the_repository_that_is_not_there_is_a_failure(
    cwd: Path, kind: SandboxKind
) -> None:
    ran = await run(["./no-such-script"], cwd, kind)
    assert ran.exit_code not in (0, None)
    assert "No such file" in ran.output_tail


# What is left of it


async def test_a_daemon_does_not_outlive_the_command(cwd: Path, kind: SandboxKind, tmp_path: Path) -> None:
    argument = unique_sleep(tmp_path)
    ran = await python(DAEMON, cwd, kind, argument)
    assert (ran.exit_code, ran.output_tail) == (0, "daemon started\n")
    assert processes_of(argument) == []


async def test_a_timeout_ends_the_command_and_its_daemons(
    cwd: Path, kind: SandboxKind, tmp_path: Path
) -> None:
    argument = unique_sleep(tmp_path)
    code = DAEMON + "os.execvp('sleep', ['sleep', sys.argv[1]])"
    ran = await python(code, cwd, kind, argument, timeout_s=2.0)
    assert (ran.exit_code, ran.killed_reason, ran.timed_out) == (None, "timeout", True)
    assert ran.output_tail == "daemon started\n"
    assert processes_of(argument) == []


async def test_a_command_that_ignores_every_signal_is_ended_all_the_same(
    cwd: Path, kind: SandboxKind
) -> None:
    code = """
import signal, time
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
print("deaf", flush=True)
time.sleep(600)
"""
    ran = await python(code, cwd, kind, timeout_s=2.0)
    assert (ran.killed_reason, ran.output_tail) == ("timeout", "deaf\n")


async def test_a_cancelled_caller_leaves_no_process(cwd: Path, kind: SandboxKind, tmp_path: Path) -> None:
    argument = unique_sleep(tmp_path)
    os.mkfifo(cwd / "started")
    code = DAEMON + "open('started', 'w').write('x')\nos.execvp('sleep', ['sleep', sys.argv[1]])"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(python, code, cwd, kind, argument)
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync((cwd / "started").read_text)
        assert len(processes_of(argument)) >= 2
        tasks.cancel_scope.cancel()

    assert processes_of(argument) == []


async def test_killing_the_server_ends_the_command(cwd: Path, kind: SandboxKind, tmp_path: Path) -> None:
    argument = unique_sleep(tmp_path)
    os.mkfifo(cwd / "started")
    code = DAEMON + "open('started', 'w').write('x')\nos.execvp('sleep', ['sleep', sys.argv[1]])"
    server = f"""
import anyio, sys
from pathlib import Path
from delm_mcp.checks import sandbox
anyio.run(lambda: sandbox.run(
    [sys.executable, "-c", {code!r}, {argument!r}], Path({str(cwd)!r}),
    timeout_s=300, sandbox={kind!r}, env_path={ENV_PATH!r},
))
"""
    with anyio.fail_after(30):
        # What the killed server cannot remove any more goes with the test's own folder.
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        async with await anyio.open_process([sys.executable, "-c", server], env=env) as process:
            await anyio.to_thread.run_sync((cwd / "started").read_text)
            running = processes_of(argument)
            process.kill()
            await process.wait()
        gone, alive = await anyio.to_thread.run_sync(psutil.wait_procs, running, 20)

    assert len(gone) >= 2
    assert alive == []
    assert processes_of(argument) == []


async def test_a_command_that_kills_its_supervisor_leaves_nothing(cwd: Path, tmp_path: Path) -> None:
    argument = unique_sleep(tmp_path)
    code = DAEMON + "os.kill(os.getppid(), 9)\nos.execvp('sleep', ['sleep', sys.argv[1]])"
    ran = await python(code, cwd, "process", argument)
    assert (ran.exit_code, ran.killed_reason) == (None, "supervisor")
    assert processes_of(argument) == []


# Bounds


async def test_too_many_processes_end_the_command(cwd: Path, kind: SandboxKind, tmp_path: Path) -> None:
    argument = unique_sleep(tmp_path)
    many = f"for i in $(seq 20); do sleep {argument} & done; wait"
    ran = await run(["sh", "-c", many], cwd, kind, limits=Limits(processes=10))
    assert (ran.exit_code, ran.killed_reason) == (None, "processes")
    assert processes_of(argument) == []


async def test_twenty_children_are_not_too_many(cwd: Path, kind: SandboxKind) -> None:
    many = "for i in $(seq 20); do sleep 0.3 & done; wait; echo done"
    ran = await run(["sh", "-c", many], cwd, kind)
    assert (ran.exit_code, ran.output_tail) == (0, "done\n")


async def test_endless_output_is_bounded_and_says_what_is_missing(cwd: Path, kind: SandboxKind) -> None:
    ran = await run(["yes", "forever"], cwd, kind, timeout_s=2.0, limits=Limits(tail_bytes=1000))
    assert ran.killed_reason == "timeout"
    assert ran.output_bytes > 100_000
    assert len(ran.output_tail) < 1100
    assert ran.output_tail.startswith(f"[{ran.output_bytes - 1000} bytes before this]\n")


async def test_a_file_cannot_grow_beyond_its_limit(cwd: Path, kind: SandboxKind) -> None:
    write = "head -c 3000000 /dev/zero > big"
    ran = await run(["sh", "-c", write], cwd, kind, limits=Limits(file_bytes=1_000_000))
    assert ran.exit_code not in (0, None)
    assert (cwd / "big").stat().st_size <= 1_000_000


async def test_cpu_time_and_memory_are_bounded(cwd: Path, kind: SandboxKind) -> None:
    spin = await python("while True: pass", cwd, kind, limits=Limits(cpu_s=1))
    assert spin.exit_code is not None
    assert spin.exit_code > 128
    grow = await python("b'x' * 2**31", cwd, kind, limits=Limits(memory_bytes=1024**3))
    assert grow.exit_code == 1
    assert "MemoryError" in grow.output_tail


async def test_binary_output_becomes_harmless_text(cwd: Path, kind: SandboxKind) -> None:
    code = r"""import os; os.write(1, b'\x00\xff\x1b[31mred\x1b[0m\x1b]0;title\x07\r\nnext\x08\x9b\n')"""
    ran = await python(code, cwd, kind)
    assert ran.output_tail == "\ufffd\ufffdred\nnext\ufffd\ufffd\n"


def test_text_that_reorders_or_hides_itself_is_made_visible() -> None:
    assert plain_text("a\u202eb\u200bc\x7f\tü 漢\n".encode()) == "a\ufffdb\ufffdc\ufffd\tü 漢\n"


def test_a_tail_keeps_the_end_whatever_the_pieces() -> None:
    tail = Tail(5)
    for piece in (b"", b"12", b"3456789", b"0"):
        tail.add(piece)
    assert (tail.text(), tail.bytes_seen) == ("[5 bytes before this]\n67890", 10)


# Helpers of the checks


async def test_folders_of_killed_processes_are_found_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delm_mcp.checks.workdirs._YOUNG_S", -1.0)
    (tmp_path / "delm-check-dead").mkdir()
    (tmp_path / "delm-check-dead" / "lock").write_text("")
    (tmp_path / "delm-check-locked-out").mkdir()
    (tmp_path / "other").mkdir()

    async with work_dir(tmp_path) as alive:
        assert remove_abandoned(tmp_path) == 2
        assert alive.is_dir()
    assert os.listdir(tmp_path) == ["other"]


async def test_a_tool_that_hangs_or_prints_too_much_is_stopped(tmp_path: Path) -> None:
    env = {"PATH": ENV_PATH}
    with anyio.fail_after(20):
        with pytest.raises(CheckUnavailable, match="did not end"):
            await run_program(["sleep", "100"], cwd=tmp_path, env=env, timeout_s=0.2)
        with pytest.raises(TooMuchOutput):
            await run_program(["yes"], cwd=tmp_path, env=env, timeout_s=10, stdout_bytes_max=1000)
        with pytest.raises(CheckUnavailable, match="cannot be started"):
            await run_program(["no-such-program"], cwd=tmp_path, env=env, timeout_s=10)
        done = await run_program(["true"], cwd=tmp_path, env=env, timeout_s=10, stdin=b"x" * 1_000_000)
    assert done.exit_code == 0
