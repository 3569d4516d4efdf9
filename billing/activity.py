"""What we say happened, written in the transaction of what it tells. The registry of types is closed."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.fresh import new_id
from billing.tables import ActivityEvent, CreditQuote, PaymentAttempt, Receipt
from ledger.ids import external

LINKS: Final = (
    "quote_id", "payment_attempt_id", "checkout_session_id", "receipt_id", "credit_event_id", "payment_reversal_id",
)  # fmt: skip
"""What an event may be found by, besides its own id and subject."""


class EventType(enum.StrEnum):
    """The types of the public contract that this service writes. Anything else would be a bug."""

    CHECKOUT_SESSION_CREATED = "payment.checkout_session.created"
    PAYMENT_BACKED_GRANTED = "credits.payment_backed_granted"
    PAYMENT_BACKED_REFUNDED = "credits.payment_backed_refunded"
    PAYMENT_BACKED_DISPUTED = "credits.payment_backed_disputed"
    PAYMENT_BACKED_REINSTATED = "credits.payment_backed_reinstated"
    PAYMENT_BACKED_REVERSAL_PENDING = "credits.payment_backed_reversal_pending"
    PAYMENT_BACKED_REVERSAL_REJECTED = "credits.payment_backed_reversal_rejected"


def checkout_session_created(session: AsyncSession, attempt: PaymentAttempt, session_id: str, now: datetime) -> None:
    """A hosted page was made for an attempt."""
    session.add(
        ActivityEvent(
            organization_id=attempt.organization_id,
            id=new_id(now),
            type=EventType.CHECKOUT_SESSION_CREATED,
            occurred_at=now,
            summary="A Stripe Checkout session was created; a human can pay it.",
            operation="credits.buy",
            subject_type="payment_attempt",
            subject_id=external("payatt", attempt.id),
            status="action_required",
            links={
                "quote_id": external("quote", attempt.quote_id),
                "payment_attempt_id": external("payatt", attempt.id),
                "checkout_session_id": session_id,
            },
        )
    )


def payment_backed_granted(session: AsyncSession, quote: CreditQuote, receipt: Receipt, now: datetime) -> None:
    """A settled payment became credits."""
    session.add(
        ActivityEvent(
            organization_id=receipt.organization_id,
            id=new_id(now),
            type=EventType.PAYMENT_BACKED_GRANTED,
            occurred_at=now,
            summary=f"{receipt.credits} credits were granted for "
            + ("a settled payment." if receipt.total_cents else "a promotion of the whole price."),
            operation="credits.buy",
            subject_type="receipt",
            subject_id=external("receipt", receipt.id),
            status="succeeded",
            links={
                "quote_id": external("quote", quote.id),
                "payment_attempt_id": external("payatt", receipt.attempt_id),
                "receipt_id": external("receipt", receipt.id),
                "credit_event_id": external("credit_event", receipt.operation_id),
            },
            cost={"credits": receipt.credits, "amount_cents": receipt.total_cents, "currency": receipt.currency},
        )
    )


async def events(
    session: AsyncSession, organization_id: UUID, *, before: UUID | None, limit: int, subject: str | None
) -> list[ActivityEvent]:
    """The organization's events, newest first, from behind `before`; `subject` keeps those that name that id."""
    query = select(ActivityEvent).where(col(ActivityEvent.organization_id) == organization_id)
    if before is not None:
        query = query.where(col(ActivityEvent.id) < before)
    if subject is not None:
        query = query.where(_names(subject))
    return list((await session.exec(query.order_by(col(ActivityEvent.id).desc()).limit(limit))).all())


def _names(reference: str) -> Any:
    linked = [col(ActivityEvent.links)[key].astext == reference for key in LINKS]
    return or_(col(ActivityEvent.subject_id) == reference, *linked)


async def about(session: AsyncSession, organization_id: UUID, reference: str, *, limit: int) -> list[ActivityEvent]:
    """The events whose own id, subject or links are `reference`."""
    query = select(ActivityEvent).where(col(ActivityEvent.organization_id) == organization_id)
    return list(
        (await session.exec(query.where(_names(reference)).order_by(col(ActivityEvent.id).desc()).limit(limit))).all()
    )


async def by_id(session: AsyncSession, organization_id: UUID, event_id: UUID) -> ActivityEvent | None:
    """One event of the organization."""
    return await session.get(ActivityEvent, (organization_id, event_id))
