"""Walking through all books, in the order of their ids, and posting one operation in each that closes or opens it.

Theory of operation
-------------------
A batch is one posting call: it locks its books, posts what has fallen due in them, and then moves the end of what is
closed. Nobody else waits for more than that. The platform's book has the first id, and a new book takes its
`closed_through` over; so what is opened while a walk is under way is closed already or is found by it. Keys are those
of the close, so a walk that was broken off at any point is simply walked again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import text

from billing import catching_up
from billing.database import Sessions
from finance.periods import midnight
from ledger import posting
from ledger.operations import LANE, SYSTEM_SCOPE, Kind, Operation, operation_id

BOOKS_A_BATCH: Final = 50

Progress = Callable[[int], None]
"""Told how many books are done so far."""

_OPEN: Final = text("""
    SELECT b.organization_id FROM ledger.books AS b
    WHERE b.lane = :lane AND b.organization_id > :after
      AND (b.closed_through IS NULL OR b.closed_through < :day)
    ORDER BY b.organization_id LIMIT :limit""")
_CLOSED: Final = text("""
    SELECT b.organization_id FROM ledger.books AS b
    WHERE b.lane = :lane AND b.organization_id > :after AND b.closed_through > :day
    ORDER BY b.organization_id LIMIT :limit""")
_BEFORE_ALL: Final = UUID(int=0)


async def walk(
    sessions: Sessions, kind: Kind, *, close_id: UUID, through: date, reason: str, progress: Progress
) -> None:
    """Post `kind` (close or reopen) in every book that is not closed exactly so far: `through` is the last closed day.

    Returns when no such book is left. Safe to run again, and by two at once.
    """
    done = 0
    while True:
        after, found = _BEFORE_ALL, 0
        while page := await _page(sessions, kind, after=after, through=through):
            await _post(sessions, [movement(kind, book, close_id, through, reason) for book in page])
            after, found = page[-1], found + len(page)
            done += len(page)
            progress(done)
        if not found:
            return


def key_of(kind: Kind, close_id: UUID) -> str:
    """The key under which a close moves the end of what is closed in a book."""
    return f"{kind}:{close_id}"


def operation_of(kind: Kind, book: UUID, close_id: UUID) -> UUID:
    """The id of that operation."""
    return operation_id(book, SYSTEM_SCOPE, key_of(kind, close_id))


def movement(kind: Kind, book: UUID, close_id: UUID, through: date, reason: str) -> Operation:
    """The operation that makes `through` the last closed day of a book."""
    return Operation(
        organization_id=book,
        kind=kind,
        scope=SYSTEM_SCOPE,
        key=key_of(kind, close_id),
        cause=reason,
        deadline=midnight(date.fromordinal(through.toordinal() + 1)),
    )


async def _page(sessions: Sessions, kind: Kind, *, after: UUID, through: date) -> list[UUID]:
    known = {"lane": LANE, "after": after, "day": through, "limit": BOOKS_A_BATCH}
    async with sessions() as session:
        query = _OPEN if kind is Kind.CLOSE else _CLOSED
        return [row[0] for row in await (await session.connection()).execute(query, known)]


async def _post(sessions: Sessions, operations: list[Operation]) -> None:
    """One call for the batch. Books that are far behind catch up first, each at most once a try."""
    for _ in operations:
        try:
            async with sessions() as session, session.begin():
                await posting.post(session, operations)
        except posting.BehindSchedule as behind:
            await catching_up.catch_up(sessions, behind.organization_id)
        else:
            return
    async with sessions() as session, session.begin():
        await posting.post(session, operations)
