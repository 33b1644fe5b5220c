"""Mutation operators on expressions: each is given a node and yields the edits that it can make there."""

import ast
from collections.abc import Iterator
from itertools import pairwise

from delm_client.repair.scene import Scene, int_value, number_like, plus
from delm_client.repair.source import Edit

ALTERNATIVES_MAX = 8

COMPARED: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">", ">=", "!=")),
    ast.LtE: ("<=", ("<", ">=", ">", "==")),
    ast.Gt: (">", (">=", "<", "<=", "!=")),
    ast.GtE: (">=", (">", "<=", "<", "==")),
    ast.Eq: ("==", ("!=", "<=", ">=")),
    ast.NotEq: ("!=", ("==", "<", ">")),
    ast.In: (r"\bin\b", ("not in",)),
    ast.NotIn: (r"\bnot\s+in\b", ("in",)),
    ast.Is: (r"\bis\b", ("is not", "==")),
    ast.IsNot: (r"\bis\s+not\b", ("is", "!=")),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: (r"\+", ("-", "*")),
    ast.Sub: ("-", ("+", "%")),
    ast.Mult: (r"\*", ("+", "//", "/", "**")),
    ast.Div: ("/", ("//", "*")),
    ast.FloorDiv: ("//", ("/", "%", "*")),
    ast.Mod: ("%", ("//", "*", "-")),
    ast.Pow: (r"\*\*", ("*",)),
    ast.BitAnd: ("&", ("|", "^")),
    ast.BitOr: (r"\|", ("&", "^")),
    ast.BitXor: (r"\^", ("|", "&")),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}
CALLED: dict[str, tuple[str, ...]] = {
    "min": ("max",), "max": ("min",), "any": ("all",), "all": ("any",), "ceil": ("floor",),
    "floor": ("ceil", "round"), "round": ("int", "floor"), "int": ("round",),
    "sorted": ("list", "reversed"), "list": ("sorted", "set"), "reversed": ("sorted", "list"),
    "set": ("list",), "sum": ("max", "len"), "len": ("sum",), "append": ("extend", "add"),
    "extend": ("append",), "add": ("discard",), "discard": ("add",), "appendleft": ("append",),
    "popleft": ("pop",), "pop": ("popleft",), "find": ("rfind",), "rfind": ("find",), "index": ("rindex",),
    "rindex": ("index",), "strip": ("lstrip", "rstrip"), "lstrip": ("rstrip", "strip"),
    "rstrip": ("lstrip", "strip"), "upper": ("lower",), "lower": ("upper",), "startswith": ("endswith",),
    "endswith": ("startswith",), "split": ("rsplit",), "rsplit": ("split",), "partition": ("rpartition",),
    "rpartition": ("partition",), "ljust": ("rjust",), "rjust": ("ljust",), "keys": ("values", "items"),
    "values": ("keys", "items"), "items": ("keys", "values"), "union": ("intersection", "difference"),
    "intersection": ("union", "difference"), "insert": ("append",),
    "difference": ("union", "symmetric_difference"), "isdigit": ("isalnum",), "isalpha": ("isalnum",),
    "isalnum": ("isalpha",), "heappush": ("heappushpop",), "nsmallest": ("nlargest",),
    "nlargest": ("nsmallest",), "bisect_left": ("bisect_right",), "bisect_right": ("bisect_left",),
    "isupper": ("islower",), "islower": ("isupper",),
}  # fmt: skip
# Where an expression that may be a number is likely to be one.
COUNTED = (ast.Compare, ast.Call, ast.Return, ast.Assign, ast.AugAssign, ast.keyword, ast.IfExp, ast.Tuple)
UNMOVABLE = (ast.GeneratorExp, ast.Starred)  # the span of a lone generator has the call's own parentheses
BOOLEAN_CALLS = ("all", "any", "isinstance", "issubclass", "callable", "hasattr", "startswith", "endswith")


def comparison(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`a < b` becomes `a <= b`, `a > b` ..."""
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
        pattern, others = COMPARED[type(operator)]
        if span := at.source.token(left, right, pattern):
            yield from (Edit(*span, other) for other in others)


def arithmetic(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`a + b` becomes `a - b`, `a`, `b`; `-a` becomes `a`."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield at.reduce(node, node.operand)
    if not isinstance(node, ast.BinOp) or type(node.op) not in ARITHMETIC:
        return
    pattern, others = ARITHMETIC[type(node.op)]
    if span := at.source.token(node.left, node.right, pattern):
        yield from (Edit(*span, other) for other in others)
    yield at.reduce(node, node.left)
    yield at.reduce(node, node.right)


def boolean(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`a and b` becomes `a or b`, `a`, `b`; True becomes False."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield at.replace(node, str(not node.value))
    if not isinstance(node, ast.BoolOp):
        return
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in pairwise(node.values):
        if span := at.source.token(left, right, rf"\b{word}\b"):
            yield Edit(*span, other)
    for place, value in enumerate(node.values):
        if place + 1 < len(node.values):
            yield Edit(at.source.start(value), at.source.start(node.values[place + 1]), "")
        else:
            yield Edit(at.source.end(node.values[place - 1]), at.source.end(value), "")


def negation(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A condition gains a `not`, or loses it."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield at.reduce(node, node.operand)
    elif isinstance(node, ast.expr) and _is_condition(at, node) and not isinstance(node, ast.GeneratorExp):
        loose = isinstance(node, ast.BoolOp | ast.IfExp | ast.Lambda | ast.NamedExpr)
        yield at.replace(node, f"not ({at.source.of(node)})" if loose else f"not {at.source.of(node)}")


def _is_condition(at: Scene, node: ast.expr) -> bool:
    parent = at.parent(node)
    if isinstance(parent, ast.If | ast.While | ast.IfExp | ast.Assert):
        return parent.test is node
    if isinstance(parent, ast.comprehension):
        return node in parent.ifs
    if isinstance(parent, ast.Return):
        return isinstance(node, ast.Compare | ast.BoolOp) or _answers_yes_or_no(node)
    return isinstance(parent, ast.BoolOp)


def _answers_yes_or_no(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name in BOOLEAN_CALLS or name.startswith("is")


def index(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`a[i]` becomes `a[i - 1]`, `a[i + 1]`; `a[0]` becomes `a[-1]`."""
    if not isinstance(node, ast.Subscript) or not number_like(node.slice):
        return
    value = int_value(node.slice)
    if value in (0, -1):
        yield at.replace(node.slice, str(-1 - value))
    yield from (at.replace(node.slice, plus(at.source, node.slice, step)) for step in (-1, 1))


def slice_bounds(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`a[i:j]` becomes `a[i + 1:j]`, `a[i:]`, `a[:j]` ...; a missing bound cuts off one element."""
    if not isinstance(node, ast.Slice):
        return
    start, end = at.source.start(node), at.source.end(node)
    for bound in (node.lower, node.upper):
        if bound is not None:
            yield from _one_off(at, bound)
            yield at.replace(bound, "")
    if node.lower is None:
        yield Edit(start, start, "1")
    if node.upper is None and node.step is None:
        yield Edit(end, end, "-1")
    if node.step is None:
        if not at.source.text[start:end].rstrip().endswith(b"::"):
            yield Edit(end, end, ":-1")
    else:
        yield Edit(at.source.start(node.step), end, "")


def boundary(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A number, or what may be one, is one higher or lower."""
    if isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield from (at.replace(node, repr(node.value + step)) for step in (-1, 1))
        return
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), ast.Store):
        return
    parent = at.parent(node)
    if isinstance(node, ast.Constant) and isinstance(parent, ast.UnaryOp):
        return  # the signed literal as a whole changes
    counted = isinstance(parent, COUNTED) and getattr(parent, "func", None) is not node
    if counted or int_value(node) is not None:
        yield from _one_off(at, node)


def _one_off(at: Scene, node: ast.expr) -> Iterator[Edit]:
    if number_like(node):
        yield from (at.replace(node, plus(at.source, node, step)) for step in (-1, 1))


def argument_order(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """Two neighbours change places: arguments, operands, the parts of a pair, the branches of a condition."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Call):
        pairs = list(pairwise(node.args))
    elif isinstance(node, ast.Tuple | ast.List):
        pairs = list(pairwise(node.elts))
    elif isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Mult):
        pairs = [(node.left, node.right)]
    elif isinstance(node, ast.IfExp):
        pairs = [(node.body, node.orelse)]
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Subscript):
        pairs = [(node.value.slice, node.slice)]
    elif isinstance(node, ast.DictComp):
        pairs = [(node.key, node.value)]
    operators = isinstance(node, ast.BinOp)
    for left, right in pairs:
        if isinstance(left, UNMOVABLE) or isinstance(right, UNMOVABLE):
            continue
        text = at.source.operand if operators else at.source.of
        middle = at.source.between(at.source.end(left), at.source.start(right))
        yield Edit(at.source.start(left), at.source.end(right), text(right) + middle + text(left))


def variable(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A name becomes another one in scope, an attribute another of the same object, 0 or 1 a name."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield from _other_attribute(at, node, at.attributes.get(node.value.id, ()))
        return
    if isinstance(node, ast.Constant) and int_value(node) in (0, 1):
        yield from (at.replace(node, name) for name in at.variables[:ALTERNATIVES_MAX])
    if not isinstance(node, ast.Name) or node.id in ("self", "cls"):
        return
    parent = at.parent(node)
    called = isinstance(parent, ast.Call) and parent.func is node
    if called and node.id in at.callables:
        others = [name for name in at.callables if name != node.id]
    elif node.id in at.variables:
        others = [name for name in at.variables if name not in (node.id, "self", "cls")]
    else:
        return
    yield from (at.replace(node, name) for name in others[:ALTERNATIVES_MAX])


def _other_attribute(at: Scene, node: ast.Attribute, known: tuple[str, ...]) -> Iterator[Edit]:
    if node.attr in known:
        end = at.source.end(node)
        others = [name for name in known if name != node.attr][:ALTERNATIVES_MAX]
        yield from (Edit(end - len(node.attr.encode()), end, name) for name in others)


def call(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """`min` becomes `max`; a call loses an argument or gives way to its argument; sorting turns round."""
    if not isinstance(node, ast.Call):
        return
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    end = at.source.end(function)
    yield from (Edit(end - len(name.encode()), end, other) for other in CALLED.get(name, ()))
    if name in ("sorted", "sort") and not any(keyword.arg == "reverse" for keyword in node.keywords):
        close = at.source.end(node) - 1
        yield Edit(close, close, ", reverse=True" if node.args or node.keywords else "reverse=True")
    if name == "pop" and not node.args:
        yield Edit(at.source.end(node) - 1, at.source.end(node) - 1, "0")
    yield from _fewer_arguments(at, node)
    if isinstance(function, ast.Attribute) and not node.args and not node.keywords:
        yield at.reduce(node, function.value)
    if isinstance(function, ast.Name) and len(node.args) == 1 and not node.keywords:
        yield from (at.reduce(node, only) for only in node.args if not isinstance(only, UNMOVABLE))


def _fewer_arguments(at: Scene, node: ast.Call) -> Iterator[Edit]:
    given: list[ast.expr | ast.keyword] = sorted([*node.args, *node.keywords], key=at.source.start)
    if len(given) == 1 and not isinstance(given[0], ast.GeneratorExp):
        yield at.replace(given[0], "")
    for left, right in pairwise(given):
        yield Edit(at.source.end(left), at.source.end(right), "")
    if len(given) > 1:
        yield Edit(at.source.start(given[0]), at.source.start(given[1]), "")


def wrapping(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """What a loop runs over, or a function returns, is sorted, reversed, made positive or whole first."""
    if not isinstance(node, ast.expr) or isinstance(node, ast.GeneratorExp | ast.Constant):
        return
    parent = at.parent(node)
    if isinstance(parent, ast.For | ast.comprehension) and parent.iter is node:
        wrappers: tuple[str, ...] = ("sorted", "reversed", "list", "set", "enumerate")
    elif isinstance(parent, ast.Return):
        wrappers = ("abs", "int", "sorted", "list", "len")
    else:
        return
    yield from (at.replace(node, f"{name}({at.source.of(node)})") for name in wrappers)


def literal(at: Scene, node: ast.AST) -> Iterator[Edit]:
    """A string becomes another one of the same function, a blank, or nothing."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return
    if isinstance(at.parent(node), ast.JoinedStr):
        return
    texts = {
        at.source.of(other): None
        for other in ast.walk(at.unit.node)
        if isinstance(other, ast.Constant)
        and isinstance(other.value, str)
        and len(other.value) < 40
        and not isinstance(at.parent(other), ast.JoinedStr)
    }
    others = [text for text in [*texts, '""', '" "'] if text != at.source.of(node)]
    yield from (at.replace(node, text) for text in dict.fromkeys(others[:ALTERNATIVES_MAX]))
