"""Text of agents where people read it in a terminal: one line each, and nothing that steers the terminal."""

from rich import markup
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
