"""How letters stand, in the numbers that alerts and metrics are made of. Each is read through an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

MISSED_COUNTED_MAX: Final = 1000

_MEASURED: Final = text("""
    WITH by_webhook AS (
      SELECT id, received_at FROM webhooks.letters WHERE NOT paged ORDER BY id DESC LIMIT 1),
    missed AS (
      SELECT received_at FROM webhooks.letters
      WHERE paged AND id > coalesce((SELECT id FROM by_webhook), '00000000-0000-0000-0000-000000000000')
      ORDER BY id LIMIT :most)
    SELECT (SELECT count(*) FROM webhooks.letters WHERE state = 'parked') AS parked,
           (SELECT min(received_at) FROM webhooks.letters WHERE state = 'pending') AS oldest_waiting,
           (SELECT received_at FROM by_webhook) AS last_by_webhook,
           (SELECT count(*) FROM missed) AS missed,
           (SELECT min(received_at) FROM missed) AS first_missed,
           (SELECT min(read_through) FROM webhooks.event_cursors) AS read_through""")


@dataclass(frozen=True, slots=True)
class Letters:
    """What waits, and what the webhook brings. A time is none where there is nothing that it could be about.

    `last_by_webhook`: when the webhook last brought one. `missed` letters since then had to be fetched, counted up to
    `MISSED_COUNTED_MAX`, the first of them at `first_missed`. `read_through`: how far the provider's own list of events
    has been read.
    """

    parked: int
    oldest_waiting: datetime | None
    last_by_webhook: datetime | None
    missed: int
    first_missed: datetime | None
    read_through: datetime | None

    def silent_since(self, expected: datetime | None) -> datetime | None:
        """Since when the webhook could have brought something and did not; none when nothing had to come.

        `expected`: from when on something could have come, as from the oldest open attempt.
        """
        awaited = [moment for moment in (expected, self.first_missed) if moment is not None]
        if not awaited:
            return None
        return max(min(awaited), self.last_by_webhook) if self.last_by_webhook else min(awaited)


async def measured(session: AsyncSession) -> Letters:
    """How letters stand in this transaction."""
    row = (await (await session.connection()).execute(_MEASURED, {"most": MISSED_COUNTED_MAX})).one()
    return Letters(row.parked, row.oldest_waiting, row.last_by_webhook, row.missed, row.first_missed, row.read_through)
