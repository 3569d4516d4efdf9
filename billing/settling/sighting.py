"""Where on the chain a payment stands, whether that is final, and whether it can still come. Changes nothing.

Theory of operation
-------------------
A node may be behind, ahead or lying, so each answer is used for what it proves and no more. That a payment *was* made
is proven by a receipt whose logs settle exactly this authorization. That it was *not* made is proven only by a block
that is final and past the signature's window in which the token has not done with the nonce: until then, nobody is told
that nothing was paid. Who carried a payment out does not matter: its call data is public once it was sent, and anybody
may send it again (which costs them gas and changes nothing).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from billing.settling.records import authorization
from billing.settling_tables import Settlement
from rails.evm.answers import Receipt
from rails.evm.chain import Chain
from rails.evm.networks import Confirmations, finality_for
from rails.evm.receipts import settled_transfer

BLOCK_S: Final = 2
"""Seconds from block to block on Base."""
BLOCKS_OF_A_DAY: Final = 86_400 // BLOCK_S


@dataclass(frozen=True, slots=True)
class Sighting:
    """A payment in a block. `paid_at` is the block's own time."""

    transaction_hash: str
    log_index: int
    block_number: int
    block_hash: str
    paid_at: datetime


def settles(receipt: Receipt, row: Settlement) -> int | None:
    """The index of the log that pays `row` in a receipt; none when it does not pay it."""
    signed = authorization(row)
    return settled_transfer(
        receipt, token=row.asset, payer=signed.from_, nonce=signed.nonce, payee=signed.to, amount=signed.value
    )


async def sight(chain: Chain, row: Settlement, hashes: Iterable[str]) -> Sighting | None:
    """Where the payment stands now: in one of `hashes`, or wherever the token says. Raises `RailUnavailable`."""
    for transaction_hash in hashes:
        found = await _in(chain, row, transaction_hash)
        if found is not None:
            return found
    if not await chain.authorization_state(row.payer, row.nonce):
        return None
    log = await chain.find_authorization_used(row.payer, row.nonce, from_block=await _start(chain, row))
    return await _in(chain, row, log.transaction_hash) if log is not None else None


async def _start(chain: Chain, row: Settlement) -> int:
    """From which block on the payment is looked for. Where no chain was asked at the claim: from a day before it."""
    if row.from_block:
        return row.from_block
    head = await chain.block("latest")
    if head is None:
        return 0
    since = max(0, head.timestamp - int(row.created_at.timestamp())) // BLOCK_S
    return max(0, head.number - since - BLOCKS_OF_A_DAY)


async def _in(chain: Chain, row: Settlement, transaction_hash: str) -> Sighting | None:
    receipt = await chain.receipt(transaction_hash)
    index = settles(receipt, row) if receipt is not None else None
    if receipt is None or index is None:
        return None
    block = await chain.block(receipt.block_number)
    if block is None or block.hash != receipt.block_hash:
        return None  # the chain is just being reorganized, or the node's answers do not fit together: not seen yet
    paid_at = datetime.fromtimestamp(block.timestamp, UTC)
    return Sighting(receipt.transaction_hash, index, receipt.block_number, receipt.block_hash, paid_at)


async def is_final_enough(chain: Chain, row: Settlement, block_number: int) -> bool:
    """Whether the policy of the network takes a payment of this amount in that block as made."""
    finality = finality_for(chain.network, row.amount_atomic)
    if isinstance(finality, Confirmations):
        head = await chain.block("latest")
        return head is not None and head.number - block_number + 1 >= finality.blocks
    tagged = await chain.block(finality)
    return tagged is not None and tagged.number >= block_number


async def is_beyond_reorganization(chain: Chain, block_number: int) -> bool:
    """Whether the chain itself calls the block final."""
    finalized = await chain.block("finalized")
    return finalized is not None and finalized.number >= block_number


async def is_out(chain: Chain, row: Settlement) -> bool:
    """Whether the block that held the payment is no longer that of the chain. False while that is not certain.

    A node that is merely behind, and does not know a block of that number, proves nothing; nor does a payment of which
    only a facilitator told, which names no block.
    """
    if row.block_number is None or not row.block_hash:
        return False
    block = await chain.block(row.block_number)
    return block is not None and block.hash != row.block_hash


async def can_never_come(chain: Chain, row: Settlement) -> bool:
    """Whether it is proven that the payment was not made and cannot be made any more."""
    finalized = await chain.block("finalized")
    if finalized is None:
        return False
    used = await chain.authorization_state(row.payer, row.nonce, at=finalized.number)
    if not used:
        return finalized.timestamp >= row.valid_before
    # Done with and final: carried out for another transfer that was signed under the same nonce, or cancelled.
    # Either is believed only with the log that says so: a node without old logs must not make a payment unmade.
    start = await _start(chain, row)
    log = await chain.find_authorization_used(row.payer, row.nonce, from_block=start)
    if log is None:
        return await chain.find_authorization_canceled(row.payer, row.nonce, from_block=start) is not None
    receipt = await chain.receipt(log.transaction_hash)
    return receipt is not None and receipt.succeeded and settles(receipt, row) is None
