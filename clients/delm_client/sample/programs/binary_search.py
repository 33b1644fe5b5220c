"""Find something in a sorted list without looking at all of it."""


def find(items, wanted):
    """The index of `wanted` in the sorted list `items`, or None where it is not in the list."""
    low, high = 0, len(items) - 1
    while low < high:
        middle = (low + high) // 2
        if items[middle] == wanted:
            return middle
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return None
