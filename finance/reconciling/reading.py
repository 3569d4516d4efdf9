"""Both sides of every line, from the database: those that fit are counted there, and only the others come out.

What stands here and not there counts as missing there only if the provider should have told of it: it was here before
the provider was last asked and is not older than what it was asked for, or its payout's other lines were told.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.posting_rules import ON_CHAIN
from billing.settlements import MONEYLESS
from finance.reconciling.comparing import Line, LineSides, Payout, PayoutSides, Uncharged
from finance.reconciling.provider import Covered
from finance.reconciling.stripe_report import OF_PAYOUTS

FOUND_MAX: Final = 10_000
"""Findings of one comparison. Beyond that the sides are not of the same account, and nobody reads a list of it."""
PAYOUTS_MAX: Final = 100_000
CHARGED_WITHIN: Final = timedelta(days=1)
"""How long after a payment its charge may still be missing at the provider."""

_DUE: Final = "(b.created_at < :read_at AND b.occurred_at >= :since)"
_SIDES: Final = """
    FROM finance.statement_lines AS s
    FULL JOIN (SELECT * FROM billing.balance_transactions WHERE currency = 'usd') AS b ON b.id = s.id
    LEFT JOIN finance.statement_payouts AS p ON p.id = b.payout_id
    LEFT JOIN billing.payouts AS o ON o.id = coalesce(b.payout_id, s.payout_id)"""
_FITS: Final = """
    s.id IS NOT NULL AND b.id IS NOT NULL
    AND (s.category, s.amount_cents, s.fee_cents, s.net_cents)
        = (b.category, b.amount_cents, b.fee_cents, b.net_cents)
    AND NOT coalesce(s.payout_id <> b.payout_id AND coalesce(p.status, o.status) NOT IN ('failed', 'canceled'), false)
    AND NOT (s.payout_id IS NOT NULL AND b.payout_id IS NULL AND coalesce(o.complete, false))"""
_MATCHED: Final = text(f"SELECT count(*) {_SIDES} WHERE {_FITS}")
_WRONG: Final = text(f"""
    SELECT coalesce(s.id, b.id) AS id, s.id IS NOT NULL AS is_there, b.id IS NOT NULL AS is_here,
           s.category AS s_category, s.amount_cents AS s_amount, s.fee_cents AS s_fee, s.net_cents AS s_net,
           s.payout_id AS s_payout, s.source_id AS s_source, s.occurred_at AS s_at,
           b.category AS b_category, b.amount_cents AS b_amount, b.fee_cents AS b_fee, b.net_cents AS b_net,
           b.payout_id AS b_payout, b.source_id AS b_source, b.occurred_at AS b_at, b.organization_id
    {_SIDES}
    WHERE ({_FITS}) IS NOT TRUE
      AND (s.id IS NOT NULL OR {_DUE}
           OR (b.category <> ALL(:of_payouts)
               AND EXISTS (SELECT FROM finance.statement_lines AS l WHERE l.payout_id = b.payout_id)))
    ORDER BY 1 LIMIT :limit""")  # noqa: S608 - constants of this file

_CHARGES: Final = """
    WITH charge AS (
      SELECT id, attempt_id, organization_id, amount_cents, fee_cents, net_cents, category, payout_id, source_id,
             occurred_at, row_number() OVER (PARTITION BY attempt_id, amount_cents ORDER BY occurred_at, id) AS n
      FROM billing.balance_transactions
      WHERE category = 'charge' AND currency = 'usd' AND attempt_id IS NOT NULL),
    payment AS (
      SELECT kind, external_id, organization_id, attempt_id, amount_cents, created_at,
             row_number() OVER (PARTITION BY attempt_id, amount_cents ORDER BY created_at, external_id) AS n
      FROM billing.external_payments
      WHERE NOT kind = ANY(:on_chain) AND kind <> :moneyless)"""
_CHARGED: Final = text(f"""{_CHARGES}
    SELECT count(*) FROM payment AS p JOIN charge AS c USING (attempt_id, amount_cents, n)""")  # noqa: S608
_UNCHARGED: Final = text(f"""{_CHARGES}
    SELECT p.external_id, p.organization_id, p.attempt_id, p.amount_cents, p.created_at
    FROM payment AS p LEFT JOIN charge AS c USING (attempt_id, amount_cents, n)
    WHERE c.id IS NULL ORDER BY p.created_at LIMIT :limit""")  # noqa: S608
_UNPAID: Final = text(f"""{_CHARGES}
    SELECT c.* FROM charge AS c LEFT JOIN payment AS p USING (attempt_id, amount_cents, n)
    WHERE p.external_id IS NULL ORDER BY c.id LIMIT :limit""")  # noqa: S608

_PAYOUTS: Final = text("""
    WITH lines AS (
      SELECT payout_id AS id, min(occurred_at) AS at,
             sum(net_cents) FILTER (WHERE category <> ALL(:of_payouts)) AS net
      FROM finance.statement_lines WHERE payout_id IS NOT NULL GROUP BY 1),
    name AS (SELECT id FROM finance.statement_payouts UNION SELECT id FROM billing.payouts UNION SELECT id FROM lines)
    SELECT id, s.amount_cents AS s_amount, s.currency AS s_currency, s.status AS s_status, s.occurred_at AS s_at,
           s.arrives_on, b.amount_cents AS b_amount, b.currency AS b_currency, b.status AS b_status,
           b.occurred_at AS b_at, b.created_at, lines.net, lines.at AS lines_at
    FROM name LEFT JOIN finance.statement_payouts AS s USING (id) LEFT JOIN billing.payouts AS b USING (id)
    LEFT JOIN lines USING (id) ORDER BY id LIMIT :limit""")


class TooMuchIsWrong(Exception):
    """More findings than anybody reads, as when statements are of another account; or more lines than fit here."""


async def _all(session: AsyncSession, query: Any, known: Mapping[str, Any]) -> list[Any]:
    rows = list((await (await session.connection()).execute(query, {**known, "limit": FOUND_MAX + 1})).all())
    if len(rows) > FOUND_MAX:
        raise TooMuchIsWrong(f"more than {FOUND_MAX} lines do not fit; are these the statements of this account?")
    return rows


async def _count(session: AsyncSession, query: Any, known: Mapping[str, Any]) -> int:
    return int((await (await session.connection()).execute(query, known)).scalar_one())


async def lines(session: AsyncSession, covered: Covered | None) -> tuple[int, list[LineSides]]:
    """How many lines fit, and both sides of the others. Raises `TooMuchIsWrong`."""
    asked = {"read_at": covered.read_at if covered else None, "since": covered.since if covered else None}
    rows = await _all(session, _WRONG, {**asked, "of_payouts": sorted(OF_PAYOUTS)})
    sides = [
        LineSides(
            row.id,
            Line(row.b_category, row.b_amount, row.b_fee, row.b_net, row.b_payout, row.b_source, row.b_at,
                 row.organization_id) if row.is_here else None,
            Line(row.s_category, row.s_amount, row.s_fee, row.s_net, row.s_payout, row.s_source, row.s_at)
            if row.is_there else None,
        )
        for row in rows
    ]  # fmt: skip
    return await _count(session, _MATCHED, {}), sides


_KINDS: Final = {"on_chain": sorted(ON_CHAIN), "moneyless": MONEYLESS}


async def payments(session: AsyncSession, covered: Covered | None) -> tuple[int, list[Uncharged]]:
    """How many payments have their charge, and those that have none. Raises `TooMuchIsWrong`."""
    late = covered.read_at - CHARGED_WITHIN if covered is not None else None
    rows = await _all(session, _UNCHARGED, _KINDS)
    found = [
        Uncharged(row.external_id, row.organization_id, row.attempt_id, row.amount_cents, row.created_at,
                  late=late is not None and row.created_at < late)
        for row in rows
    ]  # fmt: skip
    return await _count(session, _CHARGED, _KINDS), found


async def unpaid(session: AsyncSession) -> list[tuple[str, Line, UUID]]:
    """Charges whose attempt has no payment of their amount: id, line, attempt. Raises `TooMuchIsWrong`."""
    rows = await _all(session, _UNPAID, _KINDS)
    return [
        (row.id, Line(row.category, row.amount_cents, row.fee_cents, row.net_cents, row.payout_id, row.source_id,
                      row.occurred_at, row.organization_id), row.attempt_id)
        for row in rows
    ]  # fmt: skip


async def payouts(session: AsyncSession, covered: Covered | None) -> list[PayoutSides]:
    """Both sides of every payout. Raises `TooMuchIsWrong` for more than `PAYOUTS_MAX`."""
    known = {"of_payouts": sorted(OF_PAYOUTS), "limit": PAYOUTS_MAX + 1}
    rows = (await (await session.connection()).execute(_PAYOUTS, known)).all()
    if len(rows) > PAYOUTS_MAX:
        raise TooMuchIsWrong(f"more than {PAYOUTS_MAX} payouts cannot be compared at once")
    return [
        PayoutSides(
            row.id,
            Payout(row.b_amount, row.b_currency, row.b_status, row.b_at) if row.b_at is not None else None,
            Payout(row.s_amount, row.s_currency, row.s_status, row.s_at, row.arrives_on) if row.s_at else None,
            None if row.net is None else int(row.net),
            row.lines_at,
            due=_due(row.b_at, row.created_at, covered),
        )
        for row in rows
    ]


def _due(occurred_at: datetime | None, created_at: datetime | None, covered: Covered | None) -> bool:
    if covered is None or occurred_at is None or created_at is None:
        return False
    return created_at < covered.read_at and occurred_at >= covered.since
