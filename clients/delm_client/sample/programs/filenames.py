"""Parts of file names."""


def split_extension(name):
    """A file name as (stem, extension without its dot).

    A dot at the very beginning hides a file and does not begin an extension.
    """
    dot = name.find(".")
    if dot <= 0:
        return name, ""
    return name[:dot], name[dot + 1 :]


def numbered(name, taken):
    """A name that is not taken: the name itself, or with -2, -3 ... before the extension."""
    stem, extension = split_extension(name)
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{stem}-{number}.{extension}" if extension else f"{stem}-{number}"
    return candidate
