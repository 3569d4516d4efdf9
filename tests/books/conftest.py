from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from api.wiring import async_url
from billing.database import Sessions, sessions
from tests.billing.patience import be_patient
from tests.books.books import Owner
from tests.service import Database
from tests.warm import engine_of


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is hurried."""
    be_patient(monkeypatch.setattr)


@pytest.fixture(scope="session")
def database(new_databases: Callable[[str], Database]) -> Database:
    """A database of this room's own: money that is posted here is no payment's, as billing's proofs would say."""
    return new_databases("books")


@pytest.fixture
async def books(database) -> AsyncIterator[Sessions]:
    """Sessions of the run role on a migrated database."""
    on = engine_of(async_url(database.run_url), "books")
    yield sessions(on)
    await on.dispose()


@pytest.fixture
async def owner(database) -> AsyncIterator[Owner]:
    """The database as its owner sees it, for looking and for tampering."""
    connection = await asyncpg.connect(database.owner_url)
    yield Owner(connection)
    await connection.close()
