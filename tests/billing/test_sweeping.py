"""No attempt stays open for ever, whatever was lost on the way, and nobody is asked to pay for nothing."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from billing import cancellations, handoff, sweeping
from billing.judging import Verdict
from billing.refusals import Refusal, Refused
from ledger import statements
from rails.rail import PaymentFailed, PaymentProcessing
from tests.billing.conftest import settled

SESSIONS = "/v1/checkout/sessions"


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: a look takes only so many attempts, and other tests' would come first."""
    return new_databases("sweeping")


async def sweep(buyer, *, after):
    house = buyer.house
    later = house.clock() + after
    swept = await sweeping.sweep(house.sessions, rails=house.rails, livemode=False, clock=lambda: later)
    return list(swept.told)


async def attempt_of(buyer, quote):
    return (await buyer.status(quote)).attempt


async def balance(buyer):
    async with buyer.house.sessions() as session:
        return (await statements.balance(session, buyer.actor.organization_id, buyer.house.clock())).spendable


async def test_an_attempt_beyond_its_time_is_closed_at_the_provider_and_not_before(buyer):
    quote = await buyer.quote()
    await buyer.buy(quote)
    session_id = await buyer.session_id(quote)
    await sweep(buyer, after=timedelta(hours=23))
    assert (await attempt_of(buyer, quote)).state == "action_required"
    await sweep(buyer, after=buyer.house.place.offer.attempt_ttl + timedelta(minutes=11))
    assert (await attempt_of(buyer, quote)).state == "expired"
    assert [fact.object_id for fact in await buyer.facts(session_id)] == [session_id]


async def test_a_payment_whose_every_letter_was_lost_while_processing_is_granted(buyer, quiet_sandbox):
    quote = await buyer.quote()
    await buyer.buy(quote)
    session_id = await buyer.session_id(quote)
    quiet_sandbox.control("POST", f"sessions/{session_id}/pay_delayed")
    [processing] = await buyer.facts(session_id)
    assert isinstance(processing, PaymentProcessing)
    await buyer.apply(processing)
    quiet_sandbox.control("POST", f"sessions/{session_id}/settle_delayed")
    await sweep(buyer, after=timedelta(minutes=9))
    assert (await attempt_of(buyer, quote)).state == "processing"
    await sweep(buyer, after=timedelta(minutes=11))
    assert (await attempt_of(buyer, quote)).state == "succeeded"
    assert await balance(buyer) == 500


async def test_a_payment_of_which_no_letter_ever_told_is_granted_while_its_time_is_not_over(buyer, quiet_sandbox):
    quote = await buyer.quote()
    await buyer.buy(quote)
    quiet_sandbox.pay(await buyer.session_id(quote))
    await sweep(buyer, after=timedelta(minutes=9))
    assert (await attempt_of(buyer, quote)).state == "action_required"
    for _ in range(2):
        await sweep(buyer, after=timedelta(minutes=11))
    assert (await attempt_of(buyer, quote)).state == "succeeded"
    assert await balance(buyer) == 500


async def test_a_look_that_brings_nothing_new_changes_nothing_that_anybody_sees(buyer, quiet_sandbox):
    quote = await buyer.quote()
    await buyer.buy(quote)
    path = f"{SESSIONS}/{await buyer.session_id(quote)}"
    before = await attempt_of(buyer, quote)
    for minutes in (11, 12, 22):
        await sweep(buyer, after=timedelta(minutes=minutes))
    after = await attempt_of(buyer, quote)
    assert [call["method"] for call in quiet_sandbox.calls(path)] == ["GET", "GET"]
    assert (after.state, after.updated_at) == (before.state, before.updated_at)


async def test_two_workers_do_not_look_at_the_same_attempts(buyer, quiet_sandbox):
    quote = await buyer.quote()
    await buyer.buy(quote)
    path = f"{SESSIONS}/{await buyer.session_id(quote)}"
    await asyncio.gather(*[sweep(buyer, after=timedelta(minutes=11)) for _ in range(3)])
    assert len(quiet_sandbox.calls(path)) == 1


async def test_a_wish_to_cancel_is_fulfilled_when_the_provider_is_back_and_nobody_is_asked_to_pay_meanwhile(
    buyer, quiet_sandbox
):
    quote = await buyer.quote()
    attempt_id = await buyer.buy(quote)
    session_id, house = await buyer.session_id(quote), buyer.house
    quiet_sandbox.fault("error_503", f"{SESSIONS}/{session_id}/expire", method="POST", times=1)
    with pytest.raises(Refused) as refused:
        await cancellations.cancel(
            house.sessions, buyer.actor, attempt_id, rails=house.rails, livemode=False, clock=house.clock
        )
    assert refused.value.refusal is Refusal.PAYMENT_OUTCOME_UNKNOWN
    found = await buyer.status(quote)
    assert (found.attempt.state, found.action) == ("action_required", None)
    seen = await handoff.visit(
        house.sessions, attempt_id, rails=house.rails, livemode=False, place=house.place, clock=house.clock
    )
    assert seen.action is None
    await sweep(buyer, after=timedelta(minutes=2))
    assert (await attempt_of(buyer, quote)).state == "canceled"


async def test_canceling_what_the_provider_refused_to_make_has_nothing_left_to_cancel(buyer, quiet_sandbox):
    quote = await buyer.quote()
    quiet_sandbox.fault("error_503", SESSIONS, method="POST", times=1)
    with pytest.raises(Refused):
        await buyer.buy(quote)
    attempt, house = await attempt_of(buyer, quote), buyer.house
    quiet_sandbox.fault("card_declined_like_400", SESSIONS, method="POST", times=1)
    for _ in range(2):
        await cancellations.cancel(
            house.sessions, buyer.actor, attempt.id, rails=house.rails, livemode=False, clock=house.clock
        )
    assert (await attempt_of(buyer, quote)).state == "failed"


async def test_when_one_attempt_has_paid_the_quote_the_other_asks_for_nothing_and_is_closed(buyer):
    quote = await buyer.quote()
    first = await buyer.buy(quote, "first")
    fact = await buyer.settled(first)
    same = (fact.method_id, fact.attempt_id, fact.provider_key, fact.object_id, False, fact.occurred_at)
    await buyer.apply(PaymentFailed(*same, reason="declined"))
    second = await buyer.buy(quote, "second")
    await buyer.apply(fact)
    found = await buyer.status(quote, second)
    assert (found.attempt.state, found.action) == ("action_required", None)
    with pytest.raises(Refused) as refused:
        await buyer.buy(quote, "second")
    assert refused.value.refusal is Refusal.CREDIT_QUOTE_ALREADY_PAID
    await sweep(buyer, after=timedelta(minutes=11))
    assert (await buyer.status(quote, second)).attempt.state == "expired"
    assert await balance(buyer) == 500


async def test_a_payment_that_does_not_agree_is_told_and_does_not_hold_up_the_others(buyer, quiet_sandbox, monkeypatch):
    monkeypatch.setattr(sweeping, "SWEEP_MAX", 1)
    house, quotes = buyer.house, [await buyer.quote("q1"), await buyer.quote("q2")]
    for number, quote in enumerate(quotes):
        await buyer.buy(quote, f"b{number}")
    wrong, right = [await buyer.session_id(quote) for quote in quotes]
    less = {"amount": 499, "amount_received": 499}
    quiet_sandbox.control("POST", f"sessions/{wrong}/pay", amount_subtotal=499, amount_total=499, payment_intent=less)
    quiet_sandbox.control("POST", f"sessions/{right}/pay")
    told = []
    for minutes in range(11, 200, 11):
        told += await sweep(buyer, after=house.place.offer.attempt_ttl + timedelta(minutes=minutes))
    assert (await attempt_of(buyer, quotes[1])).state == "succeeded"
    mine = await attempt_of(buyer, quotes[0])
    assert any(one.attempt_id == mine.id and "499" in one.reason for one in told)
    assert await balance(buyer) == 500


async def test_a_made_up_object_under_the_right_key_is_parked(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    judged = await buyer.apply(settled(attempt, object_id="cs_made_up"))
    assert judged.verdict is Verdict.PARKED
    assert await balance(buyer) == 0


async def test_the_same_wish_gets_the_same_quote_also_when_the_offer_has_changed(buyer):
    first = await buyer.quote("same")
    smaller = replace(buyer.house.place.offer, packs=(), custom_credits_max=10)
    buyer.house = replace(buyer.house, place=replace(buyer.house.place, offer=smaller))
    assert await buyer.quote("same") == first
    with pytest.raises(Refused) as refused:
        await buyer.quote("new")
    assert refused.value.refusal is Refusal.INVALID_ARGUMENTS
