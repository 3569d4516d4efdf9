"""Reading the books: balances by what they are made of, and a book as a table that balances."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.operations import LANE, LotCause
from ledger.tables import AccountRow, ChartRow, LotRow, OperationRow


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits of one book at one time. `paid` and `promotional` can be spent; `held` is reserved."""

    paid: int
    promotional: int
    held: int

    @property
    def spendable(self) -> int:
        """All credits that can be spent now."""
        return self.paid + self.promotional


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One account of a book: its posted sums in minor units."""

    code: str
    currency: str
    side: str
    debits: int
    credits: int

    @property
    def balance(self) -> int:
        """On the account's normal side."""
        net = self.debits - self.credits
        return net if self.side == "debit" else -net


async def balance(session: AsyncSession, organization_id: UUID, at: datetime) -> Balance:
    """What the organization can spend at `at` (now or later): lots whose expiry has come no longer count."""
    alive = col(LotRow.expires_at).is_(None) | (col(LotRow.expires_at) > at)
    usable = alive & ~col(LotRow.frozen)
    is_paid = col(LotRow.cause) == LotCause.PAID.value
    query = select(
        func.coalesce(func.sum(col(LotRow.remaining)).filter(usable, is_paid), 0),
        func.coalesce(func.sum(col(LotRow.remaining)).filter(usable, ~is_paid), 0),
        func.coalesce(func.sum(col(LotRow.held)), 0),
    ).where(col(LotRow.lane) == LANE, col(LotRow.organization_id) == organization_id)
    paid, promotional, held = (await session.exec(query)).one()
    return Balance(int(paid), int(promotional), int(held))


async def trial_balance(session: AsyncSession, organization_id: UUID) -> list[TrialRow]:
    """Every account of the book that was ever touched. Debits equal credits in each currency."""
    query = (
        select(AccountRow, ChartRow.side)
        .join(
            ChartRow,
            (col(ChartRow.code) == col(AccountRow.code)) & (col(ChartRow.currency) == col(AccountRow.currency)),
        )
        .where(col(AccountRow.lane) == LANE, col(AccountRow.organization_id) == organization_id)
        .order_by(col(AccountRow.currency), col(AccountRow.code))
    )
    rows = (await session.exec(query)).all()
    return [TrialRow(row.code, row.currency, side, row.debits, row.credits) for row, side in rows]


async def operation(session: AsyncSession, organization_id: UUID, operation_id: UUID) -> OperationRow | None:
    """One operation of the book by the id its caller made."""
    query = select(OperationRow).where(
        col(OperationRow.lane) == LANE,
        col(OperationRow.organization_id) == organization_id,
        col(OperationRow.id) == operation_id,
    )
    return (await session.exec(query)).first()
