"""The best stretch of a series of gains and losses."""


def best_stretch(gains):
    """The largest sum of neighbouring values; at least one value belongs to it."""
    if not gains:
        raise ValueError("a series without values has no best stretch")
    best = 0
    running = 0
    for gain in gains:
        running = max(gain, running + gain)
        best = max(best, running)
    return best


def profit(prices):
    """The most that one purchase and one later sale could have earned; a loss where prices only fall."""
    return best_stretch([later - earlier for earlier, later in zip(prices, prices[1:])])
