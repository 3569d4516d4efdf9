"""Services with other settings, for refusals that the first one never gives."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPResponse

import httpx
import pytest

from tests.flows.severing import severing
from tests.mailing import Town, town_of
from tests.service import ANSWER_S, HOST, STRIPE_KEY, WEBHOOK_SECRET, Agent, Database, Service, new_agent

NEW_SECRET = "whsec_of_tomorrow"
NOBODY = "http://127.0.0.1:9"
STALLED = {
    "a letter": "POST /webhooks/stripe HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{",
    "a sign-up": "POST /v1/agent-signups HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n",
    "chunks": "POST /v1/agent-signups HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    "an agent's quote": "POST /v1/credit-quotes HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n"
    "authorization: Bearer TOKEN\r\n\r\n{",
}
"""Requests that are begun and not ended, by what is sent."""


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
def severed_http(start_service: Callable[..., Service], database: Database) -> Iterator[httpx.Client]:
    """A service that loses its database whenever it posts; who asks can still be looked up."""
    with severing(database.run_url, b"ledger.post_v1") as url, start_service(database_url=url).client() as client:
        yield client


@pytest.fixture
def stranded_http(start_service: Callable[..., Service]) -> Iterator[httpx.Client]:
    """A service whose Stripe cannot be reached."""
    with start_service(stripe_api_base=NOBODY).client() as client:
        yield client


@pytest.fixture(scope="session")
def stalled(service: Service, http: httpx.Client) -> dict[str, tuple[httpx.Response, float]]:
    """What `STALLED` requests are answered, and after how many seconds; the service has then hung up.

    All wait at once and for all tests, because the deadline is the real one.
    """
    token = new_agent(http).token
    found = {}
    with ExitStack() as opened:
        connections = {how: opened.enter_context(socket.create_connection(_place(service))) for how in STALLED}
        began = time.monotonic()
        for how, connection in connections.items():
            connection.settimeout(ANSWER_S)
            connection.sendall(STALLED[how].replace("TOKEN", token).encode())
        for how, connection in connections.items():
            answer = _answer(connection)
            found[how] = (answer, time.monotonic() - began)
            assert connection.recv(1) == b""
    return found


def _place(service: Service) -> tuple[str, int]:
    return HOST, int(service.url.rpartition(":")[2])


def _answer(connection: socket.socket) -> httpx.Response:
    answer = HTTPResponse(connection)
    answer.begin()
    return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


@pytest.fixture(scope="session")
def measured(start_service: Callable[..., Service]) -> Iterator[httpx.Client]:
    """A service behind a proxy that it trusts, which lets little be done in a minute."""
    limits = {"signups_per_minute": 2, "requests_per_minute": 3, "trusted_proxies": "127.0.0.0/8, fd00::/8"}
    with start_service(**limits).client() as client:
        yield client


@pytest.fixture(scope="session")
def generous(start_service: Callable[..., Service]) -> Service:
    """Bank debits, promotion codes, tax, deposits of any amount; what is paid twice is sent back."""
    return start_service(
        checkout_payment_methods="card, us_bank_account",
        checkout_promotion_codes=True,
        checkout_tax=True,
        stripe_crypto_partial=True,
        second_payment="refund",
    )


@pytest.fixture
def generous_agent(generous: Service) -> Iterator[Agent]:
    """A fresh agent of the generous service."""
    with generous.client() as client:
        yield new_agent(client)


@pytest.fixture(scope="session")
def town(start_service: Callable[..., Service]) -> Iterator[Town]:
    """A service whose links are sent to a stand-in for the product's mailer."""
    with town_of(start_service) as found:
        yield found
