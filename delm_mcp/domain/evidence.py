"""What evidence must look like before anybody looks behind it."""

import re
import unicodedata

from delm_mcp.domain.model import Evidence, Kind
from delm_mcp.domain.patches import AS_TEXT, is_text, reasons_against, text_of
from delm_mcp.domain.proposal import MAX_GIST, Board, Proposal
from delm_mcp.domain.quotes import MIN_QUOTE
from delm_mcp.domain.text import fenced, gist_key
from delm_mcp.domain.wording import BOARD_LINE, LABELS, NOWHERE, PLACEHOLDER, PROMISE, REPEATS_MAX, same_look

EVIDENCE_TYPES = ("quote", "command", "artifact", "url")
PLACEHOLDER_MAX = 200  # characters; a longer text is not a placeholder


def reasons_against_evidence(item: Evidence, proposal: Proposal, board: Board) -> list[str]:
    """Why an item of evidence cannot stand as it is: its type, ref and text; what would stand."""
    if item.type not in EVIDENCE_TYPES:
        return [f"there is no type {fenced(item.type)}; use one of {', '.join(EVIDENCE_TYPES)}"]
    if not item.ref.strip():
        return [f"evidence of type {item.type} needs a ref"]
    if _is_placeholder(item):
        return [f"its text {fenced(item.text)} is a placeholder; give what was really seen"]
    if item.type == "command":
        return _command_reasons(item, proposal, board)
    if proposal.kind is Kind.PATCH and is_text(item):
        return reasons_against(item, proposal.evidence)
    return _artifact_reasons(item, proposal, board) if item.type == "artifact" else _shape_reasons(item)


def _shape_reasons(item: Evidence) -> list[str]:
    if item.type == "quote" and len(item.text.strip()) < MIN_QUOTE:
        return [f"a quote needs at least {MIN_QUOTE} characters of exact text"]
    if item.type == "url" and not re.match(r"https?://\S+$", item.ref.strip()):
        return ["a url needs an http or https address as ref"]
    if item.type == "url" and NOWHERE.match(item.ref.strip()):
        return [f"{fenced(item.ref)} is reserved for examples; give the address of what was really seen"]
    return []


def _is_placeholder(item: Evidence) -> bool:
    text = item.text.strip()
    if not text or len(item.text) >= PLACEHOLDER_MAX:
        return False
    if item.type != "quote" and PROMISE.fullmatch(text):
        return True
    return all(PLACEHOLDER.fullmatch(line.strip()) for line in text.splitlines() if line.strip())


def _artifact_reasons(item: Evidence, proposal: Proposal, board: Board) -> list[str]:
    """An artifact is what was seen: not the gist once more, and not what this board says."""
    if not item.text.strip():
        return ["an artifact needs its content as text"]
    if LABELS.fullmatch(item.ref) or all(
        BOARD_LINE.fullmatch(line) for line in item.text.strip().splitlines()
    ):
        return ["it cites this board, which is no evidence; name the entries in derived_from"]
    echo = board.echoed.get(artifact_key(item))
    if echo is not None and echo.id not in {*proposal.derived_from, *proposal.supersedes}:
        return [f"it says what {echo.label} says; name it in derived_from, or give what was really seen"]
    gist, words = _words(proposal.gist), _words(item.text)
    if len(words) - len(gist) <= REPEATS_MAX and f" {' '.join(gist)} " in f" {' '.join(words)} ":
        return ["it only repeats the gist; give what was really seen"]
    return []


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def artifact_key(item: Evidence) -> str:
    """The key of the gist that an artifact may be repeating."""
    return gist_key(same_look(item.text)) if item.type == "artifact" and len(item.text) <= MAX_GIST else ""


def artifact_keys(proposal: Proposal) -> tuple[str, ...]:
    """The keys of gists that the proposal's artifacts may be repeating, for `Board.echoed`."""
    return tuple(filter(None, map(artifact_key, proposal.evidence)))


def _command_reasons(item: Evidence, proposal: Proposal, board: Board) -> list[str]:
    names = [command.name for command in board.run.commands]
    if item.ref not in names:
        known = (
            f"use one of {', '.join(names)}" if names else "this run has none; cite another kind of evidence"
        )
        return [f"the run has no command {fenced(item.ref)}; {known}"]
    if not board.run.repo:
        return ["the run has no repository to run a command in; cite another kind of evidence"]
    if proposal.kind is not Kind.PATCH:
        return []
    by_text = text_of(proposal.kind, proposal.evidence) is not None
    if by_text and item.text.strip():
        return ["it cites a commit beside the text of a patch; leave the command's text empty, or the patch"]
    if not by_text and not item.text.strip():
        return [f"a patch needs its full commit as the command's text. {AS_TEXT}"]
    return []
