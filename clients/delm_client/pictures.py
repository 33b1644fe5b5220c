"""What the plots of reports share: matplotlib, an extra, as SVG; colours; and a look that takes any page.

Letters and lines have the colour of the text around them, so that one picture is read in light and in dark.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from delm_client.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOW = 'pip install "delm-mcp[bench]"'
"""What brings matplotlib."""
# Colours that the colour-blind can tell apart (after Okabe and Ito), on white and on black.
PALETTE = ("#2b8cd0", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c7ae6", "#a0a000")
MARKERS = "os^Dv<>PX"
_INK, _RESET = "#010203", "#1b1f24"
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "delm",
    "font.size": 10,
    "axes.titlesize": 11,
}
_ADAPTS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": "none",
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
}


def available() -> bool:
    """Whether plots can be drawn here."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def style(*, adapts: bool = False) -> Iterator[None]:
    """Draw in the reports' look; one that `adapts` to its page needs `inline` or `alone` afterwards."""
    from matplotlib import rc_context

    with rc_context(_STYLE | (_ADAPTS if adapts else {})):
        yield


def svg(figure: "Figure") -> str:
    """The picture from `<svg` on; the same for the same figures, byte for byte."""
    written = io.StringIO()
    with warnings.catch_warnings():
        # A sign that its font lacks: the reader's browser has others.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]


def inline(picture: str, name: str, title: str, description: str) -> str:
    """For a page: in its colours, with what a screen reader says; ids do not meet those of other pictures."""
    text = re.sub(r"<metadata>.*?</metadata>", "", picture, count=1, flags=re.S).replace(_INK, "currentColor")
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)
    told = f"<title>{escape(printable(title))}</title><desc>{escape(printable(description))}</desc>"
    head, rest = text.split(">", 1)
    return f'{head} role="img" aria-label="{escape(printable(title))}">{told}{rest}'


def alone(picture: str, title: str, description: str) -> str:
    """For a file of its own: dark on white, wherever it is shown."""
    text = inline(picture, "p", title, description)
    return text.replace("<svg ", f'<svg style="color:{_RESET};background:#ffffff" ', 1)
