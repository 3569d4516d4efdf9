"""What was posted as an adjustment is what an exception says was posted for it, account by account, both ways."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.proving import Problem
from finance.reconciling.resolving import KEY
from ledger.operations import LANE, PLATFORM, SYSTEM_SCOPE

_DIFFERS: Final = text("""
    WITH moved AS (
      SELECT split_part(o.key, ':', 2) AS name, side.code, sum(side.amount) AS amount
      FROM ledger.operations AS o
      JOIN ledger.transfers AS t USING (lane, organization_id, seq)
      CROSS JOIN LATERAL (VALUES (t.debit, t.amount), (t.credit, -t.amount)) AS side (code, amount)
      WHERE o.lane = :lane AND o.organization_id = :platform AND o.scope = :system AND starts_with(o.key, :key)
      GROUP BY 1, 2),
    said AS (
      SELECT e.id::text AS name, p.key AS code, p.value::bigint AS amount
      FROM finance.exceptions AS e CROSS JOIN LATERAL jsonb_each_text(e.adjustment -> 'posted') AS p
      WHERE e.adjustment IS NOT NULL)
    SELECT name, code, coalesce(m.amount, 0) AS moved, coalesce(s.amount, 0) AS said
    FROM moved AS m FULL JOIN said AS s USING (name, code)
    WHERE coalesce(m.amount, 0) <> coalesce(s.amount, 0)
    ORDER BY name, code LIMIT :limit""")


async def problems(session: AsyncSession, *, limit: int) -> list[Problem]:
    """At most `limit` adjustments that are not what their exception says. Run it in a snapshot."""
    known = {"lane": LANE, "platform": PLATFORM, "system": SYSTEM_SCOPE, "key": KEY, "limit": limit}
    rows = await (await session.connection()).execute(_DIFFERS, known)
    return [
        Problem(
            PLATFORM,
            "adjustment is decided",
            f"exception {row.name} says {row.said} in {row.code}, and {row.moved} was posted",
        )
        for row in rows
    ]
