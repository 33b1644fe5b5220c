"""One source file as text with positions: what an edit replaces is a span, and all else keeps its bytes."""

import ast
import contextlib
import difflib
import io
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

NEWLINE = re.compile(rb"\r\n|\r|\n")
# Binds less tightly than any operator beside it may need.
LOOSE = (
    ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.UnaryOp, ast.NamedExpr, ast.Await,
    ast.Yield,
)  # fmt: skip
MODULE = "<module>"
Frame = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Edit(NamedTuple):
    """Replace the bytes from `start` to `end` of the UTF-8 text."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A function, a class body or the module's top level, without the functions and classes inside it."""

    qualname: str
    node: Frame
    outer: "Unit | None"


class Source:
    """A parsed file. Raises SyntaxError or UnicodeDecodeError where it is not Python."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data
        self.encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        self.text = data.decode(self.encoding).encode()
        self.tree = parse(self.text.decode())
        self._line_starts = [0, *(match.end() for match in NEWLINE.finditer(self.text))]
        self.parents: dict[ast.AST, ast.AST] = {
            child: parent for parent in ast.walk(self.tree) for child in ast.iter_child_nodes(parent)
        }
        self.dump = ast.dump(self.tree)
        self.units = list(_units(self.tree, MODULE, None))

    def start(self, node: ast.stmt | ast.expr | ast.keyword) -> int:
        return self._line_starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.stmt | ast.expr | ast.keyword) -> int:
        assert node.end_lineno is not None  # noqa: S101
        assert node.end_col_offset is not None  # noqa: S101
        return self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def line_start(self, line: int) -> int:
        """Where a line (1-based) begins; one past the last line, the end of the text."""
        return self._line_starts[line - 1] if line <= len(self._line_starts) else len(self.text)

    def between(self, start: int, end: int) -> str:
        return self.text[start:end].decode()

    def of(self, node: ast.stmt | ast.expr | ast.keyword) -> str:
        return self.between(self.start(node), self.end(node))

    def operand(self, node: ast.expr) -> str:
        """The text of an expression, in parentheses where an operator beside it could tear it apart."""
        text = self.of(node)
        return f"({text})" if isinstance(node, LOOSE) else text

    def token(self, after: ast.expr, before: ast.expr, pattern: str) -> tuple[int, int] | None:
        """The span of an operator between two expressions; comments and parentheses do not count."""
        start = self.end(after)
        gap = self.text[start : self.start(before)]
        gap = re.sub(rb"#[^\r\n]*", lambda comment: b" " * len(comment[0]), gap)
        found = re.search(pattern.encode(), gap)
        return (start + found.start(), start + found.end()) if found else None

    def indent(self, statement: ast.stmt) -> str | None:
        """The blanks before a statement; None when it shares its line with another (`if x: y`, `a; b`)."""
        before = self.between(self._line_starts[statement.lineno - 1], self.start(statement))
        end_line = statement.end_lineno or statement.lineno
        after = self.between(self.end(statement), self.line_start(end_line + 1)).strip()
        return before if not before.strip() and (not after or after.startswith("#")) else None

    def lines(self, statement: ast.stmt) -> tuple[int, int]:
        """The span of a statement's whole lines, the newline of the last one included."""
        end_line = statement.end_lineno or statement.lineno
        return self._line_starts[statement.lineno - 1], self.line_start(end_line + 1)

    def apply(self, edit: Edit) -> bytes:
        """The edited file in the encoding of the original."""
        edited = self.text[: edit.start] + edit.text.encode() + self.text[edit.end :]
        return edited.decode().encode(self.encoding)

    def diff(self, edited: bytes) -> str:
        """A unified diff that `git apply` and `patch -p1` take."""
        old, new = (_diff_lines(data.decode(self.encoding)) for data in (self.data, edited))
        return "".join(difflib.unified_diff(old, new, f"a/{self.path}", f"b/{self.path}"))


def parse(text: str) -> ast.Module:
    """`ast.parse`, silent about the invalid escapes that some projects have."""
    with contextlib.ExitStack() as stack:
        # Filters are process-wide, so other threads pay for this: only where there is a backslash at all.
        if "\\" in text:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        return ast.parse(text)


def _diff_lines(text: str) -> list[str]:
    lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n\\ No newline at end of file\n"
    return lines


def _units(node: Frame, qualname: str, outer: Unit | None) -> Iterator[Unit]:
    unit = Unit(qualname, node, outer)
    yield unit
    prefix = "" if qualname == MODULE else qualname + "."
    for child in own_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _units(child, prefix + child.name, unit)


def own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """The nodes of one unit; functions and classes inside it appear, but not their insides.

    Leaves out what an edit should not touch: annotations, decorators, imports and docstrings.
    """
    for child in _children(root):
        yield child
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield from own_nodes(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("decorator_list", "annotation", "returns", "type_params", "type_comment"):
            continue
        children = value if isinstance(value, list) else [value]
        for place, child in enumerate(children):
            if not isinstance(child, ast.AST) or isinstance(child, SKIPPED):
                continue
            docstring = name == "body" and place == 0 and _is_docstring(child)
            if not docstring:
                yield child


def _is_docstring(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


# Before 3.12 the parser's positions inside f-strings could not be trusted with an edit.
SKIPPED: tuple[type[ast.AST], ...] = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)
if sys.version_info < (3, 12):
    SKIPPED = (*SKIPPED, ast.JoinedStr)
