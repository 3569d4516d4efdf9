"""A payment under its attempt's lock: its terms, what was posted against it, what all its reversals come to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.requests import locked_attempt
from billing.reversal_tables import GONE_BACK, PaymentReversal, ReversalKind, ReversalStanding
from billing.reversals.lots import with_opening
from billing.reversals.rules import Live, Posted, Terms
from billing.tables import ExternalPayment, PaymentAttempt, Purpose, Receipt
from ledger.operations import LANE
from ledger.tables import LotOpeningRow, OperationRow

PAYMENT_INTENT: Final = "payment_intent"


@dataclass(frozen=True, slots=True)
class Standing:
    """A granted payment, locked. `row` is what was posted; it changes with `write`."""

    attempt: PaymentAttempt
    receipt: Receipt
    payment: ExternalPayment
    terms: Terms
    row: ReversalStanding

    @property
    def posted(self) -> Posted:
        """What was posted against the payment."""
        return Posted(**{name: getattr(self.row, name) for name in Posted.__slots__})

    def write(self, posted: Posted, now: datetime) -> None:
        """What is posted now."""
        for name, value in asdict(posted).items():
            setattr(self.row, name, value)
        self.row.updated_at = now


async def of_payment(session: AsyncSession, kind: str, external_id: str) -> ExternalPayment | None:
    """A payment that was granted or kept; none when it is not known (yet)."""
    return await session.get(ExternalPayment, (kind, external_id))


async def granted_payment(session: AsyncSession, attempt: PaymentAttempt) -> ExternalPayment | None:
    """The payment that an attempt was granted for; none when there is none, or when nothing was to be paid."""
    query = select(ExternalPayment).where(
        col(ExternalPayment.organization_id) == attempt.organization_id,
        col(ExternalPayment.attempt_id) == attempt.id,
        col(ExternalPayment.purpose) == Purpose.GRANTED,
        col(ExternalPayment.amount_cents) > 0,
    )
    return (await session.exec(query)).first()


async def payment_to_refund(session: AsyncSession, attempt: PaymentAttempt) -> ExternalPayment | None:
    """The payment that an attempt was granted for, else one that was kept without a grant; none when nothing came."""
    query = (
        select(ExternalPayment)
        .where(
            col(ExternalPayment.organization_id) == attempt.organization_id,
            col(ExternalPayment.attempt_id) == attempt.id,
            col(ExternalPayment.purpose).in_((Purpose.GRANTED, Purpose.UNALLOCATED)),
            col(ExternalPayment.amount_cents) > 0,
        )
        .order_by(col(ExternalPayment.purpose) != Purpose.GRANTED, col(ExternalPayment.created_at))
        .limit(1)
    )
    return (await session.exec(query)).first()


async def locked(session: AsyncSession, payment: ExternalPayment, now: datetime) -> Standing:
    """The payment under its attempt's lock. Only for one that was granted and that moved money."""
    attempt = await locked_attempt(session, payment.organization_id, payment.attempt_id)
    if attempt is None:
        raise LookupError(f"payment {payment.external_id} has lost its attempt")
    return await unlocked(session, payment, attempt, now)


async def unlocked(session: AsyncSession, payment: ExternalPayment, attempt: PaymentAttempt, now: datetime) -> Standing:
    """The same without a lock: what it says may change at once."""
    query = select(Receipt).where(
        col(Receipt.organization_id) == attempt.organization_id, col(Receipt.attempt_id) == attempt.id
    )
    receipt = (await session.exec(query)).one()
    row = await session.get(ReversalStanding, (payment.kind, payment.external_id), populate_existing=True)
    if row is None:
        row = ReversalStanding(
            payment_kind=payment.kind,
            payment_id=payment.external_id,
            organization_id=payment.organization_id,
            attempt_id=attempt.id,
            frozen=False,
            updated_at=now,
            **asdict(Posted()),
        )
    return Standing(attempt, receipt, payment, await _terms(session, payment, receipt), row)


async def _terms(session: AsyncSession, payment: ExternalPayment, receipt: Receipt) -> Terms:
    query = with_opening(select(LotOpeningRow).select_from(OperationRow)).where(
        col(OperationRow.lane) == LANE,
        col(OperationRow.organization_id) == payment.organization_id,
        col(OperationRow.id) == payment.operation_id,
    )
    lot: LotOpeningRow = (await session.exec(query)).one()
    return Terms(
        organization_id=payment.organization_id,
        payment=f"{payment.kind}:{payment.external_id}",
        grant_id=payment.operation_id,
        credits=lot.credits,
        total_cents=payment.amount_cents,
        tax_cents=receipt.tax_cents,
        remainder_cents=payment.amount_cents - receipt.tax_cents - (lot.basis_amount or 0),
    )


async def live(session: AsyncSession, payment: ExternalPayment) -> Live:
    """What all reversals of the payment come to, as the rows say now."""
    await session.flush()
    query = (
        select(PaymentReversal.kind, PaymentReversal.lost, func.sum(PaymentReversal.live_cents))
        .where(
            col(PaymentReversal.organization_id) == payment.organization_id,
            col(PaymentReversal.attempt_id) == payment.attempt_id,
            col(PaymentReversal.payment_id) == payment.external_id,
        )
        .group_by(col(PaymentReversal.kind), col(PaymentReversal.lost))
    )
    sums = {(kind, lost): int(cents) for kind, lost, cents in (await session.exec(query)).all()}
    lost = sums.get((ReversalKind.DISPUTE, True), 0)
    return Live(
        refunds_cents=sum(sums.get((kind, False), 0) for kind in GONE_BACK),
        disputes_cents=lost + sums.get((ReversalKind.DISPUTE, False), 0),
        lost_cents=lost,
    )
