"""Rows out of files: JSON, JSON Lines and Parquet, each also gzipped, with the place of every row."""

import gzip
import importlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from delm_client.bench.errors import DataError, ExtraMissing, did_you_mean

PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
EXCERPT = 60


class Row(NamedTuple):
    """One record and where it stands, as an error would say it: `data.jsonl, line 3`."""

    where: str
    fields: Mapping[str, Any]


def rows(path: Path) -> list[Row]:
    """Read a data file, by its content and not by its name.

    JSON may be a list of objects, or an object of objects (the official form of `preds.json`).

    Raises:
        DataError: It is not there, not readable, empty, or something else; names line and column.
        ExtraMissing: It is Parquet and nothing that reads Parquet is installed.
    """
    return rows_of(path, _content(path))


def rows_of(path: Path, data: bytes) -> list[Row]:
    """The same for content that was read already; `path` is what errors name."""
    if data.startswith(GZIP):
        data = _unzipped(path, data)
    if data.startswith(PARQUET):
        found = [Row(f"{path.name}, row {n}", row) for n, row in enumerate(_parquet(path, data), 1)]
    else:
        text = _decoded(path, data)
        del data  # the official file has hundreds of megabytes, and they are parsed next
        found = list(_text_rows(path, text))
    if not found:
        raise DataError(f"{path} is empty: it holds no items. Download it again, or name another file.")
    return found


def _content(path: Path) -> bytes:
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir())[:5]
        hint = f" It holds {', '.join(inside)}." if inside else ""
        raise DataError(f"{path} is a folder: name a file in it.{hint}")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path} does not exist.{did_you_mean(path.name, beside)}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _unzipped(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a sound .gz file, perhaps cut off: {error}") from error


def _decoded(path: Path, data: bytes) -> str:
    if data.startswith(b"version https://git-lfs"):
        raise DataError(f"{path} is a Git LFS pointer, not the data: run `git lfs pull` where it came from.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is neither UTF-8 text nor Parquet (byte {error.start} is odd). "
            "JSON, JSON Lines and Parquet can be read, each also as .gz."
        ) from error


def _text_rows(path: Path, text: str) -> Iterator[Row]:
    stripped = text.lstrip()
    if not stripped:
        return
    if stripped[0] not in "[{":
        shown = stripped[:EXCERPT].splitlines()[0]
        raise DataError(f"{path} is not JSON: it begins with {shown!r}. Name the data file itself.")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        # A list can only be JSON, and so can an object that goes on behind its first line.
        if stripped[0] == "[" or not _is_json(stripped.splitlines()[0]):
            raise DataError(
                f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})."
            ) from error
        yield from _lines(path, text)
        return
    if whole == {}:
        return
    if isinstance(whole, dict) and all(isinstance(value, dict) for value in whole.values()):
        yield from (_row(f"{path.name}, key {key}", value) for key, value in whole.items())
    elif isinstance(whole, dict):
        yield _row(f"{path.name}, line 1", whole)
    else:
        yield from (_row(f"{path.name}, item {number}", value) for number, value in enumerate(whole, 1))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _lines(path: Path, text: str) -> Iterator[Row]:
    # Not `splitlines`: U+2028 and its kin stand unescaped inside JSON strings.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}, column {error.colno}: not valid JSON ({error.msg}).") from error
        yield _row(where, value)


def _row(where: str, value: object) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: an object was expected, and this is {json.dumps(value)[:EXCERPT]}.")
    return Row(where, value)


def _parquet(path: Path, data: bytes) -> list[dict[str, Any]]:
    """With arro3 (33 MB, the `bench` extra), or pyarrow (169 MB) where something else brought it."""
    if not data.endswith(PARQUET):
        raise DataError(f"{path} is not a sound Parquet file: its end is missing. Download it again.")
    try:
        return _with_arro3(data)
    except ImportError:
        pass
    except BaseException as error:  # what it cannot read makes it panic, which is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise DataError(f"{path} is not a sound Parquet file: {error}") from error
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ExtraMissing(
            f"{path} is Parquet, and nothing that reads it is installed: `pip install 'delm-mcp[bench]'`."
        ) from None
    try:
        return list(parquet.read_table(io.BytesIO(data)).to_pylist())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a sound Parquet file: {error}") from error


def _with_arro3(data: bytes) -> list[dict[str, Any]]:
    table = importlib.import_module("arro3.io").read_parquet(io.BytesIO(data)).read_all()
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def text_of(row: Row, name: str, *, known: Iterable[str] = ()) -> str:
    """A field that must be there and be text.

    Args:
        known: The other fields of the schema, which are not taken for a misspelling of this one.

    Raises:
        DataError: It is not there, or is no text; says where, and which field was perhaps meant.
    """
    if name not in row.fields:
        others = [key for key in row.fields if key not in set(known)]
        hint = did_you_mean(name, others) or f" It has {', '.join(map(str, row.fields))}."
        raise DataError(f"{row.where}: the field `{name}` is missing.{hint}")
    value = row.fields[name]
    if not isinstance(value, str):
        raise DataError(
            f"{row.where}: `{name}` must be text, and is {json.dumps(value, default=str)[:EXCERPT]}."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can escape it, and no file and no model takes it
        raise DataError(
            f"{row.where}: `{name}` has half a character ({value[error.start]!a}, at {error.start}), "
            "which no text may have."
        ) from error
    return value


def unique(where: str, seen: dict[str, str], key: str) -> None:
    """Remember an id. Raises DataError where it was there before."""
    if key in seen:
        raise DataError(f"{where}: the id {key} was already at {seen[key]}. Every item needs its own.")
    seen[key] = where
