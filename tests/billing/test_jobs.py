"""A job is held for once, carried out, and charged once what it really costs, or nothing at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from billing import proofs
from billing.job_states import JobState
from billing.jobs import ending, ordering
from billing.jobs.ordering import DailyLimitReached, HoldRefused
from billing.operator_actions import COMMAND_LINE
from billing.outbound_tables import UntoldEvent
from billing.pricing import Policy, Price
from billing.refusals import Refusal, Refused
from billing.reversals import freezing
from billing.tables import ActivityEvent
from ledger import ids
from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome
from outbound.executor import Cause, Later, Made, NotMade, NotReached
from tests.billing.jobbing import LASTING, OPERATOR, PICTURE, Hand, Workshop, key_of, wanted_of

MADE = Made((PICTURE,))


@pytest.fixture
async def shop(buyer):
    workshop = Workshop(buyer.house.sessions, buyer.actor, Hand([MADE]))
    await workshop.give(20)
    yield workshop
    async with workshop.sessions() as session:
        assert await proofs.problems(session, buyer.actor.organization_id, limit=10) == []


async def credits_of(shop):
    balance = await shop.balance()
    return balance.spendable, balance.held


def refusal_of(error):
    return error.value.refusal


async def test_an_order_holds_its_price_and_its_result_is_charged(shop):
    job = await shop.order()
    assert (job.state, await credits_of(shop)) == ("queued", (13, 7))
    done = await shop.turn(job)
    assert (done.state, done.charged, done.result["assets"]) == ("completed", 7, [PICTURE])
    assert await credits_of(shop) == (13, 0)


async def test_the_executor_is_told_what_was_ordered(shop):
    job = await shop.order()
    await shop.turn(job)
    (work,) = shop.hand.asked
    assert (work.job_id, work.request, work.credits) == (ids.external("job", job.id), {"prompt": "a fox"}, 7)
    assert work.deadline == job.deadline


async def test_the_same_order_again_is_the_first_one(shop):
    first = await shop.order()
    again = await shop.order()
    assert (again.id, await credits_of(shop)) == (first.id, (13, 7))


async def test_twenty_equal_orders_at_once_are_one_job(shop):
    jobs = await shop.together(20, shop.order)
    assert len({job.id for job in jobs}) == 1
    assert await credits_of(shop) == (13, 7)


async def test_another_order_under_the_same_key_is_refused(shop):
    await shop.order()
    with pytest.raises(Refused) as error:
        await shop.order(asked=b"x" * 32)
    assert refusal_of(error) is Refusal.SPENDING_CONFLICT


async def test_without_enough_credits_nothing_is_stored_but_the_refusal_which_stays(shop):
    dear = Price(Policy.FIXED, 21)
    for _ in range(2):
        with pytest.raises(HoldRefused) as error:
            await shop.order(price=dear)
        assert error.value.posted.outcome is Outcome.NOT_ENOUGH_CREDITS
        await shop.give(5)
    assert (await shop.order("fresh", price=dear)).state == "queued"


async def test_two_orders_at_once_never_hold_the_same_credits(shop):
    keys = iter(range(10))
    found = await shop.together(10, lambda: shop.order(str(next(keys))))
    assert sum(not isinstance(one, HoldRefused) for one in found) == 2
    assert await credits_of(shop) == (6, 14)


async def test_what_is_only_planned_holds_nothing_and_stays_planned(shop):
    job = await ordering.plan(shop.sessions, shop.buyer, wanted_of("plan"), now=shop.clock())
    assert (job.state, job.credits, await credits_of(shop)) == ("planned", 7, (20, 0))
    assert (await shop.turn(job)).state == "planned"
    assert shop.hand.asked == []


async def test_a_real_cost_below_the_hold_is_charged_and_the_rest_comes_back(shop):
    shop.hand.answers = [Made((PICTURE,), units=1, cost_micro_usd=31_000)]
    price = Price(Policy.COST_PLUS, cost_micro_usd=50_000, margin_basis_points=5_000)
    job = await shop.order(price=price)
    assert job.credits == 8  # 5 cents and a half of it, rounded up
    assert (await shop.turn(job)).charged == 5  # 3.1 cents and a half of it, rounded up
    assert await credits_of(shop) == (15, 0)


async def test_a_real_cost_above_the_hold_is_charged_as_far_as_the_hold_goes(shop):
    shop.hand.answers = [Made((PICTURE,), units=2)]
    job = await shop.turn(await shop.order())
    assert (job.charged, await credits_of(shop)) == (7, (13, 0))


async def test_what_made_nothing_is_charged_nothing(shop):
    shop.hand.answers = [Made((), units=0)]
    job = await shop.turn(await shop.order())
    assert (job.state, job.charged, await credits_of(shop)) == ("completed", 0, (20, 0))


@pytest.mark.parametrize("cause", Cause)
async def test_what_the_executor_will_not_do_is_charged_nothing(shop, cause):
    shop.hand.answers = [NotMade(cause, "no")]
    job = await shop.turn(await shop.order())
    assert (job.state, job.reason, await credits_of(shop)) == ("failed", cause.value, (20, 0))


async def test_an_executor_that_cannot_be_reached_is_asked_again_until_it_answers(shop):
    shop.hand.answers = [NotReached("away"), NotReached("away"), MADE]
    job = await shop.order()
    for _ in range(2):
        with pytest.raises(NotReached):
            await shop.turn(job)
        assert key_of(job) not in await shop.due()
        shop.moved += timedelta(seconds=5)
        assert key_of(job) in await shop.due()
    assert (await shop.turn(job)).state == "completed"
    assert await credits_of(shop) == (13, 0)


async def test_work_that_was_taken_on_is_charged_when_its_result_is_posted(shop):
    shop.hand.answers = [Later()]
    job = await shop.turn(await shop.order())
    assert job.state == "running"
    assert (await shop.turn(job)).state == "running"
    assert len(shop.hand.asked) == 1
    done = await ending.complete(shop.sessions, key_of(job), MADE, clock=shop.clock)
    assert (done.state, done.charged) == ("completed", 7)


async def test_the_same_result_again_changes_nothing_and_another_is_refused(shop):
    shop.hand.answers = [Later()]
    job = await shop.turn(await shop.order())
    found = await shop.together(5, lambda: ending.complete(shop.sessions, key_of(job), MADE, clock=shop.clock))
    assert {one.capture_id for one in found} == {found[0].capture_id}
    assert await credits_of(shop) == (13, 0)
    with pytest.raises(Refused) as error:
        await ending.complete(shop.sessions, key_of(job), Made((), units=3), clock=shop.clock)
    assert refusal_of(error) is Refusal.JOB_ENDED


async def test_at_the_deadline_the_credits_come_back_and_a_result_after_it_charges_nothing(shop):
    shop.hand.answers = [Later()]
    job = await shop.turn(await shop.order())
    shop.moved = LASTING
    with pytest.raises(Refused) as error:
        await ending.complete(shop.sessions, key_of(job), MADE, clock=shop.clock)
    assert refusal_of(error) is Refusal.JOB_ENDED
    late = await shop.job(job)
    assert (late.state, late.reason, late.charged) == ("failed", "deadline_passed", 0)
    assert await credits_of(shop) == (20, 0)


async def test_the_worker_ends_what_nobody_answered_for(shop):
    shop.hand.answers = [NotReached("away")]
    job = await shop.order()
    shop.moved = LASTING
    assert key_of(job) in await shop.due()
    assert (await shop.turn(job)).reason == "deadline_passed"
    assert (shop.hand.asked, await credits_of(shop)) == ([], (20, 0))


async def test_an_answer_that_comes_after_a_cancellation_charges_nothing(shop):
    job = await shop.order()
    shop.hand.before = lambda: ending.cancel(shop.sessions, key_of(job), clock=shop.clock)
    assert (await shop.turn(job)).state == "canceled"
    assert await credits_of(shop) == (20, 0)


async def test_a_cancellation_and_a_result_at_once_leave_one_of_the_two(shop):
    shop.hand.answers = [Later()]
    for n in range(5):
        job = await shop.turn(await shop.order(str(n)))
        key = key_of(job)
        steps = iter([
            lambda key=key: ending.complete(shop.sessions, key, MADE, clock=shop.clock),
            lambda key=key: ending.cancel(shop.sessions, key, clock=shop.clock),
        ])  # fmt: skip
        await shop.together(2, lambda steps=steps: next(steps)())
        assert (await shop.job(job)).state in {"completed", "canceled"}
        await shop.give(7)
    assert (await credits_of(shop))[1] == 0


async def test_what_was_completed_cannot_be_canceled(shop):
    job = await shop.turn(await shop.order())
    with pytest.raises(Refused) as error:
        await ending.cancel(shop.sessions, key_of(job), clock=shop.clock)
    assert refusal_of(error) is Refusal.JOB_ENDED


async def test_a_hold_that_an_operator_has_ended_pays_for_nothing(shop):
    shop.hand.answers = [Later()]
    job = await shop.turn(await shop.order())
    await shop.post(Operation(job.organization_id, Kind.VOID, OPERATOR, "v", "void", target=job.hold_id))
    with pytest.raises(Refused):
        await ending.complete(shop.sessions, key_of(job), MADE, clock=shop.clock)
    assert ((await shop.job(job)).reason, await credits_of(shop)) == ("hold_ended", (20, 0))


async def test_what_an_operator_has_captured_of_a_hold_is_not_charged_again(shop):
    job = await shop.order()
    part = Operation(
        job.organization_id, Kind.CAPTURE, OPERATOR, "c", "capture", credits=3, target=job.hold_id, final=False
    )
    await shop.post(part)
    assert ((await shop.turn(job)).charged, await credits_of(shop)) == (4, (13, 0))


async def test_a_result_whose_credits_are_frozen_is_kept_and_charged_when_they_are_free(shop):
    shop.hand.answers = [Later()]
    job = await shop.turn(await shop.order())
    known: dict[str, Any] = {"reason": "looks odd", "by": COMMAND_LINE}
    await freezing.freeze(shop.sessions, job.organization_id, now=shop.clock(), **known)
    kept = await ending.complete(shop.sessions, key_of(job), MADE, clock=shop.clock)
    assert kept.result is not None
    assert (kept.state, kept.charged, kept.result["assets"]) == ("running", None, [PICTURE])
    with pytest.raises(Refused):
        await ending.cancel(shop.sessions, key_of(job), clock=shop.clock)
    await freezing.unfreeze(shop.sessions, job.organization_id, now=shop.clock(), **known)
    shop.moved += timedelta(minutes=1)
    assert key_of(job) in await shop.due()
    assert ((await shop.turn(job)).state, await credits_of(shop)) == ("completed", (13, 0))


async def test_the_last_job_of_a_day_is_ordered_once_and_refused_orders_do_not_count(shop):
    with pytest.raises(HoldRefused):
        await shop.order("dear", price=Price(Policy.FIXED, 99), jobs_per_day=2)
    keys = iter(range(4))
    one = Price(Policy.FIXED, 1)
    found = await shop.together(4, lambda: shop.order(str(next(keys)), price=one, jobs_per_day=2))
    limited = [error for error in found if isinstance(error, DailyLimitReached)]
    assert (len(limited), await credits_of(shop)) == (2, (18, 2))
    tomorrow = shop.clock().date() + timedelta(days=1)
    assert limited[0].reset_at == datetime.combine(tomorrow, datetime.min.time(), UTC)


async def test_the_feed_tells_how_a_job_ended_and_the_product_is_to_be_told_too(shop):
    job = await shop.turn(await shop.order())
    async with shop.sessions() as session:
        query = select(ActivityEvent).where(col(ActivityEvent.organization_id) == job.organization_id)
        events = (await session.exec(query.order_by(col(ActivityEvent.id)))).all()
        untold = select(UntoldEvent.event_id).where(col(UntoldEvent.organization_id) == job.organization_id)
        assert set((await session.exec(untold)).all()) == {event.id for event in events}
    assert {event.type for event in events} == {"job.completed", "asset.created"}
    links = {event.type: event.links for event in events}["job.completed"]
    assert links["usage_event_id"] == ids.external("usage", job.capture_id)
    assert links["asset_ids"] == [PICTURE["asset_id"]]


async def test_two_that_turn_one_job_at_once_charge_once(shop):
    job = await shop.order()
    found = await shop.together(4, lambda: shop.turn(job))
    assert {one.state for one in found} == {JobState.COMPLETED}
    assert await credits_of(shop) == (13, 0)
