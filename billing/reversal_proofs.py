"""Verification of what was taken back, kept and paid out: every line of the provider's balance stands in the books.

What a line did to clearing is the line's own net, but for a payment of ours, whose gross came with its grant. So
clearing over all books is what the provider's balance says, line by line; and what was taken back in credits is what
the lots say, and in money what the reversals say.
"""

from __future__ import annotations

from typing import Final

from billing.proving import Check

CHECKS: Final = (
    Check(
        "line is posted",
        None,
        """
        SELECT b.organization_id, 'line ' || b.id AS subject,
               CASE WHEN b.operation_id IS NULL THEN 'moves ' || due.cents || ' cents of clearing and is not posted'
                    WHEN o.id IS NULL THEN 'has no operation in the journal of its organization'
                    ELSE concat_ws(' ', 'moves', due.cents, 'cents of clearing, and its operation', m.cents) END
                 AS problem
        FROM billing.balance_transactions AS b
        CROSS JOIN LATERAL (
          SELECT CASE WHEN b.category = 'charge' AND b.attempt_id IS NOT NULL THEN -b.fee_cents ELSE b.net_cents END
            AS cents, CASE b.currency WHEN 'usdc' THEN 'conversion' ELSE 'stripe_clearing' END AS clearing
        ) AS due
        LEFT JOIN ledger.operations AS o
          ON o.organization_id = b.organization_id AND o.id = b.operation_id
        LEFT JOIN LATERAL (
          SELECT coalesce(sum(CASE WHEN t.debit = due.clearing THEN t.amount ELSE -t.amount END), 0) AS cents
          FROM ledger.transfers AS t
          WHERE t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq
            AND due.clearing IN (t.debit, t.credit)
        ) AS m ON true
        WHERE CASE WHEN b.operation_id IS NULL THEN due.cents = 0
                   ELSE o.scope = :system AND o.kind = 'money' AND o.key = 'balance:' || b.id AND m.cents = due.cents
              END IS NOT TRUE""",
    ),
    Check(
        "posted line is kept",
        None,
        """
        SELECT o.organization_id, 'operation ' || o.seq || ' ' || o.key AS subject,
               'is of a line of the balance that is not kept' AS problem
        FROM ledger.operations AS o
        WHERE o.lane = :lane AND o.scope = :system AND o.kind = 'money' AND o.key LIKE 'balance:%'
          AND NOT EXISTS (SELECT FROM billing.balance_transactions AS b
                          WHERE b.organization_id = o.organization_id AND b.operation_id = o.id)""",
    ),
    Check(
        "credits taken back are in the lot",
        None,
        """
        SELECT s.organization_id, s.payment_kind || ' ' || s.payment_id AS subject,
               concat_ws(' ', 'took back', s.credits_reversed, 'credits, wrote off', s.credits_written_off,
                         'and its lot says', l.reversed) AS problem
        FROM billing.reversal_standings AS s
        LEFT JOIN billing.external_payments AS p ON p.kind = s.payment_kind AND p.external_id = s.payment_id
        LEFT JOIN ledger.operations AS o
          ON o.organization_id = p.organization_id AND o.id = p.operation_id
        LEFT JOIN ledger.lot_openings AS g
          ON g.lane = o.lane AND g.organization_id = o.organization_id AND g.seq = o.seq
        LEFT JOIN ledger.lots AS l
          ON l.lane = g.lane AND l.organization_id = g.organization_id AND l.lot = g.lot
        WHERE (l.reversed = s.credits_reversed - s.credits_written_off) IS NOT TRUE""",
    ),
    Check(
        "lot taken back has a standing",
        None,
        """
        SELECT l.organization_id, 'lot ' || l.lot AS subject,
               'is taken back by ' || l.reversed || ' credits without a reversal of its payment' AS problem
        FROM ledger.lots AS l
        WHERE l.lane = :lane AND l.reversed > 0
          AND NOT EXISTS (
            SELECT FROM ledger.lot_openings AS g
            JOIN ledger.operations AS o
              ON o.lane = g.lane AND o.organization_id = g.organization_id AND o.seq = g.seq
            JOIN billing.external_payments AS p ON p.organization_id = o.organization_id AND p.operation_id = o.id
            JOIN billing.reversal_standings AS s ON s.payment_kind = p.kind AND s.payment_id = p.external_id
            WHERE g.lane = l.lane AND g.organization_id = l.organization_id AND g.lot = l.lot)""",
    ),
    Check(
        "money taken back is that of the reversals",
        None,
        """
        SELECT p.organization_id, p.kind || ' ' || p.external_id AS subject,
               concat_ws(' ', 'has refunds of', r.refunds, 'disputes of', r.disputed, 'and lost ones of', r.lost,
                         'and posted', coalesce(s.refunded_cents, 0), coalesce(s.disputed_cents, 0), 'and',
                         coalesce(s.lost_cents, 0)) AS problem
        FROM billing.external_payments AS p
        LEFT JOIN billing.reversal_standings AS s ON s.payment_kind = p.kind AND s.payment_id = p.external_id
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(v.live_cents) FILTER (WHERE v.kind IN ('refund', 'reorganization')), 0) AS refunds,
                 coalesce(sum(v.live_cents) FILTER (WHERE v.kind = 'dispute' AND v.lost), 0) AS lost,
                 coalesce(sum(v.live_cents) FILTER (WHERE v.kind = 'dispute' AND NOT v.lost), 0) AS disputed
          FROM billing.payment_reversals AS v
          WHERE v.organization_id = p.organization_id AND v.attempt_id = p.attempt_id
            AND v.payment_kind = p.kind AND v.payment_id = p.external_id
        ) AS r
        WHERE p.purpose = 'granted'
          AND (coalesce(s.refunded_cents, 0), coalesce(s.lost_cents, 0), coalesce(s.disputed_cents, 0))
              <> (r.refunds, r.lost, r.disputed)""",
    ),
    Check(
        "credits taken back are the share of the money",
        None,
        """
        SELECT s.organization_id, s.payment_kind || ' ' || s.payment_id AS subject,
               concat_ws(' ', 'took back', s.credits_reversed, 'credits where the reversals come to', target.credits)
                 AS problem
        FROM billing.reversal_standings AS s
        LEFT JOIN billing.external_payments AS p ON p.kind = s.payment_kind AND p.external_id = s.payment_id
        LEFT JOIN ledger.operations AS o ON o.organization_id = p.organization_id AND o.id = p.operation_id
        LEFT JOIN ledger.lot_openings AS g
          ON g.lane = o.lane AND g.organization_id = o.organization_id AND g.seq = o.seq
        CROSS JOIN LATERAL (
          SELECT ceil(g.credits::numeric * least(coalesce(sum(v.live_cents), 0), p.amount_cents) / p.amount_cents)
            AS credits
          FROM billing.payment_reversals AS v
          WHERE v.organization_id = p.organization_id AND v.attempt_id = p.attempt_id
            AND v.payment_kind = p.kind AND v.payment_id = p.external_id
        ) AS target
        WHERE (s.credits_reversed = target.credits) IS NOT TRUE""",
    ),
    Check(
        "reversal is in the books",
        None,
        """
        SELECT s.organization_id, s.payment_kind || ' ' || s.payment_id AS subject,
               concat_ws(' ', 'has posted', j.refunded, j.lost, j.disputed, j.written_off, 'and says',
                         s.refunded_cents, s.lost_cents, s.disputed_cents, s.written_off_cents) AS problem
        FROM billing.reversal_standings AS s
        LEFT JOIN billing.external_payments AS p ON p.kind = s.payment_kind AND p.external_id = s.payment_id
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(CASE WHEN t.credit = 'refunds_payable' THEN t.amount
                                   WHEN t.debit = 'refunds_payable' THEN -t.amount END), 0) AS refunded,
                 coalesce(sum(CASE WHEN t.credit = 'disputes' THEN t.amount
                                   WHEN t.debit = 'disputes' THEN -t.amount END), 0) AS lost,
                 coalesce(sum(CASE WHEN t.credit = 'disputed_payments' THEN t.amount
                                   WHEN t.debit = 'disputed_payments' THEN -t.amount END), 0) AS disputed,
                 coalesce(sum(CASE WHEN starts_with(o.key, 'reversal:') THEN 0 WHEN t.debit = 'write_off' THEN t.amount
                                   WHEN t.credit = 'write_off' THEN -t.amount END), 0) AS written_off
          FROM ledger.operations AS o
          JOIN ledger.transfers AS t ON t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq
          WHERE o.lane = :lane AND o.organization_id = s.organization_id AND o.scope = :system AND o.kind = 'money'
            AND (starts_with(o.key, 'reversal:' || s.payment_kind || ':' || s.payment_id || ':')
                 OR starts_with(o.key, 'written_off:' || s.payment_kind || ':' || s.payment_id || ':')
                 OR starts_with(o.key, 'unforgiven:' || s.payment_kind || ':' || s.payment_id || ':'))
        ) AS j
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(CAST(CAST(o.terms AS jsonb) ->> 'written_off' AS bigint)), 0) AS credits
          FROM ledger.operations AS o
          WHERE o.lane = :lane AND o.organization_id = s.organization_id AND o.scope = :system
            AND o.kind = 'write_off' AND o.target = p.operation_id
        ) AS w
        WHERE (j.refunded = least(s.refunded_cents, p.amount_cents) AND j.lost = s.refunded_cents + s.lost_cents
                 - least(s.refunded_cents, p.amount_cents)
               AND j.disputed = least(s.refunded_cents + s.lost_cents + s.disputed_cents, p.amount_cents)
                 - least(s.refunded_cents + s.lost_cents, p.amount_cents) AND j.written_off = s.written_off_cents
               AND s.credits_written_off <= w.credits) IS NOT TRUE""",
    ),
    Check(
        "freeze has its reason",
        None,
        """
        SELECT l.organization_id, 'lot ' || l.lot AS subject,
               CASE WHEN l.frozen THEN 'is frozen, and nobody stopped its organization or warned of its payment'
                    ELSE 'is not frozen, although its payment was warned of' END AS problem
        FROM ledger.lots AS l
        LEFT JOIN ledger.lot_openings AS g
          ON g.lane = l.lane AND g.organization_id = l.organization_id AND g.lot = l.lot
        LEFT JOIN ledger.operations AS o
          ON o.lane = g.lane AND o.organization_id = g.organization_id AND o.seq = g.seq
        LEFT JOIN billing.external_payments AS p ON p.organization_id = o.organization_id AND p.operation_id = o.id
        LEFT JOIN billing.reversal_standings AS s ON s.payment_kind = p.kind AND s.payment_id = p.external_id
        LEFT JOIN billing.organizations AS n ON n.id = l.organization_id
        WHERE l.lane = :lane AND (coalesce(s.frozen, false) AND NOT l.frozen
               OR l.frozen AND NOT coalesce(s.frozen, false) AND n.frozen_at IS NULL)""",
    ),
    Check(
        "refund was asked for",
        "refund",
        """
        SELECT r.organization_id, r.id AS subject,
               CASE WHEN v.id IS NOT NULL AND v.amount_cents <> r.amount_cents
                    THEN concat_ws(' ', 'asks for', r.amount_cents, 'cents and made a refund of', v.amount_cents)
                    ELSE 'was asked for by no operator that is known' END AS problem
        FROM billing.refund_requests AS r
        LEFT JOIN billing.payment_reversals AS v
          ON v.organization_id = r.organization_id AND v.kind = 'refund' AND v.external_id = r.refund_id
        WHERE v.amount_cents <> r.amount_cents
           OR NOT EXISTS (SELECT FROM billing.operator_actions AS a
                          WHERE a.action = 'refund' AND a.organization_id = r.organization_id
                            AND a.key_id IS NOT DISTINCT FROM nullif(r.asked_by, :system))
              AND NOT EXISTS (SELECT FROM billing.external_payments AS p
                              WHERE p.kind = r.payment_kind AND p.external_id = r.payment_id
                                AND p.purpose = 'unallocated')""",
    ),
)
