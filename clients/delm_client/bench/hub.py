"""The hub, through `datasets`: imported only here, and only when no file was named."""

import importlib
from collections.abc import Iterable
from typing import Any

from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.reading import Row


def hub_rows(name: str, split: str, *, instead: str) -> list[Row]:
    """Load a data set from the hub.

    Args:
        instead: What to do without the hub, as a sentence.

    Raises:
        ExtraMissing: `datasets` is not installed.
        DataError: It could not be fetched: offline, gated, or not there.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise ExtraMissing(
            f"{name} comes from the hub through `datasets`, which is not installed (some 375 MB): "
            f"`pip install 'datasets>=5,<6'`. {instead}"
        ) from None
    try:
        loaded: Iterable[Any] = datasets.load_dataset(name, split=split)
        found = [Row(f"{name}, row {number}", dict(row)) for number, row in enumerate(loaded, 1)]
    except Exception as error:  # the network's and the hub's errors have no base of their own
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{name} cannot be had from the hub: {why} {instead}") from error
    if not found:
        raise DataError(f"{name} on the hub has no items in its split {split}. {instead}")
    return found
