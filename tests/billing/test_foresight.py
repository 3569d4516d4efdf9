"""What will come in an agent's way is read in few statements; what of it makes a top-up urgent is decided purely."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from api.http.commands import Commands
from api.http.views import quota
from api.http.views.quota import Outlook
from api.settings import Settings
from billing import foresight
from billing.database import snapshot
from billing.foresight import DailyJobs, Foresight
from billing.job_tables import JobDay
from billing.packs import METHODS
from ledger.statements import Balance

STATEMENTS_MAX = 8
"""Of one quota of an organization that has everything, besides beginning the transaction."""
OFFER = Settings().offer()
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)


async def seen(buyer, *, jobs_per_day=None, now=NOON):
    async with snapshot(buyer.house.sessions) as session:
        return await foresight.foresight(session, buyer.actor, jobs_per_day=jobs_per_day, now=now)


async def ordered(buyer, day, jobs):
    async with buyer.house.sessions() as session, session.begin():
        session.add(JobDay(organization_id=buyer.actor.organization_id, day=day, jobs=jobs))


async def test_jobs_of_this_day_are_counted_until_midnight(buyer):
    await ordered(buyer, NOON.date(), 2)
    assert (await seen(buyer)).daily_jobs is None
    assert (await seen(buyer, jobs_per_day=3)).daily_jobs == DailyJobs(3, 2, MIDNIGHT)
    assert (await seen(buyer, jobs_per_day=1)).daily_jobs == DailyJobs(1, 2, MIDNIGHT)
    assert DailyJobs(1, 2, MIDNIGHT).remaining == 0
    tomorrow = await seen(buyer, jobs_per_day=3, now=MIDNIGHT)
    assert tomorrow.daily_jobs == DailyJobs(3, 0, MIDNIGHT + timedelta(days=1))


async def test_a_quota_is_read_in_few_statements(buyer):
    said = []
    engine = buyer.house.database.sync_engine

    def hear(_connection, _cursor, statement, *_):
        said.append(statement)

    event.listen(engine, "before_cursor_execute", hear)
    try:
        await seen(buyer, jobs_per_day=3)
    finally:
        event.remove(engine, "before_cursor_execute", hear)
    assert 0 < len(said) <= STATEMENTS_MAX


@pytest.mark.parametrize(
    ("balance", "known", "reasons"),
    [
        (Balance(100, 0, 0), Outlook(), []),
        (Balance(99, 0, 0), Outlook(), ["low_remaining_credits"]),
        (Balance(0, 0, 500), Outlook(), ["credits_depleted"]),
        (Balance(0, 100, 0), Outlook(), []),
        (Balance(0, 100, 0), Outlook(has_paid=False), ["self_fund_setup_missing"]),
        (Balance(0, 99, 0), Outlook(has_paid=False), ["low_remaining_credits", "self_fund_setup_missing"]),
        (Balance(0, 0, 0), Outlook(has_paid=False, capped=True), ["credits_depleted", "daily_job_cap_reached"]),
        (Balance(200, 0, 0), Outlook(low_credits=201), ["low_remaining_credits"]),
        (Balance(200, 0, 0), Outlook(capped=True), ["daily_job_cap_reached"]),
    ],
)
def test_reasons_to_top_up_stand_in_the_order_of_their_urgency(balance, known, reasons):
    needs = quota.urgencies(balance, known)
    assert [need.reason for need in needs] == reasons
    assert [need.score for need in needs] == sorted((need.score for need in needs), reverse=True)


def told(ahead, job_credits=None):
    offered = dict.fromkeys(METHODS)
    return quota.quota(ahead, OFFER, offered, Commands("http://a"), live_money=False, job_credits=job_credits)


def test_what_is_little_depends_on_what_a_job_costs():
    rich = Foresight(Balance(300, 0, 0))
    assert told(rich)["top_up"]["urgency"] == "available"
    assert told(rich, job_credits=100)["top_up"]["urgency"] == "available"
    assert told(rich, job_credits=101)["top_up"]["urgency"] == "near_wall"


def test_a_reached_job_limit_blocks_and_is_nothing_that_a_top_up_helps_against():
    rich = Foresight(Balance(300, 0, 0), daily_jobs=DailyJobs(3, 2, MIDNIGHT))
    assert told(rich)["daily_jobs"] == {
        "limit": 3, "used": 2, "remaining": 1, "reset_at": "2026-11-22T00:00:00.000Z",
    }  # fmt: skip
    data = told(replace(rich, daily_jobs=DailyJobs(3, 3, MIDNIGHT)))
    assert data["daily_jobs"]["remaining"] == 0
    top_up = data["top_up"]
    assert (top_up["urgency"], top_up["urgency_score"]) == ("blocked", 100)
    assert (top_up["recommendation_reason"], top_up["recommended"]) == ("daily_job_cap_reached", False)
