"""The rail asks for what was ordered, answers every question without I/O, and its action can be kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import actions
from ledger.money import usd, usdc
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import ActionExpired, CheckoutAction, DepositAction, Found, Order, Rail, Reference, X402Action
from rails.x402 import messages
from rails.x402.rail import X402

PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RAIL: Rail = X402(BASE_SEPOLIA, pay_to=PAYEE, timeout_s=300, livemode=False, clock=lambda: NOW)
ATTEMPT = "payatt_01kag0000000000000000000aa"

letters = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=26, max_size=26)
orders = st.builds(
    Order,
    organization_id=letters.map("org_{}".format),
    quote_id=letters.map("quote_{}".format),
    attempt_id=letters.map("payatt_{}".format),
    number=st.integers(1, 999),
    price=st.integers(1, 500_000).map(usd),
    credits=st.integers(1, 500_000),
    description=st.text(min_size=1, max_size=80),
    payable_until=st.datetimes(
        datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-8))])
    ),
    handoff_url=letters.map("https://purser.example/pay/payatt_{}".format),
)


def order(**changes: Any) -> Order:
    given: dict[str, Any] = {
        "organization_id": "org_01kag0000000000000000000aa",
        "quote_id": "quote_01kag0000000000000000000aa",
        "attempt_id": ATTEMPT,
        "number": 2,
        "price": usd(100),
        "credits": 100,
        "description": "100 credits",
        "payable_until": NOW + timedelta(minutes=30),
        "handoff_url": f"https://purser.example/pay/{ATTEMPT}",
    }
    return Order(**{**given, **changes})


@given(ordered=orders)
async def test_the_action_asks_for_what_was_ordered_and_for_nothing_else(ordered: Order) -> None:
    request = RAIL.prepare(ordered)
    action = await RAIL.start(request)
    asked = messages.requirement_for(BASE_SEPOLIA, pay_to=PAYEE, price=ordered.price, timeout_s=300)
    assert action == X402Action(f"{ordered.attempt_id}:{ordered.number}", asked.wire(), ordered.payable_until)
    assert messages.requirement_of(request.parameters) == asked


@given(ordered=orders)
def test_the_same_order_gives_the_same_bytes_and_key_and_their_order_is_kept(ordered: Order) -> None:
    first, second = RAIL.prepare(ordered), RAIL.prepare(ordered)
    assert first == second
    assert first.provider_key == f"x402:{ordered.attempt_id}:{ordered.number}"
    assert first.api_version == "x402/2"
    assert json.dumps(json.loads(first.parameters), ensure_ascii=False, separators=(",", ":")) == first.parameters


def test_what_is_stored_is_an_entry_of_accepts_with_our_own_two_before_it() -> None:
    request = RAIL.prepare(order())
    assert json.loads(request.parameters) == {
        "object_id": f"{ATTEMPT}:2",
        "payable_until": "2026-11-21T12:30:00+00:00",
        "scheme": "exact",
        "network": "eip155:84532",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "amount": "1000000",
        "payTo": PAYEE,
        "maxTimeoutSeconds": 300,
        "extra": {"name": "USDC", "version": "2", "assetTransferMethod": "eip3009", "paymentFlow": "upfront"},
    }


def test_a_price_in_other_money_is_not_asked_for() -> None:
    with pytest.raises(ValueError, match="USD"):
        RAIL.prepare(order(price=usdc(1_000_000)))


async def test_a_stored_request_asks_for_the_same_after_the_settings_have_changed() -> None:
    request = RAIL.prepare(order())
    changed = X402(BASE_SEPOLIA, pay_to="0x" + "11" * 20, timeout_s=60, livemode=True, clock=lambda: NOW)
    assert await changed.start(request) == await RAIL.start(request)


async def test_the_object_of_a_request_is_always_found() -> None:
    request = RAIL.prepare(order())
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    found = await RAIL.find(request, since=long_ago, until=long_ago)
    assert found == Found(f"{ATTEMPT}:2", await RAIL.start(request))


async def test_no_provider_is_asked_and_no_letter_is_ours() -> None:
    assert not RAIL.references({"type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1"}}})
    assert not await RAIL.read(Reference("payment_intent", "pi_1"))
    assert not await RAIL.look(f"{ATTEMPT}:2")


async def test_closing_says_that_the_attempt_is_asked_for_no_more() -> None:
    request = RAIL.prepare(order())
    action = await RAIL.start(request)
    assert await RAIL.close(actions.object_id(action)) == (
        ActionExpired(
            method_id="x402.exact.usdc",
            attempt_id=ATTEMPT,
            provider_key=request.provider_key,
            object_id=f"{ATTEMPT}:2",
            livemode=False,
            occurred_at=NOW,
        ),
    )


@pytest.mark.parametrize(
    ("action", "kind", "object_id"),
    [
        (CheckoutAction("cs_1", "https://checkout.example/c#d", NOW), "checkout", "cs_1"),
        (DepositAction("pi_1", "base", "usdc", 6, "0x01", "0x02", 1_000_000, NOW), "deposit", "pi_1"),
        (X402Action(f"{ATTEMPT}:2", {"amount": "1", "extra": {"name": "USDC"}}, NOW), "x402", f"{ATTEMPT}:2"),
    ],
)
def test_an_action_is_kept_as_json_and_is_the_same_when_it_is_read(action: Any, kind: str, object_id: str) -> None:
    row = json.loads(json.dumps(actions.stored(action)))
    assert row["kind"] == kind
    assert actions.loaded(row) == action
    assert actions.object_id(action) == object_id
