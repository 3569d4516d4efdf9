"""What finance keeps agrees with the books: paid credits are where the days say, and revenue is what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.proving import Problem
from finance.lot_values import Gone, Worth, worth
from ledger.operations import LANE

_NOT_FOLDED_RIGHT: Final = text("""
    WITH told AS (
      SELECT d.organization_id, d.lot, sum(d.consumed) AS consumed, sum(d.expired) AS expired,
             sum(d.reversed) AS reversed, sum(d.owed) AS owed, sum(d.settled) AS settled
      FROM finance.lot_days AS d GROUP BY d.organization_id, d.lot)
    SELECT l.organization_id, l.lot
    FROM ledger.lots AS l
    JOIN ledger.books AS b ON b.lane = l.lane AND b.organization_id = l.organization_id
    JOIN finance.folded_books AS f ON f.organization_id = l.organization_id
    LEFT JOIN told AS t ON t.organization_id = l.organization_id AND t.lot = l.lot
    WHERE l.lane = :lane AND l.cause = 'paid' AND (CAST(:book AS uuid) IS NULL OR l.organization_id = :book)
      AND NOT EXISTS (SELECT FROM ledger.operations AS o
                      WHERE o.lane = b.lane AND o.organization_id = b.organization_id AND o.seq > f.seq
                        AND NOT starts_with(o.key, 'recognition:'))
      AND (coalesce(t.consumed, 0), coalesce(t.expired, 0), coalesce(t.reversed, 0), coalesce(t.owed, 0),
           coalesce(t.settled, 0)) <> (l.consumed, l.expired, l.reversed, l.owed, l.settled)
    ORDER BY l.organization_id, l.lot LIMIT :limit""")

_LOTS: Final = text("""
    SELECT d.organization_id, l.credits, l.basis_amount, sum(d.consumed), sum(d.expired), sum(d.given),
           sum(d.reversed), sum(d.owed), sum(d.settled), sum(d.taken_cents)
    FROM finance.lot_days AS d
    JOIN finance.folded_books AS f ON f.organization_id = d.organization_id AND d.day <= f.recognized_through
    JOIN ledger.lot_openings AS l ON l.lane = :lane AND l.organization_id = d.organization_id AND l.lot = d.lot
    WHERE CAST(:book AS uuid) IS NULL OR d.organization_id = :book
    GROUP BY d.organization_id, l.lot, l.credits, l.basis_amount ORDER BY d.organization_id""")

_POSTED: Final = text("""
    SELECT a.organization_id,
           coalesce(sum(a.credits - a.debits) FILTER (WHERE a.code = 'revenue_usage'), 0),
           coalesce(sum(a.credits - a.debits) FILTER (WHERE a.code = 'revenue_breakage'), 0),
           coalesce(sum(a.debits - a.credits) FILTER (WHERE a.code = 'receivable_owed'), 0)
    FROM ledger.accounts AS a
    WHERE a.lane = :lane AND a.code IN ('revenue_usage', 'revenue_breakage', 'receivable_owed')
      AND (CAST(:book AS uuid) IS NULL OR a.organization_id = :book)
    GROUP BY a.organization_id""")


async def problems(session: AsyncSession, *, organization_id: UUID | None = None, limit: int) -> list[Problem]:
    """At most `limit` things that do not agree; none when all is well. Run it in a snapshot."""
    connection = await session.connection()
    known = {"lane": LANE, "book": organization_id, "limit": limit}
    found = [
        Problem(row.organization_id, "credits are where the days say", f"lot {row.lot} differs from its days")
        for row in await connection.execute(_NOT_FOLDED_RIGHT, known)
    ]
    posted = {row[0]: tuple(map(int, row[1:])) for row in await connection.execute(_POSTED, known)}
    for book, total in (await _worths(session, known)).items():
        due = (total.used, total.breakage, total.receivable)
        if posted.pop(book, (0, 0, 0)) != due:
            says = f"used, expired and owed credits are worth {due} cents, which is not what was posted"
            found.append(Problem(book, "revenue is recognized", says))
    found += [
        Problem(book, "revenue is recognized", "is posted, and no day says why")
        for book, cents in posted.items()
        if any(cents)
    ]
    return found[:limit]


async def _worths(session: AsyncSession, known: Mapping[str, object]) -> dict[UUID, Worth]:
    worths: dict[UUID, Worth] = {}
    async with (await session.connection()).stream(_LOTS, known) as rows:
        async for book, credits_, basis, *gone in rows:
            value = worth(credits_=credits_, basis=basis, gone=Gone(*map(int, gone)))
            worths[book] = worths.get(book, Worth()) + value
    return worths
