"""What is told of an adjustment that is one too many, of a sale told twice, and of a line that undoes another."""

import pytest

from billing.operator_actions import COMMAND_LINE
from finance.reconciling import resolving
from finance.reconciling.comparing import PayoutSides
from finance.reconciling.pairing import pair
from finance.statement_tables import ExceptionState, Finding
from tests.finance.test_adjustments_taken_back import balances, resolved, written
from tests.finance.test_bank_second_look import BACK, OURS, booked, rent, told
from tests.finance.test_treasury import read, sale, sell, treasury, treasury_database
from tests.finance.test_treasury import told as told_of
from tests.finance.treasuries import DOLLAR, NETWORK, ChainOfTests, hash_of, paid, sent, time_of

__all__ = ["treasury", "treasury_database"]


async def test_one_that_was_resolved_again_without_a_posting_is_taken_back_where_it_was_posted(month):
    await month.begin_anew()
    _, row = await written(month, "bank", -30)
    await resolved(month, row, against="stripe_clearing")
    await written(month, "bank")
    _, row = await written(month, "bank", -30)
    assert (await resolved(month, row)).state == ExceptionState.RESOLVED
    assert await balances(month) == {"bank": -30, "stripe_clearing": 30}, "what was posted is what is short"
    _, row = await written(month, "bank")
    await resolved(month, row)
    assert await balances(month) == {}


async def test_who_knows_of_a_state_does_not_know_that_an_adjustment_is_too_much(month):
    await month.begin_anew()
    _, row = await written(month, "stripe_payouts", -30)
    await resolved(month, row)
    opened, row = await written(month, "stripe_payouts", 0)
    assert (opened, row.amount, row.here) == (1, 0, {}), "the amounts are equal by now, the states are not"
    await resolving.acknowledge(month.books, row.id, reason="on its way", by=COMMAND_LINE, now=month.now)
    opened, row = await written(month, "stripe_payouts")
    assert (opened, row.state, row.here["adjusted"]["stripe_clearing"]) == (1, ExceptionState.OPEN, -30)
    await resolving.acknowledge(month.books, row.id, reason="known", by=COMMAND_LINE, now=month.now)
    assert (await written(month, "stripe_payouts"))[0] == 0
    await resolved(month, row)
    assert await balances(month) == {}


@pytest.mark.parametrize("day", [100, 2_000])
async def test_a_sale_told_twice_of_a_transaction_that_was_read_is_missing_whenever_it_is_said_to_be(treasury, day):
    out = sent(600)
    for reference in ("trade-1", "again"):
        await sell(treasury, sale(out, reference=reference, sold_at=time_of(day)))
    await sell(treasury, sale(reference="not-read", transaction_hash=hash_of(9), sold_at=time_of(day)))
    await read(treasury, ChainOfTests([paid(10, 9 * DOLLAR), out]), from_block=500)
    lines, _ = await treasury.compared()
    [(subject, *what)] = told_of(lines)
    assert what == [Finding.MISSING_THERE, DOLLAR]
    assert subject in {f"usdc_sold:{NETWORK}:trade-1", f"usdc_sold:{NETWORK}:again"}


def test_a_line_undoes_one_line_also_where_it_names_two_payouts_that_came_back():
    back = [*BACK, PayoutSides("po_B", OURS._replace(status="failed"), None, None, None, due=True)]
    lines = [
        booked(1, 500, "po_A po_B"),
        booked(2, -500, "RETURN po_A", days=4),
        booked(3, -500, "RETURN po_B", days=4),
    ]
    assert told(pair([], [*lines, rent(40)], within_days=5), back) == [(3, Finding.MISSING_HERE, -500)]
