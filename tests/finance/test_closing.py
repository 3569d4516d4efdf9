"""A month is closed: from then on nothing gets a date in it, and what it was stays what it was."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from billing.operator_actions import COMMAND_LINE
from billing.refusals import Refused
from finance import watermarks
from finance.closing import sealing, walking
from finance.periods import Period
from ledger import posting
from ledger.operations import Kind, opening
from ledger.outcomes import Outcome
from tests.books.books import new_id, problems
from tests.finance.month import BOOKS, Month

A, B, C = BOOKS
OCTOBER = Period.parse("2026-10")
AFTER = datetime(2026, 11, 1, 2, tzinfo=UTC)


async def close(month: Month, period: Period = OCTOBER) -> sealing.Sealed:
    return await sealing.close(
        month.books, period, by=COMMAND_LINE, reason="the month is over", now=month.now, progress=lambda _: None
    )


async def reopen(month: Month, period: Period = OCTOBER) -> None:
    await sealing.reopen(
        month.books, period, by=COMMAND_LINE, reason="an invoice came late", now=month.now, progress=lambda _: None
    )


async def dates(month: Month) -> list[date]:
    rows = await month.owner.fetch("SELECT accounting_date FROM ledger.operations WHERE organization_id = $1", A)
    return [row[0] for row in rows]


@pytest.mark.parametrize("name", ["2026-13", "2026-1", "October", "2026-10-01", ""])
def test_a_period_is_a_month(name):
    with pytest.raises(ValueError, match="a period is a month such as 2026-10"):
        Period.parse(name)


def test_a_month_knows_its_days_and_its_neighbours():
    assert (OCTOBER.first_day, OCTOBER.last_day) == (date(2026, 10, 1), date(2026, 10, 31))
    assert (OCTOBER.previous.name, OCTOBER.next.name) == ("2026-09", "2026-11")
    assert Period.of(date(2028, 2, 29)).last_day == date(2028, 2, 29)
    assert OCTOBER.ends_at == datetime(2026, 11, 1, tzinfo=UTC)


async def test_a_close_recognizes_what_was_used_and_what_expired_and_seals_every_book(month: Month):
    await month.pay(A, 500, 500, days=20)
    await month.spend(A, 200)
    await month.set_clock(AFTER)
    sealed = await close(month)
    assert sealed.books == len(BOOKS) + 1
    assert await month.account("revenue_usage") == 200
    assert await month.account("revenue_breakage") == 300
    async with month.books() as session:
        assert await watermarks.digest(session, sealed.close_id) == sealed.seal
    for book in BOOKS:
        assert await problems(month.books, book) == []


async def test_what_arrives_late_stands_in_the_open_month_with_its_true_time(month: Month):
    payment = await month.pay(A, 500, 500)
    await month.set_clock(AFTER)
    await close(month)
    last_moment = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
    await month.reverse(payment, refunds=500, at=last_moment)
    late = await month.owner.fetch("SELECT accounting_date FROM ledger.operations WHERE event_at = $1", last_moment)
    assert {row[0] for row in late} == {date(2026, 11, 1)}
    assert await problems(month.books, A) == []


async def test_a_book_that_is_opened_later_takes_nothing_into_the_closed_month(month: Month):
    await month.set_clock(AFTER)
    await close(month)
    book = new_id()
    await month.post(opening(organization_id=book, event_at=month.now))
    await month.pay(book, 5, 5, event_at=datetime(2026, 10, 9, tzinfo=UTC))
    rows = await month.owner.fetch("SELECT accounting_date FROM ledger.operations WHERE organization_id = $1", book)
    assert {row[0] for row in rows} == {date(2026, 11, 1)}
    assert await problems(month.books, book) == []


async def test_a_month_that_is_not_over_or_is_closed_is_not_closed(month: Month):
    with pytest.raises(Refused, match="is not over before 2026-11-01 01:00 UTC"):
        await close(month)
    await month.set_clock(AFTER)
    await close(month)
    for period in (OCTOBER, OCTOBER.previous):
        with pytest.raises(Refused, match="2026-10 is closed already"):
            await close(month, period)


async def test_a_close_that_was_broken_off_goes_on(month: Month, monkeypatch):
    await month.pay(A, 10, 10)
    await month.set_clock(AFTER)
    walk = walking.walk
    monkeypatch.setattr(walking, "BOOKS_A_BATCH", 1)

    def die(done):
        if done == 2:
            raise KeyboardInterrupt

    async def broken(*args, **more):
        await walk(*args, **more | {"progress": die})

    monkeypatch.setattr(walking, "walk", broken)
    with pytest.raises(KeyboardInterrupt):
        await close(month)
    monkeypatch.setattr(walking, "walk", walk)
    await month.set_clock(AFTER + timedelta(days=40))
    with pytest.raises(Refused, match="2026-10 is being closed"):
        await close(month, OCTOBER.next)
    sealed = await close(month)
    assert sealed.books == len(BOOKS) + 1
    kinds = await month.owner.fetch(
        "SELECT count(*) FROM ledger.operations WHERE kind = 'close' GROUP BY organization_id"
    )
    assert {row[0] for row in kinds} == {1}


async def test_opening_again_leaves_a_trace_and_the_next_close_has_another_seal(month: Month):
    payment = await month.pay(A, 500, 500)
    await month.set_clock(AFTER)
    first = await close(month)
    await reopen(month)
    await month.reverse(payment, refunds=100, at=datetime(2026, 10, 31, 12, tzinfo=UTC))
    assert date(2026, 10, 31) in await dates(month)
    await month.wait(minutes=1)
    second = await close(month)
    assert first.seal != second.seal
    async with month.books() as session:
        rows = await sealing.closes(session, before=None, limit=10)
        assert await watermarks.digest(session, first.close_id) == first.seal
    assert [row.state for row in sorted(rows, key=lambda row: row.started_at)] == ["reopened", "sealed"]
    [traced] = [row for row in rows if row.state == "reopened"]
    assert traced.reopen_reason == "an invoice came late"
    for book in BOOKS:
        assert await problems(month.books, book) == []


async def test_months_are_opened_again_from_the_last_one(month: Month):
    await month.set_clock(AFTER + timedelta(days=31))
    await close(month)
    await close(month, OCTOBER.next)
    with pytest.raises(Refused, match="2026-11 is closed too"):
        await reopen(month)
    await reopen(month, OCTOBER.next)
    await reopen(month)
    with pytest.raises(Refused, match="2026-10 is not closed"):
        await reopen(month)


async def test_postings_at_full_speed_stay_right_while_a_month_is_closed(month: Month):
    """The clock is the next month's; what is posted meanwhile is either before the close of its book or not in it."""
    for book in (A, B):
        await month.pay(book, 5000, 5000, days=30)
    await month.spend(A, 1)
    await month.set_clock(AFTER - timedelta(hours=2))
    await month.spend(B, 1)
    await month.set_clock(AFTER)
    stop = asyncio.Event()
    outcomes: list[Outcome] = []

    async def post(book):
        late = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
        while not stop.is_set():
            outcomes.append(await month.spend(book, 1))
            await month.pay(book, 3, 4, event_at=late)

    async def until_posted(count):
        while len(outcomes) < count and not any(task.done() for task in busy):  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.01)

    busy = [asyncio.create_task(post(book)) for book in (A, A, B, C)]
    await until_posted(5)
    sealed = await close(month)
    await until_posted(len(outcomes) + 4)
    stop.set()
    await asyncio.gather(*busy)
    assert len(outcomes) > 8
    behind = await month.owner.fetchval(
        "SELECT count(*) FROM ledger.operations o JOIN finance.watermark_books w USING (organization_id)"
        " WHERE w.watermark_id = $1 AND o.seq > w.seq AND o.accounting_date <= $2",
        sealed.close_id, OCTOBER.last_day,
    )  # fmt: skip
    assert behind == 0
    for book in BOOKS:
        assert await problems(month.books, book) == []


async def test_no_book_is_closed_twice_by_two_who_close_at_once(month: Month):
    await month.set_clock(AFTER)
    both = await asyncio.gather(close(month), close(month), return_exceptions=True)
    seals = {one.seal for one in both if isinstance(one, sealing.Sealed)}
    assert len(seals) == 1
    assert all(isinstance(one, sealing.Sealed | Refused) for one in both)
    closed = await month.owner.fetch(
        "SELECT count(*) FROM ledger.operations WHERE kind = $1 GROUP BY organization_id", Kind.CLOSE
    )
    assert {row[0] for row in closed} == {1}


async def test_a_month_that_was_closed_along_with_a_later_one_is_open_again_with_it(month: Month):
    await month.pay(A, 10, 10)
    await month.spend(A, 5)
    await month.set_clock(AFTER + timedelta(days=31))
    await close(month, OCTOBER.next)
    await reopen(month, OCTOBER.next)
    sealed = await close(month)
    assert sealed.books == len(BOOKS) + 1
    for book in BOOKS:
        assert await problems(month.books, book) == []


async def test_a_book_that_is_being_opened_while_a_month_is_closed_is_closed_with_it(month: Month):
    await month.set_clock(AFTER)
    book = new_id()
    async with month.books() as session:
        await session.begin()
        await posting.post(session, [opening(organization_id=book, event_at=month.now)])
        closing = asyncio.create_task(close(month))
        await asyncio.sleep(0.2)
        assert not closing.done()
        await session.commit()
    sealed = await closing
    assert sealed.books == len(BOOKS) + 2
    await month.pay(book, 5, 5, event_at=datetime(2026, 10, 9, tzinfo=UTC))
    rows = await month.owner.fetch("SELECT accounting_date FROM ledger.operations WHERE organization_id = $1", book)
    assert min(row[0] for row in rows) == date(2026, 11, 1)


async def test_a_walk_whose_close_was_finished_and_opened_again_by_others_stops(month: Month):
    await month.set_clock(AFTER)
    sealed = await close(month)
    await reopen(month)
    with pytest.raises(Refused, match="somebody else has finished"):
        await walking.walk(
            month.books, Kind.CLOSE, close_id=sealed.close_id, through=OCTOBER.last_day, reason="late",
            progress=lambda _: None,
        )  # fmt: skip


@pytest.mark.long
async def test_a_book_that_somebody_keeps_for_a_while_is_waited_for(month: Month, monkeypatch):
    await month.set_clock(AFTER)
    keeping = month.owner.transaction()
    await keeping.start()
    await month.owner.execute("SELECT FROM ledger.books WHERE organization_id = $1 FOR UPDATE", B)
    await asyncio.sleep(0)
    closing = asyncio.create_task(close(month))
    await asyncio.sleep(4.5)
    await keeping.rollback()
    assert (await closing).books == len(BOOKS) + 1
