"""A job that stands past its deadline is an alert, because a worker would have ended it."""

from datetime import timedelta

from api.alarms import Alarms
from api.alerts import measured
from api.settings import Settings
from billing.job_states import JobState
from billing.jobs import ending, turning
from billing.operator_actions import COMMAND_LINE
from billing.reversals import freezing
from outbound.executor import Later, Made
from tests.billing.jobbing import LASTING, PICTURE, Hand, Workshop, key_of

MEASURE = "job_oldest_overdue_seconds"


async def shop_of(buyer):
    """A workshop without the open jobs that other tests have left."""
    shop = Workshop(buyer.house.sessions, buyer.actor, Hand([Later()]), moved=timedelta(days=1))
    await work(shop)
    shop.moved = timedelta()
    await shop.give(40)
    return shop


async def work(shop):
    """What a worker does about deadlines, at the shop's time."""
    while keys := await turning.take_due(shop.sessions, now=shop.clock()):
        for key in keys:
            await turning.turn(shop.desk, key)


async def overdue_s(shop):
    return (await measured(shop.sessions, now=shop.clock()))[MEASURE]


async def said(shop, alarms):
    """What is said now of jobs, and whether it is over."""
    found = await measured(shop.sessions, now=shop.clock())
    sayings = alarms.judge(found, Settings(), again_after_s=3600, now=shop.clock())
    return [one.over for one in sayings if one.alert.name == "jobs_overdue"]


async def test_a_job_that_nobody_ends_is_an_alert_ten_minutes_after_its_deadline_until_a_worker_comes(buyer):
    shop, alarms = await shop_of(buyer), Alarms()
    job = await shop.turn(await shop.order())
    assert job.state == JobState.RUNNING
    assert await overdue_s(shop) == 0
    shop.moved = LASTING + timedelta(minutes=9)
    assert 9 * 60 <= await overdue_s(shop) < 10 * 60
    assert await said(shop, alarms) == []
    shop.moved = LASTING + timedelta(minutes=11)
    assert await said(shop, alarms) == [False]
    await work(shop)
    assert (await shop.job(job)).state == JobState.FAILED
    assert await said(shop, alarms) == [True]
    assert await overdue_s(shop) == 0


async def test_a_job_that_was_made_in_time_and_waits_for_frozen_credits_is_not_overdue(buyer):
    shop = await shop_of(buyer)
    job = await shop.turn(await shop.order())
    known = {"reason": "looks odd", "by": COMMAND_LINE, "now": shop.clock()}
    await freezing.freeze(shop.sessions, job.organization_id, **known)
    await ending.complete(shop.sessions, key_of(job), Made((PICTURE,)), clock=shop.clock)
    shop.moved = LASTING + timedelta(hours=1)
    await work(shop)
    assert (await shop.job(job)).state == JobState.RUNNING
    assert await overdue_s(shop) == 0
    shop.moved += timedelta(minutes=30)
    assert await overdue_s(shop) > 29 * 60 - 1, "no worker asks whether they are free"
    await freezing.unfreeze(shop.sessions, job.organization_id, **known)
    await work(shop)
    assert (await shop.job(job)).state == JobState.COMPLETED
    assert await overdue_s(shop) == 0
