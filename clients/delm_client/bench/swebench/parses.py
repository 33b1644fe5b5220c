"""What a board judges patches with where the tests are hidden: each changed Python file can still be parsed.

A program of its own, run in a checkout: `python parses.py BASE`. What could not be parsed in BASE either,
such as a file that is wrong on purpose, is nobody's fault.
"""

import ast
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


def broken(checkout: Path, base: Path) -> Iterator[str]:
    """What is wrong in each file that was changed and cannot be parsed any more, as `x.py, line 3: why`."""
    for path in sorted(checkout.rglob("*.py")):
        before = base / path.relative_to(checkout)
        if not path.is_file():
            continue
        text, old = path.read_bytes(), before.read_bytes() if before.is_file() else b""
        error = None if text == old else _wrong(text)
        if error is not None and _wrong(old) is None:
            yield f"{path.relative_to(checkout).as_posix()}, {error}"


def _wrong(text: bytes) -> str | None:
    try:
        ast.parse(text)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {error.msg}"
    except ValueError as error:  # such as a null byte
        return f"line 1: {error}"
    return None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = list(broken(Path.cwd(), Path(sys.argv[1])))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)
