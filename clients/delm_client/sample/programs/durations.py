"""Durations as people write them."""


def clock(total):
    """Seconds as `h:mm:ss`, with a minus in front where they are negative."""
    sign = "-" if total < 0 else ""
    seconds, rest = divmod(abs(total), 60)
    hours, minutes = divmod(rest, 60)
    return f"{sign}{hours}:{minutes:02d}:{seconds:02d}"


def seconds(text):
    """The seconds of `ss`, `mm:ss` or `h:mm:ss`."""
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total
