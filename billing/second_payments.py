"""Money that is paid for a quote which has been paid: it grants nothing, and it is never lost from sight.

It stands in the platform's book as unallocated; the first grant stays as it is. When the quote says so it is sent back
at once, like any refund; otherwise an operator decides. What the payer may know of it stands on the attempt.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import posting_rules
from billing.attempts import AttemptState, Happening, after
from billing.reversals import refunding
from billing.tables import CreditQuote, ExternalPayment, PaymentAttempt, Purpose
from ledger.ids import external
from ledger.money import usd
from ledger.operations import Operation
from rails.rail import PaymentSettled

REASON: Final = "a second payment of a quote that has been paid"
THE_SERVICE: Final = UUID(int=0)
"""Who asks for a refund that no operator asked for."""

log = structlog.get_logger()


async def keep(
    session: AsyncSession, fact: PaymentSettled, quote: CreditQuote, attempt: PaymentAttempt, now: datetime
) -> Operation:
    """Store the payment, end its attempt, ask for its refund where that was promised; what is to be posted for it.

    Quote and attempt are locked. The alert may be told again when the transaction has to be tried again.
    """
    payment, operation = unallocated(session, fact, attempt, now)
    what_next = "it is being sent back" if quote.refund_second_payment else "it is kept until it is sent back"
    end(attempt, now, reason=f"A second payment of {usd(fact.total).decimal()} {quote.currency} arrived; {what_next}.")
    if quote.refund_second_payment:
        await refunding.store(
            session,
            payment=payment,
            amount_cents=fact.total,
            reason=REASON,
            asked_by=THE_SERVICE,
            idempotency_key=f"second:{fact.payment_id}",
            now=now,
        )
    log.error(
        "second_payment",
        attempt_id=external("payatt", attempt.id),
        payment_id=fact.payment_id,
        amount_cents=fact.total,
        refunded=quote.refund_second_payment,
    )
    return operation


def unallocated(
    session: AsyncSession, fact: PaymentSettled, attempt: PaymentAttempt, now: datetime
) -> tuple[ExternalPayment, Operation]:
    """Store real money that grants nothing; what is to be posted for it. The attempt is locked."""
    operation = posting_rules.unallocated(fact)
    payment = ExternalPayment(
        kind=fact.payment_kind,
        external_id=fact.payment_id,
        organization_id=attempt.organization_id,
        attempt_id=attempt.id,
        purpose=Purpose.UNALLOCATED,
        amount_cents=fact.total,
        operation_id=operation.id,
        created_at=now,
    )
    session.add(payment)
    return payment, operation


def end(attempt: PaymentAttempt, now: datetime, *, reason: str | None) -> None:
    """Nothing more is to be paid on `attempt`. The one that paid the quote stays succeeded."""
    state = after(AttemptState(attempt.state), Happening.CANCELED)
    if state != attempt.state or reason is not None:
        attempt.state, attempt.reason, attempt.updated_at = state, reason, now
