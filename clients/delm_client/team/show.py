"""A team on the terminal: live where there is one, a line for each notable event where there is none."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio
from rich.console import Console
from rich.live import Live

from delm_client.team.folder import Folder, read_lines
from delm_client.team.live import line_for, render
from delm_client.team.record import Line, TeamFacts
from delm_client.team.view import View
from delm_client.terminal import steadily

FRAME_S = 0.25
POLL_S = 0.2


class Screen:
    """Shows lines of the record on a console as they come."""

    def __init__(self, console: Console, facts: TeamFacts, earlier: Iterable[Line] = ()) -> None:
        self._console = console
        self._view = View(facts)
        for line in earlier:
            self._view.hear(line)

    def hear(self, line: Line) -> None:
        """Take in a line; where there is no terminal, print it."""
        self._view.hear(line)
        if not self._console.is_terminal and (said := line_for(line)):
            with steadily(self._console):
                self._console.print(said, highlight=False, markup=False, soft_wrap=True)

    @asynccontextmanager
    async def drawn(self) -> AsyncIterator[None]:
        """Draw a few times a second."""
        live = Live(console=self._console, auto_refresh=False, transient=True)
        if self._console.is_terminal:
            with steadily(self._console):
                live.start()
        if self._console.quiet or not self._console.is_terminal:
            yield
            return
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._draw, live)
                try:
                    yield
                finally:
                    group.cancel_scope.cancel()
        finally:
            with steadily(self._console):
                live.stop()

    async def _draw(self, live: Live) -> None:
        while not self._console.quiet:
            with steadily(self._console):
                shown = render(self._view, self._console.height - 1, now=time.time())
                live.update(shown, refresh=True)
            await anyio.sleep(FRAME_S)


async def watch(folder: Folder, console: Console) -> bool:
    """Show a team under way from its record, until its launcher is gone.

    Returns:
        Whether the team ended in order.
    """
    lines, offset = read_lines(folder.events)
    screen = Screen(console, folder.facts(), lines if console.is_terminal else ())
    for line in [] if console.is_terminal else lines:
        screen.hear(line)
    async with screen.drawn():
        while True:
            alive = folder.launcher() is not None
            new, offset = read_lines(folder.events, offset)
            for line in new:
                screen.hear(line)
            if not alive:
                return bool(folder.facts().ended_at)
            await anyio.sleep(POLL_S)
