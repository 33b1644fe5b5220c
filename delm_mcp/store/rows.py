"""Dataclasses to SQL rows and back: scalars as they are, everything else as JSON."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from delm_mcp.domain.model import Agent, Check, ContextChange, Entry, Run, Source, Task, Token, Vote

R = TypeVar("R")
Decoder = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _decoder(hint: Any) -> Decoder:
    """How a column of this type is read."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    if hint is bool:
        return bool
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if is_dataclass(item):
            build = _dataclass_decoder(item)
            return lambda text: tuple(build(value) for value in json.loads(text)) if text != "[]" else ()
        return lambda text: tuple(json.loads(text)) if text != "[]" else ()
    if get_origin(hint) is dict:
        return lambda text: json.loads(text) if text != "{}" else {}
    return _same


def _dataclass_decoder(cls: Any) -> Decoder:
    """How a JSON object becomes a dataclass; lists become the tuples that it declares."""
    hints = get_type_hints(cls)
    lists = {name for name, hint in hints.items() if get_origin(hint) is tuple}
    enums: dict[str, Decoder] = {
        name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, StrEnum)
    }

    def build(value: dict[str, Any]) -> Any:
        ready = {name: tuple(item) if name in lists else item for name, item in value.items()}
        for name, enum in enums.items():
            ready[name] = enum(ready[name])
        return cls(**ready)

    return build


def _encode(value: Any) -> Any:
    """A field's value as SQLite keeps it."""
    if isinstance(value, tuple | list | dict):
        return (
            json.dumps(_jsonable(value), separators=(",", ":"), ensure_ascii=False)
            if value
            else _empty(value)
        )
    if isinstance(value, bool):
        return int(value)
    return value


def _empty(value: Any) -> str:
    return "{}" if isinstance(value, dict) else "[]"


def _jsonable(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if is_dataclass(value):
        return {item.name: _jsonable(getattr(value, item.name)) for item in fields(value)}
    return value


@dataclass(frozen=True)
class Table(Generic[R]):
    """The mapping of one dataclass to one table."""

    name: str
    row: type[R]
    autonumber: bool = True
    only: tuple[str, ...] = ()
    """Columns to read, where not all are; the others have their defaults."""

    @cached_property
    def columns(self) -> list[str]:
        names = [item.name for item in fields(self.row)]  # type: ignore[arg-type]
        return [name for name in names if name in self.only] if self.only else names

    @cached_property
    def _decoders(self) -> list[Decoder]:
        hints = get_type_hints(self.row)
        return [_decoder(hints[name]) for name in self.columns]

    @cached_property
    def select(self) -> str:
        """`SELECT` with every column, qualified by the table's name."""
        listed = ", ".join(f'{self.name}."{name}"' for name in self.columns)
        return f"SELECT {listed} FROM {self.name}"

    @cached_property
    def insert(self) -> str:
        names = self.columns[1:] if self.autonumber else self.columns
        listed = ", ".join(f'"{name}"' for name in names)
        return f"INSERT INTO {self.name} ({listed}) VALUES ({', '.join('?' * len(names))})"

    def values(self, row: R) -> list[Any]:
        """What `insert` binds."""
        names = self.columns[1:] if self.autonumber else self.columns
        return [_encode(getattr(row, name)) for name in names]

    def changed(self, old: R, new: R) -> list[str]:
        """The columns in which two rows differ."""
        return [name for name in self.columns if getattr(old, name) != getattr(new, name)]

    def update(self, names: Sequence[str], new: R) -> tuple[str, list[Any]]:
        """The statement that writes these columns, and what it binds."""
        listed = ", ".join(f'"{name}" = ?' for name in names)
        bound = [_encode(getattr(new, name)) for name in names]
        return f"UPDATE {self.name} SET {listed} WHERE id = ?", [*bound, new.id]  # type: ignore[attr-defined]

    def decode(self, values: Sequence[Any]) -> R:
        ready = [read(value) for read, value in zip(self._decoders, values, strict=True)]
        if self.only:
            return self.row(**dict(zip(self.columns, ready, strict=True)))
        return self.row(*ready)

    def decode_all(self, rows: Iterable[Sequence[Any]]) -> list[R]:
        return [self.decode(values) for values in rows]


RUN = Table("run", Run, autonumber=False)
AGENT = Table("agent", Agent)
TASK = Table("task", Task)
ENTRY = Table("entry", Entry)
HEADLINE = Table(
    "entry",
    Entry,
    only=(
        "id", "run", "kind", "gist", "scope", "key", "state", "strength", "agent", "flags", "reason",
        "commit", "admitted_as", "version",
    ),
)  # fmt: skip
CHECKS = Table("checks", Check)
SOURCE = Table("source", Source)
CHANGE = Table("change", ContextChange)
TOKEN = Table("token", Token)
VOTE = Table("vote", Vote)

TABLES: dict[type, Table[Any]] = {
    table.row: table for table in (RUN, AGENT, TASK, ENTRY, CHECKS, SOURCE, CHANGE, TOKEN, VOTE)
}
