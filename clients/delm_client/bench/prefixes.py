"""Where prompts are cut so that a cache which works by blocks finds again what it has seen.

Anthropic's cache keeps what stands before a breakpoint, and finds it again only where a block ended there.
The prompts of an agent grow at the end of what is known and go on with something else, so each is cut where
it began to differ from the one before: that much is likely to come again.
"""

from itertools import pairwise

LEAST = 4096
"""Characters; a shorter beginning is not kept by the provider (1024 tokens at least, by the model)."""
CUTS_MAX = 15
"""The provider looks back over 20 blocks."""


class Prefixes:
    """What one agent has asked so far, by step."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._cuts: dict[str, list[int]] = {}

    def blocks(self, step: str, prompt: str) -> list[str]:
        """The prompt in pieces; all but the last are worth keeping."""
        common = _common(self._last.get(step, ""), prompt)
        cuts = [cut for cut in self._cuts.get(step, ()) if cut <= common]
        if LEAST <= common < len(prompt) and common not in cuts:
            cuts.append(common)
        self._last[step], self._cuts[step] = prompt, cuts[-CUTS_MAX:]
        edges = [0, *self._cuts[step], len(prompt)]
        return [prompt[begin:end] for begin, end in pairwise(edges)]


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
