"""What an organization owes for a payment that was taken back after its credits were spent: listed, and given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.catching_up import once_more
from billing.database import Sessions
from billing.operator_actions import Act, Acting, record
from billing.refusals import Refusal, Refused
from billing.requests import locked_attempt
from billing.reversal_tables import ReversalStanding
from billing.reversals import rules, standing
from billing.reversals.lots import with_lot
from billing.tables import ExternalPayment, PaymentAttempt
from ledger import posting
from ledger.ids import external
from ledger.operations import LANE
from ledger.outcomes import PostingRefused
from ledger.tables import LotRow, OperationRow


@dataclass(frozen=True, slots=True)
class Owed:
    """Credits that are owed for one payment, and since when something was last posted against it."""

    organization_id: UUID
    attempt_id: UUID
    payment_id: str
    credits: int
    refunded_cents: int
    updated_at: datetime


async def owed(
    session: AsyncSession,
    *,
    organization_id: UUID | None = None,
    attempt_id: UUID | None = None,
    after: str | None = None,
    limit: int,
) -> list[Owed]:
    """Payments for which credits are owed, by payment id from behind `after`."""
    query = _query().order_by(col(ReversalStanding.payment_id)).limit(limit)
    if organization_id is not None:
        query = query.where(col(ReversalStanding.organization_id) == organization_id)
    if attempt_id is not None:
        query = query.where(col(ReversalStanding.attempt_id) == attempt_id)
    if after is not None:
        query = query.where(col(ReversalStanding.payment_id) > after)
    return [
        Owed(row.organization_id, row.attempt_id, row.payment_id, credits_, row.refunded_cents, row.updated_at)
        for row, credits_ in (await session.exec(query)).all()
    ]


def _query() -> Any:
    """Standings with what is owed of their payment's lot, where something is."""
    standings = (
        select(ReversalStanding, LotRow.owed)
        .join(
            ExternalPayment,
            (col(ExternalPayment.kind) == col(ReversalStanding.payment_kind))
            & (col(ExternalPayment.external_id) == col(ReversalStanding.payment_id)),
        )
        .join(
            OperationRow,
            (col(OperationRow.organization_id) == col(ExternalPayment.organization_id))
            & (col(OperationRow.id) == col(ExternalPayment.operation_id)),
        )
    )
    return with_lot(standings).where(col(LotRow.lane) == LANE, col(LotRow.owed) > 0)


async def write_off(
    sessions: Sessions, *, attempt_id: UUID, credits_: int | None, reason: str, by: Acting, now: datetime
) -> int:
    """Give up `credits_` that are owed for the attempt's payment, or all of them; how many.

    Raises `Refused`: NOT_FOUND, AMOUNT_EXCEEDS_REST when less is owed (also when it was settled meanwhile).
    """
    return await once_more(sessions, lambda: _write_off(sessions, attempt_id, credits_, reason=reason, by=by, now=now))


async def _write_off(
    sessions: Sessions, attempt_id: UUID, credits_: int | None, *, reason: str, by: Acting, now: datetime
) -> int:
    async with sessions() as session, session.begin():
        found = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
        attempt = found and await locked_attempt(session, found.organization_id, attempt_id)
        payment = await standing.granted_payment(session, attempt) if attempt else None
        if attempt is None or payment is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such attempt with a payment")
        rest = sum(one.credits for one in await owed(session, attempt_id=attempt_id, limit=1))
        wanted = rest if credits_ is None else credits_
        if not 0 < wanted <= rest:
            raise Refused(Refusal.AMOUNT_EXCEEDS_REST, f"{rest} credits are owed", recovery={"rest_credits": rest})
        stands = await standing.locked(session, payment, now)
        session.add(stands.row)
        name = external("payatt", attempt_id)
        posted, operations = rules.written_off(stands.terms, stands.posted, wanted, cause=f"write-off {name}", at=now)
        stands.write(posted, now)
        await record(
            session,
            by,
            Act.WRITE_OFF,
            organization_id=attempt.organization_id,
            subject=name,
            reason=reason,
            details={"credits": wanted, "cents": posted.written_off_cents},
            now=now,
        )
        try:
            await posting.post(session, operations)
        except PostingRefused as error:
            raise Refused(Refusal.AMOUNT_EXCEEDS_REST, "what is owed was settled meanwhile") from error
        return wanted
