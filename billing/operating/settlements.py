"""Payments of wallets as operators see them: of every organization, and the one of an attempt."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.refusals import Refusal, Refused
from billing.settling import records
from billing.settling_tables import Settlement


async def listed(
    session: AsyncSession, *, state: str | None = None, before: UUID | None = None, limit: int
) -> Sequence[Settlement]:
    """Settlements of every organization, newest first, from behind `before`."""
    query = select(Settlement)
    if state is not None:
        query = query.where(col(Settlement.state) == state)
    if before is not None:
        query = query.where(col(Settlement.id) < before)
    return (await session.exec(query.order_by(col(Settlement.id).desc()).limit(limit))).all()


async def one(session: AsyncSession, attempt_id: UUID) -> Settlement:
    """The settlement of an attempt. Raises `Refused(NOT_FOUND)`."""
    found = await records.of_attempt_anywhere(session, attempt_id)
    if found is None:
        raise Refused(Refusal.NOT_FOUND, "there is no payment of a wallet for such an attempt")
    return found[0]
