"""Run one external program to its end, with bounded time and bounded output.

For tools that the server itself calls (git, a bubblewrap probe). What an agent's code makes the
server run goes through `sandbox` instead.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from delm_mcp.errors import CheckUnavailable


@dataclass(frozen=True)
class Finished:
    """How a program ended: its exit code (negative: the signal that ended it) and what it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class TooMuchOutput(CheckUnavailable):
    """The program wrote more than the caller allowed, and was stopped."""


async def run_program(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    stdin: bytes = b"",
    stdout_bytes_max: int = 16 * 1024 * 1024,
) -> Finished:
    """Run `argv` in a process group of its own and collect its output.

    A timeout and a cancellation both kill the whole group, and nothing of it is left when this
    function returns or raises.

    Raises:
        CheckUnavailable: The program is missing, or did not end within `timeout_s`.
        TooMuchOutput: It wrote more than `stdout_bytes_max` to stdout.
    """
    try:
        process = await anyio.open_process(
            list(argv),
            stdin=PIPE if stdin else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise CheckUnavailable(
            f"`{argv[0]}` cannot be started: {error.strerror or error}.",
            f"Install {argv[0]} where the server runs, and see that the server may read {cwd}.",
        ) from error
    stdout, stderr = bytearray(), bytearray()
    try:
        with anyio.move_on_after(timeout_s) as scope:
            async with anyio.create_task_group() as streams:
                streams.start_soon(_feed, process.stdin, stdin)
                streams.start_soon(_collect, process, stdout, stdout_bytes_max)
                streams.start_soon(_collect_tail, process.stderr, stderr)
                await process.wait()
    finally:
        await _end(process)
    if len(stdout) > stdout_bytes_max:
        raise TooMuchOutput(
            f"`{argv[0]}` wrote more than {stdout_bytes_max} bytes.", "Make what it is asked about smaller."
        )
    if scope.cancelled_caught or process.returncode is None:
        raise CheckUnavailable(
            f"`{argv[0]}` did not end within {timeout_s:g} s.",
            "Try again when the machine is less busy, or raise the time limit.",
        )
    return Finished(process.returncode, bytes(stdout), bytes(stderr))


async def _feed(stream: ByteSendStream | None, data: bytes) -> None:
    if stream is None:
        return
    # A program that ends without reading its input says why in its exit code.
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.send(data)
        await stream.aclose()


async def _collect(process: Process, into: bytearray, bytes_max: int) -> None:
    if process.stdout is None:
        return
    async for chunk in process.stdout:
        into += chunk
        if len(into) > bytes_max:
            kill_group(process.pid)
            return


async def _collect_tail(stream: ByteReceiveStream | None, into: bytearray) -> None:
    if stream is None:
        return
    async for chunk in stream:
        into += chunk
        del into[:-65_536]


async def _end(process: Process) -> None:
    """Leave no process behind, whatever happened to the caller."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            kill_group(process.pid)
            await process.wait()
        await process.aclose()


def kill_group(leader: int) -> None:
    """SIGKILL for a process group that we started; one that has ended already is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
