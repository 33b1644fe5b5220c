"""A patch as text, for agents whose commits the server cannot see. Pure.

Worktrees of one repository share its objects, so a patch is cited as a commit. From a clone elsewhere
it comes as evidence `{type: artifact, ref: patch, text: <what git diff printed>}`; a ref of
`patch@<full commit>` says on which commit it was made, else that is the run's head when it is proposed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from delm_mcp.domain.model import Evidence, Kind
from delm_mcp.domain.text import fenced, shortened, visible

PATCH = "patch"
MAX_PATCH = 60_000
"""Characters of a patch's text."""
MAX_BINARIES = 16
"""Files that a patch may change in binary form: a few bytes of it can unfold to many."""

AS_TEXT = (
    "From a clone elsewhere, propose the text: evidence {type: artifact, ref: patch, text: what "
    "`git diff --binary <base> HEAD` prints} beside {type: command, ref: its name}."
)
"""What to do where the server cannot see a commit."""

_BASE = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DIFF = re.compile(r"^(?:diff --git |--- \S)", re.MULTILINE)
_ENCODED = re.compile(
    r"^Content-Transfer-Encoding:\s*(base64|quoted-printable)", re.MULTILINE | re.IGNORECASE
)
_REMAKE = "make it with `git diff --binary <base> HEAD` and pass the output unchanged"
_NAMED_MAX = 20
_BLANK_MAX = 8
"""More blank lines in a row than the context of two changes has."""
_BLANK_LINES = re.compile(rf"\n(?:[^\S\n]*\n){{{_BLANK_MAX + 1},}}")

_REFUSED = (
    (re.compile("\0"), "it has a NUL character; git shows such files in binary form: " + _REMAKE),
    (re.compile(r"^(?:Binary files .* differ|Files .* differ)\r?$", re.MULTILINE),
     "it names a binary file without its content; " + _REMAKE),
    (re.compile(r"^copy (?:from|to) ", re.MULTILINE),
     "it copies files by name; make it with `git diff --no-renames`"),
    (re.compile(r"^(?:diff --(?:cc|combined) |@@@ )", re.MULTILINE),
     "it is the combined diff of a merge; diff against one commit: `git diff <base> HEAD`"),
)  # fmt: skip


def is_text(item: Evidence) -> bool:
    """Whether a piece of evidence is a patch's text."""
    return item.type == "artifact" and item.ref.strip().partition("@")[0] == PATCH


def text_of(kind: Kind, evidence: Sequence[Evidence]) -> Evidence | None:
    """The evidence that carries a patch's text, if its text is how it travels."""
    return next((item for item in evidence if is_text(item)), None) if kind is Kind.PATCH else None


def named_base(item: Evidence) -> str:
    """The commit that a patch's ref says it was made on; empty if it says nothing."""
    return item.ref.strip().partition("@")[2].strip()


def base_of(item: Evidence) -> str:
    """The commit that a patch's text is applied to."""
    return named_base(item) or str(item.at.get("base", ""))


def reasons_against(item: Evidence, evidence: Sequence[Evidence]) -> list[str]:
    """Why a text cannot be the patch of a proposal, whatever it would be applied to.

    Args:
        evidence: All that the proposal has, the text among it.
    """
    if sum(map(is_text, evidence)) > 1:
        return ["it has several patches; put the whole change into one text"]
    base, text = named_base(item), item.text
    if "@" in item.ref and not _BASE.fullmatch(base):
        return [f"{fenced(item.ref)} names no full commit; write patch@<`git merge-base` in full>, or patch"]
    if not text.strip():
        return [f"the patch is empty; {_REMAKE}"]
    found = [reason for pattern, reason in _REFUSED if pattern.search(text)]
    if not found and not _DIFF.search(text):
        encoded = _ENCODED.search(text)
        why = f"it is a mail in {encoded[1].lower()}" if encoded else "it has no diff"
        return [f"{why}; {_REMAKE}"]
    if len(re.findall(r"^GIT binary patch\r?$", text, re.MULTILINE)) > MAX_BINARIES:
        found.append(f"it changes more than {MAX_BINARIES} binary files; propose them in parts")
    return found[:1]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a patch changes at head, as the server saw it.

    Attributes:
        head: The full commit that it was merged into.
        commit: The full commit of the patch; for a text, the one that the server made of it.
        text: A git diff from there, of whole files.
        left_out: Paths whose changes are not in it, and why.
        note: What is not to be seen in the text.
    """

    head: str
    commit: str
    text: str
    left_out: tuple[str, ...] = ()
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """As it stands on a receipt."""
        return asdict(self)


def changes_from(stored: Mapping[str, Any] | None) -> Changes | None:
    """What `as_json` made, or None if there is nothing."""
    if not stored:
        return None
    return Changes(**{**stored, "left_out": tuple(stored["left_out"])})


def barred(diff: str) -> str:
    """A diff behind `| `, as `text.block` shows any text, but with the blank lines that git counts."""
    lines = _BLANK_LINES.sub("\n" * (_BLANK_MAX + 1), visible(diff.removesuffix("\n"))).split("\n")
    return "\n".join(f"| {line}" for line in lines)


def shown(changes: Changes) -> str:
    """The changes for a reader, the diff behind `| `."""
    lines = [f"what it changes at head {changes.head[:12]}, as the server saw it:"]
    if changes.text:
        lines.append(barred(changes.text))
    if changes.left_out:
        listed = ", ".join(fenced(shortened(name, 160)) for name in changes.left_out[:_NAMED_MAX])
        more = len(changes.left_out) - _NAMED_MAX
        lines.append(f"not shown: {listed}" + (f" and {more} more" if more > 0 else ""))
    if changes.note:
        lines.append(changes.note)
    return "\n".join(lines)
