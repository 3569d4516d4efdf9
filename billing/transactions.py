"""Lines of the provider's balance are kept once: whichever reading shows a line first posts it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.bookings import booking
from billing.reversal_tables import BalanceTransactionRow
from ledger.operations import Operation
from rails.money import BalanceTransaction


async def unknown(session: AsyncSession, lines: Iterable[BalanceTransaction]) -> list[BalanceTransaction]:
    """Those of `lines` that have not been kept, oldest first, each once.

    Two who ask at once for one line are kept apart by its primary key; those of one payment by its attempt's lock.
    """
    by_id = {line.transaction_id: line for line in lines}
    query = select(BalanceTransactionRow.id).where(col(BalanceTransactionRow.id).in_(by_id))
    known = set((await session.exec(query)).all())
    return sorted(
        (line for line in by_id.values() if line.transaction_id not in known),
        key=lambda line: (line.occurred_at, line.transaction_id),
    )


def keep(
    session: AsyncSession,
    line: BalanceTransaction,
    *,
    organization_id: UUID,
    attempt_id: UUID | None,
    account: str | None,
    now: datetime,
    source_id: str | None = None,
    payout_id: str | None = None,
) -> Operation | None:
    """Keep a line that is not known yet, and say what is to be posted for it; none when it moves nothing.

    Raises `Incomprehensible` for a line that these books have no rule for.
    """
    operation = booking(line, organization_id=organization_id, account=account)
    session.add(
        BalanceTransactionRow(
            id=line.transaction_id,
            organization_id=organization_id,
            attempt_id=attempt_id,
            source_id=source_id or line.source_id,
            category=line.category,
            amount_cents=line.amount,
            fee_cents=line.fee,
            net_cents=line.net,
            currency=line.currency,
            payout_id=payout_id,
            operation_id=operation.id if operation else None,
            occurred_at=line.occurred_at,
            created_at=now,
        )
    )
    return operation
