"""What an operator alone knows of the treasury: USDC was sold for dollars, ether was bought for gas.

Each is booked once under a reference of the operator's own, as that of the trade, in the platform's book. USDC stands
in `usdc_clearing` of the organizations that paid it while its sale stands in the platform's: only the sum over all
books says what the treasury holds. The same is true of `conversion` and `conversion_usdc`, in which USDC counts at par,
a cent for 10,000 atomic units; what a sale brought beyond or below par is `fx_gain_loss`. Ether is an expense when it
is bought; what of it is left is counted in gwei alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from billing.catching_up import once_more
from billing.database import Sessions, snapshot
from billing.operator_actions import Act, Acting, record
from billing.refusals import Refusal, Refused
from finance.treasury import said_again
from ledger import posting
from ledger.money import AMOUNT_MAX, ether, usd, usdc
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, Operation, Transfer
from ledger.outcomes import Outcome, PostingRefused

ATOMIC_PER_CENT: Final = 10_000
REFERENCE_LENGTH_MAX: Final = 100

_HASH: Final = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_REFERENCE: Final = re.compile(rf"[A-Za-z0-9._#/-]{{1,{REFERENCE_LENGTH_MAX}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Booked:
    """The operation in the platform's book; `replayed` when it stood there already, with the same figures."""

    operation_id: UUID
    replayed: bool


@dataclass(frozen=True, slots=True)
class Sale:
    """USDC that was sold. `received_cents` came to the bank, `fee_cents` the buyer kept of the price besides.

    `transaction_hash` is the transaction in which it left the treasury, where that is known. `sold_at`: none is now.
    """

    network: str
    reference: str
    usdc_atomic: int
    received_cents: int
    fee_cents: int
    transaction_hash: str | None
    sold_at: datetime | None

    @property
    def par_cents(self) -> int:
        """What the books say that the USDC is worth."""
        return self.usdc_atomic // ATOMIC_PER_CENT


@dataclass(frozen=True, slots=True)
class Purchase:
    """Ether that was bought for gas, for `paid_cents` from the bank, the seller's fee included.

    `bought_at`: none is now.
    """

    network: str
    reference: str
    gwei: int
    paid_cents: int
    bought_at: datetime | None


class _Stood(Exception):
    """Something was booked under the reference before; the transaction, with the record of this act, must roll back."""


async def sold_usdc(sessions: Sessions, sale: Sale, *, by: Acting, reason: str, now: datetime) -> Booked:
    """Book a sale of USDC, once under its reference.

    Raises `Refused(INVALID_ARGUMENTS)` for amounts that cannot be (par must be whole cents) and
    `Refused(STATE_CONFLICT)`, which says what differs, when the reference stands for other figures: an amount, the
    transaction, or the day (UTC), if that is said.
    """
    sold_at = sale.sold_at or now
    _require(0 < sale.usdc_atomic <= AMOUNT_MAX, "so much USDC is not sold")
    _require(sale.usdc_atomic % ATOMIC_PER_CENT == 0, "USDC is sold in whole cents, at par")
    _require(0 <= sale.received_cents <= AMOUNT_MAX and 0 <= sale.fee_cents <= AMOUNT_MAX, "the cents cannot be so")
    _require(sale.transaction_hash is None or _HASH.fullmatch(sale.transaction_hash), "the hash is 0x and 64 digits")
    _require_timely(sale.reference, sold_at, now)
    details = {
        "network": sale.network,
        "reference": sale.reference,
        "usdc_atomic": str(sale.usdc_atomic),
        "received_cents": sale.received_cents,
        "fee_cents": sale.fee_cents,
        "transaction_hash": sale.transaction_hash,
        "sold_at": sold_at.isoformat(),
    }
    operation = sale_operation(replace(sale, sold_at=sold_at))
    said = sale.sold_at is not None
    return await _book(sessions, operation, Act.SOLD_USDC, details, day_is_said=said, by=by, reason=reason, now=now)


async def bought_ether(sessions: Sessions, purchase: Purchase, *, by: Acting, reason: str, now: datetime) -> Booked:
    """Book a purchase of ether, once under its reference. Raises as `sold_usdc` does."""
    bought_at = purchase.bought_at or now
    _require(0 < purchase.gwei <= AMOUNT_MAX, "so much ether is not bought")
    _require(0 <= purchase.paid_cents <= AMOUNT_MAX, "the cents cannot be so")
    _require_timely(purchase.reference, bought_at, now)
    details = {
        "network": purchase.network,
        "reference": purchase.reference,
        "gwei": str(purchase.gwei),
        "paid_cents": purchase.paid_cents,
        "bought_at": bought_at.isoformat(),
    }
    operation = purchase_operation(replace(purchase, bought_at=bought_at))
    said = purchase.bought_at is not None
    return await _book(sessions, operation, Act.BOUGHT_ETHER, details, day_is_said=said, by=by, reason=reason, now=now)


def sale_operation(sale: Sale) -> Operation:
    """What a sale moves: the USDC out of clearing, what it brought into the bank, the difference to par."""
    gain = sale.received_cents + sale.fee_cents - sale.par_cents
    moves = (
        ("bank", "conversion", sale.received_cents),
        ("fees", "conversion", sale.fee_cents),
        ("fx_gain_loss", "conversion", -gain),
        ("conversion", "fx_gain_loss", gain),
    )
    dollars = tuple(Transfer(debit, credit, usd(cents)) for debit, credit, cents in moves if cents > 0)
    transfers = (Transfer("conversion_usdc", "usdc_clearing", usdc(sale.usdc_atomic)), *dollars)
    return _operation(f"usdc_sold:{sale.network}:{sale.reference}", transfers, sale.sold_at)


def purchase_operation(purchase: Purchase) -> Operation:
    """What a purchase moves: ether into the gas wallet, its price out of the bank into fees."""
    transfers = [Transfer("gas_wallet", "conversion_eth", ether(purchase.gwei))]
    if purchase.paid_cents:
        transfers.append(Transfer("fees", "bank", usd(purchase.paid_cents)))
    return _operation(f"ether_bought:{purchase.network}:{purchase.reference}", tuple(transfers), purchase.bought_at)


def _operation(key: str, transfers: tuple[Transfer, ...], at: datetime | None) -> Operation:
    return Operation(
        organization_id=PLATFORM,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=key,
        event_at=at,
        cause=key,
        transfers=transfers,
    )


async def _book(
    sessions: Sessions,
    operation: Operation,
    act: Act,
    details: Mapping[str, Any],
    *,
    day_is_said: bool,
    by: Acting,
    reason: str,
    now: datetime,
) -> Booked:
    async def once() -> None:
        async with sessions() as session, session.begin():
            await record(
                session, by, act, organization_id=None, subject=operation.key, reason=reason, details=details, now=now
            )
            [posted] = await posting.post(session, [operation])
            if posted.replayed:
                raise _Stood

    try:
        await once_more(sessions, once)
    except _Stood:
        pass
    except PostingRefused as refused:
        if refused.posted.outcome is not Outcome.EXISTS_WITH_DIFFERENT_CONTENT:
            raise
    else:
        return Booked(operation.id, replayed=False)
    async with snapshot(sessions) as session:
        await said_again.require_same(session, act, operation.key, details, day_is_said=day_is_said)
    return Booked(operation.id, replayed=True)


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Refused(Refusal.INVALID_ARGUMENTS, otherwise)


def _require_timely(reference: str, at: datetime, now: datetime) -> None:
    _require(
        _REFERENCE.fullmatch(reference),
        f"a reference is 1 to {REFERENCE_LENGTH_MAX} letters, digits and any of . _ # / -",
    )
    _require(at <= now, "what has not happened yet is not booked")
