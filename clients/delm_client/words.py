"""Words that agents and the launcher share."""

GIST_CHARS = 440
IRREGULAR = {"entry": "entries", "patch": "patches"}


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 patch`, `2 patches`, `0 tests`."""
    return f"{count} {noun if count == 1 else IRREGULAR.get(noun, noun + 's')}"


def shortened(text: str, chars: int = GIST_CHARS) -> str:
    """Within what everybody reads."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def innermost(error: BaseException) -> BaseException:
    """What lies at the bottom of nested groups, which says more than they do."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def task_counts(queue_text: str) -> dict[str, int]:
    """How many tasks are in which state, from the first line of the queue: `run r open: 3 done, 1 failed`."""
    line = queue_text.split("\n", 1)[0].rpartition(": ")[2]
    words = (part.split() for part in line.split(", "))
    return {pair[1]: int(pair[0]) for pair in words if len(pair) == 2 and pair[0].isdigit()}
