"""Two sides of everything, as tables: what fits, what does not, and which line of the bank is which payout."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from finance.reconciling import adjusting, comparing
from finance.reconciling.clearing import Age, Clearing, ageing
from finance.reconciling.comparing import Line, LineSides, Payout, PayoutSides, Uncharged
from finance.reconciling.pairing import Booked, Expected, Kind, pair
from finance.statement_tables import Finding

AT = datetime(2026, 10, 10, 12, tzinfo=UTC)
DAY = date(2026, 10, 10)
WHO = UUID(int=5)
CHARGE = Line("charge", 500, 45, 455, None, "ch_1", AT, WHO)
HERE, THERE, DIFFERENT = Finding.MISSING_HERE, Finding.MISSING_THERE, Finding.DIFFERENT


def payment(name: str, amount: int, *, late: bool = True) -> Uncharged:
    return Uncharged(name, WHO, UUID(int=6), amount, AT, late)


@pytest.mark.parametrize(
    ("here", "there", "finding", "amount"),
    [
        (CHARGE, None, THERE, -455),
        (None, CHARGE, HERE, 455),
        (CHARGE, CHARGE._replace(fee=50, net=450), DIFFERENT, -5),
        (CHARGE._replace(payout_id="po_1"), CHARGE._replace(payout_id="po_2"), DIFFERENT, 0),
    ],
)
def test_a_line_that_does_not_fit_says_what_the_books_lack(here, there, finding, amount):
    compared, waiting = comparing.lines([LineSides("txn_1", here, there)], [], matched=3, payouts_missing=frozenset())
    [found] = compared.found
    assert (found.subject, found.finding, found.amount, compared.matched) == ("txn_1", finding, amount, 3)
    assert waiting == []


def test_a_charge_that_is_missing_here_explains_the_payment_that_waits_for_it():
    waiting = [payment("pi_other", 700), payment("pi_1", 500)]
    lines, left = comparing.lines([LineSides("txn_1", None, CHARGE)], waiting, matched=0, payouts_missing=frozenset())
    assert [(one.amount, one.here["payment_id"], one.organization_id) for one in lines.found] == [(-45, "pi_1", WHO)]
    payments = comparing.payments(left, [], matched=1)
    assert [(one.subject, one.finding, one.amount) for one in payments.found] == [("pi_other", THERE, -700)]
    assert comparing.payments([payment("pi_new", 500, late=False)], [], matched=0).found == []


def test_a_payout_that_is_missing_takes_its_own_line_with_it():
    own = Line("payout", -500, 0, -500, None, "po_1", AT)
    compared, _ = comparing.lines([LineSides("txn_1", None, own)], [], matched=0, payouts_missing=frozenset({"po_1"}))
    assert compared.found == []


OURS = Payout(500, "usd", "paid", AT)
THEIRS = Payout(500, "usd", "paid", AT, DAY)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        (PayoutSides("po", OURS, THEIRS, 500, AT, due=True), None),
        (PayoutSides("po", OURS, THEIRS, None, None, due=True), None),
        (PayoutSides("po", OURS, None, 500, AT, due=True), None),
        (PayoutSides("po", OURS._replace(status="in_transit"), THEIRS, 500, AT, due=True), None),
        (PayoutSides("po", OURS, None, None, None, due=False), None),
        (PayoutSides("po", None, THEIRS._replace(status="failed"), None, None, due=False), None),
        (PayoutSides("po", OURS, None, None, None, due=True), (THERE, 500)),
        (PayoutSides("po", None, THEIRS, 500, AT, due=False), (HERE, -500)),
        (PayoutSides("po", None, None, 500, AT, due=False), (HERE, -500)),
        (PayoutSides("po", OURS, THEIRS._replace(amount=510), None, None, due=True), (DIFFERENT, -10)),
        (PayoutSides("po", OURS, THEIRS, 499, AT, due=True), (DIFFERENT, 0)),
        (PayoutSides("po", OURS, THEIRS._replace(status="failed"), None, None, due=True), (DIFFERENT, 0)),
    ],
)
def test_a_payout_fits_when_both_sides_and_its_lines_say_the_same(sides, expected):
    found = [(one.finding, one.amount) for one in comparing.payouts([sides]).found]
    assert found == ([expected] if expected is not None else [])


def payout(name: str, amount: int, days: int = 0) -> Expected:
    return Expected(name, amount, "usd", DAY + timedelta(days=days))


def trade(name: str, amount: int, days: int = 0, *, word: str = "") -> Expected:
    kind = Kind.SALE if amount > 0 else Kind.PURCHASE
    return Expected(name, amount, "usd", DAY + timedelta(days=days), kind, (word or name,))


def booked(number: int, amount: int, text: str = "STRIPE", *, days: int = 0, **known: Any) -> Booked:
    return Booked(UUID(int=number), DAY + timedelta(days=days), amount, "usd", text, **known)


RENT = booked(99, -90_000, "RENT", days=40)
"""The statement goes on, so that nothing is still to come."""


def require_pairs(expected, lines, *, sure, guessed):
    """These pairs are found, in whatever order the two sides are told, and the rest is left over."""
    for ours, theirs in ((expected, lines), (expected[::-1], lines[::-1])):
        paired = pair(ours, [*theirs, RENT], within_days=5)
        assert {(one.name, line.line_id.int) for one, line in paired.sure} == sure
        assert {(one.name, line.line_id.int) for one, line in paired.guessed} == guessed
        assert len(paired.expected) == len(expected) - len(sure) - len(guessed)
        assert len(paired.lines) == len(lines) + 1 - len(sure) - len(guessed)


@pytest.mark.parametrize(
    ("payouts", "lines", "sure", "guessed"),
    [
        ([payout("po_1", 500)], [booked(1, 500)], {("po_1", 1)}, set()),
        ([payout("po_1", 500)], [booked(1, 500, "no name", days=5)], {("po_1", 1)}, set()),
        ([payout("po_1", 500)], [booked(1, 500, days=6)], set(), set()),
        ([payout("po_1", 500)], [booked(1, 500, "A", days=0), booked(2, 500, days=3)], {("po_1", 2)}, set()),
        ([payout("po_1", 500), payout("po_2", 500)], [booked(1, 500, "x po_2", days=9)], {("po_2", 1)}, set()),
        ([payout("po_1", 500), payout("po_2", 500)], [booked(1, 500, known_as="po_2")], {("po_2", 1)}, set()),
        ([payout("po_1", 500), payout("po_2", 510)], [booked(1, 497)], set(), {("po_1", 1)}),
        ([payout("po_1", 500)], [booked(1, 497, "SHOP")], set(), set()),
        ([payout("po_1", 500)], [booked(1, 400, "SHOP")], set(), set()),
        ([payout("po_1", -500)], [booked(1, 500)], set(), set()),
        ([payout("po_1", -500)], [booked(1, -500)], {("po_1", 1)}, set()),
    ],
)
def test_each_payout_has_one_line_of_the_bank_at_most(payouts, lines, sure, guessed):
    require_pairs(payouts, lines, sure=sure, guessed=guessed)


@pytest.mark.parametrize(
    ("payouts", "lines", "guessed"),
    [
        ([payout("po_1", 500)], [booked(1, 90, "x po_1", days=30)], {("po_1", 1)}),
        ([payout("po_1", 500)], [booked(1, -30, "fee po_1"), booked(2, 470, "po_1")], {("po_1", 2)}),
        ([payout("po_1", 500), payout("po_2", 400)], [booked(1, 400, "x po_1")], {("po_1", 1)}),
        ([payout("po_1", 500)], [booked(1, 90)], {("po_1", 1)}),
        ([payout("po_1", 500)], [booked(1, 90), booked(2, 70, "SHOP")], {("po_1", 1)}),
        ([payout("po_1", 500, 20)], [booked(1, 90, days=20), booked(2, 70)], {("po_1", 1)}),
        ([payout("po_1", 500)], [booked(1, 90), booked(2, 70)], set()),
        ([payout("po_1", 500), payout("po_2", 400)], [booked(1, 90)], set()),
        ([payout("po_1", 500, 3), payout("po_2", 400)], [booked(1, 90), booked(2, 70, days=8)], set()),
        ([payout("po_1", 500)], [booked(1, 90, days=6)], set()),
        ([payout("po_1", 500)], [booked(1, -90)], set()),
        ([payout("po_1", 500)], [booked(1, 90, settled=True)], set()),
        ([payout("po_1", 500)], [booked(1, 497, settled=True)], set()),
        ([payout("po_1", 500)], [booked(1, 90), booked(2, 70, settled=True)], {("po_1", 1)}),
        ([payout("po_1", 500, -1)], [booked(1, 90)], set()),
    ],
)
def test_a_line_of_another_amount_is_a_payout_that_it_names_or_the_only_one_it_can_be(payouts, lines, guessed):
    require_pairs(payouts, lines, sure=set(), guessed=guessed)


HASH = "0x" + "a7" * 32


@pytest.mark.parametrize(
    ("trades", "lines", "sure", "guessed"),
    [
        ([trade("sale", 99)], [booked(1, 99, "EXCHANGE", days=5)], {("sale", 1)}, set()),
        ([trade("sale", 99)], [booked(1, 99, "EXCHANGE", days=6)], set(), set()),
        ([trade("sale", 99)], [booked(1, 98, "EXCHANGE")], set(), set()),
        ([trade("sale", 99)], [booked(1, 99, "STRIPE PAYOUT")], set(), set()),
        ([trade("sale", 99)], [booked(1, -99, "EXCHANGE")], set(), set()),
        ([trade("gas", -25)], [booked(1, 25, "x"), booked(2, -25, "x")], {("gas", 2)}, set()),
        ([trade("sale", 99)], [booked(1, 99, "x", days=2), booked(2, 99, "x", days=-1)], {("sale", 2)}, set()),
        ([trade("a", 99), trade("b", 99)], [booked(1, 99, "x"), booked(2, 99, "x")], {("a", 1), ("b", 2)}, set()),
        ([trade("a", 99), trade("b", 99, 3)], [booked(1, 99, "x", days=3)], {("b", 1)}, set()),
        ([trade("a", 99), trade("b", 99, 3)], [booked(1, 99, "x", days=3, known_as="a")], {("a", 1)}, set()),
        ([trade("a", 99), payout("po_1", 99)], [booked(1, 99), booked(2, 99, "x")], {("po_1", 1), ("a", 2)}, set()),
        ([trade("a", 99), trade("b", 99, word="USDC-2")], [booked(1, 99, "OUT USDC-2.")], {("b", 1)}, set()),
        ([trade("a", 99, word="USDC-1")], [booked(1, 99, "x"), booked(2, 99, "usdc-1", days=5)], {("a", 2)}, set()),
        ([trade("a", 99, word="wire")], [booked(1, 99, "WIRE", days=6)], set(), set()),
        ([trade("a", 99, word=HASH)], [booked(1, 99, HASH, days=60)], {("a", 1)}, set()),
        ([trade("a", 99, word=HASH)], [booked(1, 99, "x"), booked(2, 99, f"({HASH.upper()})")], {("a", 2)}, set()),
        ([trade("a", 99, word="USDC-1")], [booked(1, 80, "USDC-1", days=5)], set(), {("a", 1)}),
        ([trade("a", 99, word="USDC-1")], [booked(1, 80, "USDC-1", days=6)], set(), set()),
        ([trade("a", 99, word="USDC-1")], [booked(1, -80, "USDC-1")], set(), set()),
        ([trade("a", 99, word="USDC-1")], [booked(1, 80, "USDC-11")], set(), set()),
        ([trade("a", 99, word="007")], [booked(1, 80, "agent 007")], set(), set()),
        ([trade("a", 99, word="USDC-1")], [booked(1, 80, "USDC-1"), booked(2, 95, "USDC-1")], set(), {("a", 2)}),
        ([trade("a", 99)], [booked(1, 80, "STRIPE")], set(), set()),
    ],
)  # fmt: skip
def test_a_trade_is_a_line_of_its_amount_near_its_day_and_rather_one_that_names_it(trades, lines, sure, guessed):
    require_pairs(trades, lines, sure=sure, guessed=guessed)


@pytest.mark.parametrize(
    ("expected", "lines", "sure", "guessed"),
    [
        # A fee, a test transfer or an instalment names it too.
        ([payout("po_A", 500)], [booked(1, 500, "ACH"), booked(2, -25, "FEE po_A")], {("po_A", 1)}, set()),
        ([trade("S-17", 500)], [booked(1, 1, "TEST S-17"), booked(2, 500, "WIRE")], {("S-17", 2)}, set()),
        ([trade("S-17", 500)], [booked(1, 300, "S-17"), booked(2, 200, "S-17")], set(), {("S-17", 1)}),
        ([trade("S-17", 500)], [booked(1, 490, "S-17"), booked(2, 500, "WIRE")], set(), {("S-17", 1)}),
        ([payout("po_A", 500)], [booked(1, -25, "FEE po_A")], set(), set()),
        # What was kept had the amount by chance.
        ([payout("po_A", 500)], [booked(1, 500, "RENT BACK", known_as="po_A"), booked(2, 500, "STRIPE po_A")],
         {("po_A", 2)}, set()),
        ([payout("po_A", 500)], [booked(1, 500, "po_A", days=3, known_as="po_A"), booked(2, 500, "po_A")],
         {("po_A", 1)}, set()),
        ([trade("ref-1", -2000)], [booked(1, -2000, "COFFEE", known_as="ref-1"), booked(2, -2060, "ref-1", days=5)],
         set(), {("ref-1", 2)}),
        ([trade("ref-1", -2000)], [booked(1, -2000, "COFFEE", known_as="ref-1"), booked(2, -2060, "ref-1", days=6)],
         {("ref-1", 1)}, set()),
        ([trade("S-17", 500)], [booked(1, 500, "WIRE", known_as="S-17"), booked(2, 1, "TEST S-17")],
         {("S-17", 1)}, set()),
        # The payout po_A came back, and po_B tries again.
        ([payout("po_B", 500)], [booked(1, 500, "STRIPE po_A")], set(), set()),
        ([payout("po_B", 500)], [booked(1, 500, known_as="po_A")], set(), set()),
        ([payout("po_B", 500)], [booked(1, 500, "STRIPE po_A"), booked(2, 500, days=4)], {("po_B", 2)}, set()),
        ([payout("po_B", 500)], [booked(1, 497, "STRIPE po_A")], set(), set()),
        ([payout("po_1NXabcd", 500)], [booked(1, 500, "STRIPE PO_1NXAB")], {("po_1NXabcd", 1)}, set()),
        # Banks write capitals, and words together.
        ([payout("po_1Nx", 500), payout("po_1Ny", 500)], [booked(1, 500, "STRIPEPAYOUT PO_1NY", days=9)],
         {("po_1Ny", 1)}, set()),
        ([payout("po_1", 500)], [booked(1, 497, "STRIPEPAYOUT")], set(), {("po_1", 1)}),
    ],
)  # fmt: skip
def test_a_name_counts_before_what_was_kept_and_an_exact_amount_before_a_far_one(expected, lines, sure, guessed):
    require_pairs(expected, lines, sure=sure, guessed=guessed)


@pytest.mark.parametrize(("ends", "guessed"), [(4, 0), (5, 1)])
@pytest.mark.parametrize("amount", [90, 497])
def test_no_payout_is_guessed_that_may_still_come_by_itself(ends, guessed, amount):
    paired = pair([payout("po_feb", 500)], [booked(1, amount), booked(2, -5, "RENT", days=ends)], within_days=5)
    found = comparing.bank(paired, today=DAY + timedelta(days=4), from_day=DAY, within_days=5).found
    assert len(paired.guessed) == guessed
    assert [(one.subject, one.finding, one.amount) for one in found] == [
        ("po_feb", DIFFERENT, amount - 500) if guessed else (str(UUID(int=1)), HERE, amount)
    ]


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        (payout("po_A", 500), booked(2, -25, "FEE po_A")),
        (trade("S-17", 500), booked(2, 200, "S-17 2/2", days=5)),
        (trade("S-17", 500), booked(2, -25, "FEE S-17")),
    ],
)
def test_a_line_left_over_that_names_what_the_books_have_is_missing_here(expected, line):
    def found(*lines: Booked) -> list[tuple[str, Finding, int]]:
        paired = pair([expected], [*lines, RENT], within_days=5)
        compared = comparing.bank(paired, today=DAY, from_day=DAY, within_days=5)
        return [(one.subject, one.finding, one.amount) for one in compared.found]

    assert found(booked(1, 500, "ACH"), line) == [(str(UUID(int=2)), HERE, line.amount)]
    assert found(booked(1, 500, "ACH"), booked(2, line.amount, "SHOP")) == []


def test_the_bank_is_compared_with_what_the_books_hold_and_in_their_currency():
    sides = [
        PayoutSides("po_1", OURS, THEIRS._replace(amount=450), None, None, due=True),
        PayoutSides("po_2", None, THEIRS._replace(amount=300), None, None, due=True),
        PayoutSides("po_3", OURS._replace(currency="eur"), THEIRS._replace(currency="eur"), None, None, due=True),
        PayoutSides("po_4", OURS, THEIRS._replace(status="failed"), None, None, due=True),
        PayoutSides("po_5", OURS._replace(amount=200), None, None, None, due=True),
    ]
    later = [one._replace(there=one.there and one.there._replace(arrives_on=DAY + timedelta(days=2))) for one in sides]
    expected = comparing.expected(later)
    assert [(one.name, one.amount, one.day.day) for one in expected] == [
        ("po_1", 500, 12), ("po_2", 300, 12), ("po_5", 200, 10),
    ]  # fmt: skip
    paired = pair(expected[:1], [booked(1, 500)], within_days=5)
    assert comparing.bank(paired, today=DAY, from_day=DAY, within_days=5).found == []


@pytest.mark.parametrize(
    ("today", "from_day", "expected"),
    [
        (DAY + timedelta(days=5), DAY, {("po_1", THERE)}),
        (DAY + timedelta(days=4), DAY, set()),
        (DAY + timedelta(days=5), DAY + timedelta(days=1), set()),
    ],
)
def test_a_payout_is_missing_at_the_bank_when_its_days_are_over_and_the_statement_is_of_that_time(
    today, from_day, expected
):
    paired = pair([payout("po_1", 500)], [booked(1, 90, "RENT")], within_days=5)
    found = comparing.bank(paired, today=today, from_day=from_day, within_days=5).found
    assert {(one.subject, one.finding) for one in found} == expected


@pytest.mark.parametrize(("amount", "day"), [(99, "sold_on"), (-25, "bought_on")])
def test_a_trade_without_its_line_is_missing_at_the_bank_and_one_of_another_amount_is_different(amount, day):
    def found(*lines: Booked, after: int) -> Any:
        paired = pair([trade("trade-1", amount)], [booked(1, 90, "RENT"), *lines], within_days=5)
        return comparing.bank(paired, today=DAY + timedelta(days=after), from_day=DAY, within_days=5).found

    assert found(after=4) == []
    [missing] = found(after=5)
    assert (missing.source, missing.subject, missing.finding, missing.amount) == ("bank", "trade-1", THERE, -amount)
    assert (missing.here, missing.there) == ({"amount_cents": amount, day: "2026-10-10"}, {})
    assert missing.occurred_at.date() == DAY
    [different] = found(booked(2, amount + 3, "TRADE-1", days=1), after=1)
    assert (different.subject, different.finding, different.amount) == ("trade-1", DIFFERENT, 3)
    assert different.there == {"amount_cents": amount + 3, "booked_on": "2026-10-11", "text": "TRADE-1"}


def test_money_of_the_provider_without_a_payout_is_missing_here():
    paired = pair([], [booked(1, 90, "RENT"), booked(2, 80, "Stripe Payments")], within_days=5)
    [found] = comparing.bank(paired, today=DAY, from_day=DAY, within_days=5).found
    assert (found.finding, found.amount, found.there["text"]) == (HERE, 80, "Stripe Payments")


def test_what_clearing_cannot_explain_is_a_finding_and_the_rest_is_aged():
    ages = [Age(-1, 1, 5), Age(0, 1, 10), Age(1, 1, 1), Age(2, 2, 20), Age(30, 1, 7), Age(31, 1, 9)]
    assert [(one["days"], one["lines"], one["cents"]) for one in ageing(ages)] == [
        ("0-1", 3, 16), ("2-7", 2, 20), ("8-30", 1, 7), (">30", 1, 9),
    ]  # fmt: skip
    assert not Clearing(100, 60, -10, 50, ages).compared(AT).found
    [found] = Clearing(100, 60, -10, 40, ages).compared(AT).found
    assert (found.amount, found.finding) == (-10, DIFFERENT)


@pytest.mark.parametrize(
    ("source", "currency", "amount", "posted", "moved"),
    [
        ("bank", "usd", -3, {}, [("reconciliation_differences", "bank", 3)]),
        ("stripe_lines", "usd", 700, {}, [("stripe_clearing", "reconciliation_differences", 700)]),
        ("bank", "usd", -5, {"bank": -495}, [("bank", "reconciliation_differences", 490)]),
        ("bank", "usd", -5, {"bank": -5}, []),
        ("chain", "usdc", 25_000, {}, [
            ("usdc_clearing", "conversion_usdc", 25_000), ("conversion", "reconciliation_differences", 2),
        ]),
        ("chain", "usdc", -9_999, {}, [("conversion_usdc", "usdc_clearing", 9_999)]),
    ],
)  # fmt: skip
def test_an_adjustment_posts_what_is_left_of_the_difference(source, currency, amount, posted, moved):
    found = adjusting.proposal(
        source=source, currency=currency, amount=amount, account=None, against=None, posted=posted
    )
    assert [(one.debit, one.credit, one.money.amount) for one in found.transfers()] == moved


@pytest.mark.parametrize(
    ("currency", "account", "against"),
    [("usd", "deferred_revenue", None), ("usd", None, "revenue_usage"), ("usd", "bank", "bank"), ("eth", None, None)],
)
def test_only_accounts_of_differences_are_adjusted(currency, account, against):
    with pytest.raises(ValueError, match=r"one of|adjusts"):
        adjusting.proposal(source="x", currency=currency, amount=1, account=account, against=against, posted={})
