"""Merge two sorted lists into one."""


def merge(left, right):
    """All items of two sorted lists in order; among equals those of `left` come first."""
    merged = []
    i = j = 0
    while i < len(left) and j < len(right):
        if right[j] < left[i]:
            merged.append(right[j])
            j += 1
        else:
            merged.append(left[i])
            i += 1
    merged.extend(left[i:])
    merged.extend(right[i:])
    return merged
