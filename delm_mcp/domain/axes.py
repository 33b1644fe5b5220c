"""Along what an entry is judged: by peers, and by a model that is asked in their place.

The axes are those of the DeLM paper's verifier for long sources (arXiv 2606.10662).
"""

from collections.abc import Sequence
from enum import StrEnum

from delm_mcp.errors import InvalidInput


class Axis(StrEnum):
    """One way in which an entry can say more than its evidence shows."""

    SUPPORT = "support"
    COHERENCE = "coherence"
    ARITHMETIC = "arithmetic"
    DRIFT = "drift"
    SYNTHESIS = "synthesis"
    ABSENCE = "absence"


QUESTIONS: dict[Axis, str] = {
    Axis.SUPPORT: "citation support: does the evidence, read as it stands, say what the gist says?",
    Axis.COHERENCE: "coherence: do gist, summary and evidence agree with each other, and is it one finding?",
    Axis.ARITHMETIC: "arithmetic: recompute every number, unit, date and count; are they right?",
    Axis.DRIFT: "qualifier drift: is it nowhere stronger or broader than the evidence "
    "(some/all, may/does, a case/every case, a negation lost)?",
    Axis.SYNTHESIS: "unsupported synthesis: does every step from the evidence to the conclusion follow?",
    Axis.ABSENCE: "absence: does a claim that something is not there say where was searched, and no more?",
}


def axes(names: Sequence[str]) -> tuple[Axis, ...]:
    """The axes that a verdict names, each once.

    Raises:
        InvalidInput: There is no such axis; lists them.
    """
    known = {axis.value for axis in Axis}
    for name in names:
        if name not in known:
            raise InvalidInput(f"There is no axis {name[:40]!r}.", f"Axes: {', '.join(Axis)}.")
    return tuple(Axis(name) for name in dict.fromkeys(names))


def questions() -> str:
    """The axes as a list, one question a line."""
    return "\n".join(f"{axis}: {text}" for axis, text in QUESTIONS.items())
