"""A chain of a test module's own, with all that the native x402 rail needs on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account
    from eth_account.signers.local import LocalAccount

from tests.evm.anvil import CHAIN_ID, Anvil, anvil_running
from tests.evm.usdc import Payer, Token, new_contract_payer, new_payer, place_token

GAS_WEI = 10**18
GAS_GWEI_PER_HOUR = 10**9  # anvil's gas costs a hundred times that of Base
PAYERS_ATOMIC = 100_000_000
NETWORK = f"eip155:{CHAIN_ID}"


@dataclass(frozen=True)
class OnChain:
    """A chain with USDC at its official address, the address that is paid, and a wallet that pays for the gas."""

    chain: Anvil
    token: Token
    treasury: str
    gas: LocalAccount = field(repr=False)

    def payer(self, *, atomic: int = PAYERS_ATOMIC) -> Payer:
        """A fresh account with this much of the token and no ether at all."""
        return new_payer(self.token, atomic=atomic)

    def contract_payer(self, *, atomic: int = PAYERS_ATOMIC) -> Payer:
        """A fresh contract wallet (EIP-1271) with this much of the token."""
        return new_contract_payer(self.token, atomic=atomic)

    def new_gas_wallet(self, *, wei: int = GAS_WEI) -> LocalAccount:
        """A fresh account that can pay for gas; two databases must not share one, since each counts its nonces."""
        account: LocalAccount = Account.create()
        self.chain.set_balance(account.address, wei)
        return account

    @property
    def received(self) -> int:
        """What the treasury has, in atomic units of the token."""
        return self.token.balance(self.treasury)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """What a service is told that takes USDC here and settles by itself; None takes a setting away."""
        told = {
            "x402_network": NETWORK,
            "x402_rpc_url": self.chain.url,
            "x402_treasury": self.treasury,
            "x402_gas_key": key_of(self.gas),
            "x402_gas_gwei_per_hour": GAS_GWEI_PER_HOUR,
            "payments_per_minute": 1_000_000,
            **changes,
        }
        return {name: value for name, value in told.items() if value is not None}


def key_of(who: Payer | LocalAccount) -> str:
    """The private key of an account, or of a contract wallet's owner, in hex."""
    account = who.account if isinstance(who, Payer) else who
    return "0x" + bytes(account.key).hex()


@contextmanager
def chain_running(binary: Path) -> Iterator[OnChain]:
    """A fresh chain for the length of the block: with automine, a treasury without anything, and one ether for gas."""
    with anvil_running(binary) as chain:
        gas: LocalAccount = Account.create()
        chain.set_balance(gas.address, GAS_WEI)
        yield OnChain(chain=chain, token=place_token(chain), treasury=Account.create().address, gas=gas)
