"""How webhooks stand, in the numbers that alerts and metrics are made of. Each is read through a partial index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

COUNTED_MAX: Final = 100_000

_MEASURED: Final = text("""
    WITH waiting AS (
      SELECT d.created_at FROM billing.webhook_deliveries AS d
      JOIN billing.webhook_endpoints AS e ON e.id = d.endpoint_id
      WHERE d.state = 'pending' AND e.disabled_reason IS NULL LIMIT :most),
    untold AS (
      SELECT organization_id, event_id FROM billing.untold_events ORDER BY event_id LIMIT 1)
    SELECT (SELECT count(*) FROM waiting) AS pending,
           least((SELECT min(created_at) FROM waiting),
                 (SELECT occurred_at FROM billing.activity_events AS a
                  JOIN untold ON a.organization_id = untold.organization_id AND a.id = untold.event_id)) AS oldest,
           (SELECT count(*) FROM billing.webhook_endpoints WHERE disabled_reason IS NOT NULL) AS disabled""")


@dataclass(frozen=True, slots=True)
class Webhooks:
    """`pending` deliveries of enabled endpoints, counted up to `COUNTED_MAX`.

    `oldest`: since when the oldest of them waits, or the oldest event that no delivery was made of yet; none where
    nothing does. `disabled` endpoints, for whatever reason.
    """

    pending: int
    oldest: datetime | None
    disabled: int


async def measured(session: AsyncSession) -> Webhooks:
    """How webhooks stand in this transaction."""
    row = (await (await session.connection()).execute(_MEASURED, {"most": COUNTED_MAX})).one()
    return Webhooks(row.pending, row.oldest, row.disabled)
