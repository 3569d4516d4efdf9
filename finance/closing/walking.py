"""Walking through all books, in the order of their ids, and posting one operation in each that closes or opens it.

Theory of operation
-------------------
A batch is one posting call: it locks its books, posts what has fallen due in them, and then moves the end of what is
closed. Nobody else waits for more than that. The platform's book has the first id, and a new book takes its
`closed_through` over; so what is opened while a walk is under way is closed already, or is found by it: whoever opens a
book shares a lock, which the walk takes alone once, behind the platform's book. Keys are those of the close, so a walk
that was broken off at any point is simply walked again; one whose close no longer stands stops.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import func, select

from billing import catching_up
from billing.database import Sessions
from billing.refusals import Refusal, Refused
from finance.periods import midnight
from finance.tables import Close, CloseState
from ledger import posting
from ledger.operations import LANE, SYSTEM_SCOPE, Kind, Operation, operation_id

BOOKS_A_BATCH: Final = 50

LOCK_TRIES: Final = 10
"""How often a book is asked for that somebody keeps; each time for as long as the database lets one wait."""
_OPENINGS: Final = 1330660686
"""The advisory lock that those share who open books: migrations/versions/0001_closing.sql has the same number."""
_LOCK_NOT_AVAILABLE: Final = "55P03"
_STATE: Final = {Kind.CLOSE: CloseState.WALKING, Kind.REOPEN: CloseState.REOPENING}

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

    Returns when no such book is left. Safe to run again, and by two at once. Raises `Refused(STATE_CONFLICT)` when the
    close went on without this walk, to another state.
    """
    done, openings_waited_for = 0, False
    while True:
        after, found = _BEFORE_ALL, 0
        while page := await _page(sessions, kind, close_id, after=after, through=through):
            await _post(sessions, [movement(kind, book, close_id, through, reason) for book in page])
            after, found = page[-1], found + len(page)
            done += len(page)
            progress(done)
        if not found and openings_waited_for:
            return
        if not openings_waited_for:
            async with sessions() as session, session.begin():
                await session.exec(select(func.pg_advisory_xact_lock(_OPENINGS)))
            openings_waited_for = True


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


async def _page(sessions: Sessions, kind: Kind, close_id: UUID, *, after: UUID, through: date) -> list[UUID]:
    known = {"lane": LANE, "after": after, "day": through, "limit": BOOKS_A_BATCH}
    async with sessions() as session:
        close = await session.get(Close, close_id)
        if close is None or close.state != _STATE[kind]:
            raise Refused(Refusal.STATE_CONFLICT, "somebody else has finished what this walk was for")
        query = _OPEN if kind is Kind.CLOSE else _CLOSED
        return [row[0] for row in await (await session.connection()).execute(query, known)]


def is_kept(error: DBAPIError) -> bool:
    """Whether a book of the batch is kept by somebody for longer than one waits."""
    return getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


async def _post(sessions: Sessions, operations: list[Operation]) -> None:
    """One call for the batch; where a book of it is kept by somebody, book by book, again and again for a while."""
    try:
        await _post_at_once(sessions, operations)
    except DBAPIError as error:
        if not is_kept(error):
            raise
        for n in range(LOCK_TRIES):
            try:
                for operation in operations:
                    await _post_at_once(sessions, [operation])
            except DBAPIError as again:
                if n + 1 == LOCK_TRIES or not is_kept(again):
                    raise
            else:
                return


async def _post_at_once(sessions: Sessions, operations: list[Operation]) -> None:
    """Books that are far behind catch up first, each at most once a try."""
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
