"""Books that fell far behind: more fell due in them than one posting call may post before what it was called for."""

from __future__ import annotations

from uuid import UUID

from billing.database import Sessions
from ledger import posting


async def catch_up(sessions: Sessions, organization_id: UUID) -> None:
    """Post all that fell due in a book, part by part, each part in a transaction of its own."""
    for _ in range(posting.CATCH_UPS_MAX):
        async with sessions() as session, session.begin():
            if not await posting.catch_up(session, organization_id):
                return
