"""A service for whatever is thrown at it, with a database of its own and no worker."""

from collections.abc import Callable

import pytest

from tests.service import Database, Service


@pytest.fixture(scope="session")
def fuzzed(start_service: Callable[..., Service], new_databases: Callable[[str], Database]) -> Service:
    """Nothing that is asked of it reaches anybody: webhooks that it stores are sent by a worker, and it has none."""
    return start_service(
        database=new_databases("fuzzed"), refusals_per_minute=1_000_000, payments_per_minute=1_000_000, job_wait_s=0
    )
