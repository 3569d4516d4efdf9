"""An adjustment that is changed or taken back goes where it was posted: to the same account, against the same one."""

from datetime import timedelta

import pytest

from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from billing.refusals import Refused
from finance.reconciling import listing, proving, resolving
from finance.reconciling.found import Compared, Found
from finance.statement_tables import ExceptionState, Finding
from ledger import statements
from ledger.operations import PLATFORM

ACCOUNTS = ("bank", "stripe_clearing", "fees", "reconciliation_differences")
USDC = ("usdc_clearing", "conversion_usdc", "conversion", "reconciliation_differences")


async def written(month, source, amount=None, currency="usd"):
    """A comparison that found one line of this amount, or none; its exception and whether that was opened."""
    found = Found(source, "one", Finding.DIFFERENT, None, amount or 0, currency, {}, {}, month.now)
    async with month.books() as session, session.begin():
        compared = Compared(source, 1, [found] if amount is not None else [])
        done = await listing.write(session, [compared], now=month.now)
        standing = await listing.listed(session, limit=9)
        settled = await listing.lately_resolved(session, since=month.now - timedelta(days=1), limit=9)
        [row] = [*standing, *settled]
        return done.opened, row


async def resolved(month, row, *, account=None, against=None):
    return await resolving.resolve(
        month.books, row.id, account=account, against=against, alone_up_to_cents=10**9, reason="seen",
        by=COMMAND_LINE, now=month.now,
    )  # fmt: skip


async def balances(month, codes=ACCOUNTS):
    async with snapshot(month.books) as session:
        found = {row.code: row.balance for row in await statements.trial_balance(session, PLATFORM)}
        assert await proving.problems(session, limit=9) == []
    return {code: found[code] for code in codes if found.get(code)}


@pytest.mark.parametrize(
    ("source", "account", "against", "posted"),
    [
        ("bank", None, "fees", {"bank": -30, "fees": 30}),
        ("bank", None, "stripe_clearing", {"bank": -30, "stripe_clearing": 30}),
        ("stripe_lines", None, "bank", {"stripe_clearing": -30, "bank": 30}),
        ("stripe_lines", "bank", "stripe_clearing", {"bank": -30, "stripe_clearing": 30}),
    ],
)
async def test_one_too_many_is_taken_back_from_both_accounts_and_stays_so(month, source, account, against, posted):
    await month.begin_anew()
    _, row = await written(month, source, -30)
    await resolved(month, row, account=account, against=against)
    assert await balances(month) == posted
    opened, row = await written(month, source)
    assert (opened, row.amount) == (1, 0)
    await resolved(month, row)
    assert await balances(month) == {}
    opened, row = await written(month, source)
    assert (opened, row.state) == (0, ExceptionState.RESOLVED), "there is nothing left to take back"


async def test_a_difference_that_grows_is_added_to_where_it_was_posted(month):
    await month.begin_anew()
    _, row = await written(month, "bank", -30)
    await resolved(month, row, against="stripe_clearing")
    opened, row = await written(month, "bank", -50)
    assert opened == 1
    await resolved(month, row)
    assert await balances(month) == {"bank": -50, "stripe_clearing": 50}
    _, row = await written(month, "bank")
    with pytest.raises(Refused, match="account is bank"):
        await resolved(month, row, account="stripe_clearing")


async def test_it_is_added_to_and_taken_back_against_no_other_account_than_before(month):
    await month.begin_anew()
    _, row = await written(month, "bank", -30)
    await resolved(month, row, against="fees")
    for amount in (-50, None):
        _, row = await written(month, "bank", amount)
        with pytest.raises(Refused, match="against is fees"):
            await resolved(month, row, against="reconciliation_differences")
        await resolved(month, row, account="bank", against="fees")
    assert await balances(month) == {}
    opened, row = await written(month, "bank", -30)
    assert (opened, row.state) == (1, ExceptionState.OPEN), "it is short again"
    await resolved(month, row, against="stripe_clearing")
    assert await balances(month) == {"bank": -30, "stripe_clearing": 30}, (
        "nothing was posted any more: any may be named"
    )


async def test_usdc_that_is_adjusted_in_parts_moves_the_dollars_of_the_whole(month):
    await month.begin_anew()
    for amount in (9_999, 19_998):
        _, row = await written(month, "chain", amount, "usdc")
        await resolved(month, row)
    assert await balances(month, USDC) == {
        "usdc_clearing": 19_998, "conversion_usdc": 19_998, "conversion": 1, "reconciliation_differences": -1,
    }  # fmt: skip
    _, row = await written(month, "chain", None, "usdc")
    await resolved(month, row)
    assert await balances(month, USDC) == {}
    assert (await written(month, "chain", None, "usdc"))[0] == 0
