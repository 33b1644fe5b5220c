"""The official prompts, and the official way to make an input fit.

The templates are upstream's, word for word (`prompts/LICENSE`).
"""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from importlib import resources

from delm_client.bench.items import Question

TEMPERATURE = 0.1
ANSWER_TOKENS = 128
THOUGHT_TOKENS = 1024
PLACEHOLDER = re.compile(r"\$(?:DOC|Q|C_[ABCD]|COT)\$")


class Prompt(StrEnum):
    """The official templates. A chain of thought takes two calls: `COT`, and `COT_ANSWER` with its reply."""

    PLAIN = "0shot"
    COT = "0shot_cot"
    COT_ANSWER = "0shot_cot_ans"
    NO_CONTEXT = "0shot_no_context"
    RETRIEVED = "0shot_rag"


@cache
def template(prompt: Prompt) -> str:
    """The template as upstream ships it."""
    folder = resources.files("delm_client") / "bench" / "longbench" / "prompts"
    return (folder / f"{prompt}.txt").read_text(encoding="utf-8")


def fill(prompt: Prompt, question: Question, *, context: str | None = None, thought: str = "") -> str:
    """A template with everything put in, stripped as upstream strips it.

    Upstream replaces one placeholder after the other, so that a text which itself contains `$Q$` would be
    filled too; here each placeholder of the template is filled once.

    Args:
        context: What stands for the question's own context, such as retrieved chunks.
        thought: The reply to `COT`, for `COT_ANSWER`.
    """
    values = {
        "$DOC$": (question.context if context is None else context).strip(),
        "$Q$": question.question.strip(),
        **{f"$C_{letter}$": text.strip() for letter, text in question.choices.items()},
        "$COT$": thought.strip(),
    }
    return PLACEHOLDER.sub(lambda found: values[found.group()], template(prompt))


def retrieved(chunks: Sequence[str]) -> str:
    """Chunks as upstream lists them; give them in the order in which they stand in the text."""
    return "\n\n".join(f"Retrieved chunk {number}: {text}" for number, text in enumerate(chunks, 1))


def truncate_middle(
    prompt: str,
    max_tokens: int,
    encode: Callable[[str], Sequence[int]],
    decode: Callable[[Sequence[int]], str],
) -> str:
    """Cut an over-long input in the middle, as upstream does with the model's own tokenizer.

    Keeps the first and the last half of `max_tokens`, so that the question at the end stays whole.
    """
    ids = encode(prompt)
    if len(ids) <= max_tokens:
        return prompt
    first, last = max_tokens // 2, max_tokens - max_tokens // 2
    return decode([*ids[:first], *ids[len(ids) - last :]])


def truncate_characters(prompt: str, characters_max: int) -> str:
    """The same by characters, for models whose tokenizer is not at hand."""
    if len(prompt) <= characters_max:
        return prompt
    first, last = characters_max // 2, characters_max - characters_max // 2
    return prompt[:first] + prompt[len(prompt) - last :]
