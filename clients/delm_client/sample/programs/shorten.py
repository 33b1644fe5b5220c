"""Make texts fit into a column."""


def shorten(text, width):
    """The text on one line of at most `width` characters, with an ellipsis where something was cut off."""
    if width < 1:
        raise ValueError("a column has at least one character")
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    return line[:width].rstrip() + "…"


def column(texts, width):
    """Texts shortened to a width and filled up with blanks."""
    return [shorten(text, width).ljust(width) for text in texts]
