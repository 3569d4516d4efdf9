"""Reading the books: balances at any time, a book as a table that balances, entries, operations, holds, caps.

A balance follows the rule that posting follows: what has fallen due by then no longer counts, whether or not anybody
has posted it yet. So an answer about a time never changes when it is asked again later, except for what nobody could
know: a time that has not come is answered as if nothing else happened until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.chart import BY_CODE, BY_NUMBER, NUMBERS, Side
from ledger.money import Currency
from ledger.operations import LANE
from ledger.tables import AccountRow, Book, HoldRow, OperationRow, SpenderRow

OPERATIONS_READ_MAX: Final = 10_000
"""Operations that one page of entries looks through. Behind a rare filter a page may come short."""

_OF_CREDITS: Final = tuple(account.code for account in BY_CODE.values() if account.currency is Currency.CREDIT)


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits of one book at one time. `paid` and `promotional` can be spent; `held` is reserved.

    `frozen` is left in frozen lots, paid for or not; `owed` will be taken from the next paid grant.
    """

    paid: int
    promotional: int
    held: int
    frozen: int = 0
    owed: int = 0

    @property
    def spendable(self) -> int:
        """All credits that can be spent now."""
        return self.paid + self.promotional


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One account of a book in minor units: posted sums for money, the balance on its side for credits."""

    code: str
    currency: str
    side: str
    debits: int
    credits: int

    @property
    def balance(self) -> int:
        """On the account's normal side."""
        net = self.debits - self.credits
        return net if self.side == "debit" else -net


@dataclass(frozen=True, slots=True)
class Expiry:
    """Credits of one lot that expire at a time unless they are spent before.

    They expire at the expiry of their lot; those that a hold keeps beyond that, at its deadline.
    """

    lot: int
    cause: str
    credits: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer seen from one account. `balance_after` is that account's, on its normal side."""

    seq: int
    line: int
    side: str
    account: str
    currency: str
    amount: int
    balance_after: int
    lot: int | None
    operation: OperationRow


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of entries begins: at the operation `seq`, behind its first `entries` entries."""

    seq: int = 1
    entries: int = 0


START: Final = Place()
FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)
"""Later than any expiry that a request can name."""

NOTHING: Final = Balance(0, 0, 0)

_CLOCK: Final = text("SELECT ledger.clock()")

# What open holds give back by `at`, and what is left of lots that live on then.
_DUE: Final = text("""
    WITH back AS (
      SELECT part.lot, sum(part.amount - part.reversed) AS credits
      FROM ledger.holds AS h
      CROSS JOIN LATERAL unnest(h.lots, h.amounts, h.reversed_amounts) AS part (lot, amount, reversed)
      WHERE h.lane = :lane AND h.organization_id = :book AND h.open AND h.deadline <= :at
      GROUP BY part.lot),
    left_over AS (
      SELECT l.cause = 'paid' AS paid, l.frozen, l.remaining + coalesce(back.credits, 0) AS credits
      FROM ledger.lots AS l LEFT JOIN back ON back.lot = l.lot
      WHERE l.lane = :lane AND l.organization_id = :book AND (l.open OR back.lot IS NOT NULL)
        AND (l.expires_at IS NULL OR l.expires_at > :at))
    SELECT coalesce(sum(credits) FILTER (WHERE paid AND NOT frozen), 0) AS paid,
           coalesce(sum(credits) FILTER (WHERE NOT paid AND NOT frozen), 0) AS promotional,
           coalesce(sum(credits) FILTER (WHERE frozen), 0) AS frozen,
           (SELECT coalesce(sum(h.remaining), 0) FROM ledger.holds AS h
            WHERE h.lane = :lane AND h.organization_id = :book AND h.open AND h.deadline > :at) AS held
    FROM left_over""")

# What the books posted by themselves right behind the operation `last`, told apart by when it fell due. It ends where
# something else was posted (`stop`), or with the journal.
_FELL_DUE: Final = text("""
    WITH stop AS (
      SELECT o.seq FROM ledger.operations AS o
      WHERE o.lane = :lane AND o.organization_id = :book AND o.seq > :last
        AND o.kind NOT IN ('hold_expiry', 'lot_expiry')
      ORDER BY o.seq LIMIT 1),
    change AS (
      SELECT o.seq, o.event_at, o.paid_after - lag(o.paid_after) OVER journal AS paid,
             o.available_after - lag(o.available_after) OVER journal AS available,
             o.held_after - lag(o.held_after) OVER journal AS held
      FROM ledger.operations AS o
      WHERE o.lane = :lane AND o.organization_id = :book AND o.seq >= :last
        AND o.seq < coalesce((SELECT seq FROM stop), 9223372036854775807)
      WINDOW journal AS (ORDER BY o.seq))
    SELECT (SELECT seq FROM stop) AS stop,
           coalesce(sum(paid) FILTER (WHERE event_at <= :at), 0) AS paid,
           coalesce(sum(available) FILTER (WHERE event_at <= :at), 0) AS available,
           coalesce(sum(held) FILTER (WHERE event_at <= :at), 0) AS held,
           coalesce(sum(paid) FILTER (WHERE event_at > :at), 0) AS later_paid,
           coalesce(sum(available) FILTER (WHERE event_at > :at), 0) AS later_available,
           coalesce(sum(held) FILTER (WHERE event_at > :at), 0) AS later_held
    FROM change WHERE seq > :last""")

_EXPIRING: Final = text("""
    WITH part AS (
      SELECT l.lot, l.remaining AS credits, l.expires_at FROM ledger.lots AS l
      WHERE l.lane = :lane AND l.organization_id = :book AND l.open AND l.expires_at <= :until
      UNION ALL
      SELECT kept.lot, kept.amount - kept.reversed, greatest(l.expires_at, h.deadline)
      FROM ledger.holds AS h
      CROSS JOIN LATERAL unnest(h.lots, h.amounts, h.reversed_amounts) AS kept (lot, amount, reversed)
      JOIN ledger.lots AS l ON l.lane = h.lane AND l.organization_id = h.organization_id AND l.lot = kept.lot
      WHERE h.lane = :lane AND h.organization_id = :book AND h.open AND h.deadline <= :until
        AND l.expires_at <= :until)
    SELECT part.lot, l.cause, sum(part.credits) AS credits, part.expires_at
    FROM part JOIN ledger.lots AS l ON l.lane = :lane AND l.organization_id = :book AND l.lot = part.lot
    WHERE part.expires_at > :after AND part.credits > 0
    GROUP BY part.lot, l.cause, part.expires_at
    ORDER BY part.expires_at, part.lot LIMIT :limit""")


async def posting_time(session: AsyncSession) -> datetime:
    """What time it is for the books: operations that are posted from now on have a later one."""
    found: datetime = (await (await session.connection()).execute(_CLOCK)).scalar_one()
    return found


async def book_of(session: AsyncSession, organization_id: UUID) -> Book | None:
    """The organization's book as it was last posted: its sums, and the last number and the head of its journal."""
    return await session.get(Book, (LANE, organization_id), populate_existing=True)


async def balance(session: AsyncSession, organization_id: UUID, at: datetime) -> Balance:
    """What the organization can spend at `at`, now or later: what falls due by then is counted as having happened."""
    book = await book_of(session, organization_id)
    if book is None:
        return NOTHING
    if book.next_due_at is None or book.next_due_at > at:
        return Balance(book.paid, book.wallet - book.frozen - book.paid, book.held, book.frozen, book.owed)
    known = {"lane": LANE, "book": organization_id, "at": at}
    row = (await (await session.connection()).execute(_DUE, known)).one()
    return Balance(int(row.paid), int(row.promotional), int(row.held), int(row.frozen), book.owed)


async def balance_at(session: AsyncSession, organization_id: UUID, at: datetime) -> Balance:
    """The balance at any time. One that has passed comes from the journal, and there `frozen` and `owed` are 0.

    Operations that only fell due by `at` are found behind it: they are posted before anything else that comes later.
    A time that is only just past can still gain what was being posted then: it has its time before it is committed.
    """
    last = await last_posted(session, organization_id, at)
    if last is None:
        return NOTHING
    known = {"lane": LANE, "book": organization_id, "last": last.seq, "at": at}
    due = (await (await session.connection()).execute(_FELL_DUE, known)).one()
    if due.stop is None:
        # Nothing else came since, and what fell due may not all be posted yet: count from now, and undo what is later.
        now = await balance(session, organization_id, at)
        paid, held = now.paid - int(due.later_paid), now.held - int(due.later_held)
        return Balance(paid, now.spendable - int(due.later_available) - paid, held, now.frozen, now.owed)
    paid, available = last.paid_after + int(due.paid), last.available_after + int(due.available)
    return Balance(paid, available - paid, last.held_after + int(due.held))


async def last_posted(session: AsyncSession, organization_id: UUID, at: datetime) -> OperationRow | None:
    """The last operation posted by `at`: `posted_at` grows with `seq`, so it is found by halving."""
    book = await book_of(session, organization_id)
    low, high, found = 1, book.last_seq if book is not None else 0, None
    while low <= high:
        middle = (low + high) // 2
        row = await session.get(OperationRow, (LANE, organization_id, middle))
        if row is not None and row.posted_at <= at:
            low, found = middle + 1, row
        else:
            high = middle - 1
    return found


async def expiries(
    session: AsyncSession, organization_id: UUID, *, after: datetime, until: datetime | None, limit: int
) -> list[Expiry]:
    """Which credits expire after `after` and by `until`, soonest first, when nothing is spent or captured until then.

    Credits of frozen lots are among them: freezing does not stop the clock.
    """
    known = {"lane": LANE, "book": organization_id, "after": after, "until": until or FOR_EVER, "limit": limit}
    rows = await (await session.connection()).execute(_EXPIRING, known)
    return [Expiry(row.lot, row.cause, int(row.credits), row.expires_at) for row in rows]


async def trial_balance(session: AsyncSession, organization_id: UUID) -> list[TrialRow]:
    """The accounts of the book where something stands, by currency. Debits equal credits in each of them."""
    book = await book_of(session, organization_id)
    of_credits = [_of_book(book, code) for code in sorted(_OF_CREDITS)] if book is not None else []
    query = (
        select(AccountRow)
        .where(col(AccountRow.lane) == LANE, col(AccountRow.organization_id) == organization_id)
        .order_by(col(AccountRow.currency), col(AccountRow.code))
    )
    money = (await session.exec(query)).all()
    return [row for row in of_credits if row.balance] + [
        TrialRow(a.code, a.currency, BY_CODE[a.code].side.value, a.debits, a.credits) for a in money
    ]


def _of_book(book: Book, code: str) -> TrialRow:
    account, amount = BY_CODE[code], getattr(book, code)
    on_debit = account.side is Side.DEBIT
    return TrialRow(code, account.currency.value, account.side.value, amount * on_debit, amount * (not on_debit))


async def operation(session: AsyncSession, organization_id: UUID, operation_id: UUID) -> OperationRow | None:
    """One operation of the book by its id."""
    query = select(OperationRow).where(
        col(OperationRow.id) == operation_id,
        col(OperationRow.organization_id) == organization_id,
    )
    return (await session.exec(query)).first()


def entries_of(row: OperationRow) -> list[Entry]:
    """The entries of an operation: two a line, the debit first."""
    return [entry for line in range(len(row.lines) // 6) for entry in _pair(row, line)]


def _pair(row: OperationRow, line: int) -> tuple[Entry, Entry]:
    debit, credit, lot, amount, debit_after, credit_after = row.lines[6 * line : 6 * line + 6]

    def seen(side: str, number: int, after: int) -> Entry:
        account = BY_NUMBER[number]
        return Entry(row.seq, line, side, account.code, account.currency.value, amount, after, lot or None, row)

    return seen("debit", debit, debit_after), seen("credit", credit, credit_after)


async def entries(
    session: AsyncSession,
    organization_id: UUID,
    *,
    start: Place = START,
    limit: int,
    account: str | None = None,
    kind: str | None = None,
) -> tuple[list[Entry], Place | None]:
    """At most `limit` entries in the order of the journal, and where to go on; none at its end.

    At most `OPERATIONS_READ_MAX` operations are looked through: with a filter a page may come short, even empty.
    """
    book = await book_of(session, organization_id)
    last_seq = book.last_seq if book is not None else 0
    through = min(last_seq, start.seq + OPERATIONS_READ_MAX - 1)
    rows = await _with_entries(session, organization_id, start.seq, through, limit + 1, account=account, kind=kind)
    found: list[Entry] = []
    for row in rows:
        for n, entry in enumerate(entries_of(row)):
            if account not in {None, entry.account} or (row.seq == start.seq and n < start.entries):
                continue
            if len(found) == limit:
                return found, Place(row.seq, n)
            found.append(entry)
    end = rows[-1].seq if len(rows) > limit else through
    return found, Place(end + 1) if end < last_seq else None


async def _with_entries(
    session: AsyncSession,
    organization_id: UUID,
    first: int,
    last: int,
    limit: int,
    *,
    account: str | None,
    kind: str | None,
) -> Sequence[OperationRow]:
    """Operations with entries, by number. `account` may let through some that do not have it: an amount looks alike."""
    query = select(OperationRow).where(
        col(OperationRow.lane) == LANE,
        col(OperationRow.organization_id) == organization_id,
        col(OperationRow.seq).between(first, last),
        func.cardinality(col(OperationRow.lines)) > 0,
    )
    if kind is not None:
        query = query.where(col(OperationRow.kind) == kind)
    if account is not None:
        query = query.where(col(OperationRow.lines).contains([NUMBERS[account]]))
    return (await session.exec(query.order_by(col(OperationRow.seq)).limit(limit))).all()


async def hold(session: AsyncSession, organization_id: UUID, hold_id: UUID) -> HoldRow | None:
    """One hold of the book, as it was last posted: past its deadline it may still be called open here."""
    return await session.get(HoldRow, (LANE, organization_id, hold_id), populate_existing=True)


async def holds(
    session: AsyncSession,
    organization_id: UUID,
    *,
    after: UUID | None,
    limit: int,
    is_open: bool | None = None,
    at: datetime,
    maker: UUID | None = None,
) -> Sequence[HoldRow]:
    """Holds in the order of their ids, from behind `after`. A hold is open at `at` only before its deadline."""
    query: Any = select(HoldRow).where(col(HoldRow.lane) == LANE, col(HoldRow.organization_id) == organization_id)
    if after is not None:
        query = query.where(col(HoldRow.id) > after)
    if maker is not None:
        query = query.where(col(HoldRow.maker) == maker)
    if is_open is not None:
        still = col(HoldRow.open) & (col(HoldRow.deadline) > at)
        query = query.where(still if is_open else ~still)
    return list((await session.exec(query.order_by(col(HoldRow.id)).limit(limit))).all())


async def spender(session: AsyncSession, organization_id: UUID, spender_id: UUID) -> SpenderRow | None:
    """The caps of a spender and what it used; none when no cap was ever set."""
    return await session.get(SpenderRow, (LANE, organization_id, spender_id), populate_existing=True)
