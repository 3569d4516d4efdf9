"""Settlements that are not simply the quoted price, once: paid twice, by a promotion, or in another amount."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import col, select

from billing import proofs
from billing.judging import Verdict
from billing.reversal_tables import RefundRequest, WatchedObject
from billing.tables import ExternalPayment
from ledger import ids, statements
from ledger.operations import PLATFORM
from ledger.verification import verify_book
from rails.rail import ActionExpired, ActionOpen, PaymentProcessing
from tests.service import DEPOSIT


async def spendable(buyer):
    async with buyer.house.sessions() as session:
        return await statements.balance(session, buyer.actor.organization_id, buyer.house.clock())


async def balances(buyer, organization_id):
    async with buyer.house.sessions() as session:
        return {row.code: row.balance for row in await statements.trial_balance(session, organization_id)}


async def assert_proved(buyer):
    async with buyer.house.sessions() as session:
        for organization_id in (buyer.actor.organization_id, PLATFORM):
            assert await verify_book(session, organization_id) == []
            assert await proofs.problems(session, organization_id, limit=10) == []


async def payments(buyer):
    own = col(ExternalPayment.organization_id) == buyer.actor.organization_id
    async with buyer.house.sessions() as session:
        rows = (await session.exec(select(ExternalPayment).where(own))).all()
    return {row.external_id: (row.purpose, row.amount_cents) for row in rows}


async def refunds(buyer):
    own = col(RefundRequest.organization_id) == buyer.actor.organization_id
    async with buyer.house.sessions() as session:
        return (await session.exec(select(RefundRequest).where(own))).all()


async def unallocated(buyer):
    return (await balances(buyer, PLATFORM)).get("unallocated_deposits", 0)


def offering(buyer, **changes):
    offer = replace(buyer.house.place.offer, **changes)
    buyer.house = replace(buyer.house, place=replace(buyer.house.place, offer=offer))


def about(fact):
    return (fact.method_id, fact.attempt_id, fact.provider_key, fact.object_id, False, fact.occurred_at)


async def two_attempts(buyer, **changes):
    """Two attempts of one quote and the settlements of both; the first was given up before it was paid."""
    quote = await buyer.quote()
    one = await buyer.settled(await buyer.buy(quote, "b1"), payment_id=f"pi_1_{quote}", **changes)
    await buyer.apply(ActionExpired(*about(one)))
    two = await buyer.settled(await buyer.buy(quote, "b2"), payment_id=f"pi_2_{quote}", **changes)
    return quote, one, two


@pytest.mark.parametrize("sends_back", [False, True], ids=["keep", "refund"])
async def test_the_second_payment_of_a_quote_is_kept_unallocated_and_sent_back_when_so_promised(buyer, sends_back):
    offering(buyer, refund_second_payments=sends_back)
    before = await unallocated(buyer)
    quote, one, two = await two_attempts(buyer, tax=32, total=532)
    offering(buyer, refund_second_payments=not sends_back)  # what was promised holds
    assert (await buyer.apply(two)).verdict is Verdict.APPLIED
    receipt = (await buyer.status(quote)).receipt
    judged = await buyer.apply(one)
    assert (judged.verdict, judged.reason) == (Verdict.APPLIED, "a second payment of a quote that has been paid")
    assert (await spendable(buyer)).spendable == 500
    assert (await buyer.status(quote)).receipt == receipt
    assert await payments(buyer) == {one.payment_id: ("unallocated", 532), two.payment_id: ("granted", 532)}
    assert await unallocated(buyer) == before + 532
    asked = await refunds(buyer)
    assert [(row.payment_id, row.amount_cents) for row in asked] == ([(one.payment_id, 532)] if sends_back else [])
    await assert_proved(buyer)


async def test_however_often_and_however_many_bring_two_payments_one_is_granted_and_the_other_kept_once(buyer):
    before = await unallocated(buyer)
    quote, one, two = await two_attempts(buyer)
    judged = await asyncio.gather(*(buyer.apply(fact) for _ in range(6) for fact in (one, two)))
    assert sorted(found.verdict for found in judged) == [Verdict.APPLIED] * 2 + [Verdict.NOTHING_NEW] * 10
    assert (await spendable(buyer)).spendable == 500
    assert sorted(purpose for purpose, _ in (await payments(buyer)).values()) == ["granted", "unallocated"]
    assert await unallocated(buyer) == before + 500
    assert (await buyer.status(quote)).attempt.state == "succeeded"
    await assert_proved(buyer)


async def test_an_attempt_whose_payment_came_second_ends_and_says_why(buyer):
    quote, one, two = await two_attempts(buyer)
    await buyer.apply(one)
    assert (await buyer.apply(two)).verdict is Verdict.APPLIED
    async with buyer.house.sessions() as session:
        waiting = (await buyer.status(quote, attempt_id=await attempt_of(session, two))).attempt
    assert waiting.state == "canceled"
    assert "second payment of 5.00 USD arrived; it is kept" in waiting.reason
    await buyer.apply(ActionOpen(*about(two)))
    assert (await buyer.status(quote)).attempt.state == "succeeded"


async def attempt_of(session, fact):
    return (await session.get_one(ExternalPayment, (fact.payment_kind, fact.payment_id))).attempt_id


async def test_two_pages_of_one_attempt_both_paid_leave_it_succeeded_and_say_that_one_was_too_many(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    await buyer.apply(await buyer.settled(attempt, payment_id=f"pi_1_{quote}"))
    judged = await buyer.apply(await buyer.settled(attempt, payment_id=f"pi_2_{quote}"))
    assert judged.verdict is Verdict.APPLIED
    found = await buyer.status(quote)
    assert (found.attempt.state, found.receipt.credits) == ("succeeded", 500)
    assert "second payment" in found.attempt.reason
    await assert_proved(buyer)


async def test_a_second_payment_that_does_not_agree_is_parked_like_any_other(buyer):
    before = await unallocated(buyer)
    _, one, two = await two_attempts(buyer)
    await buyer.apply(one)
    judged = await buyer.apply(replace(two, subtotal=400, total=400))
    assert judged.verdict is Verdict.PARKED
    assert "amount is 400" in judged.reason
    assert await unallocated(buyer) == before


async def given_away(buyer, attempt, **changes):
    fact = await buyer.settled(attempt, **changes)
    return replace(fact, payment_kind="checkout_session", payment_id=fact.object_id, discount=500, total=0)


async def test_a_promotion_of_the_whole_price_grants_promotional_credits_and_moves_no_money(buyer):
    quote = await buyer.quote()
    fact = await given_away(buyer, await buyer.buy(quote))
    judged = await asyncio.gather(*(buyer.apply(fact) for _ in range(4)))
    assert sorted(found.verdict for found in judged) == [Verdict.APPLIED] + [Verdict.NOTHING_NEW] * 3
    balance = await spendable(buyer)
    assert (balance.promotional, balance.paid) == (500, 0)
    receipt = (await buyer.status(quote)).receipt
    assert (receipt.credits, receipt.discount_cents, receipt.total_cents) == (500, 500, 0)
    assert await payments(buyer) == {fact.payment_id: ("granted", 0)}
    assert not (await balances(buyer, buyer.actor.organization_id)).get("stripe_clearing")
    await assert_proved(buyer)


async def test_a_second_promotion_joins_the_lot_of_the_first_and_is_proved_all_the_same(buyer):
    for key in ("one", "two"):
        await buyer.apply(await given_away(buyer, await buyer.buy(await buyer.quote(key), key)))
    assert (await spendable(buyer)).promotional == 1000
    await assert_proved(buyer)


async def test_promotional_credits_that_expire_count_from_when_they_were_given(buyer):
    """A page has no time of payment; one that is read late must not grant what has expired already."""
    offering(buyer, credits_expire_after_days=1)
    fact = await given_away(buyer, await buyer.buy(await buyer.quote()))
    old = replace(fact, occurred_at=fact.occurred_at - timedelta(days=365))
    assert (await buyer.apply(old)).verdict is Verdict.APPLIED
    assert (await spendable(buyer)).promotional == 500


async def test_a_quote_that_was_paid_is_not_given_away_as_well(buyer):
    quote, one, two = await two_attempts(buyer)
    await buyer.apply(one)
    open_attempt = ids.parse("payatt", two.attempt_id)
    judged = await buyer.apply(await given_away(buyer, open_attempt))
    assert judged.verdict is Verdict.NOTHING_NEW
    assert (await spendable(buyer)).spendable == 500
    assert (await buyer.status(quote, attempt_id=open_attempt)).attempt.state == "canceled"
    await assert_proved(buyer)


async def deposit(buyer, received):
    buyer.method = DEPOSIT
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    fact = await buyer.settled(
        attempt, method_id=DEPOSIT, payment_id=f"pi_{quote}", total=received, details={}, any_amount=True
    )
    return quote, replace(fact, provider_key="pi:" + fact.provider_key.removeprefix("cs:"))


@pytest.mark.parametrize(
    ("received", "credits_", "remainder"), [(300, 300, 0), (1, 1, 0), (500, 500, 0), (730, 500, 230)]
)
async def test_a_deposit_of_another_amount_grants_its_share_and_keeps_the_rest(buyer, received, credits_, remainder):
    quote, fact = await deposit(buyer, received)
    assert (await buyer.apply(fact)).verdict is Verdict.APPLIED
    assert (await spendable(buyer)).paid == credits_
    book = await balances(buyer, buyer.actor.organization_id)
    assert (book["stripe_clearing"], book["deferred_revenue"]) == (received, received - remainder)
    assert book.get("deposit_remainder", 0) == remainder
    found = await buyer.status(quote)
    receipt = found.receipt
    assert (receipt.credits, receipt.subtotal_cents, receipt.total_cents) == (credits_, received, received)
    said = {"requested_cents": 500, "received_cents": received, "remainder_cents": remainder, "credits_quoted": 500}
    assert receipt.details == (said if received != 500 else {})
    assert (found.attempt.state, found.quote.settled_at is not None) == ("succeeded", True)
    await assert_proved(buyer)


async def test_a_bank_debit_that_settles_in_another_amount_is_not_shown_as_still_on_its_way(buyer):
    quote = await buyer.quote()
    fact = await buyer.settled(await buyer.buy(quote))
    await buyer.apply(PaymentProcessing(*about(fact)))
    assert (await buyer.status(quote)).attempt.reason is None
    assert (await buyer.apply(replace(fact, subtotal=400, total=400))).verdict is Verdict.PARKED
    assert "a person is looking at it" in (await buyer.status(quote)).attempt.reason


async def test_a_deposit_of_another_amount_that_was_not_agreed_to_is_parked(buyer):
    _, fact = await deposit(buyer, 300)
    judged = await buyer.apply(replace(fact, any_amount=False))
    assert judged.verdict is Verdict.PARKED
    assert (await spendable(buyer)).paid == 0


async def test_a_payment_that_arrived_in_part_says_how_much_while_it_is_waited_for(buyer):
    quote, fact = await deposit(buyer, 300)
    await buyer.apply(replace(PaymentProcessing(*about(fact)), reason="300 of 500 cents have arrived."))
    found = await buyer.status(quote)
    assert (found.attempt.state, found.attempt.reason) == ("processing", "300 of 500 cents have arrived.")
    assert found.action is None


@pytest.mark.parametrize("second", [False, True], ids=["granted", "unallocated"])
async def test_every_real_payment_is_watched_for_its_fee(buyer, second):
    _, one, two = await two_attempts(buyer)
    await buyer.apply(one)
    if second:
        await buyer.apply(two)
    async with buyer.house.sessions() as session:
        watched = [await session.get(WatchedObject, ("payment_intent", fact.payment_id)) for fact in (one, two)]
    assert [row is not None for row in watched] == [True, second]
