"""What the tests of the native x402 rail share: chains, payers, clients, and services that take USDC.

Tests of the rail's pieces use the worker's chain (`anvil`, `token`, `payer`, …). A service has a chain of its own, one
a test module: rewinding one below a running service would be a reorganization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.evm.anvil import NotHere, anvil_binary
from tests.evm.conftest import anvil, contract_payer, gas_wallet, payer, rewound, token
from tests.service import HOST, Database, Sandbox, Service, free_port, sandbox_running, service_running
from tests.x402.chains import OnChain, chain_running, key_of
from tests.x402.javascript import JavaScriptClient, javascript_client
from tests.x402.paying import Pay, pay_with_python
from tests.x402.rpc_proxy import RpcProxy, rpc_proxy_running

__all__ = ["anvil", "contract_payer", "gas_wallet", "payer", "rewound", "token"]


@pytest.fixture(scope="session")
def anvil_program() -> Path:
    try:
        return anvil_binary()
    except NotHere as why:
        pytest.skip(f"NOT RUN: the tests on a real EVM need anvil: {why}")


@pytest.fixture(scope="session")
def js_client() -> Iterator[JavaScriptClient]:
    """The stock JavaScript client."""
    with ExitStack() as opened:
        try:
            client = opened.enter_context(javascript_client())
        except NotHere as why:
            pytest.skip(f"NOT RUN: the JavaScript client of x402: {why}")
        yield client


@pytest.fixture(params=["python", "javascript"])
def pay(request: pytest.FixtureRequest) -> Pay:
    """Each of the stock clients."""
    if request.param == "python":
        return pay_with_python
    client: JavaScriptClient = request.getfixturevalue("js_client")
    return client.pay


@pytest.fixture(scope="module")
def onchain(anvil_program: Path) -> Iterator[OnChain]:
    """The module's own chain."""
    with chain_running(anvil_program) as running:
        yield running


@pytest.fixture
def rpc_proxy(onchain: OnChain) -> Iterator[RpcProxy]:
    """A node of the module's chain that goes wrong when told."""
    with rpc_proxy_running(onchain.chain.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service_on_chain(onchain: OnChain, new_databases: Callable[[str], Database]) -> Iterator[Service]:
    """The real service, with a worker inside, that takes USDC on the module's chain beside a Stripe of its own."""
    port = free_port()
    with (
        sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox,
        service_running(new_databases("onchain"), sandbox, port=port, **onchain.settings()) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def two_on_chain(onchain: OnChain, service_on_chain: Service) -> Iterator[tuple[Service, Service]]:
    """The module's service, and a second process on the same database and under the same public address."""
    first = service_on_chain
    settings = onchain.settings(public_url=first.url, worker=False)
    with service_running(first.database, first.sandbox, **settings) as second:
        yield first, second


@pytest.fixture(scope="module")
def lone_sandbox_on_chain() -> Iterator[Sandbox]:
    with sandbox_running() as running:
        yield running


@pytest.fixture
def start_on_chain(
    onchain: OnChain, lone_sandbox_on_chain: Sandbox, new_databases: Callable[[str], Database]
) -> Iterator[Callable[..., Service]]:
    """`start_on_chain(setting=value, …)`: a service on the module's chain, with other settings, until the test ends.

    It has a database and a gas wallet of its own unless given `database` and `x402_gas_key`; None takes one of the
    settings of `OnChain.settings` away.
    """
    with ExitStack() as running:

        def start(*, database: Database | None = None, **changes: Any) -> Service:
            own = {"x402_gas_key": key_of(onchain.new_gas_wallet())}
            settings = onchain.settings(**{**own, **changes})
            return running.enter_context(
                service_running(database or new_databases("onchain"), lone_sandbox_on_chain, **settings)
            )

        yield start
