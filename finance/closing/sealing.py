"""A month is closed and sealed, or opened again with a trace.

Theory of operation
-------------------
A close is a row first (`walking`), so that one that is broken off is known and goes on. Revenue is recognized through
the month's last day; then every book is closed (`walking`). What arrives for the month afterwards gets the first open
day, under each book's own lock, whatever the time of the fact. The seal is the hash of the sorted list of all books,
each with the number and the hash of the operation that closed it: whoever has the seal can tell any change of the
journal up to there. Opening again walks back, names its reason in every book, and leaves the row; the next close of the
month makes a new seal.

Closed in order: a month is closed after all months before it or together with them, and opened again from the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.fresh import new_id
from billing.operator_actions import Act, Acting, record
from billing.refusals import Refusal, Refused
from finance import recognizing, watermarks
from finance.closing import walking
from finance.closing.walking import Progress
from finance.periods import Period
from finance.tables import Close, CloseState
from ledger import ids, statements
from ledger.operations import LANE, Kind

PREFIX: Final = "close"
NEVER: Final = date(1999, 12, 31)
"""The last closed day, before all books, where no month is closed: a close that took others along opens them too.

`date.min` would be PostgreSQL's `-infinity`.
"""
GRACE: Final = timedelta(hours=1)
"""How long after its end a month may be closed at the earliest: no transaction lasts that long."""

BOOKS_A_PAGE: Final = 1000
_ONE_AT_A_TIME: Final = 0x50455249
"""The advisory lock under which a close begins."""
_LOOKED_AT: Final = 24
"""Closes that stand, the latest first: only those can be under way."""

_BOOKS: Final = text("""
    SELECT b.organization_id FROM ledger.books AS b
    WHERE b.lane = :lane AND b.organization_id > :after ORDER BY b.organization_id LIMIT :limit""")
_MARK: Final = text("""
    INSERT INTO finance.watermark_books (watermark_id, organization_id, seq, head)
    SELECT :close, o.organization_id, o.seq, o.hash FROM ledger.operations AS o
    WHERE o.id = ANY(CAST(:ids AS uuid[])) AND o.lane = :lane""")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A closed month: its close, how many books it closed, and the seal."""

    close_id: UUID
    period: Period
    books: int
    seal: bytes


async def current(session: AsyncSession, period: Period) -> Close | None:
    """The close of a period that is under way or stands; none when it is open."""
    query = select(Close).where(col(Close.period) == period.name, col(Close.state) != CloseState.REOPENED)
    return (await session.exec(query)).first()


async def closes(session: AsyncSession, *, before: UUID | None, limit: int) -> list[Close]:
    """All closes, the latest first, from behind `before`."""
    query = select(Close).order_by(col(Close.id).desc()).limit(limit)
    return list((await session.exec(query if before is None else query.where(col(Close.id) < before))).all())


async def close(
    sessions: Sessions, period: Period, *, by: Acting, reason: str, now: datetime, progress: Progress
) -> Sealed:
    """Close a month and seal it; one that was broken off goes on. The caller has seen to the obstacles.

    Raises `Refused`: STATE_CONFLICT when it is not over, is closed already, or another close is under way.
    """
    close_id = await _begin(sessions, period, by=by, reason=reason, now=now)
    await _recognize(sessions, period)
    await walking.walk(
        sessions, Kind.CLOSE, close_id=close_id, through=period.last_day, reason=_cause(period), progress=progress
    )
    return await _seal(sessions, period, close_id, now=now)


async def _recognize(sessions: Sessions, period: Period) -> None:
    """All revenue of the period; a book that somebody keeps is asked for again and again for a while."""
    for n in range(walking.LOCK_TRIES):
        try:
            await recognizing.recognize_all(sessions, through=period.last_day)
        except DBAPIError as error:
            if n + 1 == walking.LOCK_TRIES or not walking.is_kept(error):
                raise
        else:
            return


async def require_over(session: AsyncSession, period: Period) -> None:
    """Raises `Refused(STATE_CONFLICT)` while a month cannot be closed for the time that it is."""
    clock = await statements.posting_time(session)
    if clock < period.ends_at + GRACE:
        raise Refused(
            Refusal.STATE_CONFLICT,
            f"{period.name} is not over before {period.ends_at + GRACE:%Y-%m-%d %H:%M} UTC,"
            f" and it is {clock.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        )


async def reopen(
    sessions: Sessions, period: Period, *, by: Acting, reason: str, now: datetime, progress: Progress
) -> UUID:
    """Open the last closed month again; the close that no longer stands. One that was broken off goes on.

    Raises `Refused`: STATE_CONFLICT when it is not closed, or when a later one is.
    """
    async with sessions() as session, session.begin():
        found = await _locked(session, period)
        if found is None or found.state == CloseState.WALKING:
            raise Refused(Refusal.STATE_CONFLICT, f"{period.name} is not closed")
        later = select(Close.period).where(col(Close.first_day) > period.first_day, _stands())
        if (other := (await session.exec(later.order_by(col(Close.first_day).desc()))).first()) is not None:
            raise Refused(Refusal.STATE_CONFLICT, f"{other} is closed too: open it first")
        if found.state == CloseState.SEALED:
            found.state, found.reopened_by, found.reopen_reason = CloseState.REOPENING, by.holder, reason
            session.add(found)
            await _record(session, by, Act.REOPEN_PERIOD, found, reason=reason, now=now)
        earlier = select(col(Close.last_day)).where(col(Close.first_day) < period.first_day, _stands())
        before = (await session.exec(earlier.order_by(col(Close.last_day).desc()))).first() or NEVER
    await walking.walk(
        sessions, Kind.REOPEN, close_id=found.id, through=before, reason=f"{period.name} is opened again",
        progress=progress,
    )  # fmt: skip
    async with sessions() as session, session.begin():
        row = await session.get(Close, found.id, with_for_update={"key_share": True}, populate_existing=True)
        if row is not None and row.state == CloseState.REOPENING:
            row.state, row.reopened_at = CloseState.REOPENED, now
            session.add(row)
    return found.id


def _stands() -> ColumnElement[bool]:
    return col(Close.state) != CloseState.REOPENED


def _cause(period: Period) -> str:
    return f"{period.name} is closed"


async def _begin(sessions: Sessions, period: Period, *, by: Acting, reason: str, now: datetime) -> UUID:
    """The row of this close: the one that was broken off, or a new one."""
    async with sessions() as session, session.begin():
        await require_over(session, period)
        await session.exec(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
        standing = select(Close).where(_stands()).order_by(col(Close.first_day).desc())
        rows = list((await session.exec(standing.limit(_LOOKED_AT))).all())
        for row in rows:
            if row.state == CloseState.WALKING and row.period == period.name:
                return row.id
            if row.state in {CloseState.WALKING, CloseState.REOPENING}:
                doing = "being closed" if row.state == CloseState.WALKING else "being opened again"
                raise Refused(Refusal.STATE_CONFLICT, f"{row.period} is {doing}: finish that first")
        if rows and rows[0].first_day >= period.first_day:
            raise Refused(Refusal.STATE_CONFLICT, f"{rows[0].period} is closed already")
        made = Close(
            id=new_id(now), period=period.name, first_day=period.first_day, last_day=period.last_day,
            state=CloseState.WALKING, holder=by.holder, reason=reason, books=0, started_at=now,
        )  # fmt: skip
        session.add(made)
        await session.flush()
        await _record(session, by, Act.CLOSE_PERIOD, made, reason=reason, now=now)
        return made.id


async def _locked(session: AsyncSession, period: Period) -> Close | None:
    query = select(Close).where(col(Close.period) == period.name, _stands())
    return (await session.exec(query.with_for_update(key_share=True))).first()


async def _seal(sessions: Sessions, period: Period, close_id: UUID, *, now: datetime) -> Sealed:
    """Write the list of closed books and its hash; once, also when two finish the same walk."""
    async with sessions() as session, session.begin():
        row = await session.get(Close, close_id, with_for_update={"key_share": True}, populate_existing=True)
        if row is None:
            raise LookupError(f"the close of {period.name} is gone")
        if row.seal is None:
            row.books = await _mark(session, close_id)
            if row.books == 0:
                raise LookupError(f"no book was closed with {period.name}")
            mark = await watermarks.keep(session, close_id, is_seal=True, books=row.books, now=now)
            row.state, row.seal, row.sealed_at = CloseState.SEALED, mark.digest, now
            session.add(row)
        return Sealed(close_id, period, row.books, row.seal)


async def _mark(session: AsyncSession, close_id: UUID) -> int:
    connection = await session.connection()
    after, books = UUID(int=0), 0
    while True:
        known = {"lane": LANE, "after": after, "limit": BOOKS_A_PAGE}
        page = [row[0] for row in await connection.execute(_BOOKS, known)]
        if not page:
            return books
        ids_ = [walking.operation_of(Kind.CLOSE, book, close_id) for book in page]
        marked = await connection.execute(_MARK, {"lane": LANE, "close": close_id, "ids": ids_})
        books, after = books + marked.rowcount, page[-1]


async def _record(session: AsyncSession, by: Acting, act: Act, row: Close, *, reason: str, now: datetime) -> None:
    await record(
        session, by, act, organization_id=None, subject=ids.external(PREFIX, row.id), reason=reason,
        details={"period": row.period}, now=now,
    )  # fmt: skip
