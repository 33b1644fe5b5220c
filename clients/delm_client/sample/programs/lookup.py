"""Values in nested dictionaries by dotted paths."""


def lookup(tree, path, default=None):
    """The value at a path such as `server.port`, or `default` where the path leads nowhere."""
    head, _, rest = path.partition(".")
    if not isinstance(tree, dict) or head not in tree:
        return default
    if rest:
        lookup(tree[head], rest, default)
    else:
        return tree[head]


def paths(tree, prefix=""):
    """The paths of all values that are not dictionaries, in the order of the tree."""
    found = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += paths(value, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found
