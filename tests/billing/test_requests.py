"""A request whose answer is lost is sent again, byte for byte, under the same key: never a second object."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from api.wiring import build
from billing import requests
from billing.refusals import Refusal, Refused
from billing.requests import RequestId
from ledger import ids
from rails.rail import OutcomeUnknown

SESSIONS = "/v1/checkout/sessions"


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: only so many requests are due at once, and other tests' would come first."""
    return new_databases("requests")


def fault(sandbox, kind):
    sandbox.fault(kind, SESSIONS, method="POST", times=1)


def creations(sandbox):
    return [call for call in sandbox.calls(SESSIONS) if call["method"] == "POST"]


async def pages(buyer, quote):
    """The provider's sessions for the newest attempt of the quote."""
    attempt = ids.external("payatt", (await buyer.status(quote)).attempt.id)
    async with httpx.AsyncClient(base_url=buyer.house.settings.stripe_api_base, auth=("sk_test_look", "")) as stripe:
        newest = (await stripe.get(SESSIONS, params={"limit": 20})).json()["data"]
    return [one for one in newest if one["metadata"]["purser_attempt"] == attempt]


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        ("lost_answer", Refusal.PAYMENT_OUTCOME_UNKNOWN),
        ("error_503", Refusal.PAYMENT_OUTCOME_UNKNOWN),
    ],
)
async def test_after_a_lost_answer_the_same_key_gets_the_one_session_there_is(buyer, quiet_sandbox, kind, refusal):
    quote = await buyer.quote()
    fault(quiet_sandbox, kind)
    with pytest.raises(Refused) as refused:
        await buyer.buy(quote)
    assert refused.value.refusal is refusal
    assert (await buyer.status(quote)).attempt.state == "created"
    await buyer.buy(quote)
    assert (await buyer.status(quote)).attempt.state == "action_required"
    assert len(await pages(buyer, quote)) == 1
    first, second = creations(quiet_sandbox)
    assert first["idempotency_key"] == second["idempotency_key"]
    assert first["parameters"] == second["parameters"]


async def test_an_agent_that_asks_again_and_again_does_not_put_off_the_workers_own_try(buyer, quiet_sandbox):
    quote, house = await buyer.quote(), buyer.house
    fault(quiet_sandbox, "error_500")
    for _ in range(8):
        with pytest.raises(Refused):
            await buyer.buy(quote)
    attempt = (await buyer.status(quote)).attempt
    soon = house.clock() + requests.FIRST_RETRY + timedelta(seconds=5)
    found = await requests.due(house.sessions, house.rails.keys(), now=soon)
    assert attempt.id in [request.attempt_id for _, request in found]


async def test_an_agent_that_never_comes_back_finds_its_answer_because_the_worker_asked(buyer, quiet_sandbox):
    quote = await buyer.quote()
    fault(quiet_sandbox, "lost_answer")
    with pytest.raises(Refused):
        await buyer.buy(quote)
    house = buyer.house
    attempt = (await buyer.status(quote)).attempt

    async def due(now):
        found = await requests.due(house.sessions, house.rails.keys(), now=now)
        return [(method, request) for method, request in found if request.attempt_id == attempt.id]

    assert await due(house.clock()) == []
    later = house.clock() + timedelta(minutes=3)
    [(method, request_id)] = await due(later)
    await requests.carry_out(house.sessions, house.rails[method], request_id, clock=lambda: later)
    assert (await buyer.status(quote)).attempt.state == "action_required"
    assert len(await pages(buyer, quote)) == 1


async def test_a_request_older_than_the_provider_keeps_keys_is_never_sent_again(buyer, quiet_sandbox):
    quote = await buyer.quote()
    fault(quiet_sandbox, "lost_answer")
    with pytest.raises(Refused):
        await buyer.buy(quote)
    house = buyer.house
    attempt = (await buyer.status(quote)).attempt
    tomorrow = house.clock() + timedelta(hours=23, minutes=1)
    request_id = RequestId(attempt.organization_id, attempt.id, 1)
    assert request_id not in [
        request for _, request in await requests.due(house.sessions, house.rails.keys(), now=tomorrow)
    ]
    with pytest.raises(OutcomeUnknown):
        await requests.carry_out(house.sessions, house.rails[attempt.method], request_id, clock=lambda: tomorrow)
    assert len(creations(quiet_sandbox)) == 1


async def test_a_provider_that_is_not_there_has_certainly_not_taken_the_request(buyer, nowhere):
    quote = await buyer.quote()
    away = build(buyer.house.settings.model_copy(update={"stripe_api_base": nowhere}))
    here, buyer.house = buyer.house, replace(buyer.house, rails=away.rails)
    with pytest.raises(Refused) as refused:
        await buyer.buy(quote)
    assert refused.value.refusal is Refusal.PAYMENT_METHOD_UNAVAILABLE
    buyer.house = here
    await buyer.buy(quote)
    assert (await buyer.status(quote)).attempt.state == "action_required"
    await away.close()


async def test_a_refused_request_fails_its_attempt_for_good_and_the_quote_can_be_bought_with_a_fresh_key(
    buyer, quiet_sandbox
):
    quote = await buyer.quote()
    fault(quiet_sandbox, "card_declined_like_400")
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await buyer.buy(quote, "first")
        assert refused.value.refusal is Refusal.PAYMENT_PROVIDER_REFUSED
    assert len(creations(quiet_sandbox)) == 1
    await buyer.buy(quote, "fresh")
    assert (await buyer.status(quote)).attempt.state == "action_required"
