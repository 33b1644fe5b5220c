"""Predictions in the official format, written so that a batch can be stopped and taken up again.

A prediction is a patch that an agent stands by. An attempt that broke is no prediction: it is not written
here, and so it is tried again, where an empty patch would be skipped for ever and counted as the agent's.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delm_client.bench.errors import DataError
from delm_client.bench.reading import Row, rows, text_of

FIELDS = ("instance_id", "model_name_or_path", "model_patch")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A patch for one instance, as the harness takes it; an empty one says: nothing was to be changed."""

    instance_id: str
    model: str
    patch: str = field(repr=False)

    def official(self) -> dict[str, str]:
        return {"instance_id": self.instance_id, "model_name_or_path": self.model, "model_patch": self.patch}


class Predictions:
    """A JSON Lines file that only grows: one line for each instance, written at once and flushed to disk."""

    def __init__(self, path: Path) -> None:
        """Open a file, or begin it. A last line that was cut off by a crash is dropped.

        Raises:
            DataError: The file holds something else; or its name does not end in `.jsonl`.
        """
        if path.suffix != ".jsonl":
            raise DataError(f"{path}: predictions are written as JSON Lines, so the name must end in .jsonl.")
        self.path = path
        self._mend()
        found = read(path) if path.exists() and path.stat().st_size else ()
        self.done = {prediction.instance_id: prediction for prediction in found}
        """What is written, by instance."""

    def __contains__(self, instance_id: object) -> bool:
        return instance_id in self.done

    def add(self, prediction: Prediction) -> bool:
        """Write one prediction; False where this instance has one already, which is kept."""
        if prediction.instance_id in self.done:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(prediction.official()) + "\n"
        with self.path.open("a", encoding="utf-8") as out:
            out.write(line)
            out.flush()
            os.fsync(out.fileno())
        self.done[prediction.instance_id] = prediction
        return True

    def _mend(self) -> None:
        """Cut off what a writer that was killed left of its last line."""
        if not self.path.is_file():
            return
        data = self.path.read_bytes()
        if not data or data.endswith(b"\n"):
            return
        head, _, last = data.rpartition(b"\n")
        whole = _is_object(last)
        with self.path.open("r+b") as out:
            if whole:
                out.seek(0, os.SEEK_END)
                out.write(b"\n")
            else:
                out.truncate(len(head) + 1 if head else 0)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def read(path: Path) -> tuple[Prediction, ...]:
    """Read `.jsonl` or `.json` (a list, or `preds.json`: an object by instance).

    Raises:
        DataError: Something is wrong; names the line. Two predictions for one instance are wrong too: the
            harness would silently take the later one.
    """
    seen: dict[str, str] = {}
    found = []
    for row in rows(path):
        prediction = _prediction(row)
        if prediction.instance_id in seen:
            raise DataError(
                f"{row.where}: {prediction.instance_id} has a prediction at "
                f"{seen[prediction.instance_id]} already. "
                "Keep one a file; several attempts go into several files."
            )
        seen[prediction.instance_id] = row.where
        found.append(prediction)
    return tuple(found)


def _prediction(row: Row) -> Prediction:
    patch: Any = row.fields.get("model_patch", "missing")
    fields: Mapping[str, Any] = {**row.fields, "model_patch": ""} if patch is None else row.fields
    text = {name: text_of(Row(row.where, fields), name, known=FIELDS) for name in FIELDS}
    return Prediction(text["instance_id"], text["model_name_or_path"], text["model_patch"])


def write_json(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write `preds.json`, the object by instance that mini-SWE-agent writes too; whole or not at all."""
    official = {prediction.instance_id: prediction.official() for prediction in predictions}
    _whole(path, json.dumps(official, indent=2) + "\n")


def write_lines(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write `.jsonl`, one line for each; whole or not at all."""
    _whole(path, "".join(json.dumps(prediction.official()) + "\n" for prediction in predictions))


def _whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(path.name + ".new")
    made.write_text(text, encoding="utf-8")
    made.replace(path)
