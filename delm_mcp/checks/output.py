"""The end of what a program printed, as text that is safe to show anywhere."""

import re
import unicodedata

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, hyperlinks
    r"|\x1b[@-Z\\-_]"
)


class Tail:
    """Keeps the last `bytes_max` bytes of a stream, however long it is."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept = bytearray()
        self.bytes_seen = 0

    def add(self, chunk: bytes) -> None:
        self.bytes_seen += len(chunk)
        self._kept += chunk[-self._bytes_max :]
        del self._kept[: -self._bytes_max]

    def text(self) -> str:
        """What was kept, decoded; says how much came before it."""
        text = plain_text(bytes(self._kept))
        left_out = self.bytes_seen - len(self._kept)
        return f"[{left_out} bytes before this]\n{text}" if left_out else text


def plain_text(data: bytes) -> str:
    """Bytes as text without terminal control: UTF-8 with replacement, `\\n` line ends.

    Escape sequences go; other control characters, and the format characters that reorder or hide
    text (bidirectional controls, zero width), become U+FFFD.
    """
    text = data.decode("utf-8", "replace")
    text = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c in "\n\t" or not _is_control(c) else "\ufffd" for c in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
