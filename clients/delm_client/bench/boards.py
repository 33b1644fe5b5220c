"""What benchmarks ask of `delm-mcp` on the command line."""

import subprocess
from pathlib import Path

from delm_client.session import BoardError, server_command


def told(folder: Path, *words: str, board: Path) -> str:
    """What `delm-mcp` printed. Raises BoardError with what it said when it failed."""
    argv = [*server_command(), *words, "--board", str(board)]
    done = subprocess.run(
        argv,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        start_new_session=True,  # a Ctrl-C is ours, and its failure is not to be taken for a board's
    )
    if done.returncode:
        raise BoardError(f"`delm-mcp {words[0]}` failed: {done.stderr.strip()}")
    return done.stdout
