"""A small project with work for a team: modules to mend, each with a test, and modules to look into."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

PYTHON = "python3"


def files(broken: int, plain: int) -> dict[str, str]:
    """The project: `broken` modules whose test fails, and `plain` ones that say a number."""
    made = {"tests/__init__.py": "", ".gitignore": "__pycache__/\n"}
    for number in range(1, broken + 1):
        made[f"twice_{number}.py"] = f"def twice(x: int) -> int:\n    return x * {number + 2}\n"
        made[f"tests/test_twice_{number}.py"] = (
            f"import unittest\n\nfrom twice_{number} import twice\n\n\n"
            "class TestTwice(unittest.TestCase):\n"
            "    def test_it_doubles(self) -> None:\n        self.assertEqual(twice(21), 42)\n"
        )
    for number in range(1, plain + 1):
        made[f"limit_{number}.py"] = f"LIMIT = {number}00\n"
    return made


def check(number: int) -> str:
    """The test of a broken module, as words."""
    return f"{PYTHON} -m unittest -q tests.test_twice_{number}"


def checks(broken: int) -> list[str]:
    """The options that give a run its commands."""
    return [word for n in range(1, broken + 1) for word in ("--check", f"twice_{n}={check(n)}")]


def mend(number: int) -> Mapping[str, Any]:
    """The task to mend a module: read, edit, run its test, commit, propose the commit."""
    path = f"twice_{number}.py"
    recipe = {
        "read": [path],
        "edit": [{"path": path, "old": f"    return x * {number + 2}", "new": "    return x * 2"}],
        "run": check(number),
        "commit": f"Double in {path}",
        "propose": {
            "kind": "patch",
            "gist": f"twice() in {path} doubles its argument",
            "command": f"twice_{number}",
        },
    }
    return {"subject": f"Mend {path}", "detail": f"Its test fails.\nrecipe: {json.dumps(recipe)}"}


def look(number: int) -> Mapping[str, Any]:
    """The task to say what a module's limit is, with a quote."""
    path, line = f"limit_{number}.py", f"LIMIT = {number}00"
    recipe = {
        "read": [path],
        "propose": {
            "kind": "fact",
            "gist": f"{path} sets LIMIT to {number}00",
            "quote": {"path": path, "text": line, "at": "main"},
        },
    }
    return {"subject": f"Say what the limit in {path} is", "detail": f"recipe: {json.dumps(recipe)}"}


def tasks(broken: int, plain: int) -> Sequence[Mapping[str, Any]]:
    """All of them."""
    return [*map(mend, range(1, broken + 1)), *map(look, range(1, plain + 1))]
