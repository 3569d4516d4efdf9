"""The clearing account over all books against what the provider still has, and how old that is.

Money stands in `stripe_clearing` from its grant until its payout, in the book of whoever paid; over all books it is
what the provider has not paid out. What explains a difference is counted: payments whose charge is not booked yet, and
what was found missing or different. Whatever else is in the account nobody can explain, and that is a finding itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.bookings import CLEARING
from finance.reconciling.found import Compared, Found
from finance.statement_tables import Finding

SOURCE: Final = "stripe_clearing"
BUCKETS: Final = (("0-1", 1), ("2-7", 7), ("8-30", 30), (">30", None))
"""Ages in whole days: the name, and the last day that belongs to it."""

_OURS: Final = text("""
    SELECT (SELECT coalesce(sum(debits - credits), 0) FROM ledger.accounts WHERE code = :clearing) AS ours,
           (SELECT coalesce(sum(net_cents), 0) FROM billing.balance_transactions WHERE currency = 'usd') AS booked,
           (SELECT coalesce(sum((adjustment -> 'posted' ->> :clearing)::bigint), 0) FROM finance.exceptions
            WHERE adjustment IS NOT NULL) AS adjusted""")
# What came back with a payout is the provider's again; a payout's own line then stands beside the one that undid it.
_THEIRS: Final = text("""
    SELECT floor(extract(epoch FROM CAST(:now AS timestamptz) - l.occurred_at) / 86400)::integer AS days,
           count(*) AS lines, sum(l.net_cents) AS cents
    FROM finance.statement_lines AS l
    LEFT JOIN finance.statement_payouts AS s ON s.id = l.payout_id
    LEFT JOIN billing.payouts AS b ON b.id = l.payout_id
    WHERE l.payout_id IS NULL OR coalesce(s.status, b.status) IN ('failed', 'canceled')
    GROUP BY 1""")


class Age(NamedTuple):
    """Lines of one age, and what they are together, in cents."""

    days: int
    lines: int
    cents: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """Cents. `ours` is the account over all books, `booked` what stands here as its reasons, `theirs` by age."""

    ours: int
    booked: int
    adjusted: int
    waiting: int
    theirs: Sequence[Age]

    @property
    def unexplained(self) -> int:
        """What is in the account for no reason that stands here."""
        return self.ours - self.booked - self.waiting - self.adjusted

    def compared(self, now: datetime) -> Compared:
        """One finding, or none."""
        if not self.unexplained:
            return Compared(SOURCE, 1)
        here = {"account_cents": self.ours, "explained_cents": self.ours - self.unexplained}
        one = Found(SOURCE, "usd", Finding.DIFFERENT, None, -self.unexplained, "usd", here, {}, now)
        return Compared(SOURCE, 0, (one,))

    def told(self) -> dict[str, Any]:
        """For the report: both sides, what lies between them, and what the provider has by age."""
        theirs = sum(age.cents for age in self.theirs)
        return {
            "currency": "usd",
            "ours_cents": self.ours,
            "theirs_cents": theirs,
            "difference_cents": theirs - self.ours,
            "waiting_for_their_charge_cents": self.waiting,
            "adjusted_cents": self.adjusted,
            "unexplained_cents": self.unexplained,
            "ageing": ageing(self.theirs),
        }


def ageing(ages: Sequence[Age]) -> list[dict[str, Any]]:
    """The lines in their buckets, the youngest first; a line from the future counts as made today."""
    found = []
    after = None
    for name, last in BUCKETS:
        some = [one for one in ages if (after is None or one.days > after) and (last is None or one.days <= last)]
        found.append({"days": name, "lines": sum(o.lines for o in some), "cents": sum(o.cents for o in some)})
        after = last
    return found


async def read(session: AsyncSession, *, waiting: int, now: datetime) -> Clearing:
    """The account as it stands in this snapshot. `waiting`: payments that are granted and have no charge yet, cents."""
    connection = await session.connection()
    ours = (await connection.execute(_OURS, {"clearing": CLEARING})).one()
    theirs = (await connection.execute(_THEIRS, {"now": now})).all()
    ages = [Age(row.days, row.lines, int(row.cents)) for row in theirs]
    return Clearing(int(ours.ours), int(ours.booked), int(ours.adjusted), waiting, ages)
