"""Revenue is recognized once per book and day: credits that were sold become revenue when they are used or expire.

Theory of operation
-------------------
A day that is over never gets another spend: a posting takes the time under its book's lock. So when the clock has
passed midnight, what was due by then is posted first (which waits for whoever has the book); after that all operations
of the day are there to be read. They are folded (`folding`), each lot that the day touched is valued before and after
it (`lot_values`), and the difference is one operation, dated on that day, under the key `recognition:<day>`. It is one
transaction, under the lock of the book's `FoldedBook`: run twice, late, or by two at once, a day is recognized once.
What arrives late (a refund of yesterday, say) counts on the next day that is recognized.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import catching_up
from billing.database import Sessions
from finance import folding
from finance.lot_values import Gone, Worth, worth
from finance.periods import midnight
from finance.tables import FoldedBook, Recognition, RecognizedDay
from ledger import posting, statements
from ledger.money import usd
from ledger.operations import LANE, PLATFORM, SYSTEM_SCOPE, Kind, Operation, Transfer

UNDER_WAY: Final = timedelta(minutes=1)
"""No transaction that took its time before midnight is open for that long; what is not committed nobody sees."""
BOOKS_A_PAGE: Final = 500
FAILED_IN_A_ROW_MAX: Final = 5
DAYS_AT_ONCE: Final = 60
"""Days of one book that one transaction recognizes."""

_TICK: Final = timedelta(microseconds=1)

_BEHIND: Final = text("""
    SELECT b.organization_id FROM ledger.books AS b
    LEFT JOIN finance.folded_books AS f ON f.organization_id = b.organization_id
    WHERE b.lane = :lane AND b.organization_id <> :platform AND b.organization_id > :after
      AND (b.last_seq > coalesce(f.seq, 0) OR b.next_due_at < :over OR EXISTS (
        SELECT FROM finance.lot_days AS d
        WHERE d.organization_id = b.organization_id AND d.day <= :through
          AND d.day > coalesce(f.recognized_through, CAST('-infinity' AS date))))
    ORDER BY b.organization_id LIMIT :limit""")

# The journal of a service begins with its own book, which is there before any other.
_UNRECOGNIZED: Final = text("""
    SELECT greatest((SELECT max(day) FROM finance.recognized_days) + 1,
                    (SELECT (posted_at AT TIME ZONE 'UTC')::date FROM ledger.operations
                     WHERE lane = :lane AND organization_id = :platform AND seq = 1))""")

_LOTS: Final = text("""
    WITH touched AS (
      SELECT DISTINCT d.lot FROM finance.lot_days AS d WHERE d.organization_id = :book AND d.day = :day)
    SELECT l.credits, l.basis_amount, d.day < :day AS before, sum(d.consumed) AS consumed, sum(d.expired) AS expired,
           sum(d.given) AS given, sum(d.reversed) AS reversed, sum(d.owed) AS owed, sum(d.settled) AS settled,
           sum(d.taken_cents) AS taken_cents, l.lot
    FROM touched
    JOIN finance.lot_days AS d ON d.organization_id = :book AND d.lot = touched.lot AND d.day <= :day
    JOIN ledger.lot_openings AS l ON l.lane = :lane AND l.organization_id = :book AND l.lot = touched.lot
    GROUP BY l.lot, l.credits, l.basis_amount, before ORDER BY l.lot, before DESC""")

_DAYS: Final = text("""
    SELECT DISTINCT d.day FROM finance.lot_days AS d
    WHERE d.organization_id = :book AND d.day <= :through AND d.day >= :floor ORDER BY d.day LIMIT :limit""")

_ACCOUNTS: Final = (
    ("used", "revenue_usage", 1),
    ("breakage", "revenue_breakage", 1),
    ("receivable", "receivable_owed", -1),
    ("loss", "write_off", -1),
)
"""What stands against `deferred_revenue`: a part of `Worth`, its account, and 1 when it is credited as it grows."""

Progress = Callable[[int], None]
"""Told how many books are done so far."""


@dataclass(frozen=True, slots=True)
class Recognized:
    """How many books were looked at and how many days were posted."""

    books: int
    days: int


async def recognize_all(sessions: Sessions, *, through: date, progress: Progress | None = None) -> Recognized:
    """Recognize every book through `through`, a day that is over. Books where nothing happened are not touched.

    A book that cannot be recognized does not keep the others from it: what was wrong with the first is raised when all
    others are done, or when `FAILED_IN_A_ROW_MAX` failed one after the other, as they do where the database is gone.
    Raises `ValueError` for a day that is not over.
    """
    await _after(sessions, through)
    books = days = in_a_row = 0
    failed: Exception | None = None
    async for organization_id in behind(sessions, through=through):
        try:
            days += await recognize(sessions, organization_id, through=through)
        except Exception as error:
            failed, in_a_row = failed or error, in_a_row + 1
            if in_a_row == FAILED_IN_A_ROW_MAX:
                raise
            continue
        books, in_a_row = books + 1, 0
        if progress is not None:
            progress(books)
    if failed is not None:
        raise failed
    async with sessions() as session, session.begin():
        # What comes to a day that is over counts on the next one: what is done for all books is done.
        done = insert(RecognizedDay.__table__).values(day=through)  # type: ignore[attr-defined]
        await (await session.connection()).execute(done.on_conflict_do_nothing())
    return Recognized(books, days)


async def last_day_over(sessions: Sessions) -> date:
    """The last day that is over by the clock of the books, and of which nothing is left under way."""
    async with sessions() as session:
        settled = await statements.posting_time(session) - UNDER_WAY
        return settled.astimezone(UTC).date() - timedelta(days=1)


async def behind(sessions: Sessions, *, through: date) -> AsyncIterator[UUID]:
    """Books that have something of `through` or before it to recognize, in the order of their ids."""
    after: UUID = UUID(int=0)
    while True:
        async with sessions() as session:
            known = {
                "lane": LANE, "platform": PLATFORM, "after": after, "through": through,
                "over": midnight(through + timedelta(days=1)), "limit": BOOKS_A_PAGE,
            }  # fmt: skip
            page = [row[0] for row in await (await session.connection()).execute(_BEHIND, known)]
        for organization_id in page:
            yield organization_id
        if len(page) < BOOKS_A_PAGE:
            return
        after = page[-1]


async def first_unrecognized(session: AsyncSession) -> date | None:
    """The first day of which not every book is known to be recognized; none before anything is posted.

    Two looks by an index, however many books there are. Whether that day is over is another question.
    """
    known = {"lane": LANE, "platform": PLATFORM}
    found: date | None = (await (await session.connection()).execute(_UNRECOGNIZED, known)).scalar_one()
    return found


async def recognize(sessions: Sessions, organization_id: UUID, *, through: date) -> int:
    """Recognize one book through a day that is over; how many days were posted. Raises `ValueError` for another day."""
    now = await _after(sessions, through)
    await catching_up.catch_up(sessions, organization_id)
    posted, more = 0, True
    while more:
        done, more = await catching_up.once_more(sessions, lambda: _next(sessions, organization_id, through, now))
        posted += done
    return posted


async def _after(sessions: Sessions, day: date) -> datetime:
    """The time by the clock of the books. Raises `ValueError` while the day is not over."""
    async with sessions() as session:
        now = await statements.posting_time(session)
    if midnight(day + timedelta(days=1)) > now:
        raise ValueError(f"{day} is not over: it is {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    return now


async def _next(sessions: Sessions, organization_id: UUID, through: date, now: datetime) -> tuple[int, bool]:
    """One transaction: fold what is new, recognize the next days. How many days that were, and whether more is left."""
    async with sessions() as session, session.begin():
        folded = await _locked(session, organization_id, now)
        book = await statements.book_of(session, organization_id)
        last_seq = book.last_seq if book is not None else 0
        floor = date.min if folded.recognized_through is None else folded.recognized_through + timedelta(days=1)
        upto = min(last_seq, folded.seq + folding.OPERATIONS_AT_ONCE)
        if upto > folded.seq:
            await folding.fold(session, organization_id, after=folded.seq, through=upto, floor=floor)
        folded.seq, folded.updated_at = upto, now
        session.add(folded)
        if upto < last_seq:
            return 0, True
        days = await _days(session, organization_id, floor=floor, through=through)
        operations = []
        for day in days:
            change = await _change(session, organization_id, day)
            operation = recognition(organization_id, day, change)
            operations += [operation] if operation is not None else []
            session.add(_row(organization_id, day, change, operation, now))
        if days:
            folded.recognized_through = days[-1]
        if operations:
            await posting.post(session, operations)
        return len(days), len(days) == DAYS_AT_ONCE


async def _locked(session: AsyncSession, organization_id: UUID, now: datetime) -> FoldedBook:
    connection = await session.connection()
    await connection.execute(
        insert(FoldedBook.__table__)  # type: ignore[attr-defined]
        .values(organization_id=organization_id, seq=0, updated_at=now)
        .on_conflict_do_nothing()
    )
    query = select(FoldedBook).where(col(FoldedBook.organization_id) == organization_id).with_for_update()
    return (await session.exec(query.execution_options(populate_existing=True))).one()


async def _days(session: AsyncSession, organization_id: UUID, *, floor: date, through: date) -> list[date]:
    known = {"book": organization_id, "floor": floor, "through": through, "limit": DAYS_AT_ONCE}
    return [row[0] for row in await (await session.connection()).execute(_DAYS, known)]


async def _change(session: AsyncSession, organization_id: UUID, day: date) -> Worth:
    """What the day did to the worth of the book's lots."""
    known = {"lane": LANE, "book": organization_id, "day": day}
    rows = (await (await session.connection()).execute(_LOTS, known)).all()
    change = Worth()
    before: dict[int, Gone] = {}
    for credits_, basis, is_before, *gone, lot in rows:
        sums = Gone(*map(int, gone))
        if is_before:
            before[lot] = sums
            continue
        was = before.get(lot, Gone())
        change += worth(credits_=credits_, basis=basis, gone=was + sums) - worth(
            credits_=credits_, basis=basis, gone=was
        )
    return change


def recognition(organization_id: UUID, day: date, change: Worth) -> Operation | None:
    """What one day changed, as the operation that posts it; none when no money moves."""
    transfers = tuple(_transfers(change))
    if not transfers:
        return None
    return Operation(
        organization_id=organization_id,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=f"recognition:{day}",
        event_at=midnight(day + timedelta(days=1)) - _TICK,
        cause=f"revenue of {day}",
        transfers=transfers,
    )


def _transfers(change: Worth) -> Iterator[Transfer]:
    for part, account, sign in _ACCOUNTS:
        cents = sign * getattr(change, part)
        if cents > 0:
            yield Transfer("deferred_revenue", account, usd(cents))
        elif cents < 0:
            yield Transfer(account, "deferred_revenue", usd(-cents))


def _row(organization_id: UUID, day: date, change: Worth, operation: Operation | None, now: datetime) -> Recognition:
    return Recognition(
        organization_id=organization_id,
        day=day,
        operation_id=operation.id if operation else None,
        usage_cents=change.used,
        breakage_cents=change.breakage,
        receivable_cents=change.receivable,
        loss_cents=change.loss,
        created_at=now,
    )
