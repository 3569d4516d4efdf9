"""Tokens against the clock, and sign-ups against each other: what HTTP alone cannot set up."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from billing import identity
from billing.identity import Newcomer
from billing.refusals import Refusal, Refused
from tests.service import new_contact

MOMENT = timedelta(microseconds=1)
GRACE = timedelta(seconds=60)
A_SECOND = timedelta(seconds=1)

CROWD = """
WITH made AS (
    INSERT INTO billing.organizations (id, created_at) SELECT gen_random_uuid(), now() FROM generate_series(1, 100)
    RETURNING id
)
INSERT INTO billing.agents (organization_id, id, name, runtime, contact, created_at)
SELECT id, gen_random_uuid(), 'stranger', 'pytest', $1, now() FROM made
"""


async def join(house, contact=None, *, presented=None, want_token=True):
    """Sign up now; the answer and, if there is a token, its actor."""
    newcomer, now = Newcomer(name="joiner", runtime="pytest", contact=contact), house.clock()
    done = await identity.sign_up(house.sessions, newcomer, want_token=want_token, presented=presented, now=now)
    return done, await actor_of(house, done.token, now) if done.token else None


async def actor_of(house, token, now):
    return await identity.authenticate(house.bearers.agents, token, now=now)


async def assert_dead(house, token, now):
    with pytest.raises(Refused) as refused:
        await actor_of(house, token, now)
    assert refused.value.refusal is Refusal.AUTH_REQUIRED


async def test_presented_agent_is_found_behind_a_hundred_others_with_its_contact(quiet_house, quiet_database):
    contact = new_contact()
    mine, actor = await join(quiet_house, contact)
    quiet_database.rows(CROWD, contact)
    stranger, _ = await join(quiet_house, contact)
    again, _ = await join(quiet_house, contact, presented=actor)
    assert stranger.agent.id != mine.agent.id
    assert (again.agent.id, again.rotated) == (mine.agent.id, True)
    assert await actor_of(quiet_house, stranger.token, quiet_house.clock())


async def test_presented_token_of_another_contact_takes_nobody_over(quiet_house):
    contact = new_contact()
    stranger, _ = await join(quiet_house, contact)
    mine, actor = await join(quiet_house, new_contact())
    again, _ = await join(quiet_house, contact, presented=actor)
    assert again.agent.organization_id not in {stranger.agent.organization_id, mine.agent.organization_id}
    for token in (stranger.token, mine.token):
        assert await actor_of(quiet_house, token, quiet_house.clock())


async def test_presented_token_without_a_contact_makes_a_new_organization(quiet_house):
    mine, actor = await join(quiet_house)
    again, _ = await join(quiet_house, presented=actor)
    assert (again.rotated, again.agent.organization_id == mine.agent.organization_id) == (False, False)


async def test_an_agent_revoked_while_the_sign_up_waited_is_not_taken_over(quiet_house, quiet_database):
    contact = new_contact()
    first, _ = await join(quiet_house, contact)
    the_first = {"of": first.agent.organization_id}
    async with quiet_house.sessions() as session, session.begin():
        busy = await session.connection()
        await busy.execute(text("SELECT FROM billing.organizations WHERE id = :of FOR NO KEY UPDATE"), the_first)
        waiting = asyncio.create_task(join(quiet_house, contact))
        await until_somebody_waits(quiet_database)
        await busy.execute(text("UPDATE billing.agents SET revoked_at = now() WHERE organization_id = :of"), the_first)
    again, _ = await waiting
    assert again.agent.id != first.agent.id


A_JOB = """
INSERT INTO billing.jobs (organization_id, id, agent_id, idempotency_key, fingerprint, operation, model_id, executor,
    request, price, units, credits, state, reason, deadline, next_try_at, created_at, updated_at)
SELECT organization_id, gen_random_uuid(), id, 'k', '', 'image', 'm', 'placeholder', '{}', '{}', 1, 1, 'refused',
    'QUOTA_EXCEEDED', now(), now(), now(), now() FROM billing.agents WHERE contact = $1"""
A_FEEDBACK = """
INSERT INTO billing.feedback (organization_id, id, agent_id, said, created_at)
SELECT organization_id, gen_random_uuid(), id, '{}', now() FROM billing.agents WHERE contact = $1"""


@pytest.mark.parametrize("left", [A_JOB, A_FEEDBACK], ids=["a job", "feedback"])
async def test_an_agent_that_left_something_is_not_taken_over(quiet_house, quiet_database, left):
    contact = new_contact()
    first, _ = await join(quiet_house, contact)
    again, _ = await join(quiet_house, contact)
    assert (again.agent.id, again.rotated) == (first.agent.id, True), "while there was nothing"
    quiet_database.rows(left, contact)
    stranger, _ = await join(quiet_house, contact)
    assert (stranger.agent.id != first.agent.id, stranger.rotated) == (True, False)
    assert await actor_of(quiet_house, again.token, quiet_house.clock())


async def until_somebody_waits(database):
    query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(3_000):
        if database.rows(query):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody waits for the lock")


async def test_rotated_token_dies_when_its_grace_is_over(quiet_house):
    old, actor = await join(quiet_house)
    now = quiet_house.clock()
    rotated = await identity.rotate_token(quiet_house.sessions, actor, grace=GRACE, now=now)
    assert rotated.old_tokens_until == now + GRACE
    assert (await actor_of(quiet_house, old.token, now + GRACE - MOMENT)).agent_id == actor.agent_id
    await assert_dead(quiet_house, old.token, now + GRACE)
    assert await actor_of(quiet_house, rotated.token, now + GRACE)


async def test_token_in_its_grace_rotates_again_and_keeps_its_earlier_end(quiet_house):
    """The answer to the first rotation was lost: the old token is all that the agent has."""
    old, actor = await join(quiet_house)
    now = quiet_house.clock()
    lost = await identity.rotate_token(quiet_house.sessions, actor, grace=GRACE, now=now)
    later = now + GRACE - A_SECOND
    found = await identity.rotate_token(quiet_house.sessions, actor, grace=GRACE, now=later)
    assert found.old_tokens_until == now + GRACE
    await assert_dead(quiet_house, old.token, now + GRACE)
    assert await actor_of(quiet_house, lost.token, later + GRACE - MOMENT)
    await assert_dead(quiet_house, lost.token, later + GRACE)
    assert await actor_of(quiet_house, found.token, later + GRACE)


async def test_token_behind_its_grace_acts_no_more_under_the_lock(quiet_house):
    _, actor = await join(quiet_house)
    now = quiet_house.clock()
    await identity.rotate_token(quiet_house.sessions, actor, grace=GRACE, now=now)
    async with quiet_house.sessions() as session, session.begin():
        await identity.lock_organization(session, actor, now=now + GRACE - MOMENT)
    with pytest.raises(Refused):
        await identity.rotate_token(quiet_house.sessions, actor, grace=GRACE, now=now + GRACE)


async def test_request_that_waited_for_a_revocation_does_not_act_with_its_earlier_time(quiet_house):
    """It read the clock before it waited for the lock."""
    _, actor = await join(quiet_house)
    now = quiet_house.clock()
    await identity.revoke_token(quiet_house.sessions, actor, now=now + A_SECOND)
    async with quiet_house.sessions() as session, session.begin():
        with pytest.raises(Refused):
            await identity.lock_organization(session, actor, now=now)


async def test_agent_that_waited_for_its_siblings_revocation_is_the_last_one(quiet_house):
    _, first = await join(quiet_house)
    now = quiet_house.clock()
    invited = await identity.invite(quiet_house.sessions, first, Newcomer("second", "pytest"), now=now)
    second = await actor_of(quiet_house, invited.token, now)
    await identity.revoke_token(quiet_house.sessions, first, now=now + A_SECOND)
    with pytest.raises(Refused) as refused:
        await identity.revoke_agent(quiet_house.sessions, second, second.agent_id, now=now)
    assert refused.value.refusal is Refusal.LAST_AGENT


async def test_sign_up_that_wants_no_token_leaves_the_presented_one(quiet_house):
    contact = new_contact()
    mine, actor = await join(quiet_house, contact)
    again, _ = await join(quiet_house, contact, presented=actor, want_token=False)
    assert (again.agent.id, again.token, again.old_tokens_until) == (mine.agent.id, None, None)
    assert await actor_of(quiet_house, mine.token, quiet_house.clock() + 2 * identity.GRACE)
