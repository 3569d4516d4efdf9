"""What the activity feed says of a reversal. Which types there are is the contract's; `activity` keeps the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from billing import activity
from billing.activity import EventType
from billing.fresh import new_id
from billing.reversal_tables import PaymentReversal, ReversalKind
from billing.reversals.rules import Told
from billing.tables import ActivityEvent, PaymentAttempt, Receipt
from ledger.ids import external

REVERSAL_PREFIX: Final = "payrev"

_TYPES: Final[Mapping[Told, EventType]] = {
    Told.PENDING: EventType.PAYMENT_BACKED_REVERSAL_PENDING,
    Told.REFUNDED: EventType.PAYMENT_BACKED_REFUNDED,
    Told.DISPUTED: EventType.PAYMENT_BACKED_DISPUTED,
    Told.LOST: EventType.PAYMENT_BACKED_DISPUTED,
    Told.REINSTATED: EventType.PAYMENT_BACKED_REINSTATED,
    Told.REJECTED: EventType.PAYMENT_BACKED_REVERSAL_REJECTED,
}
_SUMMARIES: Final[Mapping[tuple[ReversalKind, Told], str]] = {
    (ReversalKind.REFUND, Told.PENDING): "A refund of this payment is on its way; its credits are taken back.",
    (ReversalKind.REFUND, Told.REFUNDED): "This payment was refunded; its credits are taken back.",
    (ReversalKind.REFUND, Told.REJECTED): "The refund did not go through; its credits are back.",
    (ReversalKind.REORGANIZATION, Told.REFUNDED): "The chain has thrown this payment out; its credits are taken back.",
    (ReversalKind.REORGANIZATION, Told.REJECTED): "The payment is back on the chain, and so are its credits.",
    (ReversalKind.DISPUTE, Told.PENDING): "The payer's bank asks about this payment; nothing is taken back yet.",
    (ReversalKind.DISPUTE, Told.DISPUTED): "The payer's bank disputes this payment; its credits are taken back.",
    (ReversalKind.DISPUTE, Told.LOST): "The dispute was decided for the payer; the credits stay taken back.",
    (ReversalKind.DISPUTE, Told.REINSTATED): "The dispute was decided against the payer; the credits are back.",
    (ReversalKind.DISPUTE, Told.REJECTED): "The payer's bank closed its inquiry; nothing was taken back.",
    (
        ReversalKind.WARNING,
        Told.PENDING,
    ): "The card's issuer suspects fraud; what is unspent of it is frozen.",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one step took back from (above 0) or gave back to (below 0) the organization, and by which operation."""

    credits: int
    operation_id: UUID | None


def tell(
    session: AsyncSession,
    row: PaymentReversal,
    told: Told,
    taken: Taken,
    *,
    attempt: PaymentAttempt,
    receipt: Receipt,
    now: datetime,
) -> None:
    """Write the event, unless the feed said so already."""
    if row.told == told:
        return
    row.told = told
    links = {
        "quote_id": external("quote", attempt.quote_id),
        "payment_attempt_id": external("payatt", attempt.id),
        "receipt_id": external("receipt", receipt.id),
        "credit_event_id": external("credit_event", taken.operation_id or receipt.operation_id),
        "payment_reversal_id": external(REVERSAL_PREFIX, row.id),
    }
    activity.tell(
        session,
        ActivityEvent(
            organization_id=row.organization_id,
            id=new_id(now),
            type=_TYPES[told],
            occurred_at=now,
            summary=_SUMMARIES[ReversalKind(row.kind), told],
            operation="credits.buy",
            subject_type="payment_reversal",
            subject_id=links["payment_reversal_id"],
            status=told.value,
            links={**links, **row.details},
            cost={"credits": taken.credits, "amount_cents": row.amount_cents, "currency": receipt.currency},
        ),
    )
