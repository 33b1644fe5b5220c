"""SWE-bench: loading and checking its instances."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from delm_client.bench.errors import DataError, did_you_mean
from delm_client.bench.hub import hub_rows
from delm_client.bench.items import Instance
from delm_client.bench.reading import Row, rows, text_of, unique

HUB = "SWE-bench/SWE-bench_Verified"
REQUIRED = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch")
OPTIONAL = (
    "hints_text", "version", "difficulty", "created_at", "environment_setup_commit",
    "eval_script", "log_parser", "eval_type", "image",
)  # fmt: skip
TESTS = ("FAIL_TO_PASS", "PASS_TO_PASS")
COMMIT = re.compile(r"[0-9a-f]{40}")
INSTEAD = "Without it, download test.parquet of SWE-bench Verified by hand and name that file."


def load(source: Path | None = None, ids: Sequence[str] = ()) -> tuple[Instance, ...]:
    """Load instances, all or some.

    Args:
        source: The official Parquet, or JSON or JSON Lines of its fields, also gzipped; None: the hub.
        ids: The instances wanted, in this order; empty: all.

    Raises:
        DataError: Something is wrong with the file, or an id is not in it.
        ExtraMissing: Something that reads Parquet, or the hub, is not installed.
    """
    found = rows(source) if source else hub_rows(HUB, "test", instead=INSTEAD)
    instances = parse(found)
    if not ids:
        return instances
    by_id = {instance.id: instance for instance in instances}
    for wanted in ids:
        if wanted not in by_id:
            raise DataError(f"No instance is called `{wanted}`.{did_you_mean(wanted, by_id)}")
    return tuple(by_id[wanted] for wanted in ids)


def parse(found: Iterable[Row]) -> tuple[Instance, ...]:
    """Check every row and make instances of them. Raises DataError at the first that is wrong."""
    seen: dict[str, str] = {}
    instances = []
    for row in found:
        instance = _instance(row)
        unique(row.where, seen, instance.id)
        instances.append(instance)
    return tuple(instances)


def _instance(row: Row) -> Instance:
    known = (*REQUIRED, *OPTIONAL, *TESTS)
    text = {name: text_of(row, name, known=known) for name in REQUIRED}
    more = {name: str(row.fields.get(name) or "") for name in OPTIONAL}
    if not COMMIT.fullmatch(text["base_commit"]):
        raise DataError(f"{row.where}: `base_commit` is no full commit: {text['base_commit'][:50]!r}.")
    return Instance(
        id=text["instance_id"],
        repo=text["repo"],
        base_commit=text["base_commit"],
        problem_statement=text["problem_statement"],
        patch=text["patch"],
        test_patch=text["test_patch"],
        fail_to_pass=_tests(row, "FAIL_TO_PASS", known),
        pass_to_pass=_tests(row, "PASS_TO_PASS", known),
        **more,
    )


def _tests(row: Row, name: str, known: Sequence[str]) -> tuple[str, ...]:
    """A list of test ids: JSON within text in the official files, a plain list in some copies."""
    value = row.fields.get(name)
    if not isinstance(value, list):
        try:
            value = json.loads(text_of(row, name, known=known))
        except json.JSONDecodeError as error:
            raise DataError(f"{row.where}: `{name}` is not a JSON list ({error.msg}).") from error
    if not isinstance(value, list) or not all(isinstance(test, str) for test in value):
        raise DataError(f"{row.where}: `{name}` must be a list of test ids.")
    return tuple(value)
