"""The chains that USDC is taken on, as data: the token, its EIP-712 domain, and when a payment on them is final.

The domain's name differs from chain to chain, and a wrong one shows only as signatures of strangers: `chain.check`
compares all of this with the chain itself. Amounts are atomic units of the token.
Sources: https://docs.base.org/base-chain/quickstart/connecting-to-base (chain ids),
https://developers.circle.com/stablecoins/usdc-contract-addresses (tokens), https://chainagnostic.org/CAIPs/caip-2
(names) and https://docs.base.org/base-chain/network-information/transaction-finality (what the tags are worth there:
`safe` after about 2 minutes, `finalized` after about 20; one block of the sequencer's own was ever taken back).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Confirmations:
    """Final with so many blocks, the one that holds the payment counted as the first."""

    blocks: int

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ValueError("a payment is in a block before it is final")


Finality = Confirmations | Literal["safe", "finalized"]
"""When a payment counts: under some blocks, or once its block is not after the chain's own `safe` or `finalized`."""

Policy = tuple[tuple[int | None, Finality], ...]
"""Up to which amount, inclusive, which finality is asked for; the amounts rise, and the last line has none."""


@dataclass(frozen=True, slots=True)
class Network:
    """A chain and the one token that is taken on it. `token_name` and `token_version` are those of EIP-712."""

    name: str
    chain_id: int
    token_address: str
    token_name: str
    token_version: str
    token_decimals: int
    finality: Policy

    def __post_init__(self) -> None:
        limits = [up_to for up_to, _ in self.finality]
        bounded = [up_to for up_to in limits if up_to is not None]
        if limits[-1:] != [None] or len(bounded) != len(limits) - 1:
            raise ValueError(f"the last line of a policy, and no other, is without an amount: {limits}")
        if any(low >= high for low, high in pairwise(bounded)):
            raise ValueError(f"the amounts of a policy rise: {limits}")

    @property
    def caip2(self) -> str:
        """The chain's name for x402 and for wallets, as in `eip155:8453`."""
        return f"eip155:{self.chain_id}"


_USDC: Final = 1_000_000

BASE: Final = Network(
    name="base",
    chain_id=8453,
    token_address="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",  # noqa: S106 -- a public contract
    token_name="USD Coin",  # noqa: S106 -- as the contract says
    token_version="2",  # noqa: S106 -- as the contract says
    token_decimals=6,
    finality=((100 * _USDC, Confirmations(3)), (10_000 * _USDC, "safe"), (None, "finalized")),
)

BASE_SEPOLIA: Final = Network(
    name="base-sepolia",
    chain_id=84532,
    token_address="0x036CbD53842c5426634e7929541eC2318f3dCF7e",  # noqa: S106 -- a public contract
    token_name="USDC",  # noqa: S106 -- as the contract says, unlike on Base
    token_version="2",  # noqa: S106 -- as the contract says
    token_decimals=6,
    finality=((100 * _USDC, Confirmations(1)), (10_000 * _USDC, "safe"), (None, "finalized")),
)

LOCAL: Final = Network(
    name="local",
    chain_id=31337,
    token_address=BASE_SEPOLIA.token_address,
    token_name=BASE_SEPOLIA.token_name,
    token_version=BASE_SEPOLIA.token_version,
    token_decimals=6,
    finality=BASE_SEPOLIA.finality,
)
"""A chain on this machine, under the number that local chains have; the token stands where Base Sepolia has it."""

NETWORKS: Final = {network.caip2: network for network in (BASE, BASE_SEPOLIA, LOCAL)}


def finality_for(network: Network, amount_atomic: int) -> Finality:
    """How final a payment of `amount_atomic` must be on `network` before it grants anything."""
    return next(asked for up_to, asked in network.finality if up_to is None or amount_atomic <= up_to)
