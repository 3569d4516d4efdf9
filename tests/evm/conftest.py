"""What the tests on a real EVM share: one chain a worker with a USDC on it, payers, and a wallet with gas.

Without Node, or when npm cannot have the packages, tests that ask for the chain are NOT RUN.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rails.evm import recursion

with recursion.limit_kept():  # before any test module imports it, or deep JSON would end the process of other tests
    from eth_account import Account
    from eth_account.signers.local import LocalAccount

from tests.evm.anvil import Anvil, NotHere, anvil_binary, anvil_running
from tests.evm.usdc import Payer, Token, new_contract_payer, new_payer, place_token

PAYERS_ATOMIC = 100_000_000
GAS_WEI = 10**18
BASE_FEE_WEI = 10**9  # as on a new chain
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event loop that stood still finds that a connection took too long before it finds that it is there."""
    monkeypatch.setattr("rails.evm.rpc.CONNECT_TIMEOUT_S", PATIENCE_S)


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    """The worker's chain. Its state is shared: a test that pauses, reorganizes or moves time asks for `rewound`."""
    try:
        binary = anvil_binary()
    except NotHere as why:
        pytest.skip(f"NOT RUN: the tests on a real EVM need anvil: {why}")
    with anvil_running(binary) as running:
        yield running


@pytest.fixture(scope="session")
def token(anvil: Anvil) -> Token:
    """USDC at Base Sepolia's official address."""
    return place_token(anvil)


@pytest.fixture
def rewound(token: Token) -> Iterator[None]:
    """After the test the chain is as it was before: state, blocks, automine; and one block more, of now and as cheap.

    Reverting leaves the chain's clock behind by as long as the test took, more with each, and gas as dear as it was.
    """
    chain = token.chain
    snapshot = chain.snapshot()
    yield
    chain.revert(snapshot)
    chain.rpc("anvil_dropAllTransactions")
    chain.set_automine(True)
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(BASE_FEE_WEI))
    chain.increase_time(max(0, int(time.time()) - chain.now))


@pytest.fixture
def payer(token: Token) -> Payer:
    """A fresh account with 100 USDC and no ether."""
    return new_payer(token, atomic=PAYERS_ATOMIC)


@pytest.fixture
def contract_payer(token: Token) -> Payer:
    """A fresh contract wallet with 100 USDC."""
    return new_contract_payer(token, atomic=PAYERS_ATOMIC)


@pytest.fixture(scope="session")
def gas_wallet(anvil: Anvil) -> LocalAccount:
    """An account with one ether, which may submit what others have signed."""
    account: LocalAccount = Account.create()
    anvil.set_balance(account.address, GAS_WEI)
    return account
