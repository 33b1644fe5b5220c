"""A change to a configuration file as a diff that may stand on a screen and in a log.

Such files hold what other servers need to know, tokens among it, and lines around ours are shown too.
"""

import difflib
import re
from collections.abc import Iterator

from delm_mcp.checks.secrets import find_secrets
from delm_mcp.domain.text import visible

MASK = "***"
_LINE_CHARS_MAX = 100_000
_NAMED = re.compile(
    r"""((?:token|secret|passw|api|key|auth|cred|cookie)[\w.-]*["']?\s{0,8}[:=,]\s{0,200}["'])([^"'\r\n]+)""",
    re.IGNORECASE,
)
# What only names a variable, or says how something is authorised, is what the reader wants to see.
_HARMLESS = re.compile(r"[A-Z][A-Z0-9_]*|(?:Bearer |Basic )?\$?\{[\w:]+\}|\$\w+|true|false|approve|auto")


def diff_of(before: str, after: str, names: tuple[str, str]) -> Iterator[str]:
    """The lines of a unified diff, without the credentials in them."""
    old, new = (_NAMED.sub(_masked, text).splitlines() for text in (before, after))
    lines = difflib.unified_diff(old, new, *names, lineterm="")
    return (_without_secrets(visible(line)) for line in lines)


def _masked(match: re.Match[str]) -> str:
    return match[0] if _HARMLESS.fullmatch(match[2]) else f"{match[1]}{MASK}"


def _without_secrets(line: str) -> str:
    if len(line) > _LINE_CHARS_MAX or find_secrets(line):
        return f"{line[:1]}{MASK} (a line that holds a credential, or is too long to be searched for one)"
    return line
