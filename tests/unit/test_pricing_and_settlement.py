from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import packs, posting_rules
from billing.packs import NotForSale, Offer, Wanted
from billing.settlements import Expected, disagreement
from ledger.money import Currency
from ledger.operations import SYSTEM_SCOPE, LotCause
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
EXPECTED = Expected(500, "USD", livemode=False)


@given(st.integers(1, 5000))
def test_a_credit_costs_a_cent(credits_):
    priced = packs.price(OFFER, Wanted(credits_, None, "stripe_checkout"))
    assert (priced.credits, priced.cents) == (credits_, credits_)


@pytest.mark.parametrize("credits_", [0, -1, 5001, None])
def test_credits_out_of_range_are_not_for_sale_and_the_range_is_named(credits_):
    with pytest.raises(NotForSale, match="from 1 to 5000"):
        packs.price(OFFER, Wanted(credits_, None, "stripe_checkout"))


def test_an_unknown_pack_is_not_for_sale_and_the_known_ones_are_named():
    with pytest.raises(NotForSale, match="starter-500, builder-2000, studio-5000"):
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
    ],
)
def test_a_settlement_that_differs_in_anything_is_not_granted(change, says):
    assert says in (disagreement(replace(SETTLED, **change), EXPECTED) or "")


@given(st.integers(0, 500), st.integers(0, 200), st.integers(1, 5000))
def test_a_purchase_balances_and_its_basis_is_what_was_paid_net_of_tax(discount, tax, credits_):
    fact = replace(SETTLED, discount=discount, tax=tax, total=500 - discount + tax)
    operation = posting_rules.purchase(fact, organization_id=ORGANIZATION, credits_=credits_, expire_after_days=None)
    money = {t.credit: t.money.amount for t in operation.transfers if t.money.currency is Currency.USD}
    assert money.get("deferred_revenue", 0) + money.get("sales_tax_payable", 0) == fact.total
    assert operation.lot is not None
    assert operation.lot.basis is not None
    assert operation.lot.basis.amount == fact.total - tax
    assert operation.lot.cause is LotCause.PAID
    assert operation.scope == SYSTEM_SCOPE


def test_the_key_of_a_purchase_is_the_payment_and_not_the_letter():
    operation = posting_rules.purchase(SETTLED, organization_id=ORGANIZATION, credits_=500, expire_after_days=30)
    assert operation.key == "grant:payment_intent:pi_1"
    assert operation.lot is not None
    assert operation.lot.expires_at == SETTLED.occurred_at + timedelta(days=30)
