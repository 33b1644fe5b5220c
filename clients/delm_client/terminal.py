"""Text of agents where people read it in a terminal: one line each, and nothing that steers the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from rich import markup
from rich.console import Console
from rich.table import Table
from rich.text import Text


def printable(text: str) -> str:
    """Text of agents for a terminal: one line of printable characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def escape(text: str) -> str:
    """Text of agents where markup is read."""
    return markup.escape(printable(text))


def grid(*headings: str, gives_way: str = "") -> Table:
    """A table without lines; where it is narrow, the column that `gives_way` does so first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        # A column that may wrap gives way first; its cells are cut to one row.
        table.add_column(heading, no_wrap=heading != gives_way)
    return table


def one_row(text: Text) -> Text:
    """One row, cut at the width that there is."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


class SteadyConsole(Console):
    """A console that falls silent when its reader leaves: `| head` must not end a team at work."""

    def on_broken_pipe(self) -> None:
        """Whatever is printed from now on goes nowhere; also what the interpreter flushes at its end."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def steadily(console: Console) -> Iterator[None]:
    """Print if it can be: where the terminal was closed or the disk is full, the console falls silent."""
    try:
        yield
    except OSError:
        console.quiet = True  # it would keep everything that it could not write


def print_anything() -> None:
    """Let our output replace what its encoding lacks: agents write in any script, terminals may be ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
