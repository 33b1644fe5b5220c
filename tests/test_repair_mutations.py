"""The edits of each family, and that an edit changes nothing but what it says."""

import ast
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from delm_client.repair.mutations import Family, Mutation, mutant, mutations
from delm_client.repair.source import Source

MESSY = '''\
# -*- coding: utf-8 -*-
"""Docstring with numbers 1 and 2."""
import os   # an import, 3

LIMIT = 10   # ünï

class Box:

    size = 2

    def fits( self , items:list[int]=[1] ) -> "int|None":
        "One < two."
        total=0;count = 0
        for item in items :   # each < item
            if (item<self.size) and not item == 1 :
                total+= item   ; count += 1
            else: continue

            # a comment at the end


        return ( total if count>0
                 else os.getpid() )  # ← here
'''


def edits(code: str, family: Family) -> set[str]:
    """The edited code of all mutations of one family."""
    source = Source("m.py", dedent(code).encode())
    edited = (mutant(source, mutation) for mutation in mutations(source) if mutation.family is family)
    return {text.decode() for text in edited if text is not None}


@pytest.mark.parametrize(
    ("family", "before", "after"),
    [
        (Family.COMPARISON, "x = a < b", "x = a <= b"),
        (Family.COMPARISON, "x = a in b", "x = a not in b"),
        (Family.COMPARISON, "x = a is not b", "x = a is b"),
        (Family.COMPARISON, "x = 0 < (a) <= b", "x = 0 < (a) < b"),
        (Family.INDEX, "x = a[i]", "x = a[i - 1]"),
        (Family.INDEX, "x = a[i + 1]", "x = a[i]"),
        (Family.INDEX, "x = a[0]", "x = a[-1]"),
        (Family.SLICE, "x = a[i:j]", "x = a[i:j - 1]"),
        (Family.SLICE, "x = a[:j]", "x = a[1:j]"),
        (Family.SLICE, "x = a[i:]", "x = a[i:-1]"),
        (Family.SLICE, "x = a[::-1]", "x = a[::]"),
        (Family.BOUNDARY, "x = range(n)", "x = range(n + 1)"),
        (Family.BOUNDARY, "x = 9", "x = 10"),
        (Family.BOUNDARY, "x = f(a or b)", "x = f(a or b)"),
        (Family.BOUNDARY, "x = f(a if b else c)", "x = f((a if b else c) + 1)"),
        (Family.BOUNDARY, "x = -1", "x = 0"),
        (Family.NEGATION, "if not a: b()", "if a: b()"),
        (Family.NEGATION, "if a or b: c()", "if not (a or b): c()"),
        (Family.BOOLEAN, "x = a and b", "x = a or b"),
        (Family.BOOLEAN, "x = a and b and c", "x = a and c"),
        (Family.BOOLEAN, "x = True", "x = False"),
        (Family.ARITHMETIC, "x = a + b", "x = a - b"),
        (Family.ARITHMETIC, "x = a * (b + c)", "x = a // (b + c)"),
        (Family.ARITHMETIC, "x = a - b * (c + d)", "x = a - (c + d)"),
        (Family.AUGMENTED, "x += 1", "x -= 1"),
        (Family.AUGMENTED, "x[i] = y", "x[i] += y"),
        (Family.ORDER, "x = f(a, b)", "x = f(b, a)"),
        (Family.ORDER, "x = (a - b) / c", "x = (c) / (a - b)"),
        (Family.ORDER, "a, b = c", "b, a = c"),
        (Family.ORDER, "x = a[i][j]", "x = a[j][i]"),
        (Family.CALL, "x = min(a, b)", "x = max(a, b)"),
        (Family.CALL, "x = a.find(b)", "x = a.rfind(b)"),
        (Family.CALL, "x = sorted(a)", "x = sorted(a, reverse=True)"),
        (Family.CALL, "x = a.strip()", "x = a"),
        (Family.CALL, "x = f(a, key=b)", "x = f(a)"),
        (Family.WRAPPING, "for x in a: b()", "for x in sorted(a): b()"),
        (Family.LITERAL, "x = 'a' + 'b'", "x = 'b' + 'b'"),
    ],
)
def test_a_family_makes_the_edit_that_it_is_named_for(family: Family, before: str, after: str) -> None:
    found = edits(before, family)
    assert (after in found) == (after != before), found


@pytest.mark.parametrize(
    ("family", "before", "after"),
    [
        (
            Family.VARIABLE,
            "def f(left, right):\n    return left[right:]\n",
            "def f(left, right):\n    return right[right:]\n",
        ),
        (
            Family.VARIABLE,
            "class A:\n    def f(self):\n        return self.low + self.high\n",
            "class A:\n    def f(self):\n        return self.high + self.high\n",
        ),
        (Family.RETURN, "def f(a):\n    f(a - 1)\n", "def f(a):\n    return f(a - 1)\n"),
        (Family.RETURN, "def f(a):\n    return []\n", "def f(a):\n    return a\n"),
        (Family.INITIAL, "def f(a):\n    best = 0\n", "def f(a):\n    best = a[0]\n"),
        (Family.DELETION, "def f(a):\n    a = 1  # gone\n    return a\n", "def f(a):\n    return a\n"),
        (Family.DELETION, "def f(a):\n    del a\n", "def f(a):\n    pass\n"),
        (
            Family.DELETION,
            "def f(a):\n    if a:\n        b()\n        c()\n",
            "def f(a):\n    b()\n    c()\n",
        ),
        (
            Family.INDENTATION,
            "for a in b:\n    c()\n    if a:\n        d()\n",
            "for a in b:\n    c()\nif a:\n    d()\n",
        ),
        (
            Family.INDENTATION,
            "for a in b:\n    c()\n# why\nd()\n",
            "for a in b:\n    c()\n# why\n    d()\n",
        ),
        (Family.INDENTATION, "while a:\n    b()\n    c()\n", "b()\nwhile a:\n    c()\n"),
        (
            Family.FLOW,
            "for a in b:\n    if a:\n        break\n",
            "for a in b:\n    if a:\n        continue\n",
        ),
        (Family.FLOW, "if a:\n    b()\nelif c:\n    d()\n", "if a:\n    b()\nif c:\n    d()\n"),
        (Family.FLOW, "def f(a):\n    if a:\n        b()\n", "def f(a):\n    while a:\n        b()\n"),
    ],
)
def test_a_family_edits_statements_in_place(family: Family, before: str, after: str) -> None:
    assert after in edits(before, family)


def test_only_the_last_branch_of_a_condition_lets_its_end_out() -> None:
    code = "for a in b:\n    if a:\n        c()\n        d()\n    else:\n        e()\n"
    assert all("else" in edited and ast.parse(edited) for edited in edits(code, Family.INDENTATION))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_an_edit_keeps_every_other_byte(newline: str, encoding: str) -> None:
    text = MESSY.replace("\n", newline)
    if encoding == "latin-1":
        text = text.replace("utf-8", "latin-1").replace("←", "<-")
    source = Source("box.py", text.encode(encoding))
    found = mutations(source)
    assert {mutation.function for mutation in found} == {"<module>", "Box", "Box.fits"}
    for mutation in found:
        start, end, replacement = mutation.edit
        edited = source.apply(mutation.edit)
        whole = source.text[:start] + replacement.encode() + source.text[end:]
        assert edited == whole.decode().encode(encoding)
        assert edited.decode(encoding).count(newline) >= text.count(newline) - 3


def test_docstrings_annotations_imports_and_decorators_stay() -> None:
    source = Source("box.py", MESSY.encode())
    for mutation in mutations(source):
        edited = source.apply(mutation.edit).decode()
        for kept in (
            '"""Docstring with numbers 1 and 2."""',
            "import os   # an import, 3",
            '"One < two."',
            '"int|None"',
        ):
            assert kept in edited


def test_nearly_every_edit_is_python_and_changes_the_program() -> None:
    source = Source("box.py", MESSY.encode())
    found = mutations(source)
    useless = [mutation for mutation in found if mutant(source, mutation) is None]
    assert len(useless) < len(found) / 20, useless


def test_no_edit_is_made_twice() -> None:
    source = Source("box.py", MESSY.encode())
    found = mutations(source)
    assert len({mutation.id for mutation in found}) == len(found)
    assert len({source.apply(mutation.edit) for mutation in found}) == len(found)


def test_a_mutation_says_where_it_is() -> None:
    source = Source("box.py", MESSY.encode())
    found = [mutation for mutation in mutations(source) if mutation.after.strip().startswith("total-=")]
    assert [(mutation.function, mutation.line, mutation.family) for mutation in found] == [
        ("Box.fits", 16, Family.AUGMENTED)
    ]
    assert str(found[0]) == (
        "box.py:16 in Box.fits: `total+= item ; count += 1` -> `total-= item ; count += 1`"
    )


def test_a_change_is_told_in_one_line() -> None:
    source = Source("m.py", b"def f(a):\n    for b in a:\n        c()\n        d()\n    return a\n")
    told = {mutation.change for mutation in mutations(source)}
    assert {"`d()` deleted", "`d()` indented by 4 and not 8", "`return a` -> `return b`"} <= told
    assert not any("\n" in change for change in told)


def test_only_the_functions_that_are_asked_for_are_edited() -> None:
    source = Source("m.py", b"def f(a):\n    return a + 1\n\ndef g(a):\n    return a + 1\n")
    assert {mutation.function for mutation in mutations(source, frozenset({"g"}))} == {"g"}


def test_a_file_that_is_not_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        Source("m.py", b"def f(:\n")


@pytest.mark.parametrize("end", ["\n", ""])
def test_git_applies_the_diff_of_an_edit(tmp_path: os.PathLike[str], end: str) -> None:
    data = f"def f(a):\n    # a page \x0c break\n    return a < 1{end}".encode()
    source = Source("f.py", data)
    chosen = next(mutation for mutation in mutations(source) if mutation.family is Family.COMPARISON)
    edited = source.apply(chosen.edit)
    file = os.path.join(tmp_path, "f.py")
    with open(file, "wb") as out:
        out.write(data)
    subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=source.diff(edited).encode(), check=True, timeout=30
    )
    with open(file, "rb") as read:
        assert read.read() == edited != data


def test_the_order_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "import sys\n"
        "from delm_client.repair.mutations import mutations\n"
        "from delm_client.repair.source import Source\n"
        "print([mutation.id for mutation in mutations(Source('box.py', sys.stdin.buffer.read()))])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=MESSY.encode(),
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    mine: list[Mutation] = mutations(Source("box.py", MESSY.encode()))
    assert printed == {f"{[mutation.id for mutation in mine]}\n".encode()}
