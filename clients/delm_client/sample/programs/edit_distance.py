"""How many letters have to change to turn one word into another (Levenshtein)."""


def distance(source, target):
    """The least number of insertions, deletions and replacements from `source` to `target`."""
    row = list(range(len(target) + 1))
    for i in range(1, len(source) + 1):
        above, row = row, [i]
        for j in range(1, len(target) + 1):
            replaced = above[j - 1] + (source[i - 1] != target[j])
            row.append(min(above[j] + 1, row[j - 1] + 1, replaced))
    return row[-1]


def closest(word, words):
    """The word of a list that is closest to `word`, the first among equals."""
    return min(words, key=lambda other: distance(word, other))
