"""What the tests of the native x402 rail share: chains, payers, clients, and services that take USDC.

Tests of the rail's pieces use the worker's chain (`anvil`, `token`, `payer`, …). A service has a chain of its own, one
a test module: rewinding one below a running service would be a reorganization.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account
    from eth_account.signers.local import LocalAccount

from tests.billing.patience import be_patient
from tests.evm.anvil import Anvil, NotHere, anvil_binary
from tests.evm.conftest import BASE_FEE_WEI, PATIENCE_S, anvil, contract_payer, gas_wallet, payer, rewound, token
from tests.evm.usdc import Token
from tests.service import (
    ANSWER_S,
    HOST,
    Agent,
    Database,
    Sandbox,
    Service,
    data_of,
    free_port,
    new_agent,
    sandbox_running,
    service_running,
    until,
)
from tests.x402.chains import OnChain, chain_running, key_of
from tests.x402.javascript import JavaScriptClient, javascript_client
from tests.x402.paying import Pay, pay_with_python
from tests.x402.rpc_proxy import RpcProxy, rpc_proxy_running
from tests.x402.signing_in import link
from tests.x402.till import Till, assert_verifies, till_open

__all__ = ["anvil", "contract_payer", "gas_wallet", "payer", "rewound", "token"]

PATIENT = {"x402_wait_s": 40, "x402_rpc_timeout_s": 40}
"""How long a service waits for the chain, for its requests and for its node: less than its clients wait for it."""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody in this process is hurried, and a top-up that waits for nothing has made its one turn when it is answered.

    An event loop that stood still finds a time-out that has passed before it finds the answer that has come meanwhile.
    """
    be_patient(monkeypatch.setattr)
    monkeypatch.setattr("rails.evm.rpc.CONNECT_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr("rails.x402.facilitator.CONNECT_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr("api.native.VERIFYING_WAIT_S", PATIENCE_S)
    monkeypatch.setattr("billing.settling.advancing.TURN_LEAST", timedelta(seconds=PATIENCE_S))


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


@pytest.fixture(params=["python", pytest.param("javascript", marks=pytest.mark.long)])
def pay(request: pytest.FixtureRequest) -> Pay:
    """Each of the stock clients; in the short suite both buy, and the rest is for one of them."""
    if request.param == "python":
        return pay_with_python
    client: JavaScriptClient = request.getfixturevalue("js_client")
    return client.pay


@pytest.fixture(scope="module")
def onchain(anvil_program: Path) -> Iterator[OnChain]:
    """The module's own chain."""
    with chain_running(anvil_program) as running:
        yield running


@pytest.fixture(scope="module")
def rpc_proxy(onchain: OnChain) -> Iterator[RpcProxy]:
    """The node that the module's service asks; it goes wrong when told, for the length of a block."""
    with rpc_proxy_running(onchain.chain.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service_on_chain(
    onchain: OnChain, rpc_proxy: RpcProxy, new_databases: Callable[[str], Database]
) -> Iterator[Service]:
    """The real service, with a worker inside, that takes USDC on the module's chain beside a Stripe of its own."""
    port, settings = free_port(), onchain.settings(**PATIENT, x402_rpc_url=rpc_proxy.url)
    with (
        sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox,
        service_running(new_databases("onchain"), sandbox, port=port, **settings) as running,
    ):
        yield selling(running)


def selling(service: Service) -> Service:
    """The service, once it has seen that its chain is there: it does not wait for that for long before it starts."""
    pack = f"{service.url}/v1/x402/top-up/taster-100"
    until(lambda: httpx.post(pack, timeout=ANSWER_S).status_code == 402)
    return service


@pytest.fixture(scope="module")
def beside(onchain: OnChain, rpc_proxy: RpcProxy, service_on_chain: Service) -> Iterator[Callable[..., Service]]:
    """`beside(setting=value, …)`: another process of the module's service, without a worker, until the module ends.

    It has the same database, gas wallet, node and public address, as a process behind the same proxy would.
    """
    first = service_on_chain
    with ExitStack() as running:

        def start(**changes: Any) -> Service:
            own = {**PATIENT, "x402_rpc_url": rpc_proxy.url, "public_url": first.url, "worker": False}
            settings = onchain.settings(**{**own, **changes})
            return selling(running.enter_context(service_running(first.database, first.sandbox, **settings)))

        yield start


@pytest.fixture(scope="module")
def two_on_chain(service_on_chain: Service, beside: Callable[..., Service]) -> tuple[Service, Service]:
    """Two processes of the module's service; the first has the worker."""
    return service_on_chain, beside()


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
            own = {**PATIENT, "x402_gas_key": key_of(onchain.new_gas_wallet())}
            settings = onchain.settings(**{**own, **changes})
            return running.enter_context(
                service_running(database or new_databases("onchain"), lone_sandbox_on_chain, **settings)
            )

        yield start


@pytest.fixture(scope="module")
def tills_database(new_databases: Callable[[str], Database]) -> Iterator[Database]:
    """The module's database; at its end all that its tests left behind verifies."""
    database = new_databases("till")
    yield database
    asyncio.run(assert_verifies(database))


@pytest.fixture
def shared_chain(anvil: Anvil, token: Token, rewound: None) -> OnChain:
    """The worker's chain, which is as it was after the test, with an address that nobody has paid yet."""
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(BASE_FEE_WEI))  # gas has become cheaper with every empty block
    anvil.increase_time(max(0, int(time.time()) - anvil.now))
    return OnChain(chain=anvil, token=token, treasury=Account.create().address, gas=Account.create())


@pytest_asyncio.fixture
async def open_till(shared_chain: OnChain, tills_database: Database) -> AsyncIterator[Callable[..., Awaitable[Till]]]:
    """`await open_till(setting=value, …)`: a service in this process on the worker's chain, until the test ends."""
    async with AsyncExitStack() as opened:

        async def start(**settings: Any) -> Till:
            return await opened.enter_async_context(till_open(shared_chain, tills_database, **settings))

        yield start


@pytest_asyncio.fixture
async def till(open_till: Callable[..., Awaitable[Till]]) -> Till:
    return await open_till()


@pytest.fixture
def bad_node(shared_chain: OnChain) -> Iterator[RpcProxy]:
    """A node of the worker's chain that goes wrong when told, for the length of a block."""
    with rpc_proxy_running(shared_chain.chain.url) as proxy:
        yield proxy


@pytest.fixture
def chained(service_on_chain: Service) -> Iterator[httpx.Client]:
    """A client of the service on the chain, without a token."""
    with service_on_chain.client() as client:
        yield client


@pytest.fixture
def wallet() -> LocalAccount:
    account: LocalAccount = Account.create()
    return account


@pytest.fixture
def linked(chained: httpx.Client, wallet: LocalAccount) -> Agent:
    """An agent that the wallet is linked to."""
    agent = new_agent(chained)
    data_of(link(chained, wallet, agent))
    return agent
