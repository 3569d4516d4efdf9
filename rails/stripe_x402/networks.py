"""The chains a deposit can be asked for on, as data.

Sources: https://docs.base.org/base-chain/quickstart/connecting-to-base (chain id) and
https://developers.circle.com/stablecoins/usdc-contract-addresses (token).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Network:
    """A chain, by Stripe's name for it, and the one token that is asked for on it."""

    name: str
    chain_id: int
    token_currency: str
    token_decimals: int
    token_contract_address: str


BASE: Final = Network(
    name="base",
    chain_id=8453,
    token_currency="usdc",  # noqa: S106 -- the name of a coin
    token_decimals=6,
    token_contract_address="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",  # noqa: S106 -- a public contract
)

NETWORKS: Final = {network.name: network for network in (BASE,)}
