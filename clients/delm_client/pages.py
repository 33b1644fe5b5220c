"""What the reports share: templates in which text of agents is data, and files that are replaced as a whole.

Text that goes into a template is escaped on its way, whatever the template forgets.
"""

import os
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from delm_client.terminal import printable

_MARKDOWN = re.compile(r"([\\`*_\[\]<>&|~$])")
_BLOCK = re.compile(r"^(?:#{1,6}(?=\s|$)|[-+](?=[\s-]|$)|=|\d{1,9}[.)](?=\s|$))")
_ADDRESS = re.compile(r"(?i)(:)(//)|(www)(\.)")


class Verbatim(str):
    """Markdown of the template's own, or text inside a fence: not escaped again."""

    __slots__ = ()


@cache
def html_templates(*packages: str) -> Environment:
    """Templates of HTML in these packages' folders `templates`; the first that has one gives it."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )


@cache
def markdown_templates(*packages: str) -> Environment:
    """The same for Markdown; the filter `verbatim` is for what stands in a fence."""
    templates = Environment(  # noqa: S701 - what is escaped is Markdown, by `finalize`
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Verbatim) else escaped(str(value)),
    )
    templates.filters["verbatim"] = lambda value: Verbatim(printable(str(value)))
    return templates


def escaped(text: str) -> str:
    """Text of agents in Markdown: one line that is nothing but text, wherever it stands."""
    line = _MARKDOWN.sub(r"\\\1", printable(text).strip())
    line = _ADDRESS.sub(lambda found: "\\".join(part for part in found.groups() if part), line)
    return _BLOCK.sub(lambda found: found[0][:-1] + "\\" + found[0][-1], line)


def put(path: Path, text: str) -> Path:
    """Write a file, which is there as a whole or not at all, and give its path. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return path


def date(at: float) -> str:
    """A time for people, such as `2026-11-28 18:04:31 UTC`; empty for none."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""
    except (ValueError, OverflowError, OSError):
        return ""
