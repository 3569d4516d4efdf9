"""Refunds that operators asked for, of every organization: which, why, and how far each is."""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import exists
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.refusals import Refusal, Refused
from billing.reversal_tables import PaymentReversal, RefundRequest, ReversalKind
from billing.reversals.refunding import PREFIX
from billing.settlement_states import SettlementState
from billing.settling_tables import Settlement
from ledger import ids

Asked: TypeAlias = tuple[RefundRequest, PaymentReversal | None, bool]
"""A refund that was asked for, the refund that the provider made of it, once that was read, and whether its payment is
beyond any reorganization of its chain."""


def parsed(refund_id: str) -> UUID:
    """The id inside `refund_…`. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse(PREFIX, refund_id)
    except ids.MalformedId:
        raise _not_found() from None


async def listed(
    session: AsyncSession,
    *,
    attempt_id: UUID | None = None,
    state: str | None = None,
    before: UUID | None = None,
    limit: int,
) -> list[Asked]:
    """Refunds that were asked for, newest first, from behind `before`; all, or those of one attempt or in one state."""
    query = _query()
    if attempt_id is not None:
        query = query.where(col(RefundRequest.attempt_id) == attempt_id)
    if state is not None:
        query = query.where(col(RefundRequest.state) == state)
    if before is not None:
        query = query.where(col(RefundRequest.id) < before)
    rows = await session.exec(query.order_by(col(RefundRequest.id).desc()).limit(limit))
    return [(request, reversal, is_final) for request, reversal, is_final in rows.all()]


async def one(session: AsyncSession, request_id: UUID) -> Asked:
    """The refund with this id. Raises `Refused(NOT_FOUND)`."""
    row = (await session.exec(_query().where(col(RefundRequest.id) == request_id))).first()
    if row is None:
        raise _not_found()
    request, reversal, is_final = row
    return request, reversal, is_final


def _query() -> Any:
    made = (col(PaymentReversal.kind) == ReversalKind.REFUND) & (
        col(PaymentReversal.external_id) == col(RefundRequest.refund_id)
    )
    final = exists().where(
        col(Settlement.organization_id) == col(RefundRequest.organization_id),
        col(Settlement.attempt_id) == col(RefundRequest.attempt_id),
        col(Settlement.state).in_([SettlementState.SETTLED, SettlementState.KEPT]),
        col(Settlement.final),
    )
    return select(RefundRequest, PaymentReversal, final).join(PaymentReversal, made, isouter=True)


def _not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such refund")
