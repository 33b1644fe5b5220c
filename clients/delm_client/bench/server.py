"""What benchmarks ask of `delm-mcp` on the command line."""

import subprocess
from pathlib import Path

from delm_client.session import BoardError, server_command

TIMEOUT_S = 120


def told(folder: Path, *words: str, board: Path) -> str:
    """What `delm-mcp` printed. Raises BoardError with what it said when it failed, or that it did not end."""
    argv = [*server_command(), *words, "--board", str(board)]
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            start_new_session=True,  # a Ctrl-C is ours, and its failure is not to be taken for a board's
        )
    except subprocess.TimeoutExpired as error:
        raise BoardError(f"`delm-mcp {words[0]}` did not end within {TIMEOUT_S} s.") from error
    if done.returncode:
        raise BoardError(f"`delm-mcp {words[0]}` failed: {done.stderr.strip()}")
    return done.stdout
