from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.money import Currency, Money
from rails.rail import (
    ActionExpired,
    ActionOpen,
    CheckoutAction,
    PaymentFailed,
    PaymentProcessing,
    PaymentSettled,
    Reference,
    Unaccountable,
)
from rails.stripe_checkout import messages
from rails.stripe_door import API_VERSION

from_unix = {"created": datetime(2026, 11, 21, 8, 0, tzinfo=UTC), "paid": datetime(2026, 11, 21, 8, 5, tzinfo=UTC)}


@pytest.fixture
def intent(charge: Any) -> Any:
    def build(status: Any = "succeeded", **changes: Any) -> Any:
        paid = {"amount_received": 500, "currency": "usd", "livemode": False, "latest_charge": charge()}
        return {"id": "pi_3Nabc123", "object": "payment_intent", "status": status, **paid, **changes}

    return build


def test_request_asks_for_one_dollar_price_and_names_the_attempt_everywhere(order: Any) -> None:
    request = messages.request(order, api_version=API_VERSION)
    parameters = json.loads(request.parameters)
    ours = {
        "purser_attempt": order.attempt_id,
        "purser_quote": order.quote_id,
        "purser_organization": order.organization_id,
        "purser_method": "stripe_checkout",
        "purser_key": request.provider_key,
    }
    price = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "500 credits"}}
    assert request.provider_key == f"cs:{order.attempt_id}:1"
    assert parameters == {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "allowed_payment_method_types": ["card"],
        "client_reference_id": order.attempt_id,
        "metadata": ours,
        "payment_intent_data": {"description": "500 credits", "metadata": ours},
        "success_url": f"{order.handoff_url}?returned=1",
        "cancel_url": f"{order.handoff_url}?returned=0",
        "expires_at": 1_795_251_600,
        "adaptive_pricing": {"enabled": False},
    }


def test_terms_of_the_hosted_page_are_asked_for_and_nothing_else_changes(order: Any) -> None:
    plain = json.loads(messages.request(order, api_version=API_VERSION).parameters)
    terms = messages.Terms(payment_methods=("card", "us_bank_account"), promotion_codes=True, tax=True)
    asked = json.loads(messages.request(order, api_version=API_VERSION, terms=terms).parameters)
    assert asked["allowed_payment_method_types"] == ["card", "us_bank_account"]
    assert (asked["allow_promotion_codes"], asked["automatic_tax"]) == (True, {"enabled": True})
    assert asked["line_items"][0]["price_data"]["tax_behavior"] == "exclusive"
    changed = {"allowed_payment_method_types", "allow_promotion_codes", "automatic_tax", "line_items"}
    assert {name: asked[name] for name in asked if name not in changed} == {
        name: plain[name] for name in plain if name not in changed
    }


def test_price_in_another_currency_is_not_asked_for(order: Any) -> None:
    with pytest.raises(ValueError, match="USD"):
        messages.request(replace(order, price=Money(500, Currency.USDC)), api_version=API_VERSION)


def test_open_session_is_an_action_with_its_whole_url(session: Any) -> None:
    url = "https://checkout.stripe.com/c/pay/cs_test_1#fidkdWxOYHwn"
    action = messages.action(session(id="cs_test_1", url=url, expires_at=1_795_251_600))
    assert action == CheckoutAction("cs_test_1", url, datetime(2026, 11, 21, 9, 0, tzinfo=UTC))


def test_session_without_a_page_is_no_action(session: Any) -> None:
    assert messages.action(session(url=None)) is None


def test_paid_session_settles_with_the_amounts_of_the_session(session: Any, intent: Any) -> None:
    totals = {"amount_discount": 50, "amount_shipping": 0, "amount_tax": 36}
    [fact] = messages.facts(
        session(
            status="complete",
            payment_status="paid",
            amount_total=486,
            total_details=totals,
            payment_intent=intent(amount_received=486, livemode=True),
            livemode=True,
        )
    )
    assert fact == PaymentSettled(
        method_id="stripe_checkout",
        attempt_id="payatt_01jd9x8g000000000000000000",
        provider_key="cs:payatt_01jd9x8g000000000000000000:1",
        object_id=session()["id"],
        livemode=True,
        occurred_at=from_unix["paid"],
        payment_kind="payment_intent",
        payment_id="pi_3Nabc123",
        currency="usd",
        subtotal=500,
        discount=50,
        tax=36,
        total=486,
        details={"brand": "visa", "last4": "4242"},
    )


def test_session_paid_by_bank_debit_tells_the_bank_and_the_method(session: Any, intent: Any, charge: Any) -> None:
    bank = {"type": "us_bank_account", "us_bank_account": {"bank_name": "STRIPE TEST BANK", "last4": "6789"}}
    paid = intent(latest_charge=charge(payment_method_details=bank))
    [fact] = messages.facts(session(status="complete", payment_status="paid", payment_intent=paid))
    assert isinstance(fact, PaymentSettled)
    assert fact.details == {"type": "us_bank_account", "bank_name": "STRIPE TEST BANK", "last4": "6789"}


GIVEN: dict[str, Any] = {
    "status": "complete",
    "payment_status": "no_payment_required",
    "payment_intent": None,
    "amount_total": 0,
    "total_details": {"amount_discount": 500, "amount_shipping": 0, "amount_tax": 0},
}


def test_session_that_a_promotion_covers_settles_as_itself_with_nothing_paid(session: Any) -> None:
    [fact] = messages.facts(session(**GIVEN))
    assert isinstance(fact, PaymentSettled)
    assert (fact.payment_kind, fact.payment_id) == ("checkout_session", session()["id"])
    assert (fact.subtotal, fact.discount, fact.tax, fact.total) == (500, 500, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"amount_total": 1},
        {"total_details": {"amount_discount": 499, "amount_tax": 0}},
        {"total_details": {"amount_discount": 500, "amount_tax": 1}},
        {"total_details": None},
        {"amount_subtotal": 0, "total_details": {"amount_discount": 0, "amount_tax": 0}},
        {"payment_intent": {"id": "pi_3Nabc123"}},
    ],
    ids=str,
)
def test_session_without_payment_that_is_not_given_away_as_a_whole_is_for_a_person(session: Any, change: Any) -> None:
    [fact] = messages.facts(session(**{**GIVEN, **change}))
    assert isinstance(fact, Unaccountable)


@pytest.mark.parametrize("change", [{"amount_received": 499}, {"currency": "eur"}, {"livemode": True}])
def test_paid_session_whose_intent_says_otherwise_is_nobodys_to_account_for(
    session: Any, intent: Any, change: Any
) -> None:
    intent_says = {"amount_received": 500, "currency": "usd", "livemode": False, **change}
    [fact] = messages.facts(
        session(status="complete", payment_status="paid", livemode=False, payment_intent=intent(**intent_says))
    )
    assert isinstance(fact, Unaccountable)
    assert "does not agree" in fact.reason


def test_paid_session_whose_charge_is_not_shown_dates_from_the_session(session: Any, intent: Any) -> None:
    [fact] = messages.facts(
        session(
            status="complete", payment_status="paid", payment_intent=intent(latest_charge=None, amount_received=500)
        )
    )
    assert isinstance(fact, PaymentSettled)
    assert fact.occurred_at == from_unix["created"]
    assert fact.details == {}


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        (("open", "unpaid", None), ActionOpen),
        (
            ("open", "unpaid", "requires_payment_method"),
            ActionOpen,
        ),  # a declined card: the page lets the payer try again
        (("open", "unpaid", "requires_action"), ActionOpen),
        (("expired", "unpaid", None), ActionExpired),
        (("expired", "unpaid", "canceled"), ActionExpired),
        (("complete", "unpaid", None), PaymentProcessing),
        (("complete", "unpaid", "processing"), PaymentProcessing),
        (("complete", "unpaid", "requires_payment_method"), PaymentFailed),
        (("complete", "unpaid", "canceled"), PaymentFailed),
        (("complete", "no_payment_required", None), Unaccountable),
        (("complete", "paid", None), Unaccountable),
        (("complete", "new_in_2027", None), Unaccountable),
        (("new_in_2027", "paid", "succeeded"), Unaccountable),
        ((None, "unpaid", None), Unaccountable),
    ],
)
def test_session_is_the_fact_that_its_statuses_say(session: Any, intent: Any, statuses: Any, kind: Any) -> None:
    status, payment_status, intent_status = statuses
    expanded = intent(intent_status) if intent_status else None
    [fact] = messages.facts(session(status=status, payment_status=payment_status, payment_intent=expanded))
    assert type(fact) is kind
    assert fact.attempt_id == "payatt_01jd9x8g000000000000000000"


@pytest.mark.parametrize(
    "metadata",
    [{}, None, {"purser_method": "stripe_x402.exact.usdc", "purser_attempt": "payatt_1", "purser_key": "k"}],
)
def test_object_of_another_integration_is_no_fact_and_no_reference(session: Any, metadata: Any) -> None:
    foreign = session(metadata=metadata, status="complete", payment_status="paid")
    assert messages.facts(foreign) == ()
    assert messages.references({"type": "checkout.session.completed", "data": {"object": foreign}}) == ()


@pytest.mark.parametrize("outcome", ["completed", "async_payment_succeeded", "async_payment_failed", "expired"])
def test_session_event_refers_to_its_session(session: Any, outcome: Any) -> None:
    event = {"type": f"checkout.session.{outcome}", "data": {"object": session(id="cs_test_1")}}
    assert messages.references(event) == (Reference("checkout_session", "cs_test_1"),)


@pytest.mark.parametrize("outcome", ["succeeded", "payment_failed", "processing", "canceled"])
def test_payment_intent_event_refers_to_its_intent(session: Any, intent: Any, outcome: Any) -> None:
    event = {"type": f"payment_intent.{outcome}", "data": {"object": intent(metadata=session()["metadata"])}}
    assert messages.references(event) == (Reference("payment_intent", "pi_3Nabc123"),)


def test_charge_event_refers_to_the_intent_of_the_charge(session: Any, charge: Any) -> None:
    event = {"type": "charge.succeeded", "data": {"object": charge(metadata=session()["metadata"])}}
    assert messages.references(event) == (Reference("payment_intent", "pi_3Nabc123"),)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": None, "data": None},
        {"type": "checkout.session.completed"},
        {"type": "checkout.session.completed", "data": {"object": "cs_test_1"}},
        {"type": "checkout.session.completed", "data": {"object": {"metadata": ["purser_method"]}}},
        {"type": ["charge.succeeded"], "data": {}},
    ],
)
def test_malformed_event_refers_to_nothing(event: Any) -> None:
    assert messages.references(event) == ()


def test_event_that_is_not_followed_refers_to_nothing(session: Any) -> None:
    assert messages.references({"type": "checkout.session.updated", "data": {"object": session()}}) == ()
