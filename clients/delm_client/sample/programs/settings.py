"""Read settings from a text of `name = value` lines."""


def parse(text):
    """The settings of a text by name.

    A line without `=` switches its name on: the value is "yes". Blank lines and lines that begin with `#`
    say nothing, and the last of several lines for a name counts.
    """
    settings = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, sign, value = line.partition("=")
        settings[name.strip()] = value.strip() if not sign else "yes"
    return settings
