"""Finance is told in time: revenue that nobody recognizes, and exceptions that nobody looks at."""

from datetime import date

import pytest

from api.alarms import Alarms
from api.alerts import measured
from api.settings import Settings
from billing import operator_keys
from billing.operator_actions import COMMAND_LINE, Acting
from billing.scopes import Scope
from finance import folding, recognizing
from finance.reconciling import listing, resolving
from finance.reconciling.found import Compared, Found
from finance.statement_tables import Finding
from tests.finance.month import BOOKS, Month

A, B, _ = BOOKS
DAY, HOUR = 86_400, 3600
REVENUE, WAITING = "revenue_oldest_unrecognized_seconds", "exception_oldest_waiting_seconds"


async def measure(month: Month, name: str) -> float | None:
    return (await measured(month.books, now=month.now))[name]


async def said(month: Month, alarms: Alarms, name: str) -> list[bool]:
    """Whether the alert is over, each time that it is said now."""
    found = await measured(month.books, now=month.now)
    told = alarms.judge(found, Settings(), again_after_s=DAY, now=month.now)
    return [one.over for one in told if one.alert.name == name]


async def recognize(month: Month) -> int:
    return (await recognizing.recognize_all(month.books, through=month.yesterday)).days


async def test_revenue_that_nobody_recognizes_for_two_days_is_an_alert_until_it_is_recognized(month: Month):
    alarms = Alarms()
    await month.pay(A, 500, 500)
    await month.spend(A, 100)
    assert await measure(month, REVENUE) == 0, "the day is not over"
    await month.wait_for_midnight()
    await month.wait(days=2)
    assert await measure(month, REVENUE) == 2 * DAY
    assert await said(month, alarms, "revenue_behind") == []
    await month.wait(minutes=1)
    assert await said(month, alarms, "revenue_behind") == [False]
    assert await recognize(month) == 1
    assert await measure(month, REVENUE) == 0
    assert await said(month, alarms, "revenue_behind") == [True]


async def test_one_book_that_cannot_be_recognized_is_enough_however_much_is_spent_in_it(month: Month, monkeypatch):
    fold = folding.fold

    async def broken(session, organization_id, **more):
        if organization_id == A:
            raise LookupError("nothing there")
        await fold(session, organization_id, **more)

    for book in (A, B):
        await month.pay(book, 500, 500)
    await month.wait_for_midnight()
    await recognize(month)
    monkeypatch.setattr(folding, "fold", broken)
    for _ in range(4):
        for book in (A, B):
            await month.spend(book, 10)
        await month.wait(days=1)
        with pytest.raises(LookupError, match="nothing there"):
            await recognize(month)
    assert await measure(month, REVENUE) == 3 * DAY
    assert await said(month, Alarms(), "revenue_behind") == [False]
    monkeypatch.undo()
    await recognize(month)
    assert await measure(month, REVENUE) == 0


async def test_a_day_that_was_read_before_its_end_is_behind_when_nobody_comes_back_for_it(month: Month):
    """A worker that starts in the afternoon reads that day too, and cannot recognize it yet."""
    await month.pay(A, 500, 500)
    await month.spend(A, 100)
    assert await recognize(month) == 0
    await month.wait_for_midnight()
    await month.wait(hours=1)
    assert await measure(month, REVENUE) == HOUR
    await recognize(month)
    assert await measure(month, REVENUE) == 0


async def test_days_after_a_month_that_was_closed_late_are_behind(month: Month):
    for _ in range(3):
        await month.pay(A, 500, 500)
        await month.spend(A, 100)
        await month.wait(days=1)
    await recognizing.recognize_all(month.books, through=date(2026, 10, 1))
    assert await measure(month, REVENUE) == DAY + 8 * HOUR, "the second of October ended on the third at midnight"


async def test_credits_that_expire_where_nobody_comes_are_revenue_that_is_due(month: Month):
    await month.pay(A, 500, 500, days=3)
    await month.wait(days=1)
    await recognize(month)
    await month.wait(days=1)
    await recognize(month)
    await month.wait(days=3)
    assert await measure(month, REVENUE) == 2 * DAY + 8 * HOUR
    await recognize(month)
    assert await measure(month, REVENUE) == 0


async def test_a_book_that_rests_or_wakes_up_again_is_not_behind_and_a_worker_that_rests_is(month: Month):
    await month.pay(A, 500, 500)
    await month.spend(A, 100)
    await month.gift(B, 50)
    for _ in range(2):
        await month.wait(days=1)
        await recognize(month)
    await month.wait(days=30)
    assert await measure(month, REVENUE) == 29 * DAY + 8 * HOUR, "nobody has looked"
    await recognize(month)
    for book in (A, B):
        await month.spend(book, 1)
    assert await measure(month, REVENUE) == 0, "today is not over"


async def compared(month: Month, *cents: int) -> None:
    """A comparison of the bank, which finds that a payout differs by so much, or nothing."""
    found = [Found("bank", "po_1", Finding.DIFFERENT, None, one, "usd", {}, {}, month.now) for one in cents]
    async with month.books() as session, session.begin():
        await listing.write(session, [Compared("bank", 1, found)], now=month.now)


async def the_exception(month: Month):
    async with month.books() as session:
        return (await listing.listed(session, limit=1))[0]


async def test_an_exception_that_nobody_looks_at_for_a_week_is_an_alert_until_it_is_acknowledged(month: Month):
    await month.begin_anew(books=())
    alarms = Alarms()
    await compared(month, -3)
    assert await measure(month, WAITING) == 0
    await month.wait(days=7)
    await compared(month, -3)
    assert await said(month, alarms, "exceptions_waiting") == []
    await month.wait(minutes=1)
    assert await said(month, alarms, "exceptions_waiting") == [False]
    row = await the_exception(month)
    await resolving.acknowledge(month.books, row.id, reason="known", by=COMMAND_LINE, now=month.now)
    assert await said(month, alarms, "exceptions_waiting") == [True]


async def test_an_exception_whose_numbers_change_daily_does_not_wait_anew_and_is_over_when_gone(month: Month):
    for cents in range(1, 9):
        await compared(month, cents)
        await month.wait(days=1)
    assert await measure(month, WAITING) == 8 * DAY
    await compared(month)
    assert await measure(month, WAITING) == 0


async def test_what_was_decided_about_waits_anew_when_it_is_open_again(month: Month):
    await compared(month, -3)
    row = await the_exception(month)
    await resolving.acknowledge(month.books, row.id, reason="known", by=COMMAND_LINE, now=month.now)
    await month.wait(days=30)
    assert await measure(month, WAITING) == 0
    await compared(month, -4)
    await month.wait(days=2)
    await compared(month, -5)
    assert await measure(month, WAITING) == 2 * DAY, "it was open already"


async def test_what_was_gone_and_comes_back_waits_since_it_is_back(month: Month):
    await compared(month, -3)
    await month.wait(days=1)
    await compared(month)
    await month.wait(days=90)
    await compared(month, -3)
    assert await measure(month, WAITING) == 0
    await month.wait(hours=1)
    assert await measure(month, WAITING) == HOUR


async def test_a_proposal_that_nobody_approves_has_waited_since_it_was_opened(month: Month):
    await month.begin_anew(books=())
    await compared(month, -300)
    await month.wait(days=6)
    row = await the_exception(month)
    ada = await operator_keys.create(month.books, name="Ada", scopes=[Scope.OPERATE], now=month.now)
    await resolving.resolve(
        month.books, row.id, account=None, against=None, alone_up_to_cents=10, reason="seen",
        by=Acting(ada.key_id, "Ada"), now=month.now,
    )  # fmt: skip
    assert await said(month, Alarms(), "exceptions_waiting") == []
    await month.wait(days=2)
    assert await said(month, Alarms(), "exceptions_waiting") == [False]
