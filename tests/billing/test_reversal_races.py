"""What two who act at once, a worker that dies, or a letter that is lost could do to money that goes back."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from billing import proofs
from billing.attempts import RequestState
from billing.operator_actions import COMMAND_LINE
from billing.reversal_tables import WatchedObject
from billing.reversals import freezing
from rails.money import Contents
from rails.rail import RailUnavailable, Reference
from tests.billing.reversing import Paid, line, paid
from tests.billing.test_clearing import Platform, accounts, ours, payout
from tests.billing.test_refunding import Provider, ask, carry_out, stored
from webhooks import inbox, processing
from webhooks.tables import Letter

KNOWN: dict[str, Any] = {"reason": "looks odd", "by": COMMAND_LINE}


@pytest.fixture
async def payment(buyer):
    return await paid(buyer)


async def is_watched(payment, kind, name):
    async with payment.buyer.house.sessions() as session:
        found = await session.get(WatchedObject, (kind, name))
    return found is not None and found.done_at is None


async def freeze(payment):
    house = payment.buyer.house
    return await freezing.freeze(house.sessions, payment.buyer.actor.organization_id, now=house.clock(), **KNOWN)


async def unfreeze(payment):
    house = payment.buyer.house
    return await freezing.unfreeze(house.sessions, payment.buyer.actor.organization_id, now=house.clock(), **KNOWN)


async def test_a_second_payment_that_is_sent_back_leaves_the_first_as_it_is(buyer):
    quote = await buyer.quote()
    attempt = await buyer.buy(quote)
    one = await buyer.settled(attempt, payment_id=f"pi_1_{quote}")
    await buyer.apply(one)
    await buyer.apply(replace(one, payment_id=f"pi_2_{quote}"))
    second = Paid(buyer, attempt, f"pi_2_{quote}", 500, 0)
    await second.apply(second.refund("a", 500))
    found = await buyer.status(quote)
    assert found.balance.spendable == 500
    assert (found.reversed.state, list(found.reversed.rows)) == (None, [])


async def test_an_appeal_of_a_dispute_that_was_over_is_watched_again(payment):
    first = payment.dispute("a", 500, "needs_response")
    await payment.apply(first)
    await payment.apply(payment.dispute("a", 500, "lost"))
    assert not await is_watched(payment, "dispute", first.dispute_id)
    await payment.apply(payment.dispute("a", 500, "appeal_under_review"))
    assert await is_watched(payment, "dispute", first.dispute_id)


async def test_a_dispute_that_is_won_is_watched_until_its_money_is_back(payment):
    first = payment.dispute("a", 500, "needs_response")
    await payment.apply(first)
    await payment.apply(payment.dispute("a", 500, "won", lines=1))
    assert (await payment.balance()).spendable == 0
    assert await is_watched(payment, "dispute", first.dispute_id)
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    assert not await is_watched(payment, "dispute", first.dispute_id)


async def test_a_payout_that_lists_the_failure_of_a_finished_refund_has_it_read_again(payment):
    platform = Platform(payment.buyer.house, await accounts(payment.buyer.house))
    pending = payment.refund("a", 500, "pending", lines=0)
    await payment.apply(pending)
    await payment.apply(payment.refund("a", 500))
    assert not await is_watched(payment, "refund", pending.refund_id)
    back = payment.refund("a", 500, "failed", lines=2).transactions[1]
    await platform.apply(payout(500, [ours(back, payment.payment_id)]))
    assert await is_watched(payment, "refund", pending.refund_id)


async def test_a_refund_of_ours_is_read_without_a_letter(payment):
    request = await ask(payment, 500)
    refund_id = await carry_out(payment, Provider(), request)
    assert await is_watched(payment, "refund", refund_id)


async def test_a_refund_that_is_read_answers_the_request_that_made_it(payment):
    request = await ask(payment, 500)
    await payment.apply(replace(payment.refund("a", 500), request_key=request.provider_key))
    row = await stored(payment, request)
    assert (row.state, row.refund_id) == (RequestState.ANSWERED, payment.refund("a", 500).refund_id)


async def test_absence_is_not_proven_while_a_last_call_may_be_under_way(payment):
    request, called, going = await ask(payment, 200), asyncio.Event(), asyncio.Event()

    class Slow(Provider):
        async def start_refund(self, request, /):
            called.set()
            await going.wait()
            return await super().start_refund(request)

    provider = Slow()
    first = asyncio.create_task(carry_out(payment, provider, request, later=timedelta(hours=22, minutes=59)))
    await called.wait()
    with pytest.raises(RailUnavailable):
        await carry_out(payment, provider, request, later=timedelta(hours=23, seconds=5))
    going.set()
    refund_id = await first
    row = await stored(payment, request)
    assert (row.state, row.refund_id) == (RequestState.ANSWERED, refund_id)


async def test_bytes_of_a_refund_that_somebody_changed_are_never_sent(payment, quiet_database):
    request = await ask(payment, 1)
    provider = Provider(RailUnavailable("away"))
    with pytest.raises(RailUnavailable):
        await carry_out(payment, provider, request)
    quiet_database.rows("UPDATE billing.refund_requests SET parameters = 'pi_other 500' WHERE id = $1", request.id)
    assert await carry_out(payment, provider, request) is None
    assert len(provider.sent) == 1
    assert (await stored(payment, request)).state == RequestState.REFUSED


class Reader:
    """Knows one letter, and says of it what it is told to."""

    def __init__(self, fact):
        self.fact = fact

    def references(self, _event):
        return (Reference("refund", "x"),)

    async def read(self, _reference):
        if isinstance(self.fact, Exception):
            raise self.fact
        return [self.fact]


async def test_an_outage_does_not_use_up_the_tries_of_a_letter(payment):
    house, name = payment.buyer.house, f"evt_{payment.payment_id}"
    envelope = inbox.Envelope("stripe", name, "review.refund", b'{"type":"review.refund"}')
    await inbox.store(house.sessions, envelope, now=house.clock())
    reader, now = Reader(RailUnavailable("away")), house.clock()

    async def process(after):
        nonlocal now
        now += after
        await processing.process_due(house.sessions, readers=[reader], livemode=False, clock=lambda: now)
        async with house.sessions() as session:
            return (await session.exec(select(Letter).where(col(Letter.provider_event_id) == name))).one()

    for _ in range(14):
        await process(timedelta(minutes=21))
    reader.fact = replace(payment.refund("a", 500), payment_id="pi_not_yet")
    assert (await process(timedelta(minutes=21))).state == "pending"


async def test_a_payment_that_was_refunded_and_then_disputed_costs_us_and_nobody_else(payment):
    await payment.apply(payment.refund("a", 500))
    await payment.apply(payment.dispute("b", 500, "lost"))
    assert await payment.accounts() == {"stripe_fees": 1500, "stripe_clearing": -2000, "write_off": 500}
    await payment.apply(payment.dispute("b", 500, "won", lines=2))
    assert await payment.accounts() == {"stripe_fees": 1500, "stripe_clearing": -1500}


@pytest.mark.long
async def test_a_payout_of_more_lines_than_a_statement_takes_is_applied(payment):
    platform = Platform(payment.buyer.house, await accounts(payment.buyer.house))
    contents = [
        Contents(line(f"txn_{payment.payment_id}_{n}", "charge", 1, 0, f"ch{n}"), "payment_intent", payment.payment_id)
        for n in range(33_000)
    ]
    fact = payout(900, contents)
    await platform.apply(fact)
    assert not (await platform.payout(fact)).complete


async def test_what_is_granted_while_an_operator_lets_go_is_not_left_frozen(payment):
    await freeze(payment)
    later, _ = await asyncio.gather(paid(payment.buyer, name="later"), unfreeze(payment))
    balance = await later.balance()
    assert (balance.spendable, balance.frozen) == (1000, 0)


async def test_a_warning_while_an_operator_lets_go_is_not_undone(payment):
    await freeze(payment)
    await asyncio.gather(payment.apply(payment.warning()), unfreeze(payment))
    assert (await payment.balance()).spendable == 0
    await freeze(payment)
    await unfreeze(payment)
    assert (await payment.balance()).spendable == 0


async def test_a_dispute_that_is_won_opens_nothing_in_a_stopped_organization(payment):
    await payment.apply(payment.warning())
    await freeze(payment)
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    assert (await payment.balance()).spendable == 0
    await unfreeze(payment)
    assert (await payment.balance()).spendable == 500


async def test_credits_that_come_back_to_a_used_up_lot_of_a_stopped_organization_stay_stopped(payment):
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    assert await freeze(payment) == 1
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    assert (await payment.balance()).spendable == 0


async def test_an_old_inquiry_that_is_read_again_does_not_undo_a_warning(payment):
    closed = payment.dispute("a", 500, "warning_closed", lines=0)
    await payment.apply(closed)
    await payment.apply(payment.warning())
    assert (await payment.balance()).frozen == 500
    await payment.apply(closed)
    assert (await payment.balance()).frozen == 500


async def test_a_warning_that_is_read_after_the_dispute_it_led_to_has_ended_well_freezes_nothing(payment):
    late = payment.warning()
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    await payment.apply(late)
    assert (await payment.balance()).spendable == 500


async def test_an_operator_who_looked_lifts_a_warning_and_its_letter_does_not_bring_it_back(payment):
    warning = payment.warning()
    await payment.apply(warning)
    await freeze(payment)
    house = payment.buyer.house
    await freezing.unfreeze(
        house.sessions, payment.buyer.actor.organization_id, now=house.clock(), warned=True, **KNOWN
    )
    await payment.apply(warning)
    assert (await payment.balance()).spendable == 500
    async with house.sessions() as session:
        assert await proofs.problems(session, payment.buyer.actor.organization_id, limit=10) == []
