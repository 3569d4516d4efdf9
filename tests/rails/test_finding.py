"""Finding what a request made whose answer was lost: among what the provider created, or proving that there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from ledger import ids
from rails.rail import CheckoutAction, Found, Order, OutcomeUnknown, Rail, RailUnavailable
from rails.stripe_checkout.rail import StripeCheckout
from rails.stripe_door import StripeDoor
from rails.stripe_pages import CLOCK_SKEW, PAGE, SEARCHED_PAGES_MAX
from rails.stripe_x402.rail import StripeX402

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=[StripeCheckout, StripeX402], ids=["stripe_checkout", "stripe_x402"])
def rail(at: StripeDoor, request: pytest.FixtureRequest) -> Rail:
    made: Rail = request.param(at)
    return made


def last_hour() -> dict[str, datetime]:
    """The window of what a test made at a sandbox: its clock is this machine's."""
    now = datetime.now(UTC)
    return {"since": now - timedelta(hours=1), "until": now}


def object_id(action: Any) -> str:
    return str(action.session_id if isinstance(action, CheckoutAction) else action.payment_intent_id)


async def test_object_of_a_lost_answer_is_found_with_its_action(
    rail: Rail, fresh: Order, control: Callable[..., Any]
) -> None:
    request = rail.prepare(fresh)
    control("faults", kind="lost_answer", path="/v1/*")
    with pytest.raises(OutcomeUnknown):
        await rail.start(request)
    found = await rail.find(request, **last_hour())
    assert found is not None
    action = await rail.start(request)
    assert found == Found(object_id(action), action)


async def test_request_that_never_arrived_is_proven_to_have_made_nothing(
    rail: Rail, fresh: Order, control: Callable[..., Any]
) -> None:
    await rail.start(rail.prepare(fresh))
    other = rail.prepare(replace(fresh, attempt_id=ids.external("payatt", uuid4())))
    control("faults", kind="drop", path="/v1/*")
    with pytest.raises(OutcomeUnknown):
        await rail.start(other)
    assert await rail.find(other, **last_hour()) is None
    assert await rail.find(rail.prepare(replace(fresh, number=2)), **last_hour()) is None


async def test_object_that_is_past_asking_is_found_without_an_action(rail: Rail, fresh: Order) -> None:
    request = rail.prepare(fresh)
    made = object_id(await rail.start(request))
    await rail.close(made)
    assert await rail.find(request, **last_hour()) == Found(made, None)


async def test_paid_object_is_found_without_an_action(rail: Rail, fresh: Order, control: Callable[..., Any]) -> None:
    request = rail.prepare(fresh)
    made = object_id(await rail.start(request))
    control(f"sessions/{made}/pay" if made.startswith("cs_") else f"payment_intents/{made}/settle")
    assert await rail.find(request, **last_hour()) == Found(made, None)


async def test_object_behind_the_first_page_is_found(rail: Rail, fresh: Order) -> None:
    request = rail.prepare(fresh)
    made = object_id(await rail.start(request))
    for _ in range(PAGE):
        await rail.start(rail.prepare(replace(fresh, attempt_id=ids.external("payatt", uuid4()))))
    found = await rail.find(request, **last_hour())
    assert found is not None
    assert found.object_id == made


async def test_only_the_window_is_searched_with_room_for_another_clock(rail: Rail, fresh: Order) -> None:
    request = rail.prepare(fresh)
    await rail.start(request)
    now = datetime.now(UTC)
    before, minute = now - CLOCK_SKEW, timedelta(minutes=1)
    assert await rail.find(request, since=before - minute, until=before + minute) is not None
    assert await rail.find(request, since=before - minute, until=before - minute) is None


@pytest.mark.parametrize("kind", [StripeCheckout, StripeX402])
@pytest.mark.parametrize(
    "answer",
    [
        (500, {"error": {"type": "api_error", "message": "No"}}),
        (200, {"object": "list", "data": []}),
        (200, {"object": "list", "data": [], "has_more": True}),
        (200, {"id": "cs_1"}),
    ],
)
async def test_list_that_cannot_be_read_proves_nothing(
    loopback: Any, door: Any, order: Order, now: datetime, kind: Any, answer: Any
) -> None:
    rail = kind(door((await loopback(*answer)).base))
    with pytest.raises(RailUnavailable):
        await rail.find(rail.prepare(order), since=now, until=now)


@pytest.mark.parametrize("kind", [StripeCheckout, StripeX402])
async def test_window_of_too_many_pages_proves_nothing(
    loopback: Any, door: Any, order: Order, now: datetime, kind: Any
) -> None:
    server = await loopback(200, {"object": "list", "data": [{"id": "x_1", "object": "x"}], "has_more": True})
    rail = kind(door(server.base))
    with pytest.raises(RailUnavailable, match="more than"):
        await rail.find(rail.prepare(order), since=now, until=now + timedelta(hours=1))
    assert len(server.requests) == SEARCHED_PAGES_MAX
    first, second = (parse_qs(urlsplit(request.path).query) for request in server.requests[:2])
    start = int(now.timestamp())
    assert [first["created[gte]"], first["created[lt]"]] == [[str(start - 600)], [str(start + 3600 + 600)]]
    assert "starting_after" not in first
    assert second == {**first, "starting_after": ["x_1"]}


async def test_deposits_are_listed_in_the_version_that_knows_them(
    scripted: Any, door: Any, deposit_intent: Any, order: Order, now: datetime
) -> None:
    server = await scripted((200, {"object": "list", "data": [deposit_intent()], "has_more": False}))
    rail = StripeX402(door(server.base))
    request = replace(rail.prepare(order), api_version="2026-04-29.preview")
    found = await rail.find(request, since=now, until=now)
    assert found is not None
    assert found.action is not None
    assert server.requests[0].headers["stripe-version"] == "2026-04-29.preview"


async def test_deposit_with_instructions_that_cannot_be_trusted_is_found_without_an_action(
    scripted: Any, door: Any, deposit_intent: Any, order: Order, now: datetime
) -> None:
    untrusted = deposit_intent(next_action=None)
    server = await scripted((200, {"object": "list", "data": [untrusted], "has_more": False}))
    rail = StripeX402(door(server.base))
    assert await rail.find(rail.prepare(order), since=now, until=now) == Found("pi_3Nabc123", None)
