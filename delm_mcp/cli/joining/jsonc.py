"""JSON with comments, changed in place: everything but the one member stays as it was written.

Configuration files of editors and agents have comments, trailing commas and an order that their owners
care for, so they are never printed anew: a reader finds where each value stands, and a change is a few
insertions there. (Of the packages that do this, one runs Node and fetches code at run time, one is not
kept any more, and tree-sitter's grammar takes no trailing commas.)
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<line>//[^\r\n]*)
  | (?P<block>/\*.*?\*/)
  | (?P<string>"(?:[^"\\\r\n]|\\.)*")
  | (?P<word>[-+.0-9A-Za-z_]+)
  | (?P<mark>[{}\[\],:])
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = frozenset({"space", "line", "block"})
DEPTH_MAX = 100


class Broken(Exception):
    """The text is not JSON with comments; says where, counted from 1."""

    def __init__(self, text: str, at: int, problem: str) -> None:
        line = text.count("\n", 0, at) + 1
        column = at - (text.rfind("\n", 0, at) + 1) + 1
        super().__init__(f"line {line}, column {column}: {problem}")


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Member:
    """A key with its value; `comma` is where the comma behind it stands, or -1."""

    key: str
    start: int
    value: "Node"
    comma: int = -1


@dataclass(slots=True)
class Node:
    """A value and where it stands: `text[start:end]`; `last` ends what comes before the closing bracket."""

    kind: Literal["object", "array", "scalar"]
    start: int
    end: int
    value: Any
    members: list[Member] = field(default_factory=list)
    last: int = 0

    def member(self, key: str) -> Member | None:
        """The member that a reader of JSON would take: the last of its key."""
        return next((one for one in reversed(self.members) if one.key == key), None)


def read(text: str) -> Node:
    """The document.

    Raises:
        Broken: It is none; says where.
    """
    reader = _Reader(text)
    node = reader.value(0)
    rest = reader.take()
    if rest.kind != "end":
        raise Broken(text, rest.start, f"there is {rest.text[:20]!r} after the end")
    return node


class _Reader:
    """Reads values, one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokens(text)
        self._ahead: Token | None = None

    def peek(self) -> Token:
        if self._ahead is None:
            self._ahead = next(token for token in self._tokens if token.kind not in _BLANK)
        return self._ahead

    def take(self) -> Token:
        token = self.peek()
        self._ahead = None
        return token

    def fail(self, token: Token, problem: str) -> Broken:
        found = "the end of the file" if token.kind == "end" else repr(token.text[:20])
        return Broken(self.text, token.start, f"{problem}, not {found}")

    def value(self, depth: int) -> Node:
        token = self.take()
        if depth > DEPTH_MAX:
            raise Broken(self.text, token.start, f"values are nested more than {DEPTH_MAX} deep")
        if token.text == "{" and token.kind == "mark":
            return self._object(token, depth)
        if token.text == "[" and token.kind == "mark":
            return self._array(token, depth)
        if token.kind in {"string", "word"}:
            return Node("scalar", token.start, token.end, self._scalar(token))
        raise self.fail(token, "here a value is expected")

    def _scalar(self, token: Token) -> Any:
        try:
            return json.loads(token.text)
        except ValueError:
            raise Broken(self.text, token.start, f"{token.text[:20]!r} is no value of JSON") from None

    def _object(self, opening: Token, depth: int) -> Node:
        node = Node("object", opening.start, 0, {}, last=opening.end)
        while not self._closes(node, "}"):
            key = self.take()
            if key.kind != "string":
                raise self.fail(key, "here a key in double quotes is expected")
            colon = self.take()
            if colon.text != ":":
                raise self.fail(colon, "here a colon is expected")
            value = self.value(depth + 1)
            name = self._scalar(key)
            node.members.append(Member(name, key.start, value, self._comma("}")))
            node.value[name] = value.value
        return node

    def _array(self, opening: Token, depth: int) -> Node:
        node = Node("array", opening.start, 0, [], last=opening.end)
        while not self._closes(node, "]"):
            node.value.append(self.value(depth + 1).value)
            self._comma("]")
        return node

    def _closes(self, node: Node, bracket: str) -> bool:
        if self.peek().text != bracket:
            return False
        node.last = self._end_before(self.peek())
        node.end = self.take().end
        return True

    def _end_before(self, token: Token) -> int:
        """The end of what stands before a token, which may be a comment."""
        end = token.start
        while end and self.text[end - 1] in " \t\r\n":
            end -= 1
        return end

    def _comma(self, bracket: str) -> int:
        """Where the comma stands that must be here unless the bracket closes."""
        token = self.peek()
        if token.text == "," and token.kind == "mark":
            return self.take().start
        if token.text != bracket:
            raise self.fail(token, f"here a comma or {bracket} is expected")
        return -1


def tokens(text: str) -> Iterator[Token]:
    """All of the text in pieces, space and comments too; then `end` for ever.

    Raises:
        Broken: Something is no token.
    """
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = "a string or comment is not closed" if text[at] in '"/' else "this character means nothing"
            raise Broken(text, at, what)
        yield Token(str(match.lastgroup), match.group(), at)
        at = match.end()
    while True:
        yield Token("end", "", len(text))


# -- changing ------------------------------------------------------------------------------------


def put(text: str, path: Sequence[str], value: Any) -> str:
    """The text with the value at a path of keys, whose objects are made where they are missing.

    Raises:
        Broken: The text is no JSON, or something on the path is no object.
    """
    style = _Style.of(text)
    if not text.strip():
        return style.written(_nested(path, value), "") + style.newline
    node = read(text)
    for depth, key in enumerate(path):
        if node.kind != "object":
            where = ".".join(path[:depth]) or "the document"
            raise Broken(text, node.start, f"{where} is no object")
        member = node.member(key)
        if member is None:
            return _insert(text, node, key, _nested(path[depth + 1 :], value), style)
        node = member.value
    inline = "\n" not in text[node.start : node.end]
    new = _inline(value) if inline else style.written(value, _indent_of(text, node.start))
    return text[: node.start] + new + text[node.end :]


def drop(text: str, path: Sequence[str]) -> str:
    """The text without the member at a path; as it is when there is none.

    Raises:
        Broken: The text is no JSON.
    """
    node = read(text)
    for key in path[:-1]:
        member = node.member(key)
        if member is None:
            return text
        node = member.value
    gone = node.member(path[-1])
    if gone is None:
        return text
    index = node.members.index(gone)
    start, end = gone.start, gone.value.end
    if gone.comma >= 0:
        end = gone.comma + 1
    line_start = text.rfind("\n", 0, start) + 1
    rest = re.compile(r"[ \t]*(\r?\n)?").match(text, end)
    assert rest is not None  # noqa: S101 - it matches nothing too
    if not text[line_start:start].strip() and rest.group(1):
        start, end = line_start, rest.end()
    elif gone.comma >= 0:
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
    left = text[:start]
    if gone.comma < 0 and index:  # it was the last: the comma before it goes too
        before = node.members[index - 1].comma
        left = left[:before] + left[before + 1 :]
        if not text[start - 1 : start].isspace() or "\n" not in text[before:start]:
            left = left.rstrip(" \t")
    return left + text[end:]


def _nested(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _insert(text: str, node: Node, key: str, value: Any, style: "_Style") -> str:
    """A new member behind the last one of an object, in the object's own manner."""
    last = node.members[-1] if node.members else None
    if last is not None and "\n" not in text[node.start : node.end]:
        member = f"{_inline(key)}: {_inline(value)}"
        at = last.comma + 1 if last.comma >= 0 else last.value.end
        return text[:at] + (" " if last.comma >= 0 else ", ") + member + text[at:]
    indent = _indent_of(text, last.start) if last else _indent_of(text, node.start) + style.unit
    member = f"{_inline(key)}: {style.written(value, indent)}"
    trailing = "," if last is not None and last.comma >= 0 else ""
    at = node.last
    closing = text[at : node.end - 1]
    tail = closing if "\n" in closing else style.newline + _indent_of(text, node.start)
    new = text[:at] + style.newline + indent + member + trailing + tail + text[node.end - 1 :]
    if last is not None and last.comma < 0:
        new = new[: last.value.end] + "," + new[last.value.end :]
    return new


def _indent_of(text: str, at: int) -> str:
    """The white space that begins the line of a place."""
    start = text.rfind("\n", 0, at) + 1
    return text[start : start + len(text[start:at]) - len(text[start:at].lstrip(" \t"))]


def _inline(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Style:
    """How a file is written: its line ends, and one step of indentation."""

    newline: str
    unit: str

    @classmethod
    def of(cls, text: str) -> "_Style":
        newline = "\r\n" if "\r\n" in text else "\n"
        first = re.search(r"\n([ \t]+)[\"}\]]", text)
        return cls(newline, first.group(1) if first else "  ")

    def written(self, value: Any, indent: str) -> str:
        """A value over several lines, as it stands behind a key at this indentation."""
        lines = json.dumps(value, ensure_ascii=False, indent=self.unit).split("\n")
        return (self.newline + indent).join(lines)
