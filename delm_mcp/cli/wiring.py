"""Puts a board together for one process, and runs it."""

import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.markup import escape

from delm_mcp.board import Board
from delm_mcp.board.background import beside
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.checks.judge import Judge
from delm_mcp.checks.runner import Runner, Wish, make_runner
from delm_mcp.checks.workdirs import remove_abandoned
from delm_mcp.config import FILE, FOLDER, Place, find_place, judge_key, prepare_folder
from delm_mcp.domain.text import one_line
from delm_mcp.domain.travel import Reach
from delm_mcp.errors import ConfigError, DelmError
from delm_mcp.store.sqlite import open_sqlite

T = TypeVar("T")

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


@dataclass(frozen=True, slots=True)
class Served:
    """An open board, where it is, and what runs its commands."""

    board: Board
    place: Place
    runner: Runner | None


@asynccontextmanager
async def opened(
    path: Path | None,
    *,
    commands: Wish = "off",
    create: bool = False,
    works: bool = False,
    reach: Reach | None = None,
) -> AsyncIterator[Served]:
    """Open the board of this folder.

    Args:
        path: Its file, if it was named.
        commands: How commands are run here.
        create: Whether a missing board is made.
        works: Whether this process takes checks from the queue.
        reach: How its callers get at the commits of the repository; by default in its worktrees.
    """
    place = await find_place(path)
    async with opened_at(place, commands=commands, create=create, works=works, reach=reach) as served:
        yield served


@asynccontextmanager
async def opened_at(
    place: Place,
    *,
    commands: Wish = "off",
    create: bool = False,
    works: bool = False,
    reach: Reach | None = None,
) -> AsyncIterator[Served]:
    """Open the board of a place that was found before; the arguments are those of `opened`."""
    if create:
        prepare_folder(place.board)
    if not place.board.exists():
        if not create:
            raise ConfigError(f"There is no board at {place.board}.", 'Open one with `delm-mcp init "goal"`.')
    elif place.repo is not None and await place.repo.tracks(place.board):
        raise ConfigError(
            f"git tracks the board {place.board}, so it may have come with the repository, and with it "
            "commands that you never named.",
            f"If it is yours: git rm --cached {FOLDER}/{FILE}. Else delete it.",
        )
    async with open_sqlite(place.board, create=create) as store:
        ids = RandomIds()
        runner = await make_runner(commands, hidden=(Path.home(), place.board.parent)) if works else None
        if runner is not None:
            await anyio.to_thread.run_sync(remove_abandoned)
        judge = Judge(judge_key) if works else None
        checker = Checker(Examiner(place.repo, runner, judge), store, time.time, ids)
        board = Board(store, clock=time.time, ids=ids, checker=checker, reach=reach)
        async with beside(*([checker.work] if works else [])):
            yield Served(board, place, runner)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command; an error of ours is printed with its hint, and ends with exit code 1."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        _insist_on_home()
        return anyio.run(main, backend_options={"use_uvloop": _has_uvloop()})
    except DelmError as error:
        err.print(f"[bold red]error[/] {escape(one_line(error.problem))}", highlight=False, soft_wrap=True)
        if error.hint:
            err.print(f"[cyan]hint[/]  {escape(one_line(error.hint))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone, and nobody wants to hear of it
        raise typer.Exit(0) from None


def _insist_on_home() -> None:
    """Raises: ConfigError: There is none, as in a container with a user that it does not know."""
    try:
        Path.home()
    except RuntimeError:
        raise ConfigError("HOME is not set, and this user has no home.", "Set it: export HOME=/tmp") from None


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
