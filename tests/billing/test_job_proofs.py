"""What was held and charged for a job stands in the books; whoever changes one side of it is found."""

from datetime import timedelta

import asyncpg
import pytest

from billing import job_proofs, proofs
from billing.jobs import ordering
from outbound.executor import Later, Made
from tests.billing.jobbing import PICTURE, Hand, Workshop, wanted_of


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: what is broken here stays broken."""
    return new_databases("job_proofs")


@pytest.fixture
async def owner(quiet_database):
    """The owner, whom no trigger and no foreign key stops."""
    connection = await asyncpg.connect(quiet_database.owner_url)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


@pytest.fixture
async def shop(buyer):
    """An agent with a job that is done, one that is open, one that was canceled at its deadline, and a plan."""
    workshop = Workshop(buyer.house.sessions, buyer.actor, Hand([Made((PICTURE,))]))
    await workshop.give(50)
    await workshop.turn(await workshop.order("done"))
    workshop.hand.answers = [Later()]
    await workshop.turn(await workshop.order("late", lasting=timedelta()))
    await workshop.turn(await workshop.order("open"))
    await ordering.plan(workshop.sessions, workshop.buyer, wanted_of("plan"), now=workshop.clock())
    return workshop


async def found(shop):
    async with shop.sessions() as session:
        return {one.check for one in await proofs.problems(session, shop.actor.organization_id, limit=100)}


JOB = "UPDATE billing.jobs SET {} WHERE organization_id = $1 AND idempotency_key = '{}'"
HELD, ENDED = "job was held for", "job that has ended holds nothing"
CHARGED, OWN = "charge of a job is in the books", "capture for a job is the job's"
TAMPERING = [
    (JOB.format("credits = 8", "open"), {HELD}),
    (JOB.format("agent_id = id", "open"), {HELD}),
    (JOB.format("hold_id = id", "open"), {HELD}),
    (JOB.format("hold_id = id", "plan"), {HELD}),
    (JOB.format("state = 'planned'", "open"), {HELD}),
    (JOB.format("state = 'failed'", "open"), {ENDED}),
    (JOB.format("charged = 6", "done"), {CHARGED}),
    (JOB.format("charged = 0", "done"), {CHARGED}),
    (JOB.format("state = 'failed'", "done"), {CHARGED}),
    (JOB.format("charged = 1", "late"), {CHARGED}),
    (JOB.format("capture_id = id", "done"), {CHARGED, OWN}),
    (JOB.format("capture_id = NULL", "done"), {CHARGED, OWN}),
    ("DELETE FROM billing.jobs WHERE organization_id = $1 AND idempotency_key = 'done'", {OWN}),
]


async def test_after_jobs_that_ended_in_every_way_all_proofs_agree(shop):
    assert await found(shop) == set()


@pytest.mark.parametrize(("statement", "checks"), TAMPERING)
async def test_what_was_changed_of_a_job_is_found(shop, owner, statement, checks):
    assert await owner.execute(statement, shop.actor.organization_id) in {"UPDATE 1", "DELETE 1"}
    assert await found(shop) == checks


def test_every_check_of_jobs_is_tampered_with():
    assert set().union(*(checks for _, checks in TAMPERING)) == {check.name for check in job_proofs.CHECKS}
