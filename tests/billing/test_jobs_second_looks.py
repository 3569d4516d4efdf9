"""What a second look at metered jobs has found: kept results, hanging executors, orders at the edge of a limit."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from billing import proofs
from billing.job_states import JobState
from billing.jobs import ending
from billing.jobs.crew import Crew
from billing.jobs.turning import Desk, _rest
from billing.operator_actions import COMMAND_LINE
from billing.pricing import Policy, Price
from billing.refusals import Refusal, Refused
from billing.reversals import freezing
from outbound.executor import Later, Made, Work
from tests.billing.jobbing import LASTING, PICTURE, Hand, Workshop, key_of, wanted_of

MADE = Made((PICTURE,))
KNOWN: dict[str, Any] = {"reason": "looks odd", "by": COMMAND_LINE}


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: a crew has so many hands, and the orders of other tests would come first."""
    return new_databases("second_looks")


@pytest.fixture
async def shop(buyer):
    workshop = Workshop(buyer.house.sessions, buyer.actor, Hand([Later()]))
    await workshop.give(40)
    yield workshop
    async with workshop.sessions() as session:
        assert await proofs.problems(session, buyer.actor.organization_id, limit=10) == []


async def kept(shop, made=MADE, **changes):
    """A job whose result is kept because its credits are frozen."""
    job = await shop.turn(await shop.order(**changes))
    await freezing.freeze(shop.sessions, job.organization_id, now=shop.clock(), **KNOWN)
    job = await ending.complete(shop.sessions, key_of(job), made, clock=shop.clock)
    assert (job.state, job.charged) == ("running", None)
    return job


async def unfreeze(shop):
    await freezing.unfreeze(shop.sessions, shop.actor.organization_id, now=shop.clock(), **KNOWN)


async def test_a_kept_result_is_charged_however_long_its_credits_were_frozen(shop):
    job = await kept(shop, lasting=timedelta(seconds=1))
    shop.moved = timedelta(days=20)
    assert (await shop.turn(job)).state == "running"
    await unfreeze(shop)
    assert ((await shop.turn(job)).state, (await shop.balance()).spendable) == ("completed", 33)


async def test_what_is_kept_and_not_charged_yet_is_not_shown(shop):
    job = await kept(shop)
    assert job.assets == []
    await unfreeze(shop)
    assert (await shop.turn(job)).assets == [PICTURE]


async def test_the_first_result_that_was_kept_is_charged_and_another_is_refused(shop):
    job = await kept(shop, Made((PICTURE,), units=1), units=4)
    await unfreeze(shop)
    other = Made(({"asset_id": "image_other"},), units=4)
    with pytest.raises(Refused) as error:
        await ending.complete(shop.sessions, key_of(job), other, clock=shop.clock)
    assert error.value.refusal is Refusal.JOB_ENDED
    done = await shop.job(job)
    assert (done.state, done.charged, done.assets) == ("completed", 7, [PICTURE])
    again = await ending.complete(shop.sessions, key_of(job), Made((PICTURE,), units=1), clock=shop.clock)
    assert again.charged == 7


@pytest.mark.parametrize("number", [1e25, 1e16, -0.0, 1e-7])
async def test_a_kept_result_posted_again_is_known_whatever_numbers_it_holds(shop, number):
    made = Made(({**PICTURE, "seed": number},))
    job = await kept(shop, made)
    await unfreeze(shop)
    await shop.turn(job)
    assert (await ending.complete(shop.sessions, key_of(job), made, clock=shop.clock)).charged == 7


async def test_a_kept_result_is_looked_at_soon_whoever_else_looked_before(shop):
    job = await kept(shop)
    soon = (await shop.job(job)).next_try_at
    desk = Desk(shop.sessions, {}, shop.clock)
    await _rest(desk, key_of(job), job.deadline)
    assert (await shop.job(job)).next_try_at == soon


async def test_equal_orders_at_once_are_told_the_one_job_also_when_it_is_the_last(shop):
    for limits in ({"jobs_per_day": 1}, {"jobs_open": 2}):
        found = await shop.together(6, lambda limits=limits: shop.order(str(limits), **limits))
        assert len({job.id for job in found}) == 1


async def test_an_organization_has_so_many_jobs_open_and_no_more(shop):
    one = Price(Policy.FIXED, 1)
    keys = iter(range(6))
    found = await shop.together(6, lambda: shop.order(str(next(keys)), price=one, jobs_open=4))
    refused = [error for error in found if isinstance(error, Refused)]
    assert [error.refusal for error in refused] == [Refusal.OPEN_JOBS_LIMIT_REACHED] * 2
    job = next(one for one in found if not isinstance(one, Refused))
    await ending.cancel(shop.sessions, key_of(job), clock=shop.clock)
    assert (await shop.order("more", price=one, jobs_open=4)).state == "queued"


@dataclass
class Hanging:
    """An executor that hangs on every job but those of one prompt."""

    released: asyncio.Event

    async def perform(self, work: Work) -> Made:
        if work.request["prompt"] != "quick":
            await self.released.wait()
        return MADE


async def test_an_executor_that_hangs_on_some_jobs_holds_up_no_other(shop):
    quick = {**wanted_of("quick").request, "prompt": "quick"}
    slow = [await shop.order(f"slow{n}", price=Price(Policy.FIXED, 1)) for n in range(4)]
    over = await shop.order("over", price=Price(Policy.FIXED, 1), lasting=timedelta())
    released = asyncio.Event()
    crew = Crew(Desk(shop.sessions, {"hand": Hanging(released)}, shop.clock))
    while await crew.turn():
        pass
    job = await shop.order("quick", request=quick)
    while (await shop.job(job)).state == JobState.QUEUED:
        await crew.turn()
        await asyncio.sleep(0.01)
    assert (await shop.job(job)).state == "completed"
    assert (await shop.job(over)).reason == "deadline_passed"
    assert {(await shop.job(one)).state for one in slow} == {"queued"}
    released.set()
    await crew.settle()
    assert {(await shop.job(one)).state for one in slow} == {"completed"}


async def test_a_crew_that_is_closed_leaves_its_jobs_to_others(shop):
    job = await shop.order()
    crew = Crew(Desk(shop.sessions, {"hand": Hanging(asyncio.Event())}, shop.clock))
    await crew.turn()
    await crew.close(within_s=0)
    assert key_of(job) not in await shop.due()
    shop.moved = LASTING / 2
    assert key_of(job) in await shop.due()
