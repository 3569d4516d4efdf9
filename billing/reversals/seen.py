"""What an agent may know of the reversals of its purchase, and what they make of the purchase's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.reversal_tables import GONE_BACK, PaymentReversal, ReversalKind
from billing.tables import ExternalPayment, PaymentAttempt, Receipt


@dataclass(frozen=True, slots=True)
class Reversed:
    """The reversals of one purchase, oldest first. `state` is `refunded` (all of it), `disputed`, or none of both."""

    rows: Sequence[PaymentReversal]
    state: str | None


NOTHING = Reversed((), None)


async def of_attempt(session: AsyncSession, attempt: PaymentAttempt, receipt: Receipt | None) -> Reversed:
    """What was taken back, or asked about, of the attempt's payment; nothing while it has not been granted."""
    if receipt is None:
        return NOTHING
    query = (
        select(PaymentReversal)
        .where(
            col(PaymentReversal.organization_id) == attempt.organization_id,
            col(PaymentReversal.attempt_id) == attempt.id,
            # A second payment of the attempt that is sent back takes nothing from the first.
            col(PaymentReversal.payment_id).in_(
                select(ExternalPayment.external_id).where(
                    col(ExternalPayment.organization_id) == attempt.organization_id,
                    col(ExternalPayment.operation_id) == receipt.operation_id,
                )
            ),
        )
        .order_by(col(PaymentReversal.occurred_at), col(PaymentReversal.id))
    )
    rows = (await session.exec(query)).all()
    if sum(row.live_cents for row in rows if row.kind == ReversalKind.DISPUTE):
        return Reversed(rows, "disputed")
    gone_back = sum(row.live_cents for row in rows if row.kind in GONE_BACK)
    refunded = receipt.total_cents > 0 and gone_back >= receipt.total_cents
    return Reversed(rows, "refunded" if refunded else None)
