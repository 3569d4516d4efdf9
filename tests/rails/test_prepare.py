"""What must hold of every rail's stored request, for any order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.money import usd
from rails.rail import Order, Rail
from rails.stripe_checkout.rail import StripeCheckout
from rails.stripe_door import API_VERSION, StripeDoor
from rails.stripe_x402.rail import StripeX402

DOOR = StripeDoor("sk_test_4eC39Hq", clock=lambda: datetime(2026, 11, 21, tzinfo=UTC), api_base="http://127.0.0.1:1")
PREVIEW = "2026-05-27.preview"
RAILS: list[Rail] = [StripeCheckout(DOOR), StripeX402(DOOR, api_version=PREVIEW)]

unhurried = settings(deadline=None)
"""A machine that stalls for a while is no fault of what is tested."""

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
    payable_until=st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    handoff_url=letters.map("https://purser.example/pay/payatt_{}".format),
)


def all_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from all_values(inner)
    else:
        yield value


@pytest.mark.parametrize("rail", RAILS, ids=lambda rail: rail.method_id)
@unhurried
@given(order=orders)
def test_prepare_gives_the_same_bytes_and_key_for_the_same_order(rail: Any, order: Any) -> None:
    first, second = rail.prepare(order), rail.prepare(order)
    assert first == second
    assert first.provider_key.endswith(f":{order.attempt_id}:{order.number}")
    assert len(first.provider_key) <= 255
    assert not any(isinstance(value, float) for value in all_values(json.loads(first.parameters)))


@pytest.mark.parametrize("rail", RAILS, ids=lambda rail: rail.method_id)
@unhurried
@given(order=orders)
def test_stored_text_keeps_the_order_of_the_parameters_when_it_is_read_and_written_again(rail: Any, order: Any) -> None:
    text = rail.prepare(order).parameters
    assert json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) == text


@pytest.mark.parametrize(("rail", "version"), list(zip(RAILS, [API_VERSION, PREVIEW], strict=True)))
@unhurried
@given(order=orders)
def test_a_request_says_under_which_version_it_was_prepared(rail: Any, version: str, order: Any) -> None:
    assert rail.prepare(order).api_version == version


@unhurried
@given(order=orders)
def test_no_two_rails_use_one_key(order: Any) -> None:
    assert len({rail.prepare(order).provider_key for rail in RAILS}) == len(RAILS)
