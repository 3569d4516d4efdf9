from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.billing.patience import be_patient
from tests.model.desk import Desk
from tests.model.world import World, world_on

CONNECTIONS = 4


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is hurried."""
    be_patient(monkeypatch.setattr)


@pytest.fixture(scope="session")
def model_database(new_databases):
    """A database of the worker for the model tests, which empty it."""
    return new_databases("model")


@pytest_asyncio.fixture
async def world(model_database) -> AsyncIterator[World]:
    """Empty books, and a clock that stands still."""
    async with world_on(model_database, connections=CONNECTIONS) as made:
        yield made


@pytest_asyncio.fixture
async def desk(world) -> Desk:
    """An empty book."""
    made = Desk(world)
    await made.open()
    return made
