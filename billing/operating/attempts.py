"""Payment attempts as operators see them: of every organization, and one with all that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.attempts import AttemptState, RequestState
from billing.fulfillment import UNDER_REVIEW
from billing.refusals import Refusal, Refused
from billing.reversal_tables import PaymentReversal, RefundRequest, ReversalStanding
from billing.tables import CreditQuote, ExternalPayment, PaymentAttempt, ProviderRequestRow, Receipt
from ledger import ids

Row = TypeVar("Row", bound=SQLModel)

PREFIX: Final = "payatt"
UNKNOWN_FOR: Final = timedelta(minutes=15)
"""A request without an answer is sent again within seconds; after this long a person may want to know."""
OVERDUE_FOR: Final = timedelta(hours=1)
"""What can no longer be paid is closed by the sweep within half an hour."""
PROCESSING_FOR: Final = timedelta(days=14)
"""Delayed methods take this long at most. Source: Stripe, "Bank debits", days to confirm."""
PARTS_MAX: Final = 100
"""Of each kind of thing that one attempt is shown with."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An attempt with its quote and everything that was asked, paid, granted and taken back for it, oldest first."""

    attempt: PaymentAttempt
    quote: CreditQuote
    receipt: Receipt | None
    requests: Sequence[ProviderRequestRow]
    payments: Sequence[ExternalPayment]
    standings: Sequence[ReversalStanding]
    reversals: Sequence[PaymentReversal]
    refunds: Sequence[RefundRequest]


def parsed(attempt_id: str) -> UUID:
    """The id inside `payatt_…`. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse(PREFIX, attempt_id)
    except ids.MalformedId:
        raise _not_found() from None


async def listed(
    session: AsyncSession,
    *,
    state: str | None = None,
    organization_id: UUID | None = None,
    stuck_at: datetime | None = None,
    before: UUID | None = None,
    limit: int,
) -> list[PaymentAttempt]:
    """Attempts, newest first, from behind `before`; with `stuck_at` those that somebody should look at by that time."""
    query = select(PaymentAttempt)
    if state is not None:
        query = query.where(col(PaymentAttempt.state) == state)
    if organization_id is not None:
        query = query.where(col(PaymentAttempt.organization_id) == organization_id)
    if stuck_at is not None:
        query = query.where(stuck(stuck_at))
    if before is not None:
        query = query.where(col(PaymentAttempt.id) < before)
    return list((await session.exec(query.order_by(col(PaymentAttempt.id).desc()).limit(limit))).all())


def stuck(now: datetime) -> ColumnElement[bool]:
    """Which attempts do not move by themselves.

    Nobody knows whether the provider was asked, money does not agree, a payment is on its way for too long, or the
    sweep should have closed it.
    """
    state, processing = col(PaymentAttempt.state), AttemptState.PROCESSING
    return or_(
        and_(state == AttemptState.CREATED, unanswered(now)),
        and_(state == processing, col(PaymentAttempt.reason) == UNDER_REVIEW),
        and_(state == processing, col(PaymentAttempt.created_at) < now - PROCESSING_FOR),
        and_(state == AttemptState.ACTION_REQUIRED, col(PaymentAttempt.payable_until) < now - OVERDUE_FOR),
    )


def unanswered(now: datetime) -> ColumnElement[bool]:
    """Whether the attempt's newest request has had no answer for `UNKNOWN_FOR`."""
    request = select(ProviderRequestRow.number).where(
        col(ProviderRequestRow.organization_id) == col(PaymentAttempt.organization_id),
        col(ProviderRequestRow.attempt_id) == col(PaymentAttempt.id),
        col(ProviderRequestRow.number) == col(PaymentAttempt.request_number),
        col(ProviderRequestRow.state).in_([RequestState.STORED, RequestState.UNKNOWN]),
        col(ProviderRequestRow.created_at) < now - UNKNOWN_FOR,
    )
    return request.exists()


async def whole(session: AsyncSession, attempt_id: UUID) -> Whole:
    """One attempt of any organization. Raises `Refused(NOT_FOUND)`."""
    attempt = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
    if attempt is None:
        raise _not_found()
    quote = await session.get(CreditQuote, (attempt.organization_id, attempt.quote_id))
    if quote is None:
        raise LookupError(f"attempt {attempt_id} has lost its quote")
    receipts = await _of(session, attempt, Receipt, "created_at")
    payments = await _of(session, attempt, ExternalPayment, "created_at")
    standings = [await session.get(ReversalStanding, (one.kind, one.external_id)) for one in payments]
    return Whole(
        attempt,
        quote,
        receipts[0] if receipts else None,
        await _of(session, attempt, ProviderRequestRow, "number"),
        payments,
        [standing for standing in standings if standing is not None],
        await _of(session, attempt, PaymentReversal, "id"),
        await _of(session, attempt, RefundRequest, "id"),
    )


async def _of(session: AsyncSession, attempt: PaymentAttempt, table: type[Row], order: str) -> Sequence[Row]:
    columns: Any = table
    query = select(table).where(columns.organization_id == attempt.organization_id, columns.attempt_id == attempt.id)
    return (await session.exec(query.order_by(getattr(columns, order)).limit(PARTS_MAX))).all()


def _not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such attempt")
