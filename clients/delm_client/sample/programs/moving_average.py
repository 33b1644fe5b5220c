"""Averages over a window that moves along a series."""


def moving_average(values, size):
    """The mean of each `size` neighbouring values, from left to right.

    A series that is shorter than the window has no averages.
    """
    if size < 1:
        raise ValueError("the window needs at least one value")
    averages = []
    total = 0
    for place, value in enumerate(values):
        total += value
        if place >= size:
            total -= values[place - size]
        if place >= size - 1:
            averages.append(total // size)
    return averages
