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
    DepositAction,
    PaymentFailed,
    PaymentProcessing,
    PaymentSettled,
    Reference,
    Unaccountable,
)
from rails.stripe_x402 import messages
from rails.stripe_x402.addresses import checksummed
from rails.stripe_x402.eip681 import payment_uri
from rails.stripe_x402.networks import BASE

PREVIEW = "2026-05-27.preview"
ADDRESS = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"


def test_request_asks_for_a_confirmed_deposit_on_the_network(order: Any) -> None:
    request = messages.request(order, network=BASE, api_version=PREVIEW)
    parameters = json.loads(request.parameters)
    metadata = parameters.pop("metadata")
    assert request.provider_key == metadata["purser_key"] == f"pi:{order.attempt_id}:1"
    assert metadata["purser_method"] == "stripe_x402.exact.usdc"
    assert metadata["purser_attempt"] == order.attempt_id
    assert parameters == {
        "amount": 500,
        "currency": "usd",
        "confirm": True,
        "description": "500 credits",
        "allowed_payment_method_types": ["crypto"],
        "payment_method_data": {"type": "crypto"},
        "payment_method_options": {"crypto": {"mode": "deposit", "deposit_options": {"networks": ["base"]}}},
    }


def test_deposit_of_any_amount_is_asked_for_and_says_so_of_itself(order: Any) -> None:
    request = messages.request(order, network=BASE, api_version=PREVIEW, any_amount=True)
    parameters = json.loads(request.parameters)
    crypto = parameters["payment_method_options"]["crypto"]
    assert crypto["amount_reconciliation"] == {"type": "accept_partial_funding"}
    assert parameters["metadata"]["purser_any_amount"] == "yes"
    assert messages.payable_until(parameters) == order.payable_until


@pytest.mark.parametrize("received", [300, 500, 700])
def test_settled_deposit_of_any_amount_says_that_it_was_free_to_differ(deposit_intent: Any, received: Any) -> None:
    metadata = {**deposit_intent()["metadata"], "purser_any_amount": "yes"}
    [fact] = messages.facts(deposit_intent(status="succeeded", amount_received=received, metadata=metadata))
    assert isinstance(fact, PaymentSettled)
    assert (fact.any_amount, fact.subtotal, fact.total) == (True, 500, received)


def test_deposit_that_arrived_in_part_is_on_its_way_and_is_not_asked_for_again(deposit_intent: Any) -> None:
    [fact] = messages.facts(deposit_intent(status="requires_action", amount_received=300))
    assert isinstance(fact, PaymentProcessing)
    assert fact.reason == "300 of 500 cents have arrived."


@pytest.mark.parametrize("status", ["canceled", "requires_payment_method"])
def test_deposit_that_ended_with_a_part_of_the_money_is_for_a_person(deposit_intent: Any, status: Any) -> None:
    [fact] = messages.facts(deposit_intent(status=status, amount_received=300))
    assert isinstance(fact, Unaccountable)
    assert "300 of 500 cents" in fact.reason


def test_time_to_pay_comes_back_out_of_the_stored_request(order: Any) -> None:
    until = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
    request = messages.request(replace(order, payable_until=until), network=BASE, api_version=PREVIEW)
    assert messages.payable_until(json.loads(request.parameters)) == until


def test_price_in_another_currency_is_not_asked_for(order: Any) -> None:
    with pytest.raises(ValueError, match="USD"):
        messages.request(replace(order, price=Money(5_000_000, Currency.USDC)), network=BASE, api_version=PREVIEW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("requires_action", ActionOpen),
        ("processing", PaymentProcessing),
        ("succeeded", PaymentSettled),
        ("canceled", ActionExpired),
        ("requires_payment_method", PaymentFailed),
        ("requires_confirmation", Unaccountable),
        ("requires_capture", Unaccountable),
        ("new_in_2027", Unaccountable),
        (None, Unaccountable),
    ],
)
def test_payment_intent_is_the_fact_that_its_status_says(deposit_intent: Any, status: Any, kind: Any) -> None:
    [fact] = messages.facts(deposit_intent(status=status))
    assert type(fact) is kind
    assert fact.object_id == "pi_3Nabc123"


def test_settled_deposit_tells_asked_and_received_amounts_and_the_transaction(deposit_intent: Any, charge: Any) -> None:
    crypto = {"buyer_address": "0xb0b", "network": "base", "token_currency": "usdc", "transaction_hash": "0xabc"}
    paid = charge(payment_method_details={"type": "crypto", "crypto": crypto})
    [fact] = messages.facts(deposit_intent(status="succeeded", amount_received=499, latest_charge=paid))
    assert fact == PaymentSettled(
        method_id="stripe_x402.exact.usdc",
        attempt_id="payatt_01jd9x8g000000000000000000",
        provider_key="pi:payatt_01jd9x8g000000000000000000:1",
        object_id="pi_3Nabc123",
        livemode=False,
        occurred_at=datetime(2026, 11, 21, 8, 5, tzinfo=UTC),
        payment_kind="payment_intent",
        payment_id="pi_3Nabc123",
        currency="usd",
        subtotal=500,
        discount=0,
        tax=0,
        total=499,
        details=crypto,
    )


def test_canceled_intent_dates_from_its_cancellation(deposit_intent: Any) -> None:
    [fact] = messages.facts(deposit_intent(status="canceled", canceled_at=1_795_248_300))
    assert fact.occurred_at == datetime(2026, 11, 21, 8, 5, tzinfo=UTC)


def test_object_of_another_rail_is_no_fact_and_no_reference(deposit_intent: Any, session: Any) -> None:
    foreign = deposit_intent(metadata=session()["metadata"])
    assert messages.facts(foreign) == ()
    assert messages.references({"type": "payment_intent.succeeded", "data": {"object": foreign}}) == ()


@pytest.mark.parametrize("outcome", ["succeeded", "partially_funded", "processing", "payment_failed", "canceled"])
def test_payment_intent_event_refers_to_its_intent(deposit_intent: Any, outcome: Any) -> None:
    event = {"type": f"payment_intent.{outcome}", "data": {"object": deposit_intent()}}
    assert messages.references(event) == (Reference("payment_intent", "pi_3Nabc123"),)


def test_charge_event_refers_to_the_intent_of_the_charge(deposit_intent: Any, charge: Any) -> None:
    event = {"type": "charge.succeeded", "data": {"object": charge(metadata=deposit_intent()["metadata"])}}
    assert messages.references(event) == (Reference("payment_intent", "pi_3Nabc123"),)


@pytest.mark.parametrize("event", [{}, {"type": []}, {"type": "payment_intent.succeeded", "data": {"object": None}}])
def test_malformed_event_refers_to_nothing(event: Any) -> None:
    assert messages.references(event) == ()


def test_payment_uri_is_an_erc20_transfer_of_the_exact_amount() -> None:
    action = DepositAction(
        payment_intent_id="pi_3Nabc123",
        network="base",
        token_currency="usdc",
        token_decimals=6,
        token_contract_address=BASE.token_contract_address,
        deposit_address=ADDRESS,
        token_amount_atomic=5_000_000,
        expires_at=datetime(2026, 11, 21, 9, 0, tzinfo=UTC),
    )
    assert payment_uri(action) == (
        f"ethereum:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913@8453/transfer?address={ADDRESS}&uint256=5000000"
    )


@pytest.mark.parametrize("written", [ADDRESS, ADDRESS.lower(), "0x" + ADDRESS[2:].upper()])
def test_address_is_written_with_its_checksum(written: Any) -> None:
    assert checksummed(written) == ADDRESS


@pytest.mark.parametrize(
    "written",
    [
        None,
        7,
        "",
        "0x",
        ADDRESS[2:],
        ADDRESS + "0",
        ADDRESS[:-1],
        ADDRESS[:-1] + "c",
        ADDRESS + "\n",
        "0X" + ADDRESS[2:],
    ],
)
def test_text_that_is_no_address_or_has_a_wrong_checksum_is_not_one(written: Any) -> None:
    assert checksummed(written) is None


def test_the_contract_of_base_has_its_checksum() -> None:
    assert checksummed(BASE.token_contract_address) == BASE.token_contract_address
