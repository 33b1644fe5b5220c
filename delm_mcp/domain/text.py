"""Text from agents is data: cleaned, measured, and fenced so that nothing in it can pose as ours."""

import re
import unicodedata

CHARACTERS_PER_TOKEN = 4
_FENCES = str.maketrans({"«": "\u2039", "»": "\u203a"})
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def tokens(text: str) -> int:
    """A text's size in tokens, at four characters each, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def visible(text: str) -> str:
    """The text with every character that could hide or reorder it shown as an escape.

    Control, format (zero-width, bidirectional), private-use, surrogate and unassigned characters
    become `\\uXXXX`; line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"\\u{ord(char):04x}" for char in text)


def _harmless(char: str) -> bool:
    return char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


def fenced(text: str) -> str:
    """One line between guillemets; guillemets inside it are replaced, so the fence cannot be forged."""
    return f"«{one_line(text).translate(_FENCES)}»"


def one_line(text: str) -> str:
    """The text on one line, with nothing in it that could hide or reorder."""
    return " ".join(visible(text).split())


def block(text: str) -> str:
    """Many lines, each behind `| `; whatever a line says, it cannot start without it."""
    return "\n".join(f"| {line}" for line in visible(text).replace("\t", "    ").split("\n"))


def gist_key(gist: str) -> str:
    """The normalised gist by which exact duplicates are found: case, width, space, closing marks.

    Nothing else is dropped: `x != y` and `x == y` are different findings.
    """
    folded = " ".join(unicodedata.normalize("NFKC", gist).casefold().split())
    return folded.rstrip(".!;, ") or folded


def shortened(text: str, limit: int) -> str:
    """At most about `limit` characters, with the cut shown; a fence that it cuts is closed again."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1].rstrip() + "…"
    return kept + "»" if kept.count("«") > kept.count("»") else kept


def numbers(text: str) -> set[str]:
    """The numbers in a text, without thousands separators and trailing zeros of fractions."""
    found = set()
    for match in _NUMBER.findall(text):
        plain = match.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", match) else match
        found.add(plain.rstrip("0").rstrip(".") if "." in plain else plain)
    return found
