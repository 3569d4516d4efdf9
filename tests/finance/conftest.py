from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.billing.patience import be_patient
from tests.finance.month import Month, month_on


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is hurried."""
    be_patient(monkeypatch.setattr)


@pytest.fixture(scope="session")
def month_database(new_databases):
    """A database of the worker for months, which empty it."""
    return new_databases("month")


@pytest_asyncio.fixture
async def month(month_database) -> AsyncIterator[Month]:
    """Empty books on the first of October, and a clock that stands still."""
    async with month_on(month_database) as made:
        yield made
