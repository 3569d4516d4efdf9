"""Who asks after a payment that looks stuck gets the truth or what is stored: soon, and without asking Stripe often."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from api.freshening import freshened
from billing import looking
from tests.service import CHECKOUT, DEPOSIT

SESSIONS, INTENTS = "/v1/checkout/sessions", "/v1/payment_intents"
LATER = timedelta(seconds=21)
HANGS_S = 120
PATIENCE_S = 60
SOON_S = 15
"""Before the door to the provider would give up by itself."""


@pytest.fixture
def buyer(buyer, monkeypatch):
    """A buyer for whom only such time passes as a test says, and whose looks are not hurried."""
    at = buyer.house.clock()
    buyer.house = replace(buyer.house, clock=lambda: at)
    monkeypatch.setattr(looking, "LOOK_TIMEOUT_S", PATIENCE_S)
    return buyer


async def look(buyer, quote, *, after=LATER, apart=looking.POLLED_APART):
    house, found = buyer.house, await buyer.status(quote)
    later = house.clock() + after
    return await freshened(replace(house, clock=lambda: later), found.attempt, found.quote, apart=apart)


async def bought(buyer, *, method=CHECKOUT):
    """A quote with an open attempt, and where its object is read."""
    buyer.method = method
    quote = await buyer.quote()
    await buyer.buy(quote)
    object_id = (await buyer.status(quote)).attempt.object_id
    return quote, object_id, f"{SESSIONS if method == CHECKOUT else INTENTS}/{object_id}"


async def state(buyer, quote):
    return (await buyer.status(quote)).attempt.state


async def test_an_attempt_that_was_paid_without_a_letter_is_found_paid(buyer, quiet_sandbox):
    quote, session_id, _ = await bought(buyer)
    quiet_sandbox.pay(session_id)
    assert not await look(buyer, quote, after=timedelta(seconds=10))
    assert await state(buyer, quote) == "action_required"
    assert await look(buyer, quote)
    assert await state(buyer, quote) == "succeeded"


async def test_a_deposit_that_arrived_without_a_letter_is_found_paid(buyer, quiet_sandbox):
    quote, intent_id, _ = await bought(buyer, method=DEPOSIT)
    quiet_sandbox.control("POST", f"payment_intents/{intent_id}/settle")
    assert await look(buyer, quote)
    assert await state(buyer, quote) == "succeeded"


async def test_a_payer_who_comes_back_is_looked_for_at_once(buyer, quiet_sandbox):
    quote, session_id, _ = await bought(buyer)
    quiet_sandbox.pay(session_id)
    assert await look(buyer, quote, after=timedelta(seconds=4), apart=looking.RETURNED_APART)
    assert await state(buyer, quote) == "succeeded"


async def test_an_attempt_that_is_polled_by_many_at_once_makes_us_ask_once(buyer, quiet_sandbox):
    quote, _, path = await bought(buyer)
    looked = await asyncio.gather(*[look(buyer, quote) for _ in range(8)])
    assert sorted(looked) == [False] * 7 + [True]
    for seconds in (25, 30, 35, 40):
        await look(buyer, quote, after=timedelta(seconds=seconds))
    assert len(quiet_sandbox.calls(path)) == 1
    assert await look(buyer, quote, after=timedelta(seconds=42))
    assert len(quiet_sandbox.calls(path)) == 2


async def test_a_provider_that_hangs_delays_the_answer_by_a_bounded_time_and_nothing_else(
    buyer, quiet_sandbox, monkeypatch
):
    monkeypatch.setattr(looking, "LOOK_TIMEOUT_S", 0.3)
    quote, _, path = await bought(buyer)
    quiet_sandbox.fault("hang", path, method="GET", times=1, seconds=HANGS_S)
    async with asyncio.timeout(SOON_S):
        assert await look(buyer, quote)
    assert await state(buyer, quote) == "action_required"


@pytest.mark.parametrize("kind", ["error_500", "drop", "error_429"])
async def test_a_provider_that_fails_leaves_what_is_stored(buyer, quiet_sandbox, kind):
    quote, _, path = await bought(buyer)
    quiet_sandbox.fault(kind, path, method="GET", times=1)
    looked_at = (await buyer.status(quote)).attempt.looked_at
    assert await look(buyer, quote)
    assert await state(buyer, quote) == "action_required"
    assert (await buyer.status(quote)).attempt.looked_at == looked_at, "or who polls would keep the sweep away"


async def test_what_is_over_is_left_to_the_sweep(buyer, quiet_sandbox):
    quote, _, path = await bought(buyer)
    assert not await look(buyer, quote, after=timedelta(hours=25))
    assert quiet_sandbox.calls(path) == []
