"""The deferred-revenue roll-forward: opening + sold − consumed − expired − refunded − disputed ± adjusted = closing.

Every number is a sum of the journal's lines on `deferred_revenue`, told apart by the account on their other side; so
closing is the account's balance at the end of the period, by organization and in total, and nothing is left over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import astuple, dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from finance.periods import Period
from ledger.chart import NUMBERS
from ledger.operations import LANE

_ROWS: Final = text("""
    WITH moved AS (
      SELECT o.organization_id, o.accounting_date < :first AS before, other.code AS other,
             CASE WHEN o.lines[n.at + 2] = :deferred THEN o.lines[n.at + 4] ELSE -o.lines[n.at + 4] END AS cents
      FROM finance.watermark_books AS w
      JOIN ledger.operations AS o
        ON o.lane = :lane AND o.organization_id = w.organization_id AND o.seq <= w.seq
      CROSS JOIN LATERAL generate_series(0, cardinality(o.lines) - 1, 6) AS n (at)
      JOIN ledger.chart AS other
        ON other.number = CASE WHEN o.lines[n.at + 2] = :deferred THEN o.lines[n.at + 1] ELSE o.lines[n.at + 2] END
      WHERE w.watermark_id = :watermark AND o.accounting_date <= :last AND o.kind IN ('grant', 'money')
        AND :deferred IN (o.lines[n.at + 1], o.lines[n.at + 2]))
    SELECT m.organization_id,
           coalesce(sum(m.cents) FILTER (WHERE m.before), 0),
           coalesce(sum(m.cents) FILTER (WHERE NOT m.before AND m.other IN ('stripe_clearing', 'conversion')), 0),
           coalesce(-sum(m.cents) FILTER (WHERE NOT m.before AND m.other = 'revenue_usage'), 0),
           coalesce(-sum(m.cents) FILTER (WHERE NOT m.before AND m.other = 'revenue_breakage'), 0),
           coalesce(-sum(m.cents) FILTER (WHERE NOT m.before AND m.other = 'refunds_payable'), 0),
           coalesce(-sum(m.cents) FILTER (WHERE NOT m.before AND m.other IN ('disputes', 'disputed_payments')), 0),
           coalesce(sum(m.cents) FILTER (WHERE NOT m.before AND m.other NOT IN (
             'stripe_clearing', 'conversion', 'revenue_usage', 'revenue_breakage', 'refunds_payable', 'disputes',
             'disputed_payments')), 0),
           sum(m.cents)
    FROM moved AS m GROUP BY m.organization_id ORDER BY m.organization_id""")


@dataclass(frozen=True, slots=True)
class RollForward:
    """Cents of one organization, or of all of them (`organization_id` none). `adjusted` is signed, the others as said.

    `adjusted` is what became owed, was settled or given up: it stands against `receivable_owed` and `write_off`.
    """

    organization_id: UUID | None
    opening: int = 0
    sold: int = 0
    consumed: int = 0
    expired: int = 0
    refunded: int = 0
    disputed: int = 0
    adjusted: int = 0
    closing: int = 0

    @property
    def ties(self) -> bool:
        """Whether the movements explain the closing balance to the cent."""
        moved = self.sold - self.consumed - self.expired - self.refunded - self.disputed + self.adjusted
        return self.opening + moved == self.closing


async def rows(session: AsyncSession, period: Period, watermark_id: UUID) -> AsyncIterator[RollForward]:
    """One for each organization that ever sold or owed anything by then, in the order of ids, and the total last.

    Up to the watermark; run it in the export's own snapshot. Raises `ArithmeticError` when one does not tie.
    """
    known = {
        "lane": LANE, "watermark": watermark_id, "first": period.first_day, "last": period.last_day,
        "deferred": NUMBERS["deferred_revenue"],
    }  # fmt: skip
    total = RollForward(None)
    async with (await session.connection()).stream(_ROWS, known) as found:
        async for organization_id, *cents in found:
            row = RollForward(organization_id, *map(int, cents))
            if not row.ties:
                raise ArithmeticError(f"the roll-forward of {organization_id} does not tie")
            total = RollForward(None, *(a + b for a, b in zip(astuple(total)[1:], astuple(row)[1:], strict=True)))
            yield row
    yield total
