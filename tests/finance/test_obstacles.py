"""A month is not closed over sums that nobody explained, nor without a comparison that began after its end."""

import json
from datetime import timedelta

import pytest_asyncio

from billing.database import snapshot
from finance.closing import obstacles
from finance.periods import Period
from tests.books.books import new_id
from tests.finance.treasuries import NETWORK, TREASURY, Treasury, paid

OCTOBER = Period.parse("2026-10")
END = OCTOBER.ends_at
HOUR = timedelta(hours=1)
MISSING = "reconciliations that are missing since the month's end"
NOT_ASKED = "reconciliations that did not ask Stripe since the month's end"
UNREAD = "treasuries of which no balance since the month's end was compared"
EXCEPTIONS = "exceptions that nobody has acknowledged"
EMPTY = """
SET session_replication_role = replica;
TRUNCATE billing.settlements, billing.external_payments, billing.balance_transactions, finance.statement_lines,
         finance.treasury_readings CASCADE;
SET session_replication_role = origin;
"""


@pytest_asyncio.fixture
async def october(month):
    """An empty month whose end has passed; what is put into billing is gone with the test."""
    await month.begin_anew()
    yield month
    await month.owner.execute(EMPTY)


async def standing(month):
    async with snapshot(month.books) as session:
        return {one.name: one.count for one in await obstacles.standing(session, OCTOBER)}


async def ran(month, at, *, covered=None):
    report = {"as_of": at.isoformat(), "covered": covered and {"since": covered, "read_at": covered.isoformat()}}
    await month.owner.execute(
        "INSERT INTO finance.reconciliations VALUES ($1, 'test', $2, $3)",
        new_id(), json.dumps(report, default=str), at + HOUR,
    )  # fmt: skip


async def found(month, source, at):
    await month.owner.execute(
        "INSERT INTO finance.exceptions (id, source, subject, finding, amount, currency, here, there, state,"
        " occurred_at, first_seen_at, opened_at, last_seen_at, updated_at)"
        " VALUES ($1, $2, 'x', 'different', 5, 'usd', '{}', '{}', 'open', $3, $3, $3, $3, $3)",
        new_id(), source, at,
    )  # fmt: skip


async def read(month, block, at, *, created_at):
    await month.owner.execute(
        "INSERT INTO finance.treasury_readings VALUES ($1, $2, $3, '0x', 0, $4, $5)",
        NETWORK, TREASURY, block, at, created_at,
    )  # fmt: skip


async def test_sums_are_of_no_day_and_lines_of_theirs(october):
    assert await standing(october) == {}
    await found(october, "bank", END + HOUR)
    assert await standing(october) == {}
    await found(october, "stripe_clearing", END + HOUR)
    await found(october, "treasury", END + HOUR)
    assert await standing(october) == {EXCEPTIONS: 2}
    await found(october, "stripe_lines", END - HOUR)
    assert await standing(october) == {EXCEPTIONS: 3}


async def test_a_month_of_stripe_waits_for_a_comparison_that_asked_it_after_the_end(october):
    await october.owner.execute(
        "INSERT INTO billing.balance_transactions (id, organization_id, source_id, category, amount_cents, fee_cents,"
        " net_cents, currency, occurred_at, created_at)"
        " VALUES ('txn_1', $1, 'ch_1', 'charge', 5, 0, 5, 'usd', $2, $2)",
        new_id(), END - HOUR,
    )  # fmt: skip
    assert await standing(october) == {MISSING: 1}
    await ran(october, END - 2 * HOUR, covered=END)
    assert await standing(october) == {MISSING: 1}, "it was written after the end, and began before"
    for covered in (None, END - HOUR):
        await ran(october, END, covered=covered)
        assert await standing(october) == {NOT_ASKED: 1}
    await ran(october, END + HOUR, covered=END + HOUR)
    assert await standing(october) == {}


async def test_a_month_with_a_treasury_waits_for_its_balance_after_the_end_to_be_compared(october):
    await october.owner.execute("SET session_replication_role = replica")  # a payment that nobody asked for
    await Treasury(october.books, october.owner).held(paid(1))
    assert await standing(october) | {"payments of wallets that are not final": 0} == {
        MISSING: 1, UNREAD: 1, "payments of wallets that are not final": 0,
    }  # fmt: skip
    await october.owner.execute("UPDATE billing.settlements SET final = true")
    await ran(october, END)
    await read(october, 1, END - HOUR, created_at=END)
    assert await standing(october) == {UNREAD: 1}
    await read(october, 2, END, created_at=END + 2 * HOUR)
    assert await standing(october) == {UNREAD: 1}, "nobody compared it yet"
    await ran(october, END + 3 * HOUR)
    assert await standing(october) == {}
