"""How payments stand, in the numbers that alerts and metrics are made of. Each is read through a partial index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.fulfillment import UNDER_REVIEW
from billing.packs import X402
from billing.reversals.rules import DISPUTE_FINAL

_MEASURED: Final = text("""
    WITH unknown AS (
      SELECT created_at FROM billing.provider_requests WHERE state IN ('stored', 'unknown') AND state = 'unknown'
      UNION ALL
      SELECT created_at FROM billing.refund_requests WHERE state IN ('stored', 'unknown') AND state = 'unknown'),
    open_attempt AS (
      SELECT a.state, a.reason, a.created_at, a.method, r.state AS request
      FROM billing.payment_attempts AS a
      JOIN billing.provider_requests AS r
        ON r.organization_id = a.organization_id AND r.attempt_id = a.id AND r.number = a.request_number
      WHERE a.state IN ('created', 'action_required', 'processing')),
    unallocated AS (
      SELECT p.amount_cents - coalesce(sum(v.live_cents), 0) AS rest
      FROM billing.external_payments AS p
      LEFT JOIN billing.payment_reversals AS v ON v.payment_kind = p.kind AND v.payment_id = p.external_id
      WHERE p.purpose = 'unallocated' GROUP BY p.kind, p.external_id, p.amount_cents)
    SELECT (SELECT count(*) FROM unknown) AS requests_unknown,
           (SELECT min(created_at) FROM unknown) AS oldest_unknown,
           (SELECT count(*) FROM open_attempt WHERE state = 'created' AND request = 'unknown') AS attempts_unknown,
           (SELECT count(*) FROM open_attempt WHERE reason = :under_review) AS under_review,
           (SELECT min(created_at) FROM open_attempt WHERE method <> :native) AS oldest_open,
           (SELECT count(*) FROM unallocated WHERE rest > 0) AS unallocated,
           (SELECT coalesce(sum(owed), 0) FROM ledger.lots WHERE owed > 0) AS owed_credits,
           (SELECT count(*) FROM billing.payment_reversals
            WHERE kind = 'dispute' AND NOT status = ANY(:final)) AS disputes_open,
           (SELECT min(created_at) FROM billing.watched_objects
            WHERE done_at IS NULL AND kind <> 'dispute') AS oldest_watched,
           (SELECT min(created_at) FROM billing.settlements
            WHERE NOT final AND state IN ('claimed', 'settling', 'unknown')) AS oldest_settling,
           (SELECT count(*) FROM billing.settlements
            WHERE NOT final AND state = 'held' AND decision IS NULL) AS payments_held,
           (SELECT count(*) FROM billing.settlements WHERE NOT final AND state = 'vanished') AS payments_vanished""")


@dataclass(frozen=True, slots=True)
class Payments:
    """Numbers of things, and since when the oldest of them is there; none where there is nothing.

    `unallocated` counts payments that are still ours to give back; `oldest_watched` leaves disputes out, which take
    months; `oldest_open` leaves out attempts on chain, of which no letter tells.
    """

    requests_unknown: int
    oldest_unknown: datetime | None
    attempts_unknown: int
    under_review: int
    oldest_open: datetime | None
    unallocated: int
    owed_credits: int
    disputes_open: int
    oldest_watched: datetime | None
    oldest_settling: datetime | None
    payments_held: int
    payments_vanished: int


async def measured(session: AsyncSession) -> Payments:
    """How payments stand in this transaction."""
    known = {"under_review": UNDER_REVIEW, "final": sorted(DISPUTE_FINAL), "native": X402.method_id}
    row = (await (await session.connection()).execute(_MEASURED, known)).one()
    return Payments(
        row.requests_unknown,
        row.oldest_unknown,
        row.attempts_unknown,
        row.under_review,
        row.oldest_open,
        row.unallocated,
        int(row.owed_credits),
        row.disputes_open,
        row.oldest_watched,
        row.oldest_settling,
        row.payments_held,
        row.payments_vanished,
    )
