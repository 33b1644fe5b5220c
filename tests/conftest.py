"""What every test shares: the asyncio backend, because aiosqlite is asyncio's."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
