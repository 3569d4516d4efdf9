"""Services with other settings, for refusals that the first one never gives."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.service import STRIPE_KEY, WEBHOOK_SECRET, Database, Service

NEW_SECRET = "whsec_of_tomorrow"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def strict(start_service: Callable[..., Service]) -> Service:
    """Tiny limits, two webhook secrets, cards only."""
    return start_service(
        signups_per_minute=3,
        stripe_x402=False,
        body_bytes_max=1024,
        webhook_bytes_max=2048,
        stripe_webhook_secrets=f"{NEW_SECRET}, {WEBHOOK_SECRET}",
    )


@pytest.fixture(scope="session")
def strict_http(strict: Service) -> Iterator[httpx.Client]:
    with strict.client() as client:
        yield client


@pytest.fixture(scope="session")
def dark_http(start_service: Callable[..., Service]) -> Iterator[httpx.Client]:
    """A service whose database does not answer."""
    dark = start_service(database_url="postgresql://nobody:nothing@127.0.0.1:9/none", stripe_secret_key=STRIPE_KEY)
    with dark.client() as client:
        yield client


@pytest.fixture(scope="session")
def crippled(start_service: Callable[..., Service], new_databases: Callable[[str], Database]) -> Service:
    """A service on a database of another version, in which posting is broken, and without webhook secrets."""
    database = new_databases("crippled")
    database.rows("ALTER FUNCTION ledger.post_v1 RENAME TO post_v0")
    database.rows("UPDATE public.alembic_version SET version_num = '0000'")
    return start_service(database=database, stripe_webhook_secrets="")


@pytest.fixture(scope="session")
def crippled_http(crippled: Service) -> Iterator[httpx.Client]:
    with crippled.client() as client:
        yield client


@pytest.fixture
def stranded_http(start_service: Callable[..., Service]) -> Iterator[httpx.Client]:
    """A service whose Stripe cannot be reached."""
    with start_service(stripe_api_base=NOBODY, stripe_timeout_s=2).client() as client:
        yield client
