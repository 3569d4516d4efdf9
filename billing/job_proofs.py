"""Verification of metered jobs: what is held and charged for a job stands in the journal, once, and nowhere else."""

from __future__ import annotations

from typing import Final

from billing.proving import Check

_HELD: Final = "j.state NOT IN ('planned', 'refused')"

CHECKS: Final = (
    Check(
        "job was held for",
        "job",
        f"""
        SELECT j.organization_id, j.id AS subject,
               concat_ws(' ', 'is', j.state, 'and of', j.credits, 'credits, and held were',
                         coalesce(h.credits::text, 'none')) AS problem
        FROM billing.jobs AS j
        LEFT JOIN ledger.operations AS o
          ON o.organization_id = j.organization_id AND o.id = j.hold_id
             AND o.scope = :system AND o.kind = 'hold' AND o.key = 'job:' || j.id || ':' || 'hold'
        LEFT JOIN ledger.holds AS h ON h.organization_id = o.organization_id AND h.id = o.id
        WHERE CASE WHEN {_HELD} THEN (h.credits = j.credits AND h.spender = j.agent_id) IS NOT TRUE
              ELSE j.hold_id IS NOT NULL END""",  # noqa: S608 - words of our own
    ),
    Check(
        "job that has ended holds nothing",
        "job",
        f"""
        SELECT j.organization_id, j.id AS subject, concat_ws(' ', 'is', j.state, 'and holds', h.remaining) AS problem
        FROM billing.jobs AS j
        JOIN ledger.holds AS h ON h.organization_id = j.organization_id AND h.id = j.hold_id
        WHERE {_HELD} AND j.state NOT IN ('queued', 'running') AND h.open AND h.deadline > ledger.clock()""",  # noqa: S608
    ),
    Check(
        "charge of a job is in the books",
        "job",
        """
        SELECT j.organization_id, j.id AS subject,
               concat_ws(' ', 'is', j.state, 'and charged', coalesce(j.charged::text, 'nothing'), 'and captured were',
                         coalesce(m.credits::text, 'none')) AS problem
        FROM billing.jobs AS j
        LEFT JOIN ledger.operations AS o
          ON o.organization_id = j.organization_id AND o.id = j.capture_id AND o.target = j.hold_id
             AND o.scope = :system AND o.kind = 'capture' AND o.key = 'job:' || j.id || ':' || 'capture'
        LEFT JOIN LATERAL (
          SELECT sum(t.amount) AS credits FROM ledger.transfers AS t
          WHERE t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq AND t.debit = 'consumed'
        ) AS m ON true
        WHERE CASE WHEN j.state = 'completed' AND j.charged > 0 THEN (m.credits = j.charged) IS NOT TRUE
              ELSE j.capture_id IS NOT NULL OR coalesce(j.charged, 0) <> 0 END""",
    ),
    Check(
        "capture for a job is the job's",
        None,
        """
        SELECT o.organization_id, o.key AS subject, 'captured credits for a job that has no such charge' AS problem
        FROM ledger.operations AS o
        LEFT JOIN billing.jobs AS j ON j.organization_id = o.organization_id AND j.capture_id = o.id
        WHERE o.scope = :system AND o.kind = 'capture' AND j.id IS NULL""",
    ),
)
