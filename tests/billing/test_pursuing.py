"""What became of a request is learned and never guessed: no attempt gets a second object, and none is lost."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from sqlmodel import col, select

from api.wiring import build
from billing import cancellations, pursuing, requests
from billing.attempts import RequestState
from billing.refusals import Refusal, Refused
from billing.requests import RequestId
from billing.tables import ProviderRequestRow
from ledger import ids
from rails.rail import (
    ActionExpired,
    ActionOpen,
    Found,
    OutcomeStored,
    OutcomeUnknown,
    ProviderRequest,
    RailUnavailable,
)
from tests.service import CHECKOUT, DEPOSIT, STRIPE_KEY

PATHS = {CHECKOUT: "/v1/checkout/sessions", DEPOSIT: "/v1/payment_intents"}
TOO_OLD = timedelta(hours=23, minutes=10)
both_methods = pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: only so many requests are due at once, and other tests' would come first."""
    return new_databases("pursuing")


async def buy_with_fault(buyer, sandbox, kind, *, method=CHECKOUT, refusal=Refusal.PAYMENT_OUTCOME_UNKNOWN):
    """The attempt that is left when the purchase's one call meets a fault."""
    buyer.method = method
    quote = await buyer.quote()
    sandbox.fault(kind, PATHS[method], method="POST", times=1)
    with pytest.raises(Refused) as refused:
        await buyer.buy(quote)
    assert refused.value.refusal is refusal
    return quote, (await buyer.status(quote)).attempt


async def pursue(buyer, attempt, *, number=1, after=timedelta()):
    house = buyer.house
    later = house.clock() + after
    request_id = RequestId(attempt.organization_id, attempt.id, number)
    rail = house.rails[attempt.method]
    await pursuing.pursue(
        house.sessions, rail, request_id, livemode=False, place=house.place, clock=lambda: later
    )  # fmt: skip


async def requests_of(buyer, attempt):
    query = select(ProviderRequestRow).where(col(ProviderRequestRow.attempt_id) == attempt.id)
    async with buyer.house.sessions() as session:
        return list((await session.exec(query.order_by(col(ProviderRequestRow.number)))).all())


def keys_sent(sandbox, attempt):
    """The provider keys of all creations for the attempt, in their order."""
    name = ids.external("payatt", attempt.id)
    calls = [call for call in sandbox.calls(PATHS[attempt.method]) if call["method"] == "POST"]
    return [call["idempotency_key"] for call in calls if name in call["idempotency_key"]]


async def made_for(sandbox, attempt):
    """What the provider has made for the attempt."""
    async with httpx.AsyncClient(base_url=sandbox.url, auth=(STRIPE_KEY, "")) as stripe:
        newest = (await stripe.get(PATHS[attempt.method], params={"limit": 100})).json()["data"]
    name = ids.external("payatt", attempt.id)
    return [one["id"] for one in newest if one["metadata"].get("purser_attempt") == name]


@both_methods
async def test_an_object_whose_answer_was_lost_a_day_ago_is_found_and_asked_for_as_if_the_answer_had_come(
    buyer, quiet_sandbox, method
):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "lost_answer", method=method)
    await pursue(buyer, attempt, after=TOO_OLD)
    found = await buyer.status(quote)
    assert found.attempt.state == "action_required"
    assert found.action is not None
    assert [found.attempt.object_id] == await made_for(quiet_sandbox, attempt)
    assert len(keys_sent(quiet_sandbox, attempt)) == 1


@both_methods
async def test_a_stored_failure_whose_work_was_done_is_found_and_not_asked_for_again(buyer, quiet_sandbox, method):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "work_then_500", method=method)
    await pursue(buyer, attempt)
    found = await buyer.status(quote)
    assert (found.attempt.state, found.attempt.request_number) == ("action_required", 1)
    assert [found.attempt.object_id] == await made_for(quiet_sandbox, attempt)


@both_methods
async def test_a_stored_failure_of_which_nothing_came_leads_to_the_next_number_and_to_one_object(
    buyer, quiet_sandbox, method
):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500", method=method)
    await pursue(buyer, attempt)
    found = await buyer.status(quote)
    assert (found.attempt.state, found.attempt.request_number) == ("action_required", 2)
    assert [found.attempt.object_id] == await made_for(quiet_sandbox, attempt)
    assert [row.state for row in await requests_of(buyer, attempt)] == [RequestState.REFUSED, RequestState.ANSWERED]
    first, again, second = keys_sent(quiet_sandbox, attempt)
    assert first == again != second


async def test_the_agents_own_repetition_meets_the_stored_failure_and_decides_nothing(buyer, quiet_sandbox):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500")
    with pytest.raises(Refused) as refused:
        await buyer.buy(quote)
    assert refused.value.refusal is Refusal.PAYMENT_OUTCOME_UNKNOWN
    [row] = await requests_of(buyer, attempt)
    assert row.state == RequestState.UNKNOWN


async def test_many_who_pursue_at_once_make_one_next_request(buyer, quiet_sandbox):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500")

    async def one():
        with suppress(OutcomeUnknown, RailUnavailable):  # a conflict: another is being served under the same key
            await pursue(buyer, attempt)

    await asyncio.gather(*[one() for _ in range(5)])
    await pursue(buyer, attempt, number=2)
    assert (await buyer.status(quote)).attempt.request_number == 2
    assert len(await made_for(quiet_sandbox, attempt)) == 1


async def test_a_provider_that_cannot_be_searched_proves_nothing_and_is_asked_again_later(buyer, quiet_sandbox):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "lost_answer")
    for _ in range(2):
        quiet_sandbox.fault("error_503", PATHS[CHECKOUT], method="GET", times=1)
        with pytest.raises(RailUnavailable):
            await pursue(buyer, attempt, after=TOO_OLD)
    [row] = await requests_of(buyer, attempt)
    assert (row.state, row.tries) == (RequestState.UNKNOWN, 3)
    assert row.next_try_at > buyer.house.clock() + TOO_OLD
    assert (await buyer.status(quote)).attempt.state == "created"
    assert len(keys_sent(quiet_sandbox, attempt)) == 1


async def test_proven_absence_ends_an_attempt_that_may_not_be_paid_any_more(buyer, quiet_sandbox):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500")
    await pursue(buyer, attempt, after=timedelta(hours=25))
    found = (await buyer.status(quote)).attempt
    assert (found.state, found.reason) == ("failed", pursuing.NEVER_MADE)
    assert await made_for(quiet_sandbox, attempt) == []


async def test_proven_absence_ends_an_attempt_that_was_to_be_canceled(buyer, quiet_sandbox):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500")
    house = buyer.house
    with pytest.raises(Refused):
        await cancellations.cancel(
            house.sessions, buyer.actor, attempt.id, rails=house.rails, livemode=False, clock=house.clock
        )
    await pursue(buyer, attempt)
    assert (await buyer.status(quote)).attempt.state == "canceled"
    assert await made_for(quiet_sandbox, attempt) == []


async def test_what_is_found_when_its_time_is_over_says_so_itself(buyer, quiet_sandbox):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "lost_answer")
    [session_id] = await made_for(quiet_sandbox, attempt)
    async with httpx.AsyncClient(base_url=quiet_sandbox.url, auth=(STRIPE_KEY, "")) as stripe:
        (await stripe.post(f"{PATHS[CHECKOUT]}/{session_id}/expire")).raise_for_status()
    await pursue(buyer, attempt, after=TOO_OLD)
    found = (await buyer.status(quote)).attempt
    assert (found.state, found.object_id) == ("expired", session_id)


async def test_a_late_answer_to_a_request_that_was_replaced_changes_nothing_and_its_page_is_closed(
    buyer, quiet_sandbox
):
    quote, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500")
    await pursue(buyer, attempt)
    house, now_due, rail = buyer.house, (await buyer.status(quote)).action, buyer.house.rails[CHECKOUT]
    first, second = await requests_of(buyer, attempt)
    late = await rail.start(ProviderRequest(f"late:{first.provider_key}", second.parameters, second.api_version))
    request_id = RequestId(attempt.organization_id, attempt.id, 1)
    await requests.keep(house.sessions, rail, request_id, Found(late.session_id, late), clock=house.clock)
    found = await buyer.status(quote)
    assert (found.attempt.object_id, found.action) == (now_due.session_id, now_due)
    assert [type(fact) for fact in await rail.look(late.session_id)] == [ActionExpired]
    assert [type(fact) for fact in await rail.look(now_due.session_id)] == [ActionOpen]


async def test_a_page_that_is_delivered_too_late_is_refused_and_the_next_one_asked_for(buyer, quiet_sandbox, nowhere):
    here, quote = buyer.house, await buyer.quote()
    away = build(here.settings.model_copy(update={"stripe_api_base": nowhere}))
    earlier = here.clock() - here.place.offer.checkout_session_ttl + timedelta(minutes=20)
    buyer.house = replace(here, rails=away.rails, clock=lambda: earlier)
    with pytest.raises(Refused):
        await buyer.buy(quote)
    buyer.house = here
    with pytest.raises(Refused) as refused:
        await buyer.buy(quote)
    assert refused.value.refusal is Refusal.PAYMENT_METHOD_UNAVAILABLE
    attempt = (await buyer.status(quote)).attempt
    assert attempt.state == "created"
    due = [request for _, request in await requests.due(here.sessions, here.rails.keys(), now=here.clock())]
    assert RequestId(attempt.organization_id, attempt.id, 1) in due
    await pursue(buyer, attempt)
    found = await buyer.status(quote)
    assert (found.attempt.state, found.attempt.request_number) == ("action_required", 2)
    assert [found.attempt.object_id] == await made_for(quiet_sandbox, attempt)
    await away.close()


async def test_a_request_whose_key_is_only_just_too_old_is_left_alone_until_no_call_can_be_under_way(
    buyer, quiet_sandbox
):
    _, attempt = await buy_with_fault(buyer, quiet_sandbox, "lost_answer")

    async def is_due(after):
        found = await requests.due(buyer.house.sessions, buyer.house.rails.keys(), now=buyer.house.clock() + after)
        return attempt.id in [request.attempt_id for _, request in found]

    assert await is_due(timedelta(hours=22, minutes=59))
    assert not await is_due(timedelta(hours=23, minutes=1))
    assert await is_due(TOO_OLD)


async def test_the_rails_tell_a_stored_failure_from_a_first_one(buyer, quiet_sandbox):
    _, attempt = await buy_with_fault(buyer, quiet_sandbox, "error_500")
    house = buyer.house
    request_id = RequestId(attempt.organization_id, attempt.id, 1)
    with pytest.raises(OutcomeStored):
        await requests.carry_out(house.sessions, house.rails[CHECKOUT], request_id, clock=house.clock)
