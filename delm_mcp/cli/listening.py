"""The HTTP server; apart, because what it imports takes time that other commands need not spend."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import uvicorn

from delm_mcp.board import Board
from delm_mcp.board.background import beside
from delm_mcp.cli.wiring import err
from delm_mcp.errors import ConfigError
from delm_mcp.surfaces.web import make_app

GRACE_S = 5
BACKLOG = 2048


async def listen(
    board: Board, host: str, port: int, with_tokens: bool, url: str, hosts: tuple[str, ...]
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)  # before we say so, because whoever reads it connects at once
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}.",
                "Choose another --port.",
            ) from error
        actual = listener.getsockname()[1]
        app = make_app(
            board, host=host, port=actual, with_tokens=with_tokens, public_url=url, allowed_hosts=hosts
        )
        config = uvicorn.Config(
            app, host=host, port=actual, log_level="warning", timeout_graceful_shutdown=GRACE_S, ws="none"
        )
        shown = f"[{host}]" if ":" in host else host
        guard = "bearer tokens" if with_tokens else "no tokens: whoever reaches this port"
        greeting = f"delm-mcp listens on http://{shown}:{actual}/mcp ({guard})"
        server = _Server(config)
        async with beside(partial(_end_on_signal, server, board, greeting)):
            await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the lifespan with a traceback."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _end_on_signal(server: uvicorn.Server, board: Board, greeting: str) -> None:
    """A first signal ends the server in order: open waits are answered, then it stops listening."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        err.print(
            greeting, markup=False, highlight=False, soft_wrap=True
        )  # whoever reads it may send one at once
        async for _ in signals:
            server.force_exit = server.should_exit
            server.should_exit = board.closing = True
