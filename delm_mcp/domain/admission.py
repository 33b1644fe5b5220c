"""How an entry gets in: the checks that need nothing but the board, and what the outcome is.

Each check is a function from what it judges to the reasons against it; no reasons is a pass. A reason
says what would pass, because its reader is an agent that will try again.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from delm_mcp.domain.bearing import unborne
from delm_mcp.domain.evidence import reasons_against_evidence
from delm_mcp.domain.model import Entry, EntryState, Kind, Receipt, Strength, Verdict
from delm_mcp.domain.patches import AS_TEXT, text_of
from delm_mcp.domain.policy import OUTSIDE, CheckName
from delm_mcp.domain.proposal import Board, Proposal
from delm_mcp.domain.quotes import UNSPACED
from delm_mcp.domain.text import fenced, gist_key, tokens
from delm_mcp.domain.wording import (
    DANGLING,
    HEDGE,
    OPEN_POINT,
    POINTING,
    flags_of,
    same_look,
)

DISPUTED = "disputed"
"""The doubt about an entry that somebody disputes; see `Entry.doubts`."""


def wellformed(proposal: Proposal, board: Board, secrets: Sequence[str]) -> list[str]:
    """Reasons against the proposal's form: gist, evidence, secrets.

    Args:
        secrets: What the detector found in any of its texts, e.g. `["AWS Access Key"]`.
    """
    if secrets:  # alone, because other reasons quote the text
        kinds = ", ".join(sorted(set(secrets)))
        return [
            f"it contains a secret ({kinds}); its text was not kept. "
            "Propose it without the secret, and change the secret"
        ]
    reasons = _gist_reasons(proposal, board.policy.limits.gist_tokens)
    for number, item in enumerate(proposal.evidence, 1):
        reasons += [
            f"evidence {number}: {reason}" for reason in reasons_against_evidence(item, proposal, board)
        ]
    if proposal.kind is not Kind.ANSWER and not proposal.evidence and not proposal.derived_from:
        reasons.append(
            "it cites no evidence; give at least one quote, command, artifact or url, or derived_from"
        )
    return reasons + missing_command(proposal, board)


def _gist_reasons(proposal: Proposal, gist_tokens: int) -> list[str]:
    gist, reasons = proposal.gist.strip(), []
    if tokens(gist) > gist_tokens:
        reasons.append(
            f"the gist has {tokens(gist)} tokens; at most {gist_tokens} are read by everyone. "
            "Move detail to summary or raw"
        )
    if len(gist.split()) + len(UNSPACED.findall(gist)) // 2 < 3:
        reasons.append("the gist is too short to stand alone; name what was found and where")
    if DANGLING.match(gist) or POINTING.search(gist):
        reasons.append("the gist points at something outside itself; name the thing, so that it stands alone")
    hedge = HEDGE.search(gist) or OPEN_POINT.search(gist)
    if hedge and not _is_quoted(hedge.group(0), proposal):
        reasons.append(
            f"the gist says {fenced(hedge.group(0))}, which is a hope; establish it, and state what was seen"
        )
    return reasons


def _is_quoted(words: str, proposal: Proposal) -> bool:
    """Whether a gist only reports what its source says: an open point in the code, a hope in a paper."""
    quoted = " ".join(" ".join(item.text for item in proposal.evidence if item.type == "quote").split())
    return words.casefold() in quoted.casefold()


def fresh(proposal: Proposal, board: Board) -> list[str]:
    """Reasons why the proposal rests on something that is no longer so: the compare-and-set on labels."""
    reasons = []
    for name, labels in (("supersedes", proposal.supersedes), ("derived_from", proposal.derived_from)):
        for label in labels:
            entry = board.related.get(label)
            if entry is None or entry.run != board.run.id:
                reasons.append(
                    f"{name} names E{label}, which this run does not have; read_context shows what it has"
                )
            elif not _usable(entry, name):
                reasons.append(
                    f"{name} names E{label}, which is {entry.state}{_instead(entry)}; read what is live now"
                )
            elif name == "supersedes":
                reasons += _odd_heir(entry, board)
    holder = board.key_holder
    if holder and holder.id not in proposal.supersedes:
        reasons.append(
            f"key {fenced(proposal.key)} has the live entry {holder.label} {fenced(holder.gist)}; "
            f"agree with it, or propose with supersedes=[{holder.label}]"
        )
    return reasons


def _odd_heir(entry: Entry, board: Board) -> list[str]:
    """Reasons why this proposal cannot take the place of an entry."""
    if entry.id in board.grounds:
        return [
            f"supersedes names {entry.label}, on which it rests; leave {entry.label} out of what it derives "
            "from, and cite the evidence itself"
        ]
    if DISPUTED in entry.doubts and entry.principal == board.author:
        return [f"supersedes names {entry.label}, your own entry, which is disputed; its verdict comes first"]
    return []


def _usable(entry: Entry, relation: str) -> bool:
    """A suspect entry can be replaced, but not built upon."""
    live = {EntryState.ADMITTED, EntryState.SUSPECT} if relation == "supersedes" else {EntryState.ADMITTED}
    return entry.state in live


def _instead(entry: Entry) -> str:
    return f" ({entry.reason})" if entry.reason else ""


def novel(proposal: Proposal, board: Board) -> list[str]:
    """Reasons why the proposal says nothing new. Near duplicates pass: contradictions look alike."""
    same = board.same_gist
    if same and same.id not in proposal.supersedes and proposal.kind is not Kind.ANSWER:
        return [
            f"{same.label} already says exactly this; cite it in derived_from instead of proposing it again"
        ]
    return []


def scoped(proposal: Proposal, _: Board) -> list[str]:
    """A `fail` binds its readers, so it says where it holds and what showed it."""
    reasons = []
    if not proposal.scope.strip():
        reasons.append("a fail needs a scope: what was tried, and where the failure holds")
    if not proposal.evidence:
        reasons.append("a fail needs evidence of what was tried; absence holds only where somebody searched")
    return reasons


def parents(proposal: Proposal, board: Board) -> list[str]:
    """An answer rests on entries, all of them live (`fresh` looks at each)."""
    if proposal.kind is Kind.ANSWER and not proposal.derived_from and board.has_live:
        return ["an answer names the entries that it rests on in derived_from"]
    return []


def checkable(proposal: Proposal, _: Board) -> list[str]:
    """Something that the server can check by itself must stand behind it."""
    if any(item.type in {"quote", "command"} for item in proposal.evidence):
        return []
    return [
        "this run admits only what the server can check: cite a quote (path@commit) or a command of the run"
    ]


BoardCheck = Callable[[Proposal, Board], list[str]]

BOARD_CHECKS: dict[CheckName, BoardCheck] = {
    CheckName.FRESH: fresh,
    CheckName.NOVEL: novel,
    CheckName.SCOPED: scoped,
    CheckName.PARENTS: parents,
    CheckName.CHECKABLE: checkable,
}


def judge_on_board(
    proposal: Proposal, board: Board, names: Sequence[CheckName], secrets: Sequence[str], now: float
) -> list[Receipt]:
    """Run the checks that need only the board, cheapest first; the first that fails ends it."""
    receipts: list[Receipt] = []
    for name in names:
        if name is CheckName.WELLFORMED:
            reasons = wellformed(proposal, board, secrets)
        elif name in BOARD_CHECKS:
            reasons = BOARD_CHECKS[name](proposal, board)
        else:
            continue
        verdict = Verdict.FAIL if reasons else Verdict.PASS
        receipts.append(Receipt(name, verdict, "; ".join(reasons), now))
        if reasons:
            break
    return receipts


def outside_checks(proposal: Proposal, board: Board) -> list[CheckName]:
    """The checks of the policy that must look beyond the board for this proposal, in order."""
    wanted = [name for name in board.policy.of(proposal.kind) if name in OUTSIDE]
    return [name for name in wanted if _applies(name, proposal, board)]


def _applies(name: CheckName, proposal: Proposal, board: Board) -> bool:
    if name in {CheckName.PEERS, CheckName.JUDGE}:
        return True
    if name is CheckName.QUOTES:
        return any(item.type == "quote" for item in proposal.evidence)
    if proposal.kind in {Kind.PATCH, Kind.ANSWER}:
        return bool(board.run.commands and board.run.repo)
    return any(item.type == "command" for item in proposal.evidence)


def missing_command(proposal: Proposal, board: Board) -> list[str]:
    """A patch that the policy wants to see executed must say which command and which commit."""
    wants = CheckName.COMMAND in board.policy.of(proposal.kind) and board.run.commands and board.run.repo
    if proposal.kind is not Kind.PATCH or not wants:
        return []
    if any(item.type == "command" for item in proposal.evidence):
        return []
    names = ", ".join(command.name for command in board.run.commands)
    by_text = text_of(proposal.kind, proposal.evidence) is not None
    commit = "" if by_text else f", text: the full commit}}. {AS_TEXT}"
    return [
        "a patch is checked by running a command; cite evidence "
        f"{{type: command, ref: one of {names}{commit or '}, beside the patch'}"
    ]


def too_weak_an_heir(proposal: Proposal, board: Board, receipts: Sequence[Receipt]) -> list[str]:
    """Reasons why nobody's bare word takes the place of what the server checked for somebody else."""
    if strength(receipts) is not Strength.ATTESTED:
        return []
    checked = [
        entry
        for label in proposal.supersedes
        if (entry := board.related.get(label))
        and entry.strength is not Strength.ATTESTED
        and entry.principal != board.author
    ]
    return [
        f"it would replace {entry.label} [{entry.strength}], and is itself only attested; cite evidence that "
        "the server can check, or dispute it with verify"
        for entry in checked
    ]


def strength(receipts: Sequence[Receipt]) -> Strength:
    """The strongest thing that passed."""
    passed = {receipt.check for receipt in receipts if receipt.verdict is Verdict.PASS}
    if CheckName.COMMAND in passed:
        return Strength.EXECUTED
    if CheckName.QUOTES in passed:
        return Strength.QUOTED
    if passed & {CheckName.PEERS, CheckName.JUDGE}:
        return Strength.JUDGED
    return Strength.ATTESTED


def unsupported_numbers(proposal: Proposal, parents: Sequence[str] | None = None) -> list[str]:
    """Numbers of the gist that its quotes do not bear out, where quotes are all the evidence there is.

    Args:
        parents: What the entries say that it derives from, gist and quotes. None when nobody has read
            them; then an entry that derives from others may have its numbers from there.
    """
    if not proposal.evidence or any(item.type != "quote" for item in proposal.evidence):
        return []
    if proposal.derived_from and parents is None:
        return []
    # What a source is called counts as well, but not the digits of a commit or a digest.
    names = [re.sub(r"@[^@]*$|^[0-9a-f]{12,64}$", "", item.ref.strip()) for item in proposal.evidence]
    lines = [line for item in proposal.evidence for line in _lines(item.at)]
    return unborne(
        proposal.gist, [*(item.text for item in proposal.evidence), *(parents or ())], names, lines
    )


def _lines(place: Mapping[str, int]) -> range:
    """The lines of its source at which a quote was found."""
    return range(place["line"], place["line_end"] + 1) if "line" in place else range(0)


def flags(proposal: Proposal) -> tuple[str, ...]:
    """What readers should be warned of in a proposal."""
    evidence = [part for item in proposal.evidence for part in (item.ref, item.text)]
    texts = [proposal.gist, proposal.summary, proposal.raw, proposal.scope, proposal.key, *evidence]
    return flags_of(texts)


def key_of(proposal: Proposal) -> str:
    """The normalised gist, by which exact duplicates are found."""
    return gist_key(same_look(proposal.gist))
