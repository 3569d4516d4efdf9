from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import packs, posting_rules
from billing.packs import NotForSale, Offer, Wanted
from billing.settlements import Allotment, Expected, allotment, disagreement
from ledger.money import usd
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, LotCause, LotOpening, Transfer
from rails.rail import PaymentSettled

OFFER = Offer(
    packs.STANDARD_PACKS, "starter-500", 1, 5000, None, timedelta(hours=1), timedelta(days=1), timedelta(hours=1)
)
ORGANIZATION = UUID(int=1)
SETTLED = PaymentSettled(
    method_id="stripe_checkout",
    attempt_id="payatt_x",
    provider_key="cs:payatt_x:1",
    object_id="cs_test_1",
    livemode=False,
    occurred_at=datetime(2026, 11, 21, tzinfo=UTC),
    payment_kind="payment_intent",
    payment_id="pi_1",
    currency="usd",
    subtotal=500,
    discount=0,
    tax=0,
    total=500,
    details={},
)
EXPECTED = Expected(500, "USD", livemode=False, credits=500)


@given(st.integers(1, 5000))
def test_a_credit_costs_a_cent(credits_):
    priced = packs.price(OFFER, Wanted(credits_, None, "stripe_checkout"))
    assert (priced.credits, priced.cents) == (credits_, credits_)


@pytest.mark.parametrize("credits_", [0, -1, 5001, None])
def test_credits_out_of_range_are_not_for_sale_and_the_range_is_named(credits_):
    with pytest.raises(NotForSale, match="from 1 to 5000"):
        packs.price(OFFER, Wanted(credits_, None, "stripe_checkout"))


def test_an_unknown_pack_is_not_for_sale_and_the_known_ones_are_named():
    with pytest.raises(NotForSale, match="starter-500, builder-2000, studio-5000, taster-100"):
        packs.price(OFFER, Wanted(None, "mega", "stripe_checkout"))


def test_a_settlement_of_the_quoted_price_agrees():
    assert disagreement(SETTLED, EXPECTED) is None


def test_tax_and_discount_are_part_of_an_agreeing_settlement():
    assert disagreement(replace(SETTLED, discount=100, tax=32, total=432), EXPECTED) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"livemode": True}, "livemode"),
        ({"currency": "eur"}, "EUR"),
        ({"subtotal": 499, "total": 499}, "amount is 499"),
        ({"subtotal": 501, "total": 501}, "amount is 501"),
        ({"total": 499}, "total 499"),
        ({"total": 501}, "total 501"),
        ({"tax": -1, "total": 499}, "out of range"),
        ({"discount": 501, "total": -1}, "out of range"),
        ({"discount": 500, "total": 0}, "total 0 is not what a payment_intent can be of"),
        ({"payment_kind": "checkout_session"}, "total 500 is not what a checkout_session can be of"),
        ({"payment_kind": "checkout_session", "discount": 500, "tax": 1, "total": 1}, "total 1 is not"),
        ({"any_amount": True, "total": 0}, "less than one credit"),
        ({"any_amount": True, "total": -1}, "less than one credit"),
        ({"any_amount": True, "discount": 1}, "discount 1"),
        ({"any_amount": True, "tax": 1}, "tax 1"),
        ({"any_amount": True, "payment_kind": "checkout_session"}, "of a checkout_session"),
    ],
)
def test_a_settlement_that_differs_in_anything_is_not_granted(change, says):
    assert says in (disagreement(replace(SETTLED, **change), EXPECTED) or "")


def test_less_than_one_credit_costs_is_not_granted():
    dear = replace(EXPECTED, credits=2)
    assert disagreement(replace(SETTLED, any_amount=True, total=250), dear) is None
    assert "less than one credit" in (disagreement(replace(SETTLED, any_amount=True, total=249), dear) or "")


def test_a_promotion_of_the_whole_price_agrees_and_is_a_promotional_lot_without_money():
    given_away = replace(SETTLED, payment_kind="checkout_session", payment_id="cs_1", discount=500, total=0)
    assert disagreement(given_away, EXPECTED) is None
    operation = bought(given_away, days=30)
    assert (operation.key, operation.transfers) == ("grant:checkout_session:cs_1", ())
    assert operation.lot == LotOpening(LotCause.PROMOTIONAL, 500, None, SETTLED.occurred_at + timedelta(days=30))


def bought(fact, days=None, expected=EXPECTED):
    return posting_rules.purchase(
        fact,
        organization_id=ORGANIZATION,
        allotted=allotment(fact, expected),
        expire_after_days=days,
        settled_at=fact.occurred_at,
    )


def credited(operation):
    return {t.credit: t.money.amount for t in operation.transfers}


@given(st.integers(0, 499), st.integers(0, 200), st.integers(1, 5000))
def test_a_purchase_balances_and_its_basis_is_what_was_paid_net_of_tax(discount, tax, credits_):
    fact = replace(SETTLED, discount=discount, tax=tax, total=500 - discount + tax)
    operation = bought(fact, expected=replace(EXPECTED, credits=credits_))
    money = credited(operation)
    assert money.get("deferred_revenue", 0) + money.get("sales_tax_payable", 0) == fact.total
    assert set(money) <= {"deferred_revenue", "sales_tax_payable"}
    assert operation.lot is not None
    assert operation.lot.basis is not None
    assert operation.lot.basis.amount == fact.total - tax
    assert operation.lot.credits == credits_
    assert operation.lot.cause is LotCause.PAID
    assert operation.scope == SYSTEM_SCOPE


@given(st.integers(1, 1200), st.integers(1, 5000), st.integers(1, 5000))
def test_another_amount_grants_its_share_and_never_more_than_quoted_and_no_cent_is_lost(received, price, credits_):
    expected = replace(EXPECTED, price_cents=price, credits=credits_)
    fact = replace(SETTLED, subtotal=price, total=received, any_amount=True)
    found = allotment(fact, expected)
    assert found.basis_cents + found.remainder_cents == received
    assert found.credits * price <= credits_ * received
    assert found.credits <= credits_
    assert (found.remainder_cents > 0) is (received > price)
    if disagreement(fact, expected) is None:
        money = credited(bought(fact, expected=expected))
        assert money == {
            account: cents
            for account, cents in (
                ("deferred_revenue", found.basis_cents),
                ("deposit_remainder", found.remainder_cents),
            )
            if cents
        }


@pytest.mark.parametrize(
    ("received", "given_for_it"),
    [
        (500, Allotment(500, 500)),
        (300, Allotment(300, 300)),
        (1, Allotment(1, 1)),
        (501, Allotment(500, 500, 1)),
        (900, Allotment(500, 500, 400)),
    ],
)
def test_what_a_deposit_of_another_amount_is_given(received, given_for_it):
    fact = replace(SETTLED, total=received, any_amount=True)
    assert disagreement(fact, EXPECTED) is None
    assert allotment(fact, EXPECTED) == given_for_it


def test_a_discounted_price_buys_all_the_credits():
    assert allotment(replace(SETTLED, discount=100, tax=32, total=432), EXPECTED) == Allotment(500, 400)


def test_the_key_of_a_purchase_is_the_payment_and_not_the_letter():
    operation = bought(SETTLED, days=30)
    assert operation.key == "grant:payment_intent:pi_1"
    assert operation.lot is not None
    assert operation.lot.expires_at == SETTLED.occurred_at + timedelta(days=30)


def test_money_that_grants_nothing_stands_in_the_platforms_book_with_its_tax():
    operation = posting_rules.unallocated(replace(SETTLED, tax=32, total=532))
    assert (operation.organization_id, operation.kind, operation.lot) == (PLATFORM, Kind.MONEY, None)
    assert operation.key == "unallocated:payment_intent:pi_1"
    assert operation.transfers == (Transfer("stripe_clearing", "unallocated_deposits", usd(532)),)
