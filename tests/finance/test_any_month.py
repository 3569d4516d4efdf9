"""Whatever happens in a month: revenue, roll-forward and books agree to the cent."""

import asyncio
from collections import Counter
from datetime import date
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.database import snapshot
from finance import folding, proving, recognizing, roll_forward, watermarks
from finance.lot_values import Gone, worth
from finance.periods import Period
from ledger.outcomes import Outcome
from tests.books.books import new_id, problems
from tests.finance.month import BOOKS, Month, month_on

N = st.integers(0, 10**6)
KINDS = [
    "pay", "pay", "gift", "spend", "spend", "spend", "hold", "capture", "give_back", "refund", "dispute", "lose", "win",
    "write_off", "wait", "wait", "day", "recognize",
]  # fmt: skip
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        N, N, N,
    ),
    min_size=8, max_size=40,
)  # fmt: skip


async def act(month: Month, what: str, a: int, b: int, c: int) -> None:
    book = BOOKS[a % 2]
    payment = month.payments[b % len(month.payments)] if month.payments else None
    if what == "pay":
        await month.pay(book, 1 + b % 40, c % 900, tax=c % 7, remainder=b % 3, days=(None, 1, 3, 9)[b % 4])
    elif what == "gift":
        await month.gift(book, 1 + b % 9, days=1 + c % 4)
    elif what == "spend":
        await month.spend(book, 1 + b % 15)
    elif what == "hold":
        await month.hold(book, 1 + b % 15, hours=1 + c % 60)
    elif what == "capture" and month.holds:
        await month.capture(month.holds[b % len(month.holds)], 1 + c % 6, final=bool(a % 2))
    elif what == "give_back" and month.spends:
        await month.give_back(month.spends[b % len(month.spends)], 1 + c % 6)
    elif what in {"refund", "dispute", "lose", "win"} and payment is not None and payment.terms.total_cents:
        await reverse(month, payment, what, c)
    elif what == "write_off" and payment is not None and (owed := await month.owed(payment)):
        await month.write_off(payment, 1 + c % owed)
    elif what == "wait":
        await month.wait(hours=1 + b % 20)
    elif what == "day":
        await month.wait(days=1 + b % 3)
    elif what == "recognize":
        await recognizing.recognize_all(month.books, through=month.yesterday)


async def reverse(month: Month, payment: Any, what: str, c: int) -> None:
    total, live = payment.terms.total_cents, payment.live
    part = c % (total + 1)
    refunds = part if what == "refund" else live.refunds_cents
    disputes, lost = live.disputes_cents, live.lost_cents
    if what == "dispute":
        disputes, lost = min(part, total), 0
    elif what == "lose":
        lost = disputes
    elif what == "win":
        disputes = lost = 0
    await month.reverse(payment, refunds=refunds, disputes=disputes, lost=lost)


async def agree(month: Month) -> None:
    """Everything is recognized, and whoever adds it up in another way comes to the same."""
    period = Period.of(month.now.date())
    for book in BOOKS[:2]:
        assert await problems(month.books, book) == []
    async with snapshot(month.books) as session:
        assert await proving.problems(session, limit=10) == []
    async with month.books() as session, session.begin():
        mark = await watermarks.take(session, new_id(), now=month.now)
    async with snapshot(month.books) as session:
        rows = [row async for row in roll_forward.rows(session, period, mark.id)]
    for row in rows:
        assert row.ties
        assert row.closing == await month.account("deferred_revenue", row.organization_id)
    assert rows[-1].organization_id is None
    lots = await lots_worth(month)
    assert rows[-1].closing == sum(one.deferred for one in lots.values())
    for code, part in (("revenue_usage", "used"), ("revenue_breakage", "breakage"), ("receivable_owed", "receivable")):
        assert await month.account(code) == sum(getattr(one, part) for one in lots.values())


async def lots_worth(month: Month) -> dict[tuple[Any, int], Any]:
    """What the lots as they stand now are worth: told by their rows, and not by what each day did to them."""
    rows = await month.owner.fetch(
        "SELECT l.*, g.basis_amount, g.seq AS opened FROM ledger.lots l"
        " JOIN ledger.lot_openings g USING (lane, organization_id, lot) WHERE l.cause = 'paid'"
    )
    given_: Counter[tuple[Any, int]] = Counter()
    for row in rows:
        for source, amount in zip(row["settled_lots"], row["settled_amounts"], strict=True):
            given_[row["organization_id"], source] += amount
    taken = {
        (row["organization_id"], row["seq"]): int(row["cents"])
        for row in await month.owner.fetch(
            "SELECT t.organization_id, t.seq, sum(CASE WHEN m.debit = 'deferred_revenue' THEN m.amount"
            " WHEN m.credit = 'deferred_revenue' THEN -m.amount ELSE 0 END) AS cents FROM ledger.operations o"
            " JOIN ledger.transfers m USING (lane, organization_id, seq)"
            " JOIN ledger.operations t ON t.id = o.target WHERE o.kind = 'money' GROUP BY 1, 2"
        )
    }
    return {
        (row["organization_id"], row["lot"]): worth(credits_=row["credits"], basis=row["basis_amount"], gone=Gone(
            consumed=row["consumed"], expired=row["expired"], given=given_[row["organization_id"], row["lot"]],
            reversed=row["reversed"], owed=row["owed"], settled=row["settled"],
            taken_cents=taken.get((row["organization_id"], row["opened"]), 0),
        ))
        for row in rows
    }  # fmt: skip


async def use_up(month: Month) -> None:
    """Whoever disputes wins or loses, all holds end, and all that is left expires or is spent."""
    for payment in month.payments:
        live = payment.live
        if not live.cents:
            continue
        await month.reverse(payment, refunds=live.refunds_cents, disputes=live.disputes_cents, lost=live.disputes_cents)
    await month.wait(days=12)
    for book in BOOKS[:2]:
        await month.gift(book, 1)
        assert await month.spend(book, await month.left(book)) is Outcome.POSTED


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(actions=ACTIONS)
def test_a_month_of_anything_ties_and_used_up_lots_recognize_what_was_paid(month_database, actions):
    async def live() -> None:
        async with month_on(month_database) as month:
            for action in actions:
                await act(month, *action)
            await month.wait_for_midnight()
            await recognizing.recognize_all(month.books, through=month.yesterday)
            await agree(month)
            await use_up(month)
            await month.wait_for_midnight()
            await recognizing.recognize_all(month.books, through=month.yesterday)
            await agree(month)
            assert await month.account("deferred_revenue") == 0
            daily = await folded(month)
            await month.owner.execute("TRUNCATE finance.folded_books, finance.lot_days")
            for book in BOOKS[:2]:
                async with month.books() as session, session.begin():
                    await folding.fold(session, book, after=0, through=10**6, floor=date.min)
            assert await folded(month) == daily

    asyncio.run(live())


async def folded(month: Month) -> list[Any]:
    """What became of each lot in all, as it was folded."""
    return [
        tuple(row)
        for row in await month.owner.fetch(
            "SELECT organization_id, lot, sum(consumed), sum(expired), sum(given), sum(reversed), sum(owed),"
            " sum(settled), sum(taken_cents) FROM finance.lot_days GROUP BY 1, 2 ORDER BY 1, 2"
        )
    ]
