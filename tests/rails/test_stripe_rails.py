"""The calls of both rails against a loopback server that answers as scripted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rails.rail import (
    ActionExpired,
    ActionOpen,
    DepositAction,
    OutcomeUnknown,
    PaymentProcessing,
    PaymentSettled,
    ProviderRefused,
    Reference,
)
from rails.stripe_checkout.rail import StripeCheckout
from rails.stripe_x402.rail import StripeX402

pytestmark = pytest.mark.asyncio

ADDRESS = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
USDC_ON_BASE = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
NOT_ANY_MORE = {"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": "No"}}


def deposit_at(
    address: Any = ADDRESS, contract: Any = USDC_ON_BASE, currency: Any = "usdc", network: Any = "base"
) -> Any:
    token = {"token_currency": currency, "token_contract_address": contract}
    addresses = {network: {"address": address, "supported_tokens": [token]}}
    return {"type": "crypto_display_details", "crypto_display_details": {"deposit_addresses": addresses}}


async def test_started_checkout_is_the_sessions_page(scripted: Any, door: Any, session: Any, order: Any) -> None:
    server = await scripted((200, session(id="cs_test_1", url="https://checkout.stripe.com/c/pay/cs_test_1#fid")))
    rail = StripeCheckout(door(server.base))
    action = await rail.start(rail.prepare(order))
    assert (action.session_id, action.url) == ("cs_test_1", "https://checkout.stripe.com/c/pay/cs_test_1#fid")
    assert server.requests[0].headers["idempotency-key"] == f"cs:{order.attempt_id}:1"


async def test_checkout_without_a_page_is_refused(scripted: Any, door: Any, session: Any, order: Any) -> None:
    rail = StripeCheckout(door((await scripted((200, session(url=None)))).base))
    with pytest.raises(ProviderRefused, match="no_checkout_page"):
        await rail.start(rail.prepare(order))


async def test_declined_card_of_an_open_session_is_an_open_action(
    scripted: Any, door: Any, session: Any, deposit_intent: Any
) -> None:
    declined = deposit_intent(status="requires_payment_method", metadata=session()["metadata"])
    page = {"object": "list", "data": [session(payment_intent=declined)], "has_more": False, "url": "/v1/x"}
    server = await scripted((200, page))
    [fact] = await StripeCheckout(door(server.base)).read(Reference("payment_intent", "pi_3Nabc123"))
    assert type(fact) is ActionOpen
    assert "payment_intent=pi_3Nabc123" in server.requests[0].path


async def test_payment_intent_of_no_session_is_no_fact(scripted: Any, door: Any) -> None:
    server = await scripted((200, {"object": "list", "data": [], "has_more": False, "url": "/v1/x"}))
    assert await StripeCheckout(door(server.base)).read(Reference("payment_intent", "pi_1")) == ()


async def test_closing_an_open_session_expires_it(scripted: Any, door: Any, session: Any) -> None:
    server = await scripted((200, session(status="expired", url=None)))
    [fact] = await StripeCheckout(door(server.base)).close("cs_test_1")
    assert type(fact) is ActionExpired
    assert [request.path for request in server.requests] == ["/v1/checkout/sessions/cs_test_1/expire"]


async def test_closing_a_session_that_was_paid_first_gives_the_settlement(
    scripted: Any, door: Any, session: Any, deposit_intent: Any, charge: Any
) -> None:
    intent = deposit_intent(status="succeeded", amount_received=500, latest_charge=charge())
    paid = session(status="complete", payment_status="paid", payment_intent=intent)
    server = await scripted((400, NOT_ANY_MORE), (200, paid))
    [fact] = await StripeCheckout(door(server.base)).close("cs_test_1")
    assert isinstance(fact, PaymentSettled)
    assert fact.payment_id == "pi_3Nabc123"


async def test_session_that_cannot_be_closed_and_stays_open_is_a_refusal(
    scripted: Any, door: Any, session: Any
) -> None:
    server = await scripted((400, NOT_ANY_MORE), (200, session()))
    with pytest.raises(ProviderRefused):
        await StripeCheckout(door(server.base)).close("cs_test_1")


async def test_started_deposit_is_the_address_with_the_exact_amount(
    scripted: Any, door: Any, deposit_intent: Any, order: Any
) -> None:
    server = await scripted((200, deposit_intent(next_action=deposit_at(ADDRESS.lower(), USDC_ON_BASE.lower()))))
    rail = StripeX402(door(server.base))
    assert await rail.start(rail.prepare(order)) == DepositAction(
        payment_intent_id="pi_3Nabc123",
        network="base",
        token_currency="usdc",
        token_decimals=6,
        token_contract_address=USDC_ON_BASE,
        deposit_address=ADDRESS,
        token_amount_atomic=5_000_000,
        expires_at=datetime(2026, 11, 21, 9, 0, tzinfo=UTC),
    )
    assert server.requests[0].headers["idempotency-key"] == f"pi:{order.attempt_id}:1"
    assert server.requests[0].headers["stripe-version"] == "2026-05-27.preview"


async def test_a_request_is_sent_under_the_version_that_it_was_prepared_with(
    scripted: Any, door: Any, session: Any, deposit_intent: Any, order: Any
) -> None:
    page, deposit = session(id="cs_test_1"), deposit_intent(next_action=deposit_at())
    server = await scripted((200, page), (200, page), (200, deposit))
    at = door(server.base)
    checkout, x402 = StripeCheckout(at), StripeX402(at)
    await checkout.start(checkout.prepare(order))
    await checkout.start(replace(checkout.prepare(order), api_version="2026-09-30.dahlia"))
    await x402.start(replace(x402.prepare(order), api_version="2026-04-29.preview"))
    versions = [request.headers["stripe-version"] for request in server.requests]
    assert versions == ["2026-10-28.endive", "2026-09-30.dahlia", "2026-04-29.preview"]


@pytest.mark.parametrize(
    "case",
    [
        (None, "no_deposit_address"),
        (deposit_at(network="solana"), "no_deposit_address"),
        (deposit_at(ADDRESS[:-1] + "c"), "bad_deposit_address"),
        (deposit_at(None), "bad_deposit_address"),
        (deposit_at(contract=ADDRESS), "unexpected_token"),
        (deposit_at(currency="usdg"), "unexpected_token"),
    ],
)
async def test_instructions_that_cannot_be_trusted_with_money_are_refused(
    scripted: Any, door: Any, deposit_intent: Any, order: Any, case: Any
) -> None:
    next_action, code = case
    rail = StripeX402(door((await scripted((200, deposit_intent(next_action=next_action)))).base))
    with pytest.raises(ProviderRefused) as refused:
        await rail.start(rail.prepare(order))
    assert refused.value.code == code


async def test_closing_a_waiting_deposit_cancels_it(scripted: Any, door: Any, deposit_intent: Any) -> None:
    server = await scripted((200, deposit_intent(status="canceled")))
    [fact] = await StripeX402(door(server.base)).close("pi_3Nabc123")
    assert type(fact) is ActionExpired
    assert [request.path for request in server.requests] == ["/v1/payment_intents/pi_3Nabc123/cancel"]


async def test_closing_a_deposit_that_arrived_first_gives_the_settlement(
    scripted: Any, door: Any, deposit_intent: Any
) -> None:
    paid = deposit_intent(status="succeeded", amount_received=500)
    server = await scripted((400, NOT_ANY_MORE), (200, paid))
    [fact] = await StripeX402(door(server.base)).close("pi_3Nabc123")
    assert isinstance(fact, PaymentSettled)
    assert (fact.subtotal, fact.total) == (500, 500)


async def test_a_deposit_that_arrived_in_part_is_not_canceled(scripted: Any, door: Any, deposit_intent: Any) -> None:
    server = await scripted((200, deposit_intent(amount_received=300)))
    [fact] = await StripeX402(door(server.base), any_amount=True).close("pi_3Nabc123")
    assert isinstance(fact, PaymentProcessing)
    assert fact.reason == "300 of 500 cents have arrived."
    assert [request.method for request in server.requests] == ["GET"]


async def test_a_deposit_of_any_amount_of_which_nothing_arrived_is_canceled(
    scripted: Any, door: Any, deposit_intent: Any
) -> None:
    server = await scripted((200, deposit_intent(amount_received=0)), (200, deposit_intent(status="canceled")))
    [fact] = await StripeX402(door(server.base), any_amount=True).close("pi_3Nabc123")
    assert type(fact) is ActionExpired
    assert server.requests[-1].path == "/v1/payment_intents/pi_3Nabc123/cancel"


async def test_deposit_that_cannot_be_closed_and_stays_payable_is_a_refusal(
    scripted: Any, door: Any, deposit_intent: Any
) -> None:
    server = await scripted((400, NOT_ANY_MORE), (200, deposit_intent()))
    with pytest.raises(ProviderRefused):
        await StripeX402(door(server.base)).close("pi_3Nabc123")


@pytest.mark.parametrize("kind", [StripeCheckout, StripeX402])
async def test_close_whose_answer_is_lost_is_unknown(scripted: Any, door: Any, kind: Any) -> None:
    server = await scripted((500, {"error": {"type": "api_error", "message": "No"}}))
    with pytest.raises(OutcomeUnknown):
        await kind(door(server.base)).close("id_1")


@pytest.mark.parametrize("kind", [StripeCheckout, StripeX402])
async def test_reference_of_an_unknown_kind_is_a_mistake_of_the_caller(door: Any, kind: Any) -> None:
    with pytest.raises(ValueError, match="refund"):
        await kind(door("http://127.0.0.1:1")).read(Reference("refund", "re_1"))
