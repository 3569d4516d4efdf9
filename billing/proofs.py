"""Verification of what belongs to billing: every payment, grant, receipt and success is there because of the others.

Theory of operation
-------------------
`ledger.verification` proves a book from its own journal; it cannot see that a receipt was changed, that a payment is
missing or that credits were granted for no payment. Here each check is one statement over both schemas that gives the
rows that do not agree. The database joins (and spills what does not fit its memory) and at most `limit` rows come out,
so a long history needs no more memory here. Payments and grants are compared in both directions, payments and receipts
too, receipts and succeeded attempts too: none of them can be taken away, added or moved alone. A payment that grants
nothing is compared with the platform's journal; a grant of nothing paid must be promotional, discounted as a whole.
What was paid on chain came as so much USDC, which stands beside its dollars: a cent is 10,000 of its atomic units.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import job_proofs, reversal_proofs, settlement_proofs
from billing.posting_rules import ON_CHAIN
from billing.proving import Check, Problem
from billing.settlements import MONEYLESS
from ledger import ids
from ledger.operations import LANE, PLATFORM, SYSTEM_SCOPE

CHECKS: Final[tuple[Check, ...]] = (
    Check(
        "payment is granted",
        None,
        """
        SELECT p.organization_id, p.kind || ' ' || p.external_id AS subject,
               CASE WHEN o.id IS NULL THEN 'has no operation in the journal of its organization'
                    WHEN m.paid <> p.amount_cents
                    THEN concat_ws(' ', 'is of', p.amount_cents, 'cents and its grant of', m.paid)
                    ELSE 'has an operation that is not its grant' END AS problem
        FROM billing.external_payments AS p
        LEFT JOIN ledger.operations AS o
          ON o.organization_id = p.organization_id AND o.id = p.operation_id
        CROSS JOIN LATERAL (
          SELECT CASE WHEN p.kind = ANY(:on_chain) THEN 'conversion' ELSE 'stripe_clearing' END AS clearing,
                 CASE WHEN p.kind = ANY(:on_chain) THEN p.amount_cents * 10000 ELSE 0 END AS tokens
        ) AS due
        LEFT JOIN LATERAL (
          SELECT coalesce(sum(t.amount) FILTER (WHERE t.debit = due.clearing), 0) AS paid,
                 coalesce(sum(t.amount) FILTER (WHERE t.debit = 'usdc_clearing'), 0) AS tokens
          FROM ledger.transfers AS t
          WHERE t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq
        ) AS m ON true
        WHERE p.purpose = 'granted'
          AND (o.scope = :system AND o.kind = 'grant' AND o.key = 'grant:' || p.kind || ':' || p.external_id
               AND m.paid = p.amount_cents AND m.tokens = due.tokens
               AND (p.amount_cents = 0) = (p.kind = :moneyless)) IS NOT TRUE""",
    ),
    Check(
        "payment is unallocated",
        None,
        """
        SELECT p.organization_id, p.kind || ' ' || p.external_id AS subject,
               CASE WHEN o.id IS NULL THEN 'has no operation in the platform''s journal'
                    ELSE concat_ws(' ', 'is of', p.amount_cents, 'cents, which its operation does not keep') END
                 AS problem
        FROM billing.external_payments AS p
        LEFT JOIN ledger.operations AS o ON o.organization_id = :platform AND o.id = p.operation_id
        LEFT JOIN LATERAL (
          SELECT array_agg(t.debit || ' ' || t.credit || ' ' || t.amount ORDER BY t.debit) AS moved
          FROM ledger.transfers AS t
          WHERE t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq
        ) AS m ON true
        WHERE p.purpose = 'unallocated'
          AND (o.scope = :system AND o.kind = 'money' AND o.key = 'unallocated:' || p.kind || ':' || p.external_id
               AND m.moved = CASE WHEN p.kind = ANY(:on_chain)
                 THEN ARRAY['conversion unallocated_deposits ' || p.amount_cents,
                            'usdc_clearing conversion_usdc ' || p.amount_cents * 10000]
                 ELSE ARRAY['stripe_clearing unallocated_deposits ' || p.amount_cents] END) IS NOT TRUE""",
    ),
    Check(
        "unallocated is paid",
        None,
        """
        SELECT o.organization_id, 'operation ' || o.seq || ' ' || o.key AS subject,
               'has no external payment' AS problem
        FROM ledger.operations AS o
        WHERE o.lane = :lane AND o.organization_id = :platform AND o.scope = :system AND o.key LIKE 'unallocated:%'
          AND NOT EXISTS (SELECT FROM billing.external_payments AS p
                          WHERE p.operation_id = o.id AND p.purpose = 'unallocated'
                            AND o.key = 'unallocated:' || p.kind || ':' || p.external_id)""",
    ),
    Check(
        "grant is paid",
        None,
        """
        SELECT l.organization_id, coalesce('operation ' || l.seq || ' ' || o.key, 'lot ' || l.lot) AS subject,
               'has no external payment' AS problem
        FROM ledger.lot_openings AS l
        LEFT JOIN ledger.operations AS o
          ON o.lane = l.lane AND o.organization_id = l.organization_id AND o.seq = l.seq AND o.scope = :system
        WHERE l.lane = :lane AND l.cause = 'paid'
          AND NOT EXISTS (SELECT FROM billing.external_payments AS p
                          WHERE p.organization_id = o.organization_id AND p.operation_id = o.id
                            AND p.purpose = 'granted' AND o.key = 'grant:' || p.kind || ':' || p.external_id)
        UNION ALL
        SELECT o.organization_id, 'operation ' || o.seq || ' ' || o.key, 'gives credits for no external payment'
        FROM ledger.operations AS o
        WHERE o.lane = :lane AND o.scope = :system AND o.kind = 'grant'
          AND NOT EXISTS (SELECT FROM ledger.lot_openings AS l
                          WHERE l.lane = o.lane AND l.organization_id = o.organization_id AND l.seq = o.seq
                            AND l.cause = 'paid')
          AND NOT EXISTS (SELECT FROM billing.external_payments AS p
                          WHERE p.organization_id = o.organization_id AND p.operation_id = o.id
                            AND p.purpose = 'granted' AND o.key = 'grant:' || p.kind || ':' || p.external_id)""",
    ),
    Check(
        "payment and receipt agree",
        "payatt",
        """
        SELECT coalesce(p.organization_id, r.organization_id) AS organization_id,
               coalesce(p.attempt_id, r.attempt_id) AS subject,
               CASE WHEN p.operation_id IS NULL THEN 'has a receipt of an operation that is not its payment''s'
                    WHEN r.operation_id IS NULL THEN 'has a payment whose operation is not its receipt''s'
                    ELSE concat_ws(' ', 'has a payment of', p.amount_cents, 'and a receipt of', r.total_cents) END
                 AS problem
        FROM (SELECT * FROM billing.external_payments WHERE purpose = 'granted') AS p
        FULL JOIN billing.receipts AS r
          ON r.organization_id = p.organization_id AND r.attempt_id = p.attempt_id AND r.operation_id = p.operation_id
        WHERE (p.amount_cents = r.total_cents) IS NOT TRUE""",
    ),
    Check(
        "receipt is posted",
        "receipt",
        """
        SELECT r.organization_id, r.id AS subject,
               CASE WHEN o.id IS NULL THEN 'has no operation in the journal'
                    WHEN r.total_cents = 0
                    THEN concat_ws(' ', 'says', r.credits, 'credits for nothing, and its operation gives',
                                   given.credits, given.cause)
                    WHEN l.lot IS NULL THEN 'has an operation that opened no lot'
                    ELSE concat_ws(' ', 'says', r.credits, 'credits for', r.total_cents - r.tax_cents, r.currency,
                                   'and its lot', l.credits, 'for', l.basis_amount, l.basis_currency)
               END AS problem
        FROM billing.receipts AS r
        LEFT JOIN ledger.operations AS o
          ON o.organization_id = r.organization_id AND o.id = r.operation_id
        LEFT JOIN ledger.lot_openings AS l
          ON l.lane = o.lane AND l.organization_id = o.organization_id AND l.seq = o.seq
        LEFT JOIN LATERAL (
          SELECT coalesce(sum(t.amount), 0) AS cents FROM ledger.transfers AS t
          WHERE t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq
            AND t.debit IN ('stripe_clearing', 'conversion') AND t.credit = 'deposit_remainder'
        ) AS rest ON true
        LEFT JOIN LATERAL (
          SELECT sum(t.amount) AS credits, min(g.cause) AS cause FROM ledger.transfers AS t
          JOIN ledger.lots AS g ON g.lane = t.lane AND g.organization_id = t.organization_id AND g.lot = t.lot
          WHERE t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq
            AND t.debit = 'wallet' AND t.credit = 'issued'
        ) AS given ON r.total_cents = 0
        WHERE CASE WHEN r.total_cents = 0
                   THEN given.credits = r.credits AND given.cause = 'promotional' AND r.tax_cents = 0
                        AND r.discount_cents = r.subtotal_cents
                   ELSE l.cause = 'paid' AND l.credits = r.credits AND l.basis_currency = r.currency
                        AND l.basis_amount + rest.cents = r.total_cents - r.tax_cents
              END IS NOT TRUE""",
    ),
    Check(
        "success is receipted",
        "payatt",
        """
        SELECT a.organization_id, a.id AS subject,
               'succeeded with ' || r.number || CASE r.number WHEN 1 THEN ' receipt' ELSE ' receipts' END
                 || CASE WHEN q.settled_at IS NULL THEN ', its quote is not settled' ELSE '' END AS problem
        FROM billing.payment_attempts AS a
        LEFT JOIN billing.credit_quotes AS q ON q.organization_id = a.organization_id AND q.id = a.quote_id
        CROSS JOIN LATERAL (SELECT count(*) AS number FROM billing.receipts AS r
                            WHERE r.organization_id = a.organization_id AND r.attempt_id = a.id) AS r
        WHERE a.state = 'succeeded' AND (r.number <> 1 OR q.settled_at IS NULL)""",
    ),
    Check(
        "receipt is of a success",
        "receipt",
        """
        SELECT r.organization_id, r.id AS subject,
               CASE WHEN a.id IS NULL THEN 'has no attempt'
                    WHEN a.quote_id <> r.quote_id THEN 'names another quote than its attempt'
                    ELSE 'belongs to an attempt that is ' || a.state END AS problem
        FROM billing.receipts AS r
        LEFT JOIN billing.payment_attempts AS a ON a.organization_id = r.organization_id AND a.id = r.attempt_id
        WHERE (a.state = 'succeeded' AND a.quote_id = r.quote_id) IS NOT TRUE""",
    ),
    *reversal_proofs.CHECKS,
    *settlement_proofs.CHECKS,
    *job_proofs.CHECKS,
)


async def problems(session: AsyncSession, organization_id: UUID | None, *, limit: int) -> list[Problem]:
    """What does not agree, of one organization or of all, in the order of `CHECKS`; at most `limit` of it.

    Run it in one REPEATABLE READ transaction. It reads all of billing and may take longer than a request may.
    """
    found: list[Problem] = []
    for check in CHECKS:
        found += await _run(session, check, organization_id, limit - len(found))
    return found


async def _run(session: AsyncSession, check: Check, organization_id: UUID | None, limit: int) -> list[Problem]:
    own = "" if organization_id is None else "WHERE found.organization_id = :organization"
    query = text(f"SELECT * FROM ({check.statement}) AS found {own} ORDER BY organization_id, subject LIMIT :limit")  # noqa: S608
    known = {
        "lane": LANE, "system": SYSTEM_SCOPE, "platform": PLATFORM, "moneyless": MONEYLESS,
        "organization": organization_id, "limit": limit, "on_chain": list(ON_CHAIN),
    }  # fmt: skip
    connection = await session.connection()
    rows = await connection.execute(query, known)
    return [Problem(row.organization_id, check.name, f"{_shown(check, row.subject)} {row.problem}") for row in rows]


def _shown(check: Check, subject: UUID | str) -> str:
    return ids.external(check.prefix, subject) if check.prefix and isinstance(subject, UUID) else str(subject)
