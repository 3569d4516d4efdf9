"""Spends become deliveries too, out of the journal: a spend is not told where it is posted, which must stay fast.

Theory of operation
-------------------
For each book a cursor says up to which operation its spends were spread. Operations get their numbers under the lock of
their book, so none appears below a number that can be read, and walking the numbers misses none. Cursor and deliveries
move in one transaction, under the cursor's lock. A cursor begins behind what was posted before the oldest endpoint that
wants spends wanted them, and so does one that stood still while nobody did; no endpoint is told of what was posted
before it wanted it.

What it costs: nothing while no enabled endpoint wants spends. Otherwise a round walks over all books along their
primary key, `LOOKED_MAX` of them in a turn, some milliseconds, and spreads up to `READ_MAX` operations of each of
`BOOKS_MAX` that have news. With 100,000 books and a turn each half second a spend is told after 10 s at most, with
5,000 books after half a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import feed
from billing.activity import EventType
from billing.database import Sessions, snapshot
from billing.outbound_tables import ToldBook, WebhookEndpoint
from billing.subscriptions import endpoints
from billing.subscriptions.spreading import Render, deliver
from ledger import statements
from ledger.operations import LANE, PLATFORM
from ledger.outcomes import Outcome
from ledger.tables import OperationRow

LOOKED_MAX: Final = 5_000
BOOKS_MAX: Final = 50
READ_MAX: Final = 200

_END: Final = text("""
    SELECT organization_id FROM ledger.books WHERE lane = :lane AND organization_id > :after
    ORDER BY organization_id OFFSET :skipped LIMIT 1""")
_NEWS: Final = text("""
    SELECT b.organization_id FROM ledger.books AS b LEFT JOIN billing.told_books AS t USING (organization_id)
    WHERE b.lane = :lane AND b.organization_id > :after AND b.organization_id <= :end AND b.organization_id <> :platform
      AND b.last_posted_at > :since AND b.last_seq > coalesce(t.seq, 0)
    ORDER BY b.organization_id LIMIT :most""")

BEGINNING: Final = UUID(int=0)
_LAST: Final = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the next turn goes on, and whether there is more to do at once."""

    after: UUID
    more: bool


async def spread(sessions: Sessions, render: Render, *, after: UUID, now: datetime) -> Turn:
    """Make the deliveries of spends in the books behind `after`, as far as one turn reaches."""
    async with snapshot(sessions) as session:
        told = await _wanting(session)
        if not told:
            return Turn(BEGINNING, more=False)
        known = {"lane": LANE, "after": after, "platform": PLATFORM}
        connection = await session.connection()
        end = (await connection.execute(_END, {**known, "skipped": LOOKED_MAX - 1})).scalar()
        since = min(one.wants_since for one in told)
        range_ = {**known, "end": end or _LAST, "since": since, "most": BOOKS_MAX}
        found = [row.organization_id for row in await connection.execute(_NEWS, range_)]
    behind = [organization_id for organization_id in found if await spread_book(sessions, organization_id, render, now)]
    if len(found) == BOOKS_MAX:
        return Turn(found[-1], more=True)
    return Turn(end or BEGINNING, more=bool(behind))


async def spread_book(sessions: Sessions, organization_id: UUID, render: Render, now: datetime) -> bool:
    """Make the deliveries of the next `READ_MAX` operations of a book; whether there are more.

    A book that somebody else is at is left to him.
    """
    async with sessions() as session, session.begin():
        cursor = await _cursor(session, organization_id)
        book = await statements.book_of(session, organization_id)
        told = await _wanting(session)  # behind the number that is told up to: who came before it is among them
        if not told or cursor is None or book is None:
            return False
        begin = await _begin(session, cursor, min(one.wants_since for one in told))
        through = min(book.last_seq, begin + READ_MAX)
        rows = await _posted(session, organization_id, begin, through)
        events = {event.id: event for event in await feed.usage_events(session, organization_id, rows)}
        wanted = [(one, events[row.id]) for row in rows for one in told if row.posted_at > one.wants_since]
        await deliver(session, wanted, render, now=now)
        cursor.seq = through
        return through < book.last_seq


async def _wanting(session: AsyncSession) -> Sequence[WebhookEndpoint]:
    enabled = await endpoints.enabled_ones(session)
    return [one for one in enabled if endpoints.wants(one, EventType.USAGE_CREDIT_CONSUMED)]


async def _cursor(session: AsyncSession, organization_id: UUID) -> ToldBook | None:
    """The book's cursor, locked; none while somebody else has it."""
    first = insert(ToldBook).values(organization_id=organization_id, seq=0).on_conflict_do_nothing()
    query = select(ToldBook).where(col(ToldBook.organization_id) == organization_id)
    query = query.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    found = (await session.exec(query)).first()
    if found is None:
        await session.exec(first)
        found = (await session.exec(query)).first()
    return found


async def _begin(session: AsyncSession, cursor: ToldBook, since: datetime) -> int:
    """The number behind which nothing was told yet and something may have to be."""
    following = await session.get(OperationRow, (LANE, cursor.organization_id, cursor.seq + 1))
    if following is None or following.posted_at > since:
        return cursor.seq
    last = await statements.last_posted(session, cursor.organization_id, since)
    return max(cursor.seq, last.seq if last is not None else 0)


async def _posted(session: AsyncSession, organization_id: UUID, begin: int, through: int) -> Sequence[OperationRow]:
    query = select(OperationRow).where(
        col(OperationRow.lane) == LANE,
        col(OperationRow.organization_id) == organization_id,
        col(OperationRow.seq) > begin,
        col(OperationRow.seq) <= through,
        col(OperationRow.kind).in_(feed.USAGE_KINDS),
        col(OperationRow.outcome) == Outcome.POSTED,
    )
    return (await session.exec(query.order_by(col(OperationRow.seq)))).all()
