"""Single-edit mutations of a source file, in named families."""

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from delm_client.repair import expressions, statements
from delm_client.repair.scene import Scene, scene
from delm_client.repair.source import MODULE, Edit, Source, Unit, own_nodes, parse

Operator = Callable[[Scene, ast.AST], Iterator[Edit]]


class Family(StrEnum):
    """The kinds of edit. An edit that two families could make belongs to the first of them."""

    COMPARISON = "comparison"
    INDEX = "index"
    SLICE = "slice-bound"
    BOUNDARY = "boundary"
    NEGATION = "negation"
    BOOLEAN = "boolean"
    ARITHMETIC = "arithmetic"
    AUGMENTED = "augmented-assignment"
    ORDER = "argument-order"
    CALL = "call"
    RETURN = "return-value"
    INITIAL = "initial-value"
    INDENTATION = "indentation"
    FLOW = "flow"
    VARIABLE = "variable"
    DELETION = "deletion"
    WRAPPING = "wrapping"
    LITERAL = "literal"


OPERATORS: dict[Family, Operator] = {
    Family.COMPARISON: expressions.comparison,
    Family.INDEX: expressions.index,
    Family.SLICE: expressions.slice_bounds,
    Family.BOUNDARY: expressions.boundary,
    Family.NEGATION: expressions.negation,
    Family.BOOLEAN: expressions.boolean,
    Family.ARITHMETIC: expressions.arithmetic,
    Family.AUGMENTED: statements.augmented,
    Family.ORDER: expressions.argument_order,
    Family.CALL: expressions.call,
    Family.RETURN: statements.returned,
    Family.INITIAL: statements.initial,
    Family.INDENTATION: statements.indentation,
    Family.FLOW: statements.flow,
    Family.VARIABLE: expressions.variable,
    Family.DELETION: statements.deletion,
    Family.WRAPPING: expressions.wrapping,
    Family.LITERAL: expressions.literal,
}


@dataclass(frozen=True, slots=True)
class Mutation:
    """One edit of one file. Positions are bytes of the UTF-8 text."""

    file: str
    function: str
    """Qualified name of the function or class; `<module>` at the top level."""
    line: int
    family: Family
    edit: Edit
    before: str
    """The line or lines that the edit touches, as they are."""
    after: str
    covers: tuple[int, int]
    """First and last line of what must run for it to matter: a statement, or the header of a block."""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits; the same for the same edit of the same place, in every process."""
        parts = (self.file, str(self.edit.start), str(self.edit.end), self.edit.text, self.before)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def change(self) -> str:
        """The edit in one line, whatever it spans."""
        before, after = " ".join(self.before.split()), " ".join(self.after.split())
        if not after:
            return f"`{before}` deleted"
        if before == after:
            return f"`{before}` indented by {_indent(self.after)} and not {_indent(self.before)}"
        return f"`{before}` -> `{after}`"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}: {self.change}"


def mutations(source: Source, functions: frozenset[str] | None = None) -> list[Mutation]:
    """All mutations of a file, or of some of its functions, by function, family and position.

    What would not parse, or parses to the same program, is left out by `mutant`, which has to look anyway.
    """
    found: list[Mutation] = []
    for unit in source.units:
        if functions is None or unit.qualname in functions:
            found += _of_unit(source, unit)
    return found


def mutant(source: Source, mutation: Mutation) -> bytes | None:
    """The mutated file; None when it is not Python, or the same program."""
    edited = source.apply(mutation.edit)
    try:
        tree = parse(edited.decode(source.encoding))
    except (SyntaxError, ValueError):
        return None
    return None if ast.dump(tree) == source.dump else edited


def _of_unit(source: Source, unit: Unit) -> Iterator[Mutation]:
    at = scene(source, unit)
    nodes = [node for node in own_nodes(unit.node) if not _belongs_to_the_frame(node, unit)]
    seen: set[Edit] = set()
    for family, operator in OPERATORS.items():
        edits = [(_trimmed(source, edit), node) for node in nodes for edit in operator(at, node)]
        for edit, node in sorted(edits, key=lambda pair: pair[0][:2]):
            if edit not in seen and (edit.text or edit.start != edit.end):
                seen.add(edit)
                yield _mutation(source, unit, family, edit, node)


def _belongs_to_the_frame(node: ast.AST, unit: Unit) -> bool:
    """Definitions inside a unit are units of their own, and the top level's guard is not worth an edit."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    return isinstance(node, ast.If | ast.Try) and unit.qualname == MODULE and node in unit.node.body


def _trimmed(source: Source, edit: Edit) -> Edit:
    """The same edit without the text that it would replace by itself, so that equal edits compare equal."""
    old, new = source.text[edit.start : edit.end], edit.text.encode()
    limit = min(len(old), len(new))
    head = next((place for place in range(limit) if old[place] != new[place]), limit)
    limit -= head
    tail = next((place for place in range(limit) if old[-1 - place] != new[-1 - place]), limit)
    while head and (new[head : head + 1] or old[head : head + 1] or b"a")[0] & 0xC0 == 0x80:
        head -= 1  # not into the middle of a character
    while tail and new[len(new) - tail] & 0xC0 == 0x80:
        tail -= 1
    return Edit(edit.start + head, edit.end - tail, new[head : len(new) - tail].decode())


def _mutation(source: Source, unit: Unit, family: Family, edit: Edit, node: ast.AST) -> Mutation:
    start = source.text.rfind(b"\n", 0, edit.start) + 1
    whole_lines = edit.start < edit.end and source.text[edit.end - 1 : edit.end] == b"\n"
    end = edit.end if whole_lines else source.text.find(b"\n", edit.end)
    end = len(source.text) if end < 0 else end
    before = source.between(start, end)
    after = source.between(start, edit.start) + edit.text + source.between(edit.end, end)
    line = source.text.count(b"\n", 0, edit.start) + 1
    return Mutation(source.path, unit.qualname, line, family, edit, before, after, _covers(source, node))


def _indent(lines: str) -> int:
    return len(lines) - len(lines.lstrip())


def _covers(source: Source, node: ast.AST) -> tuple[int, int]:
    while not isinstance(node, ast.stmt | ast.ExceptHandler):
        node = source.parents[node]
    if isinstance(node, ast.Match):
        return node.lineno, node.cases[0].pattern.lineno
    body = getattr(node, "body", None)
    last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
    return node.lineno, last
