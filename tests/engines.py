"""The engines, and what every part of their suite uses. An engine is added by one line in `ENGINES`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from delm_mcp.domain.model import (
    Entry,
    EntryId,
    Kind,
    Run,
    RunId,
    Task,
    TaskId,
    TaskKind,
)
from delm_mcp.domain.tasks import rank
from delm_mcp.store.base import Store, Tx
from delm_mcp.store.sqlite import open_sqlite

Engine = Callable[[Path], AbstractAsyncContextManager[Store]]
ENGINES = [
    pytest.param(lambda folder: open_sqlite(folder / "board.db", synchronous="OFF"), id="sqlite"),
]
RUN = RunId("r-1")
ODD = "tab\t nul\x00 quote'\" «» \u202e 日本 \U0001f600 \r\n end"
LONG = "long " * 100


@asynccontextmanager
async def opened(engine: Engine, folder: Path) -> AsyncIterator[Store]:
    """An engine with one run."""
    async with engine(folder) as store:
        await write(store, lambda tx: tx.insert(Run(RUN, "goal")))
        yield store


async def write(store: Store, action: Callable[[Tx], Any]) -> Any:
    return await store.write("test", "suite", 5.0, action)


async def put(store: Store, *rows: Any) -> list[Any]:
    """Insert rows in one operation."""

    def action(tx: Tx) -> list[Any]:
        return [tx.insert(row) for row in rows]

    return cast(list[Any], await write(store, action))


def task(subject: str = "mend", **values: Any) -> Task:
    values.setdefault("rank", rank(values.get("kind", TaskKind.WORK), values.get("priority", 0)))
    return Task(**{"id": TaskId(0), "run": RUN, "kind": TaskKind.WORK, "subject": subject, **values})


def entry(gist: str = "a gist", **values: Any) -> Entry:
    return Entry(**{"id": EntryId(0), "run": RUN, "kind": Kind.FACT, "gist": gist, **values})
