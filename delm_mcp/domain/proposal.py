"""A proposal as its checks see it: what is asked, what they may know of the board, and what is too much."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from delm_mcp.domain.model import Entry, Evidence, Kind, Run
from delm_mcp.domain.patches import MAX_PATCH, is_text
from delm_mcp.domain.policy import Policy
from delm_mcp.errors import InvalidInput

# Hard limits on what may be stored at all; beyond them nothing is kept, not even a rejection.
MAX_GIST = 2_000
MAX_SUMMARY = 20_000
MAX_RAW = 60_000
MAX_EVIDENCE = 20
MAX_EVIDENCE_TEXT = 20_000
MAX_TOTAL = 80_000  # so that an entry can always be unfolded in one answer
MAX_REF = 500
MAX_LIST = 50


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an agent asks to put into the context."""

    kind: Kind
    gist: str
    summary: str = ""
    raw: str = ""
    evidence: tuple[Evidence, ...] = ()
    scope: str = ""
    key: str = ""
    supersedes: tuple[int, ...] = ()
    derived_from: tuple[int, ...] = ()
    base_version: int = 0
    completes: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """What the checks may know of the board at the moment of judging.

    Attributes:
        author: The principal that proposes.
        grounds: All that the proposal derives from, however deep.
        echoed: By its key, the live entry whose gist an artifact repeats; see `artifact_keys`.
    """

    run: Run
    policy: Policy
    related: dict[int, Entry] = field(default_factory=dict)
    key_holder: Entry | None = None
    same_gist: Entry | None = None
    has_live: bool = False
    author: str = ""
    grounds: frozenset[int] = frozenset()
    echoed: Mapping[str, Entry] = field(default_factory=dict)


def refuse_oversize(proposal: Proposal) -> None:
    """Refuse what may not be stored at all.

    Raises:
        InvalidInput: A text or a list over its limit, or an empty gist; names the field and the limit.
    """
    texts = {
        "gist": (proposal.gist, MAX_GIST),
        "summary": (proposal.summary, MAX_SUMMARY),
        "raw": (proposal.raw, MAX_RAW),
        "scope": (proposal.scope, MAX_REF),
        "key": (proposal.key, MAX_REF),
    }
    for number, item in enumerate(proposal.evidence, 1):
        texts[f"evidence {number} type"] = (item.type, 20)
        texts[f"evidence {number} ref"] = (item.ref, MAX_REF)
        texts[f"evidence {number} text"] = (item.text, MAX_PATCH if is_text(item) else MAX_EVIDENCE_TEXT)
    for name, (text, limit) in texts.items():
        if len(text) > limit:
            hint = "Propose the change in parts." if limit == MAX_PATCH and name != "raw" else "Shorten it."
            raise InvalidInput(f"{name} has {len(text)} characters; the limit is {limit}.", hint)
    total = sum(len(text) for text, _ in texts.values())
    if total > MAX_TOTAL:
        raise InvalidInput(
            f"All texts together have {total} characters; the limit is {MAX_TOTAL}.", "Shorten raw."
        )
    if len(proposal.evidence) > MAX_EVIDENCE:
        raise InvalidInput(
            f"evidence has {len(proposal.evidence)} items; the limit is {MAX_EVIDENCE}.", "Send fewer."
        )
    if len(proposal.supersedes) > MAX_LIST or len(proposal.derived_from) > MAX_LIST:
        raise InvalidInput(
            f"supersedes and derived_from take at most {MAX_LIST} entries each.", "Name fewer."
        )
    if not 0 <= proposal.base_version < 2**53:
        raise InvalidInput(
            f"base_version={proposal.base_version} is not a version.", "Pass the one that you read."
        )
    if not proposal.gist.strip():
        raise InvalidInput("gist is empty.", "Write one self-contained sentence that a peer can act on.")
