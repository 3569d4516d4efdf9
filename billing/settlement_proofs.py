"""Verification of payments that wallets signed: what was granted was settled, once, and what vanished was taken back.

The chain itself is not asked here; `settled` is only written from a receipt of it.
"""

from __future__ import annotations

from typing import Final

from billing.proving import Check

CHECKS: Final = (
    Check(
        "settled payment is in the books",
        "payatt",
        """
        SELECT s.organization_id, s.attempt_id AS subject,
               concat_ws(' ', 'is', s.state, 'for', s.amount_atomic, 'atomic units, and its payment is',
                         coalesce(p.purpose || ' of ' || p.amount_cents || ' cents', 'not known')) AS problem
        FROM billing.settlements AS s
        LEFT JOIN billing.external_payments AS p
          ON p.kind = 'x402_authorization'
             AND p.external_id = s.network || ':' || lower(s.payer) || ':' || '0x' || encode(s.nonce, 'hex')
        WHERE s.state IN ('settled', 'kept', 'vanished')
          AND (p.organization_id = s.organization_id AND p.attempt_id = s.attempt_id
               AND p.amount_cents * 10000 = s.amount_atomic
               AND (s.state <> 'kept' OR p.purpose = 'unallocated')) IS NOT TRUE""",
    ),
    Check(
        "payment on chain has its settlement",
        None,
        """
        SELECT p.organization_id, p.kind || ' ' || p.external_id AS subject,
               concat_ws(' ', 'has a settlement that is', coalesce(s.state, 'not there')) AS problem
        FROM billing.external_payments AS p
        LEFT JOIN billing.settlements AS s
          ON s.organization_id = p.organization_id AND s.attempt_id = p.attempt_id
             AND p.external_id = s.network || ':' || lower(s.payer) || ':' || '0x' || encode(s.nonce, 'hex')
        WHERE p.kind = 'x402_authorization'
          -- One that vanished for good has failed; then a reorganization holds all of it.
          AND (s.state IN ('settled', 'kept', 'vanished') OR (s.state = 'failed' AND s.final)) IS NOT TRUE""",
    ),
    Check(
        "vanished payment is taken back",
        "payatt",
        """
        SELECT s.organization_id, s.attempt_id AS subject,
               concat_ws(' ', 'is', s.state, 'and', v.live, 'cents of it are taken back as reorganized') AS problem
        FROM billing.settlements AS s
        JOIN billing.external_payments AS p
          ON p.kind = 'x402_authorization'
             AND p.external_id = s.network || ':' || lower(s.payer) || ':' || '0x' || encode(s.nonce, 'hex')
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(r.live_cents), 0) AS live FROM billing.payment_reversals AS r
          WHERE r.kind = 'reorganization' AND r.payment_kind = p.kind AND r.payment_id = p.external_id
        ) AS v
        WHERE v.live <> CASE WHEN s.state IN ('vanished', 'failed') THEN p.amount_cents ELSE 0 END""",
    ),
    Check(
        "gas is booked",
        None,
        """
        SELECT CAST(:platform AS uuid) AS organization_id, 'gas wallet ' || w.network || ' ' || w.address AS subject,
               concat_ws(' ', 'has cost', g.wei, 'wei, of which', coalesce(b.gwei, 0), 'gwei are booked and',
                         w.unbooked_wei, 'wei are left') AS problem
        FROM billing.gas_wallets AS w
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(t.cost_wei), 0) AS wei FROM billing.gas_transactions AS t
          WHERE t.network = w.network AND t.wallet = w.address AND t.booked_at IS NOT NULL
        ) AS g
        CROSS JOIN LATERAL (
          SELECT sum(m.amount) AS gwei
          FROM billing.gas_transactions AS t
          JOIN ledger.operations AS o
            ON o.lane = :lane AND o.organization_id = :platform AND o.scope = :system
               AND o.key = 'gas:' || t.network || ':' || t.hash
          JOIN ledger.transfers AS m
            ON m.lane = o.lane AND m.organization_id = o.organization_id AND m.seq = o.seq
               AND m.debit = 'fees_onchain'
          WHERE t.network = w.network AND t.wallet = w.address
        ) AS b
        WHERE g.wei <> coalesce(b.gwei, 0) * 1000000000 + w.unbooked_wei""",
    ),
)
