"""Books that fell far behind: more fell due in them than one posting call may post before what it was called for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from billing.database import Sessions
from ledger import posting

Done = TypeVar("Done")


async def once_more(sessions: Sessions, act: Callable[[], Awaitable[Done]]) -> Done:
    """`act`, a whole transaction that posts; where a book must catch up first, that is done and `act` done again.

    Raises `posting.BehindSchedule` when as much fell due in the meantime once more.
    """
    try:
        return await act()
    except posting.BehindSchedule as behind:
        await catch_up(sessions, behind.organization_id)
    return await act()


async def catch_up(sessions: Sessions, organization_id: UUID) -> None:
    """Post all that fell due in a book, part by part, each part in a transaction of its own."""
    for _ in range(posting.CATCH_UPS_MAX):
        async with sessions() as session, session.begin():
            if not await posting.catch_up(session, organization_id):
                return
