"""What a mutation operator is shown: a node, what surrounds it, and the names that it could use instead."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from delm_client.repair.source import Edit, Source, Unit, own_nodes

TIGHT = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Attribute, ast.Subscript)
NOT_NUMBERS = (
    ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.Compare, ast.BoolOp, ast.Lambda, ast.Starred, ast.Slice, ast.Yield, ast.YieldFrom,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """The names of one unit of a source, ready for every operator."""

    source: Source
    unit: Unit
    variables: tuple[str, ...]
    """Parameters and locals in the order of the text, then those of what encloses it."""
    callables: tuple[str, ...]
    """Functions and classes of the module, defined or imported."""
    attributes: dict[str, tuple[str, ...]]
    """For each name, the attributes (not methods) that the outermost class or function uses on it."""

    def parent(self, node: ast.AST) -> ast.AST:
        return self.source.parents[node]

    def replace(self, node: ast.stmt | ast.expr | ast.keyword, text: str) -> Edit:
        return Edit(self.source.start(node), self.source.end(node), text)

    def reduce(self, node: ast.expr, part: ast.expr) -> Edit:
        """Leave only a part of an expression."""
        loose = isinstance(self.parent(node), TIGHT)
        return self.replace(node, self.source.operand(part) if loose else self.source.of(part))

    def body(self, statement: ast.stmt) -> list[ast.stmt] | None:
        """The list of statements that holds this one."""
        for _, value in ast.iter_fields(self.parent(statement)):
            if isinstance(value, list) and statement in value:
                return value
        return None

    def in_loop(self, node: ast.AST) -> bool:
        """Whether a loop of the same unit surrounds the node."""
        while node is not self.unit.node:
            node = self.parent(node)
            if isinstance(node, ast.For | ast.AsyncFor | ast.While):
                return True
        return False


def scene(source: Source, unit: Unit) -> Scene:
    variables: dict[str, None] = {}
    around: Unit | None = unit
    while around is not None:
        if not isinstance(around.node, ast.ClassDef) or around is unit:
            variables.update(dict.fromkeys(_bound(around)))
        around = around.outer
    return Scene(source, unit, tuple(variables), tuple(_callables(source.tree)), _attributes(unit))


def number_like(node: ast.AST) -> bool:
    """Whether an expression may be a number: only what is plainly something else is not."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.BinOp):
        return number_like(node.left) and number_like(node.right)
    if isinstance(node, ast.UnaryOp):
        return not isinstance(node.op, ast.Not)
    return isinstance(node, ast.expr) and not isinstance(node, NOT_NUMBERS)


def int_value(node: ast.AST | None) -> int | None:
    """The value of an integer literal, -1 and the like included."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = int_value(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return None


def plus(source: Source, node: ast.expr, step: int) -> str:
    """The text of an expression one higher or lower, folded where a literal allows it."""
    value = int_value(node)
    if value is not None:
        return str(value + step)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        constant = int_value(node.right)
        if constant is not None:
            total = (constant if isinstance(node.op, ast.Add) else -constant) + step
            left = source.of(node.left)
            return left if total == 0 else f"{left} {'+' if total > 0 else '-'} {abs(total)}"
    loose = isinstance(node, ast.IfExp | ast.BoolOp | ast.Compare | ast.Lambda | ast.NamedExpr | ast.Await)
    bitwise = isinstance(node, ast.BinOp) and not isinstance(
        node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow
    )
    text = f"({source.of(node)})" if loose or bitwise else source.of(node)
    return f"{text} {'+' if step > 0 else '-'} {abs(step)}"


def _bound(unit: Unit) -> Iterable[str]:
    if isinstance(unit.node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = unit.node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            yield argument.arg
        for starred in (arguments.vararg, arguments.kwarg):
            if starred is not None:
                yield starred.arg
    for node in own_nodes(unit.node):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _callables(tree: ast.Module) -> Iterable[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names if alias.name != "*")


def _attributes(unit: Unit) -> dict[str, tuple[str, ...]]:
    outermost = unit
    while outermost.outer is not None and outermost.outer.outer is not None:
        outermost = outermost.outer
    found: dict[str, dict[str, None]] = {}
    called = {id(node.func) for node in ast.walk(outermost.node) if isinstance(node, ast.Call)}
    for node in ast.walk(outermost.node):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in called:
            found.setdefault(node.value.id, {})[node.attr] = None
    return {name: tuple(sorted(attributes)) for name, attributes in found.items()}
