"""Revenue: what was sold is recognized when it is used or expires, once per book and day, to the cent."""

import asyncio
from datetime import date

import pytest

from finance import folding, recognizing
from finance.lot_values import Gone, worth
from tests.books.books import problems
from tests.finance.month import BOOKS, Month, scalars

A, B, _ = BOOKS


async def revenue(month: Month) -> dict[str, int]:
    codes = (
        "revenue_usage",
        "revenue_breakage",
        "receivable_owed",
        "write_off",
        "deferred_revenue",
        "disputed_payments",
    )
    return {code: cents for code in codes if (cents := await month.account(code))}


async def recognize(month: Month) -> int:
    return (await recognizing.recognize_all(month.books, through=month.yesterday)).days


def test_parts_of_a_lot_are_worth_what_all_of_it_was_sold_for():
    for credits_, basis in [(3, 500), (7, 1), (500, 500), (1, 0), (9, 1000)]:
        gone = [worth(credits_=credits_, basis=basis, gone=Gone(consumed=n)) for n in range(credits_ + 1)]
        assert gone[-1].used == basis
        assert all(one.used + one.deferred == basis and not one.breakage for one in gone)
        half = credits_ // 2
        assert worth(credits_=credits_, basis=basis, gone=Gone(half, credits_ - half)).deferred == 0


async def test_use_and_expiry_become_revenue_on_the_day_on_which_they_happened(month: Month):
    await month.pay(A, 500, 500, tax=40, days=3)
    await month.spend(A, 200)
    await month.wait(days=1)
    await month.spend(A, 100)
    await month.wait(days=10)
    assert await recognize(month) == 3
    assert await revenue(month) == {"revenue_usage": 300, "revenue_breakage": 200}
    posted = await month.owner.fetch(
        "SELECT key, accounting_date FROM ledger.operations WHERE key LIKE 'recognition:%' ORDER BY seq"
    )
    assert [tuple(row) for row in posted] == [(f"recognition:2026-10-0{day}", date(2026, 10, day)) for day in (1, 2, 4)]


async def test_credits_that_were_given_away_carry_no_revenue(month: Month):
    await month.gift(A, 100, days=2)
    await month.spend(A, 60)
    await month.wait(days=5)
    await recognize(month)
    assert await revenue(month) == {}


async def test_a_day_is_recognized_once_however_often_and_by_how_many_it_is_asked_for(month: Month):
    await month.pay(A, 3, 500)
    await month.spend(A, 1)
    await month.wait(days=1)
    await asyncio.gather(*(recognize(month) for _ in range(4)))
    assert await recognize(month) == 0
    assert await revenue(month) == {"revenue_usage": 167, "deferred_revenue": 333}
    assert await problems(month.books, A) == []


async def test_a_day_that_is_not_over_is_not_recognized(month: Month):
    with pytest.raises(ValueError, match="is not over"):
        await recognizing.recognize(month.books, A, through=month.now.date())
    with pytest.raises(ValueError, match="is not over"):
        await recognizing.recognize_all(month.books, through=month.now.date())


async def test_what_comes_late_counts_on_the_next_day(month: Month):
    payment = await month.pay(A, 500, 500)
    await month.spend(A, 100)
    await month.wait(days=1)
    await recognize(month)
    yesterday = month.now.replace(day=1)
    await month.reverse(payment, refunds=400, at=yesterday)
    await month.wait(days=1)
    assert await recognize(month) == 1
    assert await revenue(month) == {"revenue_usage": 100}
    assert await scalars(month.books, "SELECT max(day) FROM finance.recognitions") == [date(2026, 10, 2)]


async def test_a_refund_leaves_nothing_of_its_credits_behind(month: Month):
    """Three credits for 5.00, and 1.00 goes back: that takes a whole credit, whose rest is ours at once."""
    payment = await month.pay(A, 3, 500)
    await month.reverse(payment, refunds=100)
    await month.spend(A, 2)
    await month.wait(days=1)
    await recognize(month)
    assert await revenue(month) == {"revenue_usage": 333, "revenue_breakage": 67}


async def test_an_open_dispute_is_neither_revenue_nor_owed_as_service(month: Month):
    payment = await month.pay(A, 500, 500)
    await month.reverse(payment, disputes=500)
    await month.wait(days=1)
    await recognize(month)
    assert await revenue(month) == {"disputed_payments": 500}
    await month.reverse(payment, disputes=500, lost=500)
    await month.wait(days=1)
    await recognize(month)
    assert await revenue(month) == {}


async def test_credits_that_were_used_and_taken_back_are_revenue_and_owed_until_they_are_settled(month: Month):
    payment = await month.pay(A, 500, 500)
    await month.spend(A, 200)
    await month.reverse(payment, refunds=500)
    await month.wait(days=1)
    await recognize(month)
    assert await revenue(month) == {"revenue_usage": 200, "receivable_owed": 200}
    await month.pay(A, 500, 400)
    await month.wait(days=1)
    await recognize(month)
    assert await revenue(month) == {"revenue_usage": 200, "write_off": 40, "deferred_revenue": 240}


async def test_what_is_given_up_is_a_loss_and_no_longer_a_receivable(month: Month):
    payment = await month.pay(A, 500, 500)
    await month.spend(A, 500)
    await month.reverse(payment, refunds=500)
    await month.write_off(payment, 300)
    await month.wait(days=1)
    await recognize(month)
    assert await revenue(month) == {"revenue_usage": 500, "receivable_owed": 200, "write_off": 300}


async def test_books_are_told_apart_and_one_where_nothing_happened_is_not_touched(month: Month):
    await month.pay(A, 10, 100)
    await month.pay(B, 10, 1000)
    await month.spend(A, 1)
    await month.wait(days=1)
    await recognize(month)
    assert (await month.account("revenue_usage", A), await month.account("revenue_usage", B)) == (10, 0)
    await month.wait(days=1)
    await recognize(month)
    assert (await recognizing.recognize_all(month.books, through=month.yesterday)).books == 0


async def test_a_book_that_cannot_be_recognized_does_not_keep_the_others_from_it(month: Month, monkeypatch):
    for book in (A, B):
        await month.pay(book, 10, 100)
        await month.spend(book, 1)
    await month.wait(days=1)
    fold = folding.fold

    async def broken(session, organization_id, **more):
        if organization_id == A:
            raise LookupError("nothing there")
        await fold(session, organization_id, **more)

    monkeypatch.setattr(folding, "fold", broken)
    with pytest.raises(LookupError, match="nothing there"):
        await recognize(month)
    assert (await month.account("revenue_usage", A), await month.account("revenue_usage", B)) == (0, 10)
    monkeypatch.undo()
    assert await recognize(month) == 1


async def test_a_long_journal_is_folded_in_parts_and_comes_to_the_same(month: Month, monkeypatch):
    monkeypatch.setattr(folding, "OPERATIONS_AT_ONCE", 2)
    await month.pay(A, 500, 500, days=3)
    for _ in range(5):
        await month.spend(A, 10)
    await month.wait(days=5)
    assert await recognize(month) == 2
    assert await revenue(month) == {"revenue_usage": 50, "revenue_breakage": 450}
