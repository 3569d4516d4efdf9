"""Refunds, disputes and warnings of a payment, in every order: the target decides, the difference is posted."""

import asyncio
import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from billing.judging import Verdict
from billing.operator_actions import COMMAND_LINE
from billing.refusals import Refusal, Refused
from billing.reversals import freezing, writing_off
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening
from tests.billing.conftest import Buyer
from tests.billing.reversing import Paid, paid


@pytest.fixture
async def payment(buyer: Buyer) -> Paid:
    return await paid(buyer)


async def test_a_refund_takes_all_credits_back_and_the_money_leaves_clearing(payment: Paid):
    judged = await payment.apply(payment.refund("a", 500))
    assert judged.verdict is Verdict.APPLIED
    assert (await payment.balance()).spendable == 0
    assert await payment.accounts() == {}
    assert await payment.told() == [("refunded", "refunded", 500)]


async def test_the_same_refund_read_twice_changes_nothing(payment: Paid):
    refund = payment.refund("a", 200)
    await payment.apply(refund)
    before = await payment.accounts(), await payment.balance()
    assert (await payment.apply(refund)).verdict is Verdict.NOTHING_NEW
    assert (await payment.accounts(), await payment.balance()) == before
    assert len(await payment.told()) == 1


async def test_parts_that_add_up_to_the_whole_take_exactly_the_whole(buyer: Buyer):
    payment = await paid(buyer, credits_=70, tax=7)
    for n, part in enumerate([10, 21, 33, 12, 1]):
        await payment.apply(payment.refund(str(n), part))
    assert (await payment.balance()).spendable == 0
    assert (await payment.standing()).credits_reversed == 70
    assert await payment.accounts() == {}


async def test_a_part_takes_its_share_of_credits_rounded_up(buyer: Buyer):
    payment = await paid(buyer, credits_=100, tax=10)
    await payment.apply(payment.refund("a", 1))
    assert (await payment.balance()).spendable == 99
    await payment.apply(payment.refund("b", 1))
    assert (await payment.balance()).spendable == 98


async def test_tax_of_a_refund_is_taken_from_the_tax_that_is_owed(buyer: Buyer):
    payment = await paid(buyer, credits_=500, tax=40)
    await payment.apply(payment.refund("a", 270))
    assert await payment.accounts() == {"stripe_clearing": 270, "deferred_revenue": 250, "sales_tax_payable": 20}


async def test_a_pending_refund_takes_credits_at_once_and_a_failed_one_gives_them_back(payment: Paid):
    await payment.apply(payment.refund("a", 300, "pending"))
    assert (await payment.balance()).spendable == 200
    await payment.apply(payment.refund("a", 300, "failed", lines=2))
    assert (await payment.balance()).spendable == 500
    assert await payment.accounts() == {"stripe_clearing": 500, "deferred_revenue": 500}
    assert await payment.told() == [("reversal_pending", "pending", 300), ("reversal_rejected", "rejected", -300)]


async def test_a_succeeded_refund_that_later_fails_gives_back_exactly_what_it_took(payment: Paid):
    await payment.spend(400)
    await payment.apply(payment.refund("a", 250))
    assert (await payment.balance()).owed == 150
    await payment.apply(payment.refund("a", 250, "failed", lines=2))
    balance = await payment.balance()
    assert (balance.spendable, balance.owed) == (100, 0)
    assert await payment.accounts() == {"stripe_clearing": 500, "deferred_revenue": 500}


async def test_a_stale_reading_of_a_refund_never_lowers_the_target(payment: Paid):
    stale = payment.refund("a", 500, "pending", lines=0)
    await payment.apply(payment.refund("a", 500))
    assert (await payment.apply(stale)).verdict is Verdict.NOTHING_NEW
    assert (await payment.balance()).spendable == 0
    assert [told[1] for told in await payment.told()] == ["refunded"]


async def test_a_stale_reading_after_the_failure_takes_nothing_again(payment: Paid):
    stale = payment.refund("a", 500)
    await payment.apply(payment.refund("a", 500, "failed", lines=2))
    await payment.apply(stale)
    assert (await payment.balance()).spendable == 500
    assert await payment.accounts() == {"stripe_clearing": 500, "deferred_revenue": 500}


async def test_a_refund_of_a_payment_that_is_not_granted_yet_waits(buyer: Buyer, payment: Paid):
    unknown = replace(payment, payment_id="pi_unknown")
    assert (await payment.apply(unknown.refund("a", 1))).verdict is Verdict.NOT_YET


async def test_a_refund_in_another_mode_is_for_a_person(payment: Paid):
    assert (await payment.apply(replace(payment.refund("a", 1), livemode=True))).verdict is Verdict.PARKED


async def test_a_refund_in_another_currency_is_for_a_person_and_leaves_nothing(payment: Paid):
    assert (await payment.apply(replace(payment.refund("a", 1), currency="eur"))).verdict is Verdict.PARKED
    assert await payment.reversals() == []


async def test_an_inquiry_moves_nothing_and_is_told(payment: Paid):
    await payment.apply(payment.dispute("a", 500, "warning_needs_response", lines=0))
    assert (await payment.balance()).spendable == 500
    await payment.apply(payment.dispute("a", 500, "warning_closed", lines=0))
    assert [told[:2] for told in await payment.told()] == [
        ("reversal_pending", "pending"), ("reversal_rejected", "rejected"),
    ]  # fmt: skip


async def test_a_prevented_dispute_moves_nothing(payment: Paid):
    await payment.apply(payment.dispute("a", 500, "prevented", lines=0))
    assert (await payment.balance()).spendable == 500
    assert await payment.accounts() == {"stripe_clearing": 500, "deferred_revenue": 500}


async def test_a_dispute_takes_credits_when_the_money_is_withdrawn_and_gives_them_back_when_it_is_won(payment: Paid):
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    assert (await payment.balance()).spendable == 0
    assert await payment.accounts() == {
        "disputes": 500, "stripe_fees": 1500, "disputed_payments": 500, "stripe_clearing": -1500,
    }  # fmt: skip
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    assert (await payment.balance()).spendable == 500
    assert await payment.accounts() == {"stripe_fees": 1500, "deferred_revenue": 500, "stripe_clearing": -1000}
    assert await payment.told() == [("disputed", "disputed", 500), ("reinstated", "reinstated", -500)]


async def test_a_lost_dispute_is_a_loss_of_what_was_owed_to_the_payer(payment: Paid):
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    await payment.apply(payment.dispute("a", 500, "lost"))
    assert await payment.accounts() == {"stripe_fees": 1500, "stripe_clearing": -1500}
    assert [told[:2] for told in await payment.told()] == [("disputed", "disputed"), ("disputed", "lost")]


async def test_an_appeal_that_is_won_gives_back_what_was_lost(payment: Paid):
    for status, lines in [("needs_response", 1), ("lost", 1), ("appeal_under_review", 1), ("won", 2)]:
        await payment.apply(payment.dispute("a", 500, status, lines=lines))
    assert (await payment.balance()).spendable == 500
    assert await payment.accounts() == {"stripe_fees": 1500, "deferred_revenue": 500, "stripe_clearing": -1000}


async def test_a_dispute_that_is_won_after_the_credits_were_spent_ends_what_is_owed(payment: Paid):
    await payment.spend(500)
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    assert (await payment.balance()).owed == 500
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    assert (await payment.balance()).owed == 0


async def test_an_older_reading_of_a_dispute_changes_no_status_but_its_lines_count(payment: Paid):
    older = payment.dispute("a", 500, "needs_response", lines=1)
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    assert (await payment.apply(older)).verdict is Verdict.NOTHING_NEW
    assert (await payment.balance()).spendable == 500
    [row] = await payment.reversals()
    assert (row.status, row.live_cents) == ("won", 0)


async def test_a_refund_and_a_dispute_of_one_payment_never_take_more_than_the_payment(payment: Paid):
    await payment.apply(payment.refund("a", 300))
    await payment.apply(payment.dispute("b", 500, "needs_response"))
    assert (await payment.standing()).credits_reversed == 500
    assert (await payment.balance()).owed == 0


async def test_nobody_keeps_credits_by_holding_and_voiding(payment: Paid):
    held = await payment.hold(500)
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    await payment.post(Kind.VOID, target=held)
    balance = await payment.balance()
    assert (balance.spendable, balance.held, balance.owed) == (0, 0, 0)


async def test_a_capture_of_reversed_credits_becomes_owed_and_the_next_payment_settles_it(buyer: Buyer, payment: Paid):
    held = await payment.hold(500)
    await payment.apply(payment.refund("a", 500))
    await payment.post(Kind.CAPTURE, 200, target=held)
    assert (await payment.balance()).owed == 200
    second = await paid(buyer, name="second")
    balance = await second.balance()
    assert (balance.spendable, balance.owed) == (300, 0)


async def test_a_warning_freezes_what_is_unspent_and_a_dispute_that_ends_well_frees_it(payment: Paid):
    await payment.spend(100)
    await payment.apply(payment.warning())
    balance = await payment.balance()
    assert (balance.spendable, balance.frozen) == (0, 400)
    assert (await payment.apply(payment.warning())).verdict is Verdict.NOTHING_NEW
    await payment.apply(payment.dispute("a", 500, "needs_response"))
    await payment.apply(payment.dispute("a", 500, "won", lines=2))
    balance = await payment.balance()
    assert (balance.spendable, balance.frozen) == (400, 0)
    assert [told[:2] for told in await payment.told()] == [
        ("reversal_pending", "pending"), ("disputed", "disputed"), ("reinstated", "reinstated"),
    ]  # fmt: skip


async def test_what_is_owed_can_be_written_off_once(payment: Paid):
    await payment.spend(300)
    await payment.apply(payment.refund("a", 500))
    async with payment.buyer.house.sessions() as session:
        [owed] = await writing_off.owed(session, attempt_id=payment.attempt_id, limit=10)
    assert owed.credits == 300
    off: dict[str, Any] = {
        "attempt_id": payment.attempt_id,
        "reason": "goodwill",
        "by": COMMAND_LINE,
        "now": payment.buyer.house.clock(),
    }
    assert await writing_off.write_off(payment.buyer.house.sessions, credits_=100, **off) == 100
    assert await writing_off.write_off(payment.buyer.house.sessions, credits_=None, **off) == 200
    assert (await payment.balance()).owed == 0
    assert await payment.accounts() == {"write_off": 300, "deferred_revenue": 300}
    with pytest.raises(Refused) as refused:
        await writing_off.write_off(payment.buyer.house.sessions, credits_=1, **off)
    assert refused.value.refusal is Refusal.AMOUNT_EXCEEDS_REST


async def test_a_refund_that_fails_after_its_debt_was_written_off_ends_the_loss(payment: Paid):
    await payment.spend(300)
    await payment.apply(payment.refund("a", 500))
    await writing_off.write_off(
        payment.buyer.house.sessions, attempt_id=payment.attempt_id, credits_=None, reason="goodwill", by=COMMAND_LINE,
        now=payment.buyer.house.clock(),
    )  # fmt: skip
    await payment.apply(payment.refund("a", 500, "failed", lines=2))
    balance = await payment.balance()
    assert (balance.spendable, balance.owed) == (200, 0)
    assert await payment.accounts() == {"stripe_clearing": 500, "deferred_revenue": 500}
    await payment.apply(payment.refund("b", 500))
    balance = await payment.balance()
    assert (balance.spendable, balance.owed) == (0, 300)


async def test_an_operator_freezes_an_organization_and_lets_it_go(payment: Paid):
    house, organization_id = payment.buyer.house, payment.buyer.actor.organization_id
    known: dict[str, Any] = {"reason": "looks odd", "by": COMMAND_LINE, "now": house.clock()}
    assert await freezing.freeze(house.sessions, organization_id, **known) == 1
    assert (await payment.balance()).spendable == 0
    assert await freezing.freeze(house.sessions, organization_id, **known) == 0
    later = await paid(payment.buyer, name="later")
    assert (await later.balance()).spendable == 0
    await later.post(Kind.GRANT, scope=SYSTEM_SCOPE, lot=LotOpening(LotCause.PROMOTIONAL, 7, None, None))
    assert (await later.balance()).spendable == 7
    assert await freezing.keep_frozen(house.sessions, limit=10, now=house.clock()) == 1
    assert (await later.balance()).spendable == 0
    assert await freezing.unfreeze(house.sessions, organization_id, **known) == 3
    assert (await later.balance()).spendable == 1007


async def test_any_order_of_readings_ends_in_the_same_books(buyer: Buyer):
    """Each reading carries all that the provider knew at its time; whichever comes last, the newest counts."""
    ends = set()
    for n, seed in enumerate(range(6)):
        payment = await paid(buyer, tax=37, name=f"order {n}")
        readings = [
            payment.refund("a", 111, "pending", lines=1), payment.refund("a", 111), payment.refund("b", 60),
            payment.refund("b", 60, "failed", lines=2), payment.dispute("c", 300, "needs_response"),
            payment.dispute("c", 300, "lost"), payment.dispute("c", 300, "won", lines=2),
        ]  # fmt: skip
        shuffled = readings * 2
        random.Random(seed).shuffle(shuffled)
        for reading in shuffled:
            await payment.apply(reading)
        standing = await payment.standing()
        ends.add((standing.credits_reversed, standing.refunded_cents, standing.lost_cents))
    assert ends == {(104, 111, 0)}


async def test_readings_that_are_applied_at_once_take_once(payment: Paid):
    readings = [payment.refund("a", 200), payment.refund("b", 100), payment.dispute("c", 200, "needs_response")]
    done = await asyncio.gather(
        *(payment.apply(reading) for reading in itertools.chain(*[readings] * 4)), return_exceptions=True
    )
    # Two that keep a new line at once: one of them fails, rolls back whole, and its letter is tried again.
    for reading in readings:
        await payment.apply(reading)
    assert [one for one in done if isinstance(one, BaseException)] == []
    assert (await payment.balance()).spendable == 0
    assert (await payment.standing()).credits_reversed == 500


async def test_the_fee_of_a_payment_is_posted_once_when_it_is_known(payment: Paid):
    assert (await payment.apply(payment.charge(None))).verdict is Verdict.NOTHING_NEW
    assert (await payment.apply(payment.charge(45))).verdict is Verdict.APPLIED
    assert (await payment.apply(payment.charge(45))).verdict is Verdict.NOTHING_NEW
    assert await payment.accounts() == {"stripe_clearing": 455, "stripe_fees": 45, "deferred_revenue": 500}


async def test_a_charge_of_another_amount_is_for_a_person(payment: Paid):
    judged = await payment.apply(replace(payment, total=499).charge(45))
    assert judged.verdict is Verdict.PARKED
    assert await payment.accounts() == {"stripe_clearing": 500, "deferred_revenue": 500}
