"""Names and secrets that the board hands out."""

import random
import secrets
from typing import Protocol

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # no characters that are read or typed wrongly
_FIRST = """
amber ash azure brave brisk bright calm clear cobalt copper coral crisp dawn deep dusk early
ember fern fleet fresh frost gold green hazel indigo iron ivory jade keen lilac lime lunar maple
mild mint misty noble north oak ocean olive opal pearl pine plum quick quiet rapid river rose
ruby rust sage sandy scarlet sharp silver slate solar spring steel stone storm summer swift teal
umber velvet violet warm west wild winter
""".split()
_SECOND = """
ant badger bear beaver bee bison crane crow deer dove duck eagle egret elk falcon finch fox frog
gecko goat goose gull hare hawk heron horse ibis jay kite koala lark lemur lion lizard llama
lynx marten mole moose moth mouse newt otter owl panda pike puffin quail rabbit raven robin
salmon seal shrew snail sparrow squid stork swan swift tern tiger toad trout turtle viper vole
walrus wasp weasel whale wolf wren yak zebra
""".split()


class Ids(Protocol):
    """Where names and secrets come from; seeded in simulations."""

    def token(self) -> str: ...
    def agent_name(self) -> str: ...
    def run_id(self) -> str: ...


class RandomIds:
    """Names and secrets from the system's randomness, or from a seed."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = (
            random.Random(seed) if seed is not None else secrets.SystemRandom()  # noqa: S311 - a seed is for simulations
        )

    def _letters(self, count: int) -> str:
        number = self._random.randrange(len(_ALPHABET) ** count)  # one draw, because each costs a system call
        letters = []
        for _ in range(count):
            number, place = divmod(number, len(_ALPHABET))
            letters.append(_ALPHABET[place])
        return "".join(letters)

    def token(self) -> str:
        """About 59 bits: short enough for a model to copy, too long to guess."""
        return self._letters(12)

    def agent_name(self) -> str:
        return f"{self._random.choice(_FIRST)}-{self._random.choice(_SECOND)}"

    def run_id(self) -> str:
        return f"r-{self._letters(5)}"
