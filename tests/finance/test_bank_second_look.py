"""What a line of the bank is when its payout came back, says nothing, may be another's, or is of an impossible day."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from finance.reconciling import bank_statement, comparing, stripe_report
from finance.reconciling.comparing import Payout, PayoutSides
from finance.reconciling.files import StatementRefused
from finance.reconciling.pairing import Booked, Expected, Kind, Paired, pair
from finance.statement_tables import Finding
from tests.finance.test_reconciling_bank import BANK_DAYS, SALE, AtBank, bank

__all__ = ["bank"]

DAY = date(2026, 10, 10)
AT = datetime(2026, 10, 10, 9, tzinfo=UTC)
OURS = Payout(500, "usd", "paid", AT)
THEIRS = OURS._replace(arrives_on=DAY)
HERE, THERE, DIFFERENT = Finding.MISSING_HERE, Finding.MISSING_THERE, Finding.DIFFERENT


def payout(name: str, amount: int, days: int = 0) -> Expected:
    return Expected(name, amount, "usd", DAY + timedelta(days=days))


def booked(number: int, amount: int, text: str = "STRIPE", *, days: int = 0, **known: Any) -> Booked:
    return Booked(UUID(int=number), DAY + timedelta(days=days), amount, "usd", text, **known)


def rent(days: int) -> Booked:
    """The statement goes on until then, or begins then."""
    return booked(100 + days, -90_000, "RENT", days=days)


def names(pairs: Sequence[tuple[Expected, Booked]]) -> set[tuple[str, int]]:
    return {(one.name, line.line_id.int) for one, line in pairs}


def told(paired: Paired, sides: Sequence[PayoutSides] = ()) -> list[tuple[int | str, Finding, int]]:
    back = comparing.came_back(sides)
    compared = comparing.bank(paired, today=DAY, from_day=DAY, within_days=5, came_back=back)
    return [
        (UUID(one.subject).int if one.finding is HERE else one.subject, one.finding, one.amount)
        for one in compared.found
    ]  # fmt: skip


# A line of nothing.


@pytest.mark.parametrize("line", [booked(1, 0, "ETH-1 CONFIRMED"), booked(1, 0, "STRIPE ETH-1")])
def test_a_line_of_nothing_is_no_purchase_that_it_names_and_no_finding(line):
    purchase = Expected("bought", -2500, "usd", DAY, Kind.PURCHASE, ("ETH-1",))
    paired = pair([purchase], [line, rent(40)], within_days=5)
    assert (paired.sure, paired.guessed) == ([], [])
    assert told(paired) == []


# A payout that came back.


@pytest.mark.parametrize(
    "sides",
    [
        PayoutSides("po_A", OURS._replace(status="failed"), THEIRS, None, None, due=True),
        PayoutSides("po_A", OURS, THEIRS._replace(status="failed"), None, None, due=True),
        PayoutSides("po_A", OURS._replace(status="canceled"), None, None, None, due=True),
    ],
)
def test_a_payout_that_came_back_as_either_side_knows_is_not_expected(sides):
    assert comparing.expected([sides]) == []
    assert comparing.came_back([sides]) == {"po_a": 500}


BACK = [PayoutSides("po_A", OURS._replace(status="failed"), None, None, None, due=True)]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        # It is at the bank, and in the books it is not: whoever knew the line as it, or reads its name, says so.
        ([booked(1, 500, "ACH CREDIT", known_as="po_A")], [(1, HERE, 500)]),
        ([booked(1, 500, "ACH CREDIT PO_A")], [(1, HERE, 500)]),
        ([booked(1, -25, "FEE po_A")], [(1, HERE, -25)]),
        ([booked(1, 500, "ACH CREDIT")], []),
        ([booked(1, 500, "ACH CREDIT po_B")], []),
        # It came, and went again.
        ([booked(1, 500, "STRIPE", known_as="po_A"), booked(2, -500, "RETURN PO_A", days=4)], []),
        ([booked(1, 500, "STRIPE po_A"), booked(2, -500, "STRIPE po_A"), booked(3, -25, "FEE po_A")],
         [(3, HERE, -25)]),
        ([booked(1, 500, "po_A"), booked(2, -500, "po_A"), booked(3, 500, "po_A")], [(3, HERE, 500)]),
        ([booked(1, 500, "STRIPE po_A"), booked(2, -490, "STRIPE po_A")], [(1, HERE, 500), (2, HERE, -490)]),
        ([booked(1, 500, "STRIPE po_A"), booked(2, -500, "STRIPE")], [(1, HERE, 500), (2, HERE, -500)]),
    ],
)  # fmt: skip
def test_lines_of_a_payout_that_came_back_are_told_unless_they_undo_each_other(lines, found):
    assert comparing.expected(BACK) == []
    assert told(pair([], [*lines, rent(40)], within_days=5), BACK) == found


# A payout that may still come by itself.


@pytest.mark.parametrize(
    ("payouts", "lines", "ends", "guessed"),
    [
        # The line is as well that of po_2, which is on its way.
        ([payout("po_1", 500), payout("po_2", 400, 3)], [booked(1, 90, days=3)], 5, set()),
        ([payout("po_1", 500), payout("po_2", 460, 3)], [booked(1, 455, days=3)], 5, set()),
        # po_2 came, or the line is nearer to po_1.
        (
            [payout("po_1", 500), payout("po_2", 400, 3)],
            [booked(1, 90, days=3), booked(2, 400, days=3)],
            5,
            {("po_1", 1)},
        ),
        ([payout("po_1", 500), payout("po_2", 460, 3)], [booked(1, 497, days=3)], 5, {("po_1", 1)}),
        ([payout("po_1", 500), payout("po_2", 500, 3)], [booked(1, 497, days=1)], 5, {("po_1", 1)}),
        ([payout("po_1", 500), payout("po_2", 400, 3)], [booked(1, 455, days=3)], 8, {("po_1", 1)}),
        # It is too far from po_2 in days.
        ([payout("po_1", 500), payout("po_2", 400, 6)], [booked(1, 90)], 5, {("po_1", 1)}),
    ],
)
def test_no_line_is_guessed_that_may_be_of_a_payout_which_still_comes(payouts, lines, ends, guessed):
    paired = pair(payouts, [rent(0), *lines, rent(ends)], within_days=5)
    assert names(paired.guessed) == guessed


@pytest.mark.parametrize(("today", "guessed"), [(4, set()), (5, {("po_1", 1)})])
def test_a_line_of_a_day_that_is_not_over_makes_the_statement_no_longer(today, guessed):
    paired = pair(
        [payout("po_1", 500)], [booked(1, 90), rent(40)], within_days=5, today=DAY + timedelta(days=today)
    )  # fmt: skip
    assert names(paired.guessed) == guessed


# Days that cannot be.


@pytest.mark.parametrize("day", ["0026-10-05", "1999-12-31", "2206-10-05", "9999-12-31"])
def test_a_day_of_another_time_refuses_the_file(day):
    with pytest.raises(StatementRefused, match=r"b.csv, line 3, column date: is not a day such as 2026-10-31"):
        bank_statement.parsed(f"date,amount,currency\n2026-10-05,1.00,usd\n{day},1.00,usd".encode(), "b.csv")
    head = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category"
    with pytest.raises(StatementRefused, match=r"line 2, column created_utc: is not a time"):
        stripe_report.parsed(f"{head}\ntxn_1,{day} 08:00:00,usd,5.00,0.45,4.55,charge".encode(), "r.csv")


# In the database.


async def test_a_line_whose_payout_comes_back_is_open_until_the_money_has_gone_again(bank: AtBank):
    await bank.paid_out("po_A", 50_000)
    await bank.says((3, 50_000, "ACH CREDIT"))
    assert await bank.reconcile() == {"matched": 1}
    await bank.month.owner.execute("UPDATE billing.payouts SET status = 'failed'")
    assert await bank.reconcile() == {"missing_here": 1, "opened": 1}
    assert [(finding, amount) for finding, amount, _ in (await bank.standing()).values()] == [
        ("missing_here", 50_000)
    ]  # fmt: skip
    assert await bank.in_the_way() == 1
    [line] = await bank.standing()
    await bank.resolve(line)
    assert await bank.balance() == 50_000
    await bank.says((5, -50_000, "ACH RETURN PO_A"))
    assert await bank.reconcile() == {"matched": 1, "opened": 1}, "what was adjusted is one too many"
    await bank.resolve(line)
    assert await bank.balance() == 0
    assert await bank.reconcile() == {"matched": 1}


async def test_comparisons_imports_and_a_decision_at_once_leave_what_one_after_the_other_leaves(bank: AtBank):
    await bank.sold()
    await bank.paid_out("po_1", 50_000)
    await bank.says((3, 12_300, "STRIPE"))
    await bank.month.wait(days=BANK_DAYS)
    assert await bank.reconcile() == {"missing_here": 1, "missing_there": 2, "opened": 3}
    [line] = {*await bank.standing()} - {"po_1", SALE}
    await asyncio.gather(
        bank.reconcile(),
        bank.resolve(line),
        bank.says((4, 9900, "EXCHANGE"), (8, 50_000, "STRIPE PO_1")),
        bank.reconcile(),
        bank.says((8, 50_000, "STRIPE PO_1"), (9, -5, "CHARGES")),
        bank.reconcile(),
    )
    again = await bank.reconcile()
    assert {name: again.get(name) for name in ("matched", "missing_here", "missing_there", "different")} == {
        "matched": 2, "missing_here": 1, "missing_there": None, "different": None,
    }  # fmt: skip
    assert await bank.standing() == {}
    assert await bank.balance() == 9900 + 12_300
    assert await bank.kept() == {
        "RENT": None, "STRIPE": None, "EXCHANGE": SALE, "STRIPE PO_1": "po_1", "CHARGES": None,
    }  # fmt: skip
    again = await bank.reconcile()
    assert ("opened" in again, "gone" in again) == (False, False)
