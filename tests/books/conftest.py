from collections.abc import AsyncIterator

import asyncpg
import pytest

from api.wiring import async_url
from billing.database import Sessions, engine, sessions
from tests.books.books import Owner


@pytest.fixture
async def books(database) -> AsyncIterator[Sessions]:
    """Sessions of the run role on a migrated database."""
    on = engine(async_url(database.run_url))
    yield sessions(on)
    await on.dispose()


@pytest.fixture
async def owner(database) -> AsyncIterator[Owner]:
    """The database as its owner sees it, for looking and for tampering."""
    connection = await asyncpg.connect(database.owner_url)
    yield Owner(connection)
    await connection.close()
