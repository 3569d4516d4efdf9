"""What all tests share: one PostgreSQL a run, and one database, sandbox and service a worker."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import pytest_asyncio
from pydantic import SecretStr

from api.postgres import connection
from api.settings import Settings
from api.wiring import House

pytest.register_assert_rewrite("tests.model.rows", "tests.model.world")

from tests import postgres_cluster as cluster  # noqa: E402
from tests.patience import wait_for_the_next_hour  # noqa: E402
from tests.service import (  # noqa: E402
    HOST,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    Agent,
    Database,
    Sandbox,
    Service,
    free_port,
    new_agent,
    new_database,
    prepare_template,
    sandbox_running,
    service_running,
)
from tests.warm import house_of  # noqa: E402

# Tests speak plain HTTP on loopback and trust no authority: a folder without certificates is read in no time, the list
# of all of them in 20 ms for each client that is made, of which a run makes thousands. What is started inherits it.
# The machine's own file would be read before the folder.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# Tests look into databases thousands of times a run: a machine that stalls in the middle of a look has not lost them.
connection.CONNECT_TIMEOUT_S = 30.0

# A pause of 200 ms is no failure, nor is a slow drawing; an example that takes this long has found something.
hypothesis.settings.register_profile(
    "patient", deadline=timedelta(seconds=20), suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

YOUNG_OBJECTS_MAX = 50_000

pytest_addoption = cluster.add_options
pytest_configure = cluster.configure
pytest_unconfigure = cluster.unconfigure


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The controller makes the template, so that no two workers try."""
    prepare_template(cluster.server(node.config))
    cluster.configure_node(node)


def pytest_collection_finish() -> None:
    """Modules and tests stay for the whole run: the collector of garbage need not look at them again and again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests found worth telling (`record_property`) stands at the end, whichever worker ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def new_databases(pytestconfig: pytest.Config) -> Callable[[str], Database]:
    """`new_databases(purpose)`: a migrated database of its own; gone with the run."""
    worker = getattr(pytestconfig, "workerinput", {}).get("workerid", "main")
    made: list[str] = []

    def make(purpose: str) -> Database:
        made.append(purpose)
        return new_database(cluster.server(pytestconfig), f"{purpose}_{worker}_{len(made)}")

    return make


@pytest.fixture(scope="session")
def database(new_databases: Callable[[str], Database]) -> Database:
    """The worker's database."""
    return new_databases("worker")


@pytest.fixture(scope="session")
def service(database: Database) -> Iterator[Service]:
    """The real service with a worker inside, and a sandbox that delivers letters to it.

    It does not read the list of events besides: what a test keeps back stays so, however long the test takes.
    """
    port = free_port()
    with (
        sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox,
        service_running(database, sandbox, port=port, events_every_s=0) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def start_service(service: Service) -> Iterator[Callable[..., Service]]:
    """`start_service(setting=value, …)`: another service on the same database and sandbox, until the tests end.

    It has no worker unless told so: a worker with other settings would take the letters of the first service's rails.
    """
    with ExitStack() as running:

        def start(*, database: Database = service.database, **settings: Any) -> Service:
            settings = {"worker": False, **settings}
            return running.enter_context(service_running(database, service.sandbox, **settings))

        yield start


@pytest.fixture
def lone_sandbox() -> Iterator[str]:
    """The address of a sandbox that nobody else uses and that delivers no letters."""
    with sandbox_running() as sandbox:
        yield sandbox.url


@pytest.fixture
def same_hour() -> None:
    """The UTC hour does not end in the middle of the test, nor the day or the month."""
    wait_for_the_next_hour()


@pytest.fixture
def sandbox(service: Service) -> Sandbox:
    """The pretend Stripe of the worker's service."""
    return service.sandbox


@pytest.fixture(scope="session")
def http(service: Service) -> Iterator[httpx.Client]:
    """A client of the worker's service, without a token."""
    with service.client() as client:
        yield client


@pytest.fixture
def agent(http: httpx.Client) -> Agent:
    """A fresh agent in an organization of its own."""
    return new_agent(http)


@pytest_asyncio.fixture
async def house(service: Service) -> AsyncIterator[House]:
    """A house in this process, on the service's database and sandbox; its worker is the service's."""
    built = house_of(
        Settings(
            database_url=SecretStr(service.database.run_url),
            stripe_secret_key=SecretStr(STRIPE_KEY),
            stripe_webhook_secrets=[SecretStr(WEBHOOK_SECRET)],
            stripe_api_base=service.sandbox.url,
            public_url=service.url,
            worker=False,
        ),
        "house",
    )
    yield built
    await built.close()
