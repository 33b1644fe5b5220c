"""Mutation operators on statements: what they return, start from, delete, and how deep they stand."""

import ast
import re
from collections.abc import Iterator

from delm_client.repair.scene import Scene
from delm_client.repair.source import Edit

AUGMENTED: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: (r"\+=", ("-=", "*=", "=")),
    ast.Sub: ("-=", ("+=", "//=", "=")),
    ast.Mult: (r"\*=", ("+=", "//=", "=")),
    ast.Div: ("/=", ("//=", "*=", "=")),
    ast.FloorDiv: ("//=", ("/=", "%=", "-=", "=")),
    ast.Mod: ("%=", ("//=", "=")),
    ast.BitOr: (r"\|=", ("&=", "^=", "=")),
    ast.BitAnd: ("&=", ("|=", "=")),
    ast.BitXor: (r"\^=", ("|=", "&=")),
    ast.LShift: ("<<=", (">>=",)),
    ast.RShift: (">>=", ("<<=",)),
}
SIMPLE = (
    ast.Expr,
    ast.Assign,
    ast.AugAssign,
    ast.Return,
    ast.Continue,
    ast.Break,
    ast.Raise,
    ast.Delete,
    ast.Assert,
)
COMPOUND = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
JUMPS = (ast.Return, ast.Continue, ast.Break, ast.Raise)
INITIAL = ("0", "1", "-1", "None", "True", "False", "[]", '""', 'float("inf")', 'float("-inf")')
RETURNED = ("True", "False", "None", "0", "1", "-1", "[]", '""')


def augmented(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`+=` becomes `-=`, or `=`; and `=` becomes `+=` where there is something to add to."""
    if isinstance(node, ast.AugAssign) and type(node.op) in AUGMENTED:
        pattern, others = AUGMENTED[type(node.op)]
        if span := at.source.token(node.target, node.value, pattern):
            yield from (Edit(*span, other) for other in others)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        countable = isinstance(target, ast.Subscript | ast.Attribute) or (
            isinstance(target, ast.Name) and at.in_loop(node)
        )
        if countable and (span := at.source.token(target, node.value, "=")):
            yield from (Edit(*span, other) for other in ("+=", "-=", "*="))


def initial(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A variable starts from another value: a usual constant, a parameter, the first of a parameter."""
    if not isinstance(node, ast.Assign) or at.in_loop(node):
        return
    if not all(isinstance(target, ast.Name) for target in node.targets):
        return
    if not isinstance(
        node.value, ast.Constant | ast.List | ast.Dict | ast.Set | ast.Name | ast.UnaryOp | ast.Subscript
    ):
        return
    assigned = {target.id for target in node.targets if isinstance(target, ast.Name)}
    names = [name for name in at.variables if name not in assigned][:4]
    values = [*INITIAL, *names, *(f"{name}[0]" for name in names), *(f"len({name})" for name in names)]
    yield from (at.replace(node.value, value) for value in values if value != at.source.of(node.value))


def returned(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A function returns something else, or what it only computed."""
    if isinstance(node, ast.Return):
        names = [name for name in at.variables if name not in ("self", "cls")][:8]
        values = [
            value for value in (*names, *RETURNED) if node.value is None or value != at.source.of(node.value)
        ]
        if node.value is None:
            yield from (at.replace(node, f"return {value}") for value in values)
        else:
            yield from (at.replace(node.value, value) for value in values)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Compare | ast.BinOp | ast.Name):
        yield Edit(at.source.start(node), at.source.start(node), "return ")


def deletion(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A statement goes; an `if` gives way to its body."""
    if isinstance(node, SIMPLE) or (isinstance(node, ast.If) and not node.orelse):
        body = at.body(node)
        if body is None:
            return
        indent = at.source.indent(node)
        if len(body) > 1 and indent is not None:
            yield Edit(*at.source.lines(node), "")
        elif not isinstance(node, ast.If):
            yield at.replace(node, "pass")
    if isinstance(node, ast.If) and not node.orelse and at.source.indent(node) is not None:
        first, last = node.body[0], node.body[-1]
        inner, outer = at.source.indent(first), at.source.indent(node)
        if inner is not None and outer is not None and not _has_long_string(node):
            start, end = at.source.lines(first)[0], at.source.lines(last)[1]
            yield Edit(at.source.lines(node)[0], end, shifted(at.source.between(start, end), inner, outer))


def indentation(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A block's last statement moves out of it, the one after it moves in, a loop's first moves before it."""
    if not isinstance(node, ast.stmt) or _has_long_string(node):
        return
    here = at.source.indent(node)
    if here is None:
        return
    yield from _outwards(at, node, here)
    yield from _inwards(at, node, here)
    if isinstance(node, LOOPS) and len(node.body) > 1 and at.source.indent(node.body[0]) is not None:
        first = node.body[0]
        start, end = at.source.lines(first)
        loop = at.source.lines(node)[0]
        moved = shifted(at.source.between(start, end), at.source.indent(first) or "", here)
        yield Edit(loop, end, moved + at.source.between(loop, start))


def _outwards(at: Scene, node: ast.stmt, here: str) -> Iterator[Edit]:
    body = at.body(node)
    if body is None or len(body) < 2 or body[-1] is not node:
        return
    block = at.parent(node)
    # Only what ends the whole block can stand after it: not the end of a branch before an `else`.
    while isinstance(block, COMPOUND) and block.end_lineno == node.end_lineno:
        outer = at.source.indent(block)
        if outer is not None and len(outer) < len(here):
            start, end = at.source.lines(node)
            yield Edit(start, end, shifted(at.source.between(start, end), here, outer))
        block = at.parent(block)


def _inwards(at: Scene, node: ast.stmt, here: str) -> Iterator[Edit]:
    body = at.body(node)
    place = body.index(node) if body else 0
    before: ast.AST | None = body[place - 1] if body and place else None
    while isinstance(before, COMPOUND):
        last = (
            before.orelse
            if isinstance(before, ast.If | ast.For | ast.While) and before.orelse
            else before.body
        )[-1]
        inner = at.source.indent(last)
        if inner is not None and not isinstance(last, JUMPS):
            start, end = at.source.lines(node)
            yield Edit(start, end, shifted(at.source.between(start, end), here, inner))
        before = last


def flow(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`break` becomes `continue`, `elif` becomes `if`, `if` becomes `while`; a branch ends in a jump."""
    if isinstance(node, ast.Break):
        yield from (at.replace(node, word) for word in ("continue", "return"))
    elif isinstance(node, ast.Continue):
        yield from (at.replace(node, word) for word in ("break", "return"))
    elif isinstance(node, ast.If | ast.While):
        yield from _keyword(at, node)
        yield from _jump(at, node)


def _keyword(at: Scene, node: ast.If | ast.While) -> Iterator[Edit]:
    start = at.source.start(node)
    found = re.match(r"elif|if|while", at.source.of(node))
    if found is None:
        return
    keyword = found[0]
    span = (start, start + len(keyword))
    if keyword == "elif":
        yield Edit(*span, "if")
    elif not node.orelse:
        yield Edit(*span, "while" if keyword == "if" else "if")
    body = at.body(node)
    place = body.index(node) if body else 0
    if (
        keyword == "if"
        and body
        and place
        and isinstance(body[place - 1], ast.If)
        and not _has_else(body[place - 1])
    ):
        yield Edit(*span, "elif")


def _has_else(node: ast.stmt) -> bool:
    while isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        node = node.orelse[0]
    return isinstance(node, ast.If) and bool(node.orelse)


def _jump(at: Scene, node: ast.If | ast.While) -> Iterator[Edit]:
    last = node.body[-1]
    indent = at.source.indent(last)
    if isinstance(node, ast.While) or not at.in_loop(node) or isinstance(last, JUMPS) or indent is None:
        return
    end = at.source.lines(last)[1]
    newline = "" if at.source.text[:end].endswith((b"\n", b"\r")) else "\n"
    yield from (Edit(end, end, f"{newline}{indent}{word}\n") for word in ("break", "continue"))


def shifted(text: str, old: str, new: str) -> str:
    """Lines moved from one indentation to another; blank lines and the comments left of it stay."""
    return re.sub(rf"^{re.escape(old)}(?=\S|[ \t]*\S)", new, text, flags=re.MULTILINE)


def _has_long_string(node: ast.stmt) -> bool:
    return any(
        isinstance(inner, ast.Constant | ast.JoinedStr) and inner.end_lineno != inner.lineno
        for inner in ast.walk(node)
    )
