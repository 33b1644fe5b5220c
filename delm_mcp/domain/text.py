"""Text from agents is data: cleaned, measured, and fenced so that nothing in it can pose as ours.

Whoever reads an answer can tell the two voices apart by two rules, and no text of an agent can break them:

    «...»    what stands between guillemets, on one line (`fenced`)
    | ...    a line that begins with a bar and a space (`block`)

is what an agent wrote, or what a file said. Everything else is the server's own. What cuts a text
(`shortened`, `clipped`) keeps to them too.
"""

import re
import unicodedata

CHARACTERS_PER_TOKEN = 4
ESCAPES = 100
"""How many hidden characters of one text are shown as escapes; the others cost one character each."""
STACK = 6
"""How many marks may stand on one letter; every living script does with fewer."""

# Ours, and what a reader could take for them.
_FENCES = str.maketrans(
    {
        **dict.fromkeys("«≪⪡⋘⫷", "\u2039"),
        **dict.fromkeys("»≫⪢⋙⫸⨠", "\u203a"),
        "⟪": "⟨", "⟫": "⟩", "《": "〈", "》": "〉", "︽": "︿", "︾": "﹀",
    }
)  # fmt: skip
_PLAIN = re.compile(r"[\n\t -~]*")
_ODD = re.compile(r"[^\n\t -~]+")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n){3,}")
_HIDING = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
# Letters and marks that are shown as nothing: what Unicode calls default ignorable beyond `Cf`, and the blank
# of the braille.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
_PRESENTATION = frozenset("\ufe0e\ufe0f")  # a sign as text or as a picture
_KEYCAPS = frozenset("0123456789#*")


def tokens(text: str) -> int:
    """A text's size in tokens, at four characters each, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def visible(text: str) -> str:
    """The text with every character that could hide or reorder it shown as an escape.

    Control, format (zero-width, bidirectional, tags), private-use, surrogate and unassigned characters,
    blank letters, variation selectors, marks without a letter under them and marks piled too high become
    `\\uXXXX` or `\\UXXXXXXXX`; after `ESCAPES` of them, U+FFFD. Line breaks and tabs stay, and CRLF is one.
    """
    if _PLAIN.fullmatch(text):
        return text
    return _ODD.sub(_Escaping(), text.replace("\r\n", "\n"))


class _Escaping:
    """Shows the odd characters of one text, a run of them at a time."""

    def __init__(self) -> None:
        self._left = ESCAPES

    def __call__(self, run: "re.Match[str]") -> str:
        letter = previous = run.string[run.start() - 1] if run.start() else ""
        shown, marks = [], 0
        for char in run.group():
            category = unicodedata.category(char)
            is_mark = category[0] == "M"
            marks = marks + 1 if is_mark else 0
            if _hides(char, category, previous) or (is_mark and (_is_bare(letter) or marks > STACK)):
                shown.append(self._escape(char))
                letter = previous = ""  # nothing may stand upon an escape
                continue
            shown.append(char)
            previous = char
            letter = letter if is_mark else char
        return "".join(shown)

    def _escape(self, char: str) -> str:
        if not self._left:
            return "\ufffd"
        self._left -= 1
        return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _hides(char: str, category: str, previous: str) -> bool:
    """Whether a character is shown as nothing, or changes how others are shown."""
    if char in _PRESENTATION:
        return not (previous and (previous in _KEYCAPS or unicodedata.category(previous)[0] == "S"))
    return category in _HIDING or char in _BLANK


def _is_bare(letter: str) -> bool:
    """Whether there is nothing that a mark could stand on, so that it would land on our own signs."""
    return not letter or letter.isspace()


def fenced(text: str) -> str:
    """One line between guillemets; guillemets inside it are replaced, so the fence cannot be forged."""
    return f"«{one_line(text).translate(_FENCES)}»"


def one_line(text: str) -> str:
    """The text on one line, with nothing in it that could hide or reorder."""
    return " ".join(visible(text).split())


def block(text: str) -> str:
    """Many lines, each behind `| `; whatever a line says, it cannot start without it.

    More than two blank lines in a row are shown as two.
    """
    lines = _BLANK_LINES.sub("\n\n\n", visible(text)).split("\n")
    return "\n".join(f"| {line}" for line in lines)


def folded(text: str) -> str:
    """The words of a text: case, width and white space folded, and what is shown as nothing left out."""
    plain = unicodedata.normalize("NFKC", text)
    if not plain.isascii():
        plain = "".join(char for char in plain if char not in _BLANK and unicodedata.category(char) != "Cf")
    return " ".join(plain.casefold().split())


def gist_key(gist: str) -> str:
    """The normalised gist by which exact duplicates are found: `folded`, without closing marks.

    Nothing else is dropped: `x != y` and `x == y` are different findings.
    """
    key = folded(gist)
    return key.rstrip(".!;, ") or key


def shortened(text: str, limit: int) -> str:
    """At most about `limit` characters of a line, with the cut shown; a fence cut open is closed again."""
    if len(text) <= limit:
        return text
    return _closed(text[: max(0, limit - 1)].rstrip() + "…")


def _closed(line: str) -> str:
    """A cut line with its last fence closed. Fences hold no fences, so the last guillemet tells."""
    return line + "»" if line.rfind("«") > line.rfind("»") else line


def clipped(text: str, limit: int) -> str:
    """The beginning of an answer of many lines, at most about `limit` characters.

    Fences and bars hold as before: a fence that the cut opens is closed, and half a bar is left out.
    """
    if len(text) <= limit:
        return text
    whole, newline, last = text[: max(0, limit - 1)].rpartition("\n")
    if last.strip() in {"", "|"}:
        return whole
    last = last.rstrip() + "…"
    return whole + newline + (last if last.startswith("| ") else _closed(last))
