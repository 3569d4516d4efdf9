import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from billing import handoff
from billing.judging import Verdict
from ledger import statements
from ledger.verification import verify_book
from rails.rail import ActionExpired, PaymentFailed, PaymentProcessing, Unaccountable
from tests.billing.conftest import settled
from tests.books.books import new_id


async def spendable(buyer):
    async with buyer.house.sessions() as session:
        assert await verify_book(session, buyer.actor.organization_id) == []
        return (await statements.balance(session, buyer.actor.organization_id, buyer.house.clock())).spendable


async def test_a_settled_payment_grants_once_however_often_and_however_many_bring_it(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    fact = await buyer.settled(attempt)
    judged = await asyncio.gather(*(buyer.apply(fact) for _ in range(12)))
    assert sorted(one.verdict for one in judged) == [Verdict.APPLIED] + [Verdict.NOTHING_NEW] * 11
    assert await spendable(buyer) == 500
    found = await buyer.status(quote)
    assert found.receipt is not None
    assert found.operation is not None
    assert (found.receipt.credits, found.receipt.total_cents, found.receipt.late) == (500, 500, False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"livemode": True}, "livemode"),
        ({"currency": "eur"}, "EUR"),
        ({"subtotal": 499, "total": 499}, "499"),
        ({"total": 400}, "400"),
        ({"method_id": "stripe_x402.exact.usdc"}, "not asked for"),
        ({"provider_key": "cs:payatt_other:1"}, "not asked for"),
        ({"attempt_id": "payatt_nonsense"}, "not an attempt of ours"),
    ],
)
async def test_money_that_does_not_agree_is_parked_and_grants_nothing(buyer, change, says):
    attempt = await buyer.buy(await buyer.quote())
    judged = await buyer.apply(await buyer.settled(attempt, **change))
    assert judged.verdict is Verdict.PARKED
    assert says in (judged.reason or "")
    assert await spendable(buyer) == 0


async def test_a_payer_whose_money_does_not_agree_is_not_asked_for_more_of_it(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    await buyer.apply(await buyer.settled(attempt, subtotal=400, total=400))
    found = await buyer.status(quote)
    assert (found.attempt.state, found.action) == ("processing", None)
    assert "a person is looking at it" in found.attempt.reason
    await buyer.apply(await buyer.settled(attempt))
    found = await buyer.status(quote)
    assert (found.attempt.state, found.attempt.reason) == ("succeeded", None)
    assert await spendable(buyer) == 500


async def test_a_fact_of_an_attempt_that_is_not_here_yet_is_tried_again(buyer):
    judged = await buyer.apply(settled(new_id()))
    assert judged.verdict is Verdict.NOT_YET


async def test_what_nobody_can_account_for_is_parked(buyer):
    attempt = await buyer.buy(await buyer.quote())
    fact = await buyer.settled(attempt)
    strange = Unaccountable(
        fact.method_id, fact.attempt_id, fact.provider_key, fact.object_id, False, fact.occurred_at, reason="odd"
    )
    assert (await buyer.apply(strange)).verdict is Verdict.PARKED


async def test_one_payment_never_pays_two_attempts(buyer):
    one = await buyer.buy(await buyer.quote("q1"), "b1")
    two = await buyer.buy(await buyer.quote("q2"), "b2")
    await buyer.apply(await buyer.settled(one, payment_id="pi_shared"))
    judged = await buyer.apply(await buyer.settled(two, payment_id="pi_shared"))
    assert judged.verdict is Verdict.PARKED
    assert "another attempt" in (judged.reason or "")
    assert await spendable(buyer) == 500


async def test_money_that_settles_after_the_quote_expired_is_honoured_and_the_receipt_says_late(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    late = await buyer.settled(attempt)
    await buyer.apply(replace(late, occurred_at=late.occurred_at + timedelta(days=2)))
    found = await buyer.status(quote)
    assert found.receipt is not None
    assert found.receipt.late
    assert await spendable(buyer) == 500


@pytest.mark.parametrize("ended", ["expired", "failed"])
async def test_money_that_settles_after_the_attempt_ended_is_honoured(buyer, ended):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    fact = await buyer.settled(attempt)
    same = (fact.method_id, fact.attempt_id, fact.provider_key, fact.object_id, False, fact.occurred_at)
    await buyer.apply(ActionExpired(*same) if ended == "expired" else PaymentFailed(*same, reason="no funds"))
    assert (await buyer.status(quote)).attempt.state == ended
    await buyer.apply(fact)
    assert (await buyer.status(quote)).attempt.state == "succeeded"
    assert await spendable(buyer) == 500


async def test_a_processing_payment_is_not_granted_before_it_settles(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    fact = await buyer.settled(attempt)
    same = (fact.method_id, fact.attempt_id, fact.provider_key, fact.object_id, False, fact.occurred_at)
    await buyer.apply(PaymentProcessing(*same))
    assert (await buyer.status(quote)).attempt.state == "processing"
    assert await spendable(buyer) == 0


async def test_old_news_of_a_replaced_page_does_not_end_an_attempt_that_was_opened_again(buyer, quiet_sandbox):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    first = await buyer.session_id(quote)
    quiet_sandbox.control("POST", f"sessions/{first}/expire")
    [expired] = await buyer.facts(first)
    await buyer.apply(expired)
    quiet_sandbox.fault("error_503", "/v1/checkout/sessions", method="POST")
    house = buyer.house
    seen = await handoff.visit(
        house.sessions, attempt, rails=house.rails, livemode=False, place=house.place, clock=house.clock
    )
    assert (seen.busy, seen.attempt.state, seen.attempt.request_number) == (True, "created", 2)
    assert (await buyer.apply(expired)).verdict is Verdict.NOTHING_NEW
    assert (await buyer.status(quote)).attempt.state == "created"


async def test_a_credit_that_expires_does_so_as_the_quote_promised_whatever_the_setting_is_later(buyer):
    offer = replace(buyer.house.place.offer, credits_expire_after_days=30)
    buyer.house = replace(buyer.house, place=replace(buyer.house.place, offer=offer))
    quote = await buyer.quote()
    offer = replace(offer, credits_expire_after_days=1)
    buyer.house = replace(buyer.house, place=replace(buyer.house.place, offer=offer))
    attempt = await buyer.buy(quote)
    fact = await buyer.settled(attempt)
    await buyer.apply(fact)
    async with buyer.house.sessions() as session:
        organization = buyer.actor.organization_id
        last_day = await statements.balance(session, organization, fact.occurred_at + timedelta(days=29))
        after = await statements.balance(session, organization, fact.occurred_at + timedelta(days=30))
    assert (last_day.paid, after.paid) == (500, 0)
