"""The deposit as a URI that wallets open and QR codes carry. Pure. Source: https://eips.ethereum.org/EIPS/eip-681."""

from __future__ import annotations

from rails.rail import DepositAction
from rails.stripe_x402.networks import NETWORKS


def payment_uri(action: DepositAction) -> str:
    """`ethereum:<token>@<chain>/transfer?address=<deposit>&uint256=<atomic>`: a transfer of the exact amount."""
    chain_id = NETWORKS[action.network].chain_id
    arguments = f"address={action.deposit_address}&uint256={action.token_amount_atomic}"
    return f"ethereum:{action.token_contract_address}@{chain_id}/transfer?{arguments}"
