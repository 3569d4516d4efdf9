"""Both rails over real HTTP against the sandbox: its own process, driven through the real `stripe` package."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import pytest

from billing import actions
from rails.rail import (
    ActionExpired,
    ActionOpen,
    Fact,
    Order,
    OutcomeStored,
    OutcomeUnknown,
    PaymentFailed,
    PaymentProcessing,
    PaymentSettled,
    ProviderRefused,
    Rail,
    RailUnavailable,
    Reference,
)
from rails.stripe_checkout.rail import StripeCheckout
from rails.stripe_door import StripeDoor
from rails.stripe_x402.rail import StripeX402
from tests.rails.conftest import PATIENCE_S
from tests.rails.test_stripe_door import let_pass

pytestmark = pytest.mark.asyncio

T = TypeVar("T")
SETTLE_TIMEOUT_S = 60
DOOR_TIMEOUT_S = 2 * PATIENCE_S
HANG_S = 120
"""The longest that a sandbox hangs: nobody waits until it ends, for the time of a door runs ahead."""


@pytest.fixture(params=[StripeCheckout, StripeX402], ids=["stripe_checkout", "stripe_x402"])
def rail(at: StripeDoor, request: pytest.FixtureRequest) -> Rail:
    made: Rail = request.param(at)
    return made


async def until_settled(rail: Rail, reference: Reference) -> PaymentSettled:
    """The settlement of `reference`, read again and again."""
    facts: list[Fact] = []
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while not (facts and isinstance(facts[0], PaymentSettled)):
            facts = list(await rail.read(reference))
            await asyncio.sleep(0.05)
    assert isinstance(facts[0], PaymentSettled)
    return facts[0]


async def test_card_payment_settles_with_the_amounts_of_the_order(
    at: StripeDoor, fresh: Order, control: Callable[..., Any]
) -> None:
    rail = StripeCheckout(at)
    action = await rail.start(rail.prepare(fresh))
    [before] = await rail.read(Reference("checkout_session", action.session_id))
    assert type(before) is ActionOpen
    assert before.attempt_id == fresh.attempt_id
    control(f"sessions/{action.session_id}/pay")
    fact = await until_settled(rail, Reference("checkout_session", action.session_id))
    assert (fact.subtotal, fact.discount, fact.tax, fact.total, fact.currency) == (500, 0, 0, 500, "usd")
    assert fact.details["last4"] == "4242"
    assert await rail.read(Reference("payment_intent", fact.payment_id)) == (fact,)


async def test_declined_card_leaves_the_session_open_by_every_road(
    at: StripeDoor, fresh: Order, control: Callable[..., Any]
) -> None:
    rail = StripeCheckout(at)
    action = await rail.start(rail.prepare(fresh))
    intent_id = control(f"sessions/{action.session_id}/decline")["payment_intent"]
    for reference in (Reference("checkout_session", action.session_id), Reference("payment_intent", intent_id)):
        [fact] = await rail.read(reference)
        assert type(fact) is ActionOpen


@pytest.mark.parametrize(("end", "kind"), [("settle_delayed", PaymentSettled), ("fail_delayed", PaymentFailed)])
async def test_delayed_payment_is_processing_until_it_arrives_or_fails(
    at: StripeDoor, fresh: Order, control: Callable[..., Any], end: str, kind: type[Fact]
) -> None:
    rail = StripeCheckout(at)
    action = await rail.start(rail.prepare(fresh))
    control(f"sessions/{action.session_id}/pay_delayed")
    [before] = await rail.read(Reference("checkout_session", action.session_id))
    assert type(before) is PaymentProcessing
    control(f"sessions/{action.session_id}/{end}")
    [after] = await rail.read(Reference("checkout_session", action.session_id))
    assert type(after) is kind


async def test_deposit_of_the_exact_amount_settles(at: StripeDoor, fresh: Order, control: Callable[..., Any]) -> None:
    rail = StripeX402(at)
    action = await rail.start(rail.prepare(fresh))
    control(
        "wallet/transfers",
        network=action.network,
        token_currency=action.token_currency,
        to=action.deposit_address,
        amount_atomic=str(action.token_amount_atomic),
    )
    fact = await until_settled(rail, Reference("payment_intent", action.payment_intent_id))
    assert (fact.subtotal, fact.total, fact.currency) == (500, 500, "usd")
    assert fact.attempt_id == fresh.attempt_id
    assert fact.details["network"] == "base"
    assert fact.details["transaction_hash"].startswith("0x")


async def test_same_request_sent_twice_is_one_action(rail: Rail, fresh: Order) -> None:
    request = rail.prepare(fresh)
    assert await rail.start(request) == await rail.start(request)


async def test_same_key_with_other_terms_tells_nothing_and_what_it_made_is_found(rail: Rail, fresh: Order) -> None:
    """So it is after a restore: the attempt's next request has the number of one that the backup does not know."""
    made = await rail.start(rail.prepare(fresh))
    other = rail.prepare(replace(fresh, description="900 credits"))
    with pytest.raises(OutcomeStored):
        await rail.start(other)
    now = datetime.now(UTC)
    found = await rail.find(other, since=now - timedelta(minutes=5), until=now)
    assert found is not None
    assert found.action == made


@pytest.mark.parametrize("kind", ["lost_answer", "drop", "error_503"])
async def test_lost_answer_is_unknown_and_its_replay_is_one_action(
    rail: Rail, fresh: Order, control: Callable[..., Any], kind: str
) -> None:
    request = rail.prepare(fresh)
    control("faults", kind=kind, path="/v1/*", stored=False)
    with pytest.raises(OutcomeUnknown):
        await rail.start(request)
    assert await rail.start(request) == await rail.start(request)


async def test_failing_stripe_leaves_a_write_unknown_and_a_read_unavailable(
    rail: Rail, fresh: Order, control: Callable[..., Any]
) -> None:
    control("faults", kind="error_500", path="/v1/*", method="*", times=2)
    with pytest.raises(OutcomeUnknown):
        await rail.start(rail.prepare(fresh))
    with pytest.raises(RailUnavailable):
        await rail.read(Reference("payment_intent", "pi_1"))


def hanging(sandbox: str) -> int:
    """How many requests have met a sandbox that hangs."""
    told = httpx.get(f"{sandbox}/sandbox/calls", timeout=PATIENCE_S).json()
    return sum(call["fault"] == "hang" for call in told["calls"])


async def once_its_time_is_over(sandbox: str, call: Awaitable[T]) -> T:
    """What becomes of a call that hangs: it has come to the sandbox, and then the door's time has passed."""
    before, asked = hanging(sandbox), asyncio.ensure_future(call)
    async with asyncio.timeout(PATIENCE_S):
        while hanging(sandbox) == before and not asked.done():
            await asyncio.wait({asked}, timeout=0.05)
    assert not asked.done()
    let_pass(DOOR_TIMEOUT_S + 1)
    return await asyncio.wait_for(asked, PATIENCE_S)


async def test_hanging_stripe_is_given_up_and_leaves_a_write_unknown_and_a_read_unavailable(
    rail: Rail, fresh: Order, sandbox: str, control: Callable[..., Any]
) -> None:
    control("faults", kind="hang", path="/v1/*", method="*", times=2, seconds=HANG_S)
    with pytest.raises(OutcomeUnknown, match="Timeout"):
        await once_its_time_is_over(sandbox, rail.start(rail.prepare(fresh)))
    with pytest.raises(RailUnavailable, match="Timeout"):
        await once_its_time_is_over(sandbox, rail.read(Reference("payment_intent", "pi_1")))


async def test_stored_failure_is_told_from_a_new_one(rail: Rail, fresh: Order, control: Callable[..., Any]) -> None:
    request = rail.prepare(fresh)
    control("faults", kind="error_500", path="/v1/*")
    with pytest.raises(OutcomeUnknown) as new:
        await rail.start(request)
    with pytest.raises(OutcomeStored):
        await rail.start(request)
    assert new.type is OutcomeUnknown


async def test_closed_action_is_expired_and_stays_so(rail: Rail, fresh: Order) -> None:
    action = await rail.start(rail.prepare(fresh))
    object_id = actions.object_id(action)
    for _ in range(2):
        [fact] = await rail.close(object_id)
        assert type(fact) is ActionExpired
        assert fact.object_id == object_id


async def test_closing_after_the_payer_was_faster_gives_the_settlement(
    at: StripeDoor, fresh: Order, control: Callable[..., Any]
) -> None:
    rail = StripeCheckout(at)
    action = await rail.start(rail.prepare(fresh))
    control(f"sessions/{action.session_id}/pay")
    await until_settled(rail, Reference("checkout_session", action.session_id))
    [fact] = await rail.close(action.session_id)
    assert isinstance(fact, PaymentSettled)


async def test_unknown_object_is_refused(rail: Rail) -> None:
    with pytest.raises(ProviderRefused):
        await rail.close("nothing_1")


async def test_probe_passes_while_stripe_serves(rail: Rail, at: StripeDoor, now: datetime) -> None:
    await rail.probe()
    assert at.health.unavailable_reason(now) is None
