"""Work that goes on beside other work."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def beside(*works: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run something for as long as the body runs.

    An exception of the body leaves as it is, not wrapped in a group; one of the work ends the body.
    """
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as group:
            for work in works:
                group.start_soon(work)
            try:
                yield
            except (Exception, SystemExit) as error:
                failure = error
            group.cancel_scope.cancel()
    except ExceptionGroup as errors:
        failure = failure or (errors.exceptions[0] if isinstance(errors.exceptions[0], Exception) else errors)
    if failure is not None:
        raise failure
