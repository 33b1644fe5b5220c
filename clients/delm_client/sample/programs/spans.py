"""Half-open spans of whole units: the start belongs to the span, the end does not."""


def length(start, end):
    """How many units the span has; none when it ends before it starts."""
    return max(0, end - start)


def overlap(first, second):
    """The span that two spans (start, end) have in common, or None."""
    start = max(first[0], second[0])
    end = min(first[1], second[1])
    return (start, end) if start < end else None
