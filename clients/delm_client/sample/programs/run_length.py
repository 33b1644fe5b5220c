"""Run-length encoding: `aaab` is three a and one b."""


def encode(text):
    """The runs of equal characters as (character, count)."""
    runs = []
    current, count = "", 0
    for char in text:
        if char == current:
            count += 1
        else:
            if count:
                runs.append((current, count))
            current, count = char, 1
        if count:
            runs.append((current, count))
    return runs


def decode(runs):
    """The text of runs (character, count)."""
    return "".join(char * count for char, count in runs)
