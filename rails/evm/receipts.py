"""Which transfer a receipt settles.

USDC writes `AuthorizationUsed(payer, nonce)` and, with nothing in between, the `Transfer` that it stands for. A
transaction may carry out several authorizations, and make equal transfers besides: the one that counts is known by its
neighbour, never by its amount alone.
Source: circlefin/stablecoin-evm contracts/v2/EIP3009.sol, `_transferWithAuthorization`.
"""

from __future__ import annotations

from rails.evm.answers import Log, Receipt
from rails.evm.eip3009 import AUTHORIZATION_USED, TRANSFER, address_word


def settled_transfer(receipt: Receipt, *, token: str, payer: str, nonce: bytes, payee: str, amount: int) -> int | None:
    """The log index of the transfer of `amount` from `payer` to `payee` that used `nonce`; None when there is none.

    Total: None for every receipt that does not settle exactly this, also for one that says it twice.
    """
    if not receipt.succeeded:
        return None
    used = (AUTHORIZATION_USED, address_word(payer), nonce)
    marks = [log.index for log in receipt.logs if _says(log, token, used) and not log.data]
    if len(marks) != 1:
        return None
    followers = [log for log in receipt.logs if log.index == marks[0] + 1]
    moved = (TRANSFER, address_word(payer), address_word(payee))
    settled = len(followers) == 1 and _says(followers[0], token, moved) and _amount(followers[0]) == amount
    return followers[0].index if settled else None


def _says(log: Log, token: str, topics: tuple[bytes, ...]) -> bool:
    return not log.removed and log.address.lower() == token.lower() and log.topics == topics


def _amount(log: Log) -> int | None:
    return int.from_bytes(log.data, "big") if len(log.data) == 32 else None
